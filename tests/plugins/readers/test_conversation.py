"""Conversations as text."""

from __future__ import annotations

from typing import Any

import pytest

from plugins.readers.conversation import joined


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
        (
            [
                {"role": "user", "content": "Why?"},
                {"role": "assistant", "content": None, "tool_calls": [{"id": "c1"}]},
                {"role": "tool", "content": "known"},
                {"role": "assistant", "content": "So."},
            ],
            "Why?\n\nknown\n\nSo.",
        ),
        (
            [
                {
                    "role": "user",
                    "content": [{"type": "image", "url": "u"}, {"type": "text", "text": "Why? "}],
                },
                {"role": "assistant", "content": [{"type": "text", "text": "So."}, "Indeed."]},
            ],
            "Why?\n\nSo.\nIndeed.",
        ),
        ([{"value": None, "content": "So."}, {"content": [{"type": "image"}]}, {"content": []}], "So."),
        ([{"role": "assistant", "content": None}], ""),
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
        ([{"content": {"text": "Why?"}}], "turn 1 is an object of content"),
        ([{}], "turn 1 is an object of no fields"),
    ],
)
def test_what_is_no_turn_is_named(turns: list[Any], found: str) -> None:
    with pytest.raises(ValueError) as caught:
        joined(turns)
    assert str(caught.value) == f"{found}; expected a string, or an object with a string 'value'"
