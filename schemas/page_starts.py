"""Pages of a document: the characters with which each page begins, by which parts of a text find their pages.

Offsets would not survive cleaning and filters, which drop lines. If a text no longer has these characters, or
has them several times, the place of the page is open: a part near it may lie on this page or the one before.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

_CHARACTERS = 40


def page_start(number: int, text: str, offset: int) -> str:
    """Return the entry of a page that begins at an offset of a text: its number, a space, characters."""
    return f"{number} {text[offset : offset + _CHARACTERS]}"


def starts_within(
    starts: Sequence[str], text: str, spans: Sequence[tuple[int, int]]
) -> list[tuple[str, ...]]:
    """Return those entries whose pages each part of a text may lie on.

    Args:
        starts: Entries of the pages, in the order of the text.
        text: The text, perhaps with other lines than the one that the entries were made of.
        spans: Start and end offset of each part.
    """
    beginnings = [each.partition(" ")[2] for each in starts]
    places = [text.find(each) if text.count(each) == 1 else -1 for each in beginnings]
    earliest = list(itertools.accumulate(places, max))
    ends = [len(text)] * len(starts)
    for at in range(len(starts) - 1, 0, -1):
        is_known = places[at] == earliest[at] >= 0  # an earlier place than that of a page before is none
        ends[at - 1] = places[at] if is_known else ends[at]
    earliest[:1] = [0] * len(earliest[:1])
    return [
        tuple(
            each for each, low, high in zip(starts, earliest, ends, strict=True) if low < end and start < high
        )
        for start, end in spans
    ]


def page_range(starts: Sequence[str]) -> str:
    """Return the pages of some entries: `12`, `11-12`, or "" without any."""
    numbers = [int(each.partition(" ")[0]) for each in starts]
    if not numbers:
        return ""
    first, last = min(numbers), max(numbers)
    return str(first) if first == last else f"{first}-{last}"
