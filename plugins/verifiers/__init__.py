"""Registry of verifiers, which check pairs against their passages.

| verifier | checks | model |
|---|---|---|
| grounded | the passage holds the answer's words, numbers, names and negations | none |
| well_formed | the question asks, the answer answers its kind, nothing refers to what is not shown | none |
| judge | a model says that the answer is right by its passage | any, one token a pair |
| closed_book | the model that is trained does not know the answer without the passage | the trained one |
"""

from plugins.registry import Registry

DEFAULT_RULES = ("grounded", "well_formed")
"""Rules of a corpus that a model writes pairs for, unless its YAML has `verify`; they ask no model."""

VERIFIERS = Registry(
    "verifier",
    "tutelage.verifiers",
    {
        "closed_book": "plugins.verifiers.closed_book:ClosedBook",
        "grounded": "plugins.verifiers.grounded:Grounded",
        "judge": "plugins.verifiers.judge:Judge",
        "well_formed": "plugins.verifiers.well_formed:WellFormed",
    },
)
