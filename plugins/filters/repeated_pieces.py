"""Pieces of a text that came before in it: repeated lines and paragraphs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

_PARAGRAPH_END = re.compile(r"\n\s*\n")


class Repeated(NamedTuple):
    """Shares of a text's pieces that came before; the first of equal pieces is no repeat.

    Attributes:
        pieces: Repeats among all pieces, 0 to 1.
        characters: Characters in repeats among those of all pieces, 0 to 1.
    """

    pieces: float
    characters: float


def lines_of(text: str) -> list[str]:
    """The lines that are not blank, without the white space around them."""
    return [line for raw in text.split("\n") if (line := raw.strip())]


def paragraphs_of(text: str) -> list[str]:
    """What stands between blank lines."""
    return [paragraph for raw in _PARAGRAPH_END.split(text) if (paragraph := raw.strip())]


def repeated(pieces: Sequence[str]) -> Repeated:
    """How much of the pieces came before."""
    total = sum(map(len, pieces))
    if not total:
        return Repeated(0.0, 0.0)
    distinct = set(pieces)
    num_repeats = len(pieces) - len(distinct)
    return Repeated(num_repeats / len(pieces), (total - sum(map(len, distinct))) / total)
