"""FineWeb's own rules: refuse lists, menus, and pages of headings.

Unlike Gopher's rules, these refuse the limit itself. Blank lines do not count. (datatrove's filter of this
name refuses duplicated characters from 0.01 on; the paper says 0.1.)

The limits were found on English. Lines end as in their script, so prose in other languages keeps the rules.

Source: Penedo et al. 2024, arXiv 2406.17557, section 3.6.
"""

from __future__ import annotations

from collections.abc import Iterator

import pydantic

from plugins.filters.base import JudgingOptions, TextRules, Verdict
from plugins.filters.text_lines import ends_as_prose, lines_of, repeated


class FineWebOptions(JudgingOptions):
    """Limits of the rules, as shares from 0 to 1; null removes one.

    Attributes:
        min_punctuated_lines: Lines that end in punctuation; must be more than this.
        max_duplicate_line_characters: Characters in repeated lines; must be less than this.
        max_short_lines: Short lines; must be less than this.
        short_line_characters: A line with fewer characters is short. A character of Chinese, Japanese or
            Korean counts as two.
    """

    min_punctuated_lines: float | None = pydantic.Field(default=0.12, ge=0, le=1)
    max_duplicate_line_characters: float | None = pydantic.Field(default=0.1, ge=0, le=1)
    max_short_lines: float | None = pydantic.Field(default=0.67, ge=0, le=1)
    short_line_characters: int = pydantic.Field(default=30, ge=1)


class FineWebFilter(TextRules[FineWebOptions]):
    """Refuse texts that consist of lists, headings or repeated lines, by limits for English."""

    name = "fineweb"
    Options = FineWebOptions

    def verdicts(self, text: str) -> Iterator[Verdict | None]:
        lines = lines_of(text)
        num_lines = max(1, len(lines))
        punctuated = sum(map(ends_as_prose, lines))
        yield self.more_than("min_punctuated_lines", punctuated / num_lines)
        yield self.less_than("max_duplicate_line_characters", repeated(lines).characters)
        least = self.options.short_line_characters
        short = sum(len(line) < least and _width(line) < least for line in lines)
        yield self.less_than("max_short_lines", short / num_lines)


def _width(line: str) -> int:
    """Characters of a line, those of Chinese, Japanese and Korean twice."""
    return len(line) if line.isascii() else len(line) + sum("\u2e80" <= each <= "\ud7ff" for each in line)
