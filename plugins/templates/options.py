"""Layout of the options of a question: their order, their markers, the text around them.

A training text has one `OptionStyle`. The options of every question are shuffled, so that the marker of the
right option carries no information. Two cases limit the shuffle:

- "None of these", "All of the above" and the like stay last.
- If the pair mentions positions ("option B", "both A and C"), the given order stays and items are A, B, C,
  the most likely meaning of such a pair.

Options without the response are left out: the pair becomes an open question.
"""

from __future__ import annotations

import dataclasses
import random
import re
import string
from collections.abc import Sequence
from typing import NamedTuple

from schemas.records import InstructionPair

ROMAN = ("i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x", "xi", "xii", "xiii", "xiv", "xv")


@dataclasses.dataclass(frozen=True, slots=True)
class Naming:
    """Item markers such as `A.`, `(ii)` or a dash.

    Attributes:
        names: Names in order; none for bullets; "0" for numbers from 1.
        before: Text before a name, or the bullet itself.
        after: Text after a name.
    """

    names: Sequence[str]
    before: str = ""
    after: str = ""

    @property
    def is_number(self) -> bool:
        """True if items have numbers, as questions do in some layouts."""
        return self.names == "0"

    def marker(self, index: int) -> str:
        """Return the marker of the item at `index`: a number once the names run out."""
        if not self.names:
            return self.before
        name = str(index + 1) if self.is_number or index >= len(self.names) else self.names[index]
        return f"{self.before}{name}{self.after}"


PLAIN_LETTERS = Naming(string.ascii_uppercase, after=".")
NAMINGS = (
    PLAIN_LETTERS,
    Naming(string.ascii_uppercase, after=")"),
    Naming(string.ascii_uppercase, "(", ")"),
    Naming(string.ascii_uppercase, "[", "]"),
    Naming(string.ascii_lowercase, "(", ")"),
    Naming(string.ascii_lowercase, after=")"),
    Naming(ROMAN, "(", ")"),
    Naming(ROMAN, after="."),
    Naming("0", after="."),
    Naming("0", "(", ")"),
    Naming((), "-"),
    Naming((), "*"),
)
INTRODUCERS = (
    "Options:",
    "Choices:",
    "Possible answers:",
    "Pick one:",
    "Choose from:",
    "Candidates:",
    "Select one of these:",
    "",
)
DELIMITERS = ("\n", "\n", "\n", "\n", "; ", " | ", "   ")
NONE_OF_THESE = ("None of these", "None of the above", "None of the others", "No option fits")

_THE_REST = r"of (?:the (?:above|others?|options|choices|answers)|these|those|them)\.?"
_NONE = re.compile(rf"(?:none|neither) {_THE_REST}", re.IGNORECASE)
_LAST = re.compile(rf"(?:all|any|both|none|neither) {_THE_REST}", re.IGNORECASE)
_ITEM = re.compile(r"^[ \t]*[(\[]?(?:[A-Ha-h]|[ivx]+|\d{1,2})[.)\]:]\s", re.MULTILINE)
_POSITIONAL = re.compile(
    r"\b(?i:options?|choices?|answers?|items?)\s+\(?(?:[A-Z]|[ivx]+|\d)\b"
    r"|\((?:[a-hA-H]|[ivx]{1,4}|\d)\)"
    r"|\b[A-H],? (?:and|or|nor) [A-H]\b"
    r"|\b(?i:first|second|third|last) (?i:option|choice|one)\b"
)


@dataclasses.dataclass(frozen=True, slots=True)
class OptionStyle:
    """Look of the options of every question in one training text.

    Attributes:
        naming: The markers of items.
        introducer: The words before the first item, or "".
        delimiter: The text between items; a newline puts each on its own line.
        none_of_these: The wording of a "none of these" item that is not the answer.
    """

    naming: Naming
    introducer: str
    delimiter: str
    none_of_these: str

    @classmethod
    def draw(cls, rng: random.Random, *, allow_numbers: bool) -> OptionStyle:
        """Draw a style, without numbers if the questions themselves have numbers."""
        return cls(
            naming=rng.choice([naming for naming in NAMINGS if allow_numbers or not naming.is_number]),
            introducer=rng.choice(INTRODUCERS),
            delimiter=rng.choice(DELIMITERS),
            none_of_these=rng.choice(NONE_OF_THESE),
        )


class OptionBlock(NamedTuple):
    """Options as text below the question, and the marker of the right one, "" if items have no names."""

    text: str
    answer_marker: str


def lay_out_options(pair: InstructionPair, style: OptionStyle, rng: random.Random) -> OptionBlock | None:
    """Shuffle and lay out the options of a pair; None if none of them is the response."""
    options = list(pair.options)
    answer = find_answer(pair)
    if answer is None:
        return None
    naming = style.naming
    if _speaks_of_positions(pair):
        naming = PLAIN_LETTERS
        order = list(range(len(options)))
    else:
        order = _shuffled(options, rng)
    for index, option in enumerate(options):
        if index != answer and _NONE.fullmatch(option.strip()) and option not in pair.rationale:
            options[index] = style.none_of_these
    delimiter = style.delimiter
    blurred = any(mark in option for option in options for mark in ("\n", delimiter.strip() or delimiter))
    if blurred or not naming.names:
        delimiter = "\n"
    items = [f"{naming.marker(place)} {options[index]}" for place, index in enumerate(order)]
    gap = "\n" if delimiter == "\n" else " "
    text = f"{style.introducer}{gap if style.introducer else ''}{delimiter.join(items)}"
    return OptionBlock(text, answer_marker=naming.marker(order.index(answer)) if naming.names else "")


def lists_options(pair: InstructionPair) -> bool:
    """True if a reader sees options, also options inside the instruction."""
    return bool(pair.options) or _ITEM.search(pair.instruction) is not None


def find_answer(pair: InstructionPair) -> int | None:
    """Return the index of the option equal to the response, ignoring letter case and outer spaces."""
    if pair.response in pair.options:
        return pair.options.index(pair.response)
    folded = [option.strip().casefold() for option in pair.options]
    wanted = pair.response.strip().casefold()
    return folded.index(wanted) if wanted in folded else None


def _speaks_of_positions(pair: InstructionPair) -> bool:
    return any(_POSITIONAL.search(part) for part in (pair.instruction, pair.rationale, *pair.options))


def _shuffled(options: Sequence[str], rng: random.Random) -> list[int]:
    free = [index for index, option in enumerate(options) if not _LAST.fullmatch(option.strip())]
    last = [index for index in range(len(options)) if index not in free]
    rng.shuffle(free)
    return free + last
