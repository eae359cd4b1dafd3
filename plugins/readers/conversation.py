"""A conversation as one text: its turns in order, with a blank line between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

_SAID = ("value", "content")
"""Where an object keeps what was said: {from, value} or {role, content}."""


def joined(turns: Sequence[Any]) -> str:
    """Join turns by a blank line: strings as they are, of objects what was said.

    What was said may be in parts, [{type, text}, …]: their texts stand on lines of their own, and parts
    without text, such as images, leave nothing. So do blank turns, and those whose content is null, such as
    calls of tools. Who speaks is not written: the user asks first, and the training text is plain text.

    Raises:
        ValueError: A turn is neither; names it by its number from 1.
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
        found = f"an object of {', '.join(sorted(map(str, turn))) or 'no fields'}"
    else:
        found = type(turn).__name__
    raise ValueError(f"turn {number} is {found}; expected a string, or an object with a string 'value'")


def _part(part: Any) -> str:
    text = part.get("text") if isinstance(part, Mapping) else part
    return text.strip() if isinstance(text, str) else ""
