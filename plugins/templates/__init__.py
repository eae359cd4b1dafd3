"""Template families: how a run of documents and their pairs becomes one training text.

    SynthesizedDocument × M ─► TemplateFamily.render(seed) ─► Rendered (text, template)

A family is one file and one line here; `base.py` says what it promises, and the conformance test
in `tests/plugins/templates` holds every registered name to it.
"""

from plugins.registry import Registry

TEMPLATES = Registry(
    "template family",
    "tutelage.templates",
    {"reading_comprehension": "plugins.templates.reading_comprehension:ReadingComprehension"},
)
