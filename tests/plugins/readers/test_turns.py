"""Conversations as text."""

from __future__ import annotations

from typing import Any

import pytest

from plugins.readers.turns import joined


@pytest.mark.parametrize(
    ("turns", "expected"),
    [
        (["Why?", "So."], "Why?\n\nSo."),
        ([{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}], "Why?\n\nSo."),
        ([{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}], "Why?\n\nSo."),
        (["Why?", "So.", "And?", "Then."], "Why?\n\nSo.\n\nAnd?\n\nThen."),
        ([" Why?\n", "\n\nSo.\nIndeed.\n"], "Why?\n\nSo.\nIndeed."),
        (["Why?", "", " \n"], "Why?"),
        ([], ""),
    ],
)
def test_turns_stand_in_order_with_a_blank_line_between_them(turns: list[Any], expected: str) -> None:
    assert joined(turns) == expected


@pytest.mark.parametrize(
    ("turns", "found"),
    [
        (["Why?", 7], "turn 2 is int"),
        ([None], "turn 1 is NoneType"),
        ([["Why?"]], "turn 1 is list"),
        ([{"from": "human", "text": "Why?"}], "turn 1 is an object of from, text"),
        ([{"value": None}], "turn 1 is an object of value"),
        ([{}], "turn 1 is an object of no fields"),
    ],
)
def test_what_is_no_turn_is_named(turns: list[Any], found: str) -> None:
    with pytest.raises(ValueError) as caught:
        joined(turns)
    assert str(caught.value) == f"{found}; expected a string, or an object with a string 'value'"
