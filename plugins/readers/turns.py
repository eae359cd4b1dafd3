"""A conversation as one text: its turns in order, with a blank line between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_SAID = ("value", "content")
"""Where an object keeps what was said: {from, value} or {role, content}."""


def joined(turns: Sequence[Any]) -> str:
    """Join turns by a blank line: strings as they are, of objects what was said. Blank turns leave nothing.

    Who speaks is not written: the user asks first, and the training text is plain text.

    Raises:
        ValueError: A turn is neither; names it by its number from 1.
    """
    return "\n\n".join(text for number, turn in enumerate(turns, start=1) if (text := _said(turn, number)))


def _said(turn: Any, number: int) -> str:
    if isinstance(turn, str):
        return turn.strip()
    if isinstance(turn, Mapping):
        for name in _SAID:
            if isinstance(value := turn.get(name), str):
                return value.strip()
        found = f"an object of {', '.join(sorted(map(str, turn))) or 'no fields'}"
    else:
        found = type(turn).__name__
    raise ValueError(f"turn {number} is {found}; expected a string, or an object with a string 'value'")
