"""Registry of verifiers, which check pairs against their passages.

`DEFAULT_RULES` are the rules of a corpus that a model writes pairs for, unless its YAML has `verify`.
"""

from plugins.registry import Registry

DEFAULT_RULES: tuple[str, ...] = ()
"""Rules that ask no model."""

VERIFIERS = Registry(
    "verifier",
    "tutelage.verifiers",
    {
        "closed_book": "plugins.verifiers.closed_book:ClosedBook",
        "judge": "plugins.verifiers.judge:Judge",
    },
)
