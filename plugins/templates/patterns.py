"""Patterns whose slots cannot stay unfilled and whose contents are never scanned.

A pattern is a tuple of literal strings and `Slot` members:

    Pattern(("Q: ", Slot.QUESTION, "\\nA: ", Slot.ANSWER), slots={Slot.QUESTION, Slot.ANSWER})

It says once which slots it must hold, and is checked when it is made, which for the phrases of a
family is when their module is imported. Filling joins the parts. There is no placeholder syntax,
hence nothing in a user's text, `{question}` and `%s` included, that could be taken for one.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping
from itertools import pairwise


class Slot(enum.Enum):
    """What a pattern leaves open."""

    # One pair.
    QUESTION = enum.auto()
    OPTIONS = enum.auto()
    RATIONALE = enum.auto()
    ANSWER = enum.auto()
    # One document: its text and its pairs, whole or divided as the layout needs them.
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
        slots: The slots that the pattern must hold, no more and no fewer.

    Raises:
        ValueError: A slot is missing, repeated or unasked for; two slots touch, which would glue
            two users' texts together; or a part is neither a slot nor a non-empty string.
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
        """Join the literals with the values of the slots; values for other slots are ignored."""
        return "".join(values[part] if isinstance(part, Slot) else part for part in self.parts)

    def __repr__(self) -> str:
        return f"Pattern{self.parts!r}"


def patterns(slots: Collection[Slot], *rows: tuple[str | Slot, ...]) -> tuple[Pattern, ...]:
    """Make a group of patterns that all hold the same slots."""
    return tuple(Pattern(row, slots=slots) for row in rows)
