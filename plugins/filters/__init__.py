"""Registry of quality filters, which refuse documents that are not worth learning from.

    filters:                        # in the corpus YAML; applied in this order, no filter by default
      language: {keep: [en]}
      gopher_quality: {}            # as published
      c4: {min_sentences: 5}        # as published except one rule; null removes a rule
      fineweb: {languages: [en]}    # other languages pass; `passed_over_by_fineweb` counts them

| filter | refuses | made for | source |
|---|---|---|---|
| gopher_quality | bad lengths, symbols, lists, no stop words | English | Rae et al. 2021, arXiv 2112.11446 |
| gopher_repetition | repeated lines, paragraphs and n-grams | any language | the same, table A1 |
| c4 | pages with braces, or too little prose; drops other lines | English | Raffel et al. 2020 |
| fineweb | lists, menus and repeated lines | English | Penedo et al. 2024, arXiv 2406.17557 |
| language | other languages, or uncertain ones | | py3langid |

Rules made for English heed the script and language of a document: stop words, ends of lines and sentences,
lengths of words and lines. Their defaults refuse plain prose in none of the 33 languages of
tests/plugins/passages.yaml.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from plugins.registry import Registry

if TYPE_CHECKING:
    from plugins.filters.base import Filter

FILTERS = Registry(
    "filter",
    "tutelage.filters",
    {
        "c4": "plugins.filters.c4:C4Filter",
        "fineweb": "plugins.filters.fineweb:FineWebFilter",
        "gopher_quality": "plugins.filters.gopher_quality:GopherQualityFilter",
        "gopher_repetition": "plugins.filters.gopher_repetition:GopherRepetitionFilter",
        "language": "plugins.filters.language:LanguageFilter",
    },
)

FilterOptions = Mapping[str, Mapping[str, Any] | None]
"""Options of filters by name; None for the published ones."""


def make_filters(filters: FilterOptions) -> "dict[str, Filter[Any]]":
    """Make filters by name, in the order given.

    Raises:
        ConfigError: A name, an option or a value is refused.
    """
    return {name: FILTERS.load(name)(options) for name, options in filters.items()}
