"""Patterns of literal text and slots, filled without scanning the text that goes into the slots.

A wording of a file becomes a tuple of literal strings and `Slot` members:

    "Q: {question}\\nA: {answer}"  ─►  ("Q: ", Slot.QUESTION, "\\nA: ", Slot.ANSWER)

The wording is parsed once. Filling joins the parts, so a user's text cannot contain a placeholder, not even
`{question}` or `%s`.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Collection, Mapping

from schemas.errors import unknown_name


class Slot(enum.Enum):
    """Slots of patterns, by their names in a wording."""

    # One pair.
    QUESTION = "question"
    OPTIONS = "options"
    RATIONALE = "rationale"
    ANSWER = "answer"
    NUMBER = "number"
    # One document: its text and its pairs, whole or divided for the layout.
    TEXT = "text"
    PAIRS = "pairs"
    QUESTIONS = "questions"
    ANSWERS = "answers"
    EXAMPLES = "examples"
    LAST_PAIR = "last_pair"
    TURNS = "turns"
    NEXT_TURN = "next_turn"

    __hash__ = object.__hash__  # by identity: the hash of Enum is a Python function, a fifth of rendering


_SLOT = re.compile(r"\{(\w+)\}")
_RUNS_ON = re.compile(r"[ \t]*[^\W_]")


class Pattern:
    """Literal text around slots, each slot exactly once.

    Args:
        wording: Text with `{slot}` in place of each slot.
        slots: Exactly the slots that the wording must hold.
        last: Slots of which one must be the end of the wording, since an answer may be a word or a page, and
            text after it would have to fit both; none for any end.

    Raises:
        ValueError: A slot is missing, repeated, unknown or not in `slots`; two slots touch, which would join
            two users' texts; text runs on behind a slot, although a question may lack its question mark; or
            the wording does not end in `last`.
    """

    __slots__ = ("literals", "parts")

    def __init__(self, wording: str, *, slots: Collection[Slot], last: Collection[Slot] = ()):
        if not isinstance(wording, str):
            raise ValueError(f"{wording!r} is no text; write a wording with {_named(slots)}")
        pieces = _SLOT.split(wording)  # literal, name of a slot, literal, …
        known = [slot.value for slot in slots]
        for name in pieces[1::2]:
            if name not in known:
                raise ValueError(unknown_name("slot", name, known, shown=f"{{{name}}}") + f" In {wording!r}.")
        if sorted(pieces[1::2]) != sorted(known):
            found = " ".join(f"{{{name}}}" for name in pieces[1::2]) or "none"
            raise ValueError(f"{wording!r} must hold {_named(slots)}, each once; found {found}")
        if not all(pieces[2:-1:2]):
            raise ValueError(f"{wording!r} puts no text between two slots")
        for name, literal in zip(pieces[1::2], pieces[2::2], strict=True):
            if name != Slot.NUMBER.value and _RUNS_ON.match(literal):
                raise ValueError(
                    f"{wording!r}: {literal!r} behind a slot must begin with a new line or a mark, since a "
                    "question may lack its question mark"
                )
        self.parts = tuple(
            Slot(piece) if at % 2 else piece for at, piece in enumerate(pieces) if at % 2 or piece
        )
        self.literals = tuple(pieces[::2])
        if last and self.parts[-1] not in last:
            raise ValueError(
                f"{wording!r} must end in {_named(last, ' or ')}: an answer may be a word or a page, so no "
                "text can follow it"
            )

    def fill(self, values: Mapping[Slot, str]) -> str:
        """Join the literals and the values of the slots; ignores values of other slots."""
        return "".join([part if isinstance(part, str) else values[part] for part in self.parts])


def _named(slots: Collection[Slot], joined: str = " ") -> str:
    return joined.join(f"{{{slot.value}}}" for slot in Slot if slot in slots)
