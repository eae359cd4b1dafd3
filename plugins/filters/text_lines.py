"""Lines and paragraphs of a text: the marks that end prose, and shares of repeats."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

TERMINAL_MARKS = (
    *(".", "!", "?", "…", "。", "．", "！", "？", "؟", "۔", "।", "॥", "։", "።", "។", "။", "།"),
    *('"', "”", "»", "」", "』"),
)
"""Marks at the end of a line of prose: of sentences in many scripts, and of quotations."""

_PARAGRAPH_END = re.compile(r"\n\s*\n")


class Repeated(NamedTuple):
    """Shares of repeats, from 0 to 1; the first of equal pieces is no repeat."""

    pieces: float  # of all pieces
    characters: float  # of the characters in all pieces


def lines_of(text: str) -> list[str]:
    """Return the lines that are not blank, without outer white space."""
    return [line for raw in text.split("\n") if (line := raw.strip())]


def paragraphs_of(text: str) -> list[str]:
    """Return the paragraphs, which blank lines separate."""
    return [paragraph for raw in _PARAGRAPH_END.split(text) if (paragraph := raw.strip())]


def repeated(pieces: Sequence[str]) -> Repeated:
    """Return the shares of lines or paragraphs that occur earlier in the text."""
    total = sum(map(len, pieces))
    if not total:
        return Repeated(0.0, 0.0)
    distinct = set(pieces)
    num_repeats = len(pieces) - len(distinct)
    return Repeated(num_repeats / len(pieces), (total - sum(map(len, distinct))) / total)
