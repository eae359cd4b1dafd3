"""Names and statistics of published increments, for tests; this module does not import Beam."""

from __future__ import annotations

from typing import Any

from schemas.manifest import newest_number, published_names


def name_of(corpus: str, number: int) -> str:
    """Name of a published increment."""
    return published_names(corpus, newest_number(corpus))[number]


def read_stats(corpus: str, number: int) -> dict[str, Any]:
    """Statistics of a published increment."""
    from pipelines.store.statistics import stats_of

    return stats_of(corpus, name_of(corpus, number))
