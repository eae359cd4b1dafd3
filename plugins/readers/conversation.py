"""A conversation as one text: its turns in order, with a blank line between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from plugins.readers.field_paths import names_of

_SAID = ("value", "content")
"""Fields of a turn that hold its text: {from, value} or {role, content}."""


def joined(turns: Sequence[Any]) -> str:
    """Join turns by a blank line. A turn is a string, or an object with its text.

    The text may have parts, [{type, text}, …], which become lines. Parts without text, such as images, blank
    turns, and turns without content, such as tool calls, are left out. The text does not name the speakers:
    the user asks first, and the training text is plain text.

    Raises:
        ValueError: A turn is neither; the message has its number from 1.
    """
    return "\n\n".join(text for number, turn in enumerate(turns, start=1) if (text := _said(turn, number)))


def _said(turn: Any, number: int) -> str:
    if isinstance(turn, str):
        return turn.strip()
    if isinstance(turn, Mapping):
        names = [name for name in _SAID if name in turn]
        said = next((turn[name] for name in names if turn[name] is not None), "" if names else None)
        if isinstance(said, str):
            return said.strip()
        if isinstance(said, list):
            return "\n".join(filter(None, map(_part, said)))
        found = f"an object of {names_of(turn)}"
    else:
        found = type(turn).__name__
    raise ValueError(f"turn {number} is {found}; expected a string, or an object with a string 'value'")


def _part(part: Any) -> str:
    text = part.get("text") if isinstance(part, Mapping) else part
    return text.strip() if isinstance(text, str) else ""
