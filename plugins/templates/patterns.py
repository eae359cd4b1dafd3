"""Patterns of literal text and slots, filled without scanning the text that goes into the slots.

A pattern is a tuple of literal strings and `Slot` members:

    Pattern(("Q: ", Slot.QUESTION, "\\nA: ", Slot.ANSWER), slots={Slot.QUESTION, Slot.ANSWER})

A pattern names the slots that it must hold, and its constructor checks them: for the patterns of a family at
import. Filling joins the parts. There is no placeholder syntax, so a user's text cannot contain a
placeholder, not even `{question}` or `%s`.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping
from itertools import pairwise


class Slot(enum.Enum):
    """Slots of patterns."""

    # One pair.
    QUESTION = enum.auto()
    OPTIONS = enum.auto()
    RATIONALE = enum.auto()
    ANSWER = enum.auto()
    # One document: its text and its pairs, whole or divided for the layout.
    TEXT = enum.auto()
    PAIRS = enum.auto()
    QUESTIONS = enum.auto()
    ANSWERS = enum.auto()
    EXAMPLES = enum.auto()
    LAST_PAIR = enum.auto()
    TURNS = enum.auto()
    NEXT_TURN = enum.auto()


class Pattern:
    """Literal text around slots, each slot exactly once.

    Args:
        parts: Literals and slots in order.
        slots: Exactly the slots that the pattern must hold.

    Raises:
        ValueError: A slot is missing, repeated or not in `slots`; two slots touch, which would join two
            users' texts; or a part is neither a slot nor a non-empty string.
    """

    __slots__ = ("parts", "slots")

    def __init__(self, parts: tuple[str | Slot, ...], *, slots: Collection[Slot]):
        found = [part for part in parts if isinstance(part, Slot)]
        if sorted(slot.name for slot in found) != sorted(slot.name for slot in set(slots)):
            raise ValueError(
                f"pattern {parts!r} must hold each of {sorted(slot.name for slot in slots)} once, "
                f"found {[slot.name for slot in found]}"
            )
        for part in parts:
            if not isinstance(part, Slot) and not (isinstance(part, str) and part):
                raise ValueError(f"pattern {parts!r} holds {part!r}: expected a Slot or a non-empty string")
        if any(isinstance(left, Slot) and isinstance(right, Slot) for left, right in pairwise(parts)):
            raise ValueError(f"pattern {parts!r} puts no text between two slots")
        self.parts = parts
        self.slots = frozenset(slots)

    def fill(self, values: Mapping[Slot, str]) -> str:
        """Join the literals and the values of the slots; ignores values of other slots."""
        return "".join(values[part] if isinstance(part, Slot) else part for part in self.parts)


def patterns(slots: Collection[Slot], *rows: tuple[str | Slot, ...]) -> tuple[Pattern, ...]:
    """Make patterns with the same slots."""
    return tuple(Pattern(row, slots=slots) for row in rows)
