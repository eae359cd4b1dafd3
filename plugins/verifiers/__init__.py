"""Registry of verifiers, which check pairs against their passages.

| verifier | checks | model |
|---|---|---|
| grounded | the passage holds the answer's words, numbers, names and negations | none |
| well_formed | the question asks, the answer answers its kind, nothing refers to what is not shown | none |
"""

from plugins.registry import Registry

VERIFIERS = Registry(
    "verifier",
    "tutelage.verifiers",
    {
        "grounded": "plugins.verifiers.grounded:Grounded",
        "well_formed": "plugins.verifiers.well_formed:WellFormed",
    },
)
