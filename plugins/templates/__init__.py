"""Registry of template families, which turn a run of documents and their pairs into one training text.

    SynthesizedDocument × M ─► TemplateFamily.render(seed) ─► Rendered (text, template)

A family is one file and one line here. `base.py` has the contract of a family, which
`tests/plugins/templates` tests for every registered name.
"""

from plugins.registry import Registry

TEMPLATES = Registry(
    "template family",
    "tutelage.templates",
    {
        "pairs_apart": "plugins.templates.reading_comprehension:PairsApart",
        "reading_comprehension": "plugins.templates.reading_comprehension:ReadingComprehension",
    },
)
