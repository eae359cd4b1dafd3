"""Lines, sentences and paragraphs of a text: how they end in many scripts, and shares of repeats."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from plugins.synthesizers.mining_sentences import split_sentences
from plugins.words import SENTENCE_ENDS

_TERMINAL_MARKS = (*".!?…．", *SENTENCE_ENDS, *'"”“»«」』')
"""Marks at the end of a line of prose: of sentences, and of quotations."""

_THAI_OR_LAO = "[\u0e01-\u0eff]"  # scripts that end a sentence with a space
_ENDS_WITHOUT_MARK = re.compile(rf"{_THAI_OR_LAO}\Z|[\u0370-\u03ff\u1f00-\u1fff];\Z")  # a Greek question, too
_SENTENCE_END = re.compile(
    rf"[{SENTENCE_ENDS}]+|(?<={_THAI_OR_LAO})\s+(?={_THAI_OR_LAO})"
    r"|[.!?]+[\"'”’)]*\s+(?=[\u0590-\u1cff\u2e80-\ud7ff])"  # scripts without capitals
)
_PARAGRAPH_END = re.compile(r"\n\s*\n")


class Repeated(NamedTuple):
    """Shares of repeats, from 0 to 1; the first of equal pieces is no repeat."""

    pieces: float  # of all pieces
    characters: float  # of the characters in all pieces


def lines_of(text: str) -> list[str]:
    """Return the lines that are not blank, without outer white space."""
    return [line for raw in text.split("\n") if (line := raw.strip())]


def ends_as_prose(line: str) -> bool:
    """True if a line ends as a sentence or quotation does in its script."""
    return line.endswith(_TERMINAL_MARKS) or _ENDS_WITHOUT_MARK.search(line[-2:]) is not None


def num_sentences(line: str) -> int:
    """Return the number of sentences of a line in any script."""
    return sum(len(split_sentences(piece)) for piece in _SENTENCE_END.split(line))


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
