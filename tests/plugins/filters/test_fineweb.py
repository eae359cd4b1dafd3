from __future__ import annotations

from typing import Any

import pytest

from plugins.filters.base import Verdict
from plugins.filters.fineweb import FineWebFilter
from schemas.records import Document

LIMITS: dict[str, Any] = {
    "min_punctuated_lines": 0.12,
    "max_duplicate_line_characters": 0.1,
    "max_short_lines": 0.67,
}


def only(text: str, rule: str) -> Verdict | None:
    """The verdict of a single rule with its published limit."""
    options = {**dict.fromkeys(LIMITS), rule: LIMITS[rule]}
    outcome = FineWebFilter(options)(Document.of("d", text, source="s"))
    return outcome if isinstance(outcome, Verdict) else None


def lines(*counts: tuple[int, str]) -> str:
    """The given count of each line, each with a distinct number in front."""
    return "\n".join(f"{index}{line}" for count, line in counts for index in range(count))


@pytest.mark.parametrize(
    ("rule", "kept", "refused", "value", "limit"),
    [
        # 13 and 12 of 100 lines
        (
            "min_punctuated_lines",
            [(13, " a."), (87, " b")],
            [(12, " a?"), (88, " b")],
            0.12,
            "more than 0.12",
        ),
        # 66 and 67 of 100 lines are shorter than 30 characters
        ("max_short_lines", [(66, "a"), (34, "b" * 30)], [(67, "a"), (33, "b" * 30)], 0.67, "less than 0.67"),
    ],
)
def test_the_limit_itself_is_refused(
    rule: str, kept: list[tuple[int, str]], refused: list[tuple[int, str]], value: float, limit: str
) -> None:
    assert only(lines(*kept), rule) is None
    assert only(lines(*refused), rule) == Verdict(rule=rule, value=value, limit=limit)


def test_a_line_of_thirty_characters_is_not_short() -> None:
    assert only("a" * 30, "max_short_lines") is None
    assert only("a" * 29, "max_short_lines") is not None


def test_repeated_lines_are_measured_in_characters() -> None:
    rule = "max_duplicate_line_characters"
    assert only("a\na\n" + "b" * 9, rule) is None  # 1 of 11
    assert only("a\n\na\n" + "b" * 8, rule) == Verdict(rule=rule, value=0.1, limit="less than 0.1")


@pytest.mark.parametrize("end", [".", "!", "?", "…", "。", "؟", "।", '"', "”", "»"])
def test_punctuation_is_that_of_many_scripts(end: str) -> None:
    assert only(f"abc{end}", "min_punctuated_lines") is None
