"""How the options of a question are laid out.

One `OptionStyle` is drawn per training text: what introduces the options, how items are named,
what stands between them. Within it every question has its options shuffled, so that the right one
moves and its name says nothing. Two things limit the shuffle:

- "None of these", "All of the above" and their kin stay last, where alone they make sense.
- When the pair speaks of positions ("option B", "both A and C"), the order given is kept and items are
  A, B, C, as such a pair most likely means.

Options of which none is the response are left out: the pair is rendered as an open question.
"""

from __future__ import annotations

import dataclasses
import random
import re
import string
from collections.abc import Sequence

from schemas.records import InstructionPair

ROMAN = ("i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x", "xi", "xii", "xiii", "xiv", "xv")


@dataclasses.dataclass(frozen=True, slots=True)
class Naming:
    """Item markers such as `A.`, `(ii)` or a dash.

    Attributes:
        names: Names in order; none for bullets; "0" for numbers from 1.
        before: What precedes a name, or the bullet itself.
        after: What follows a name.
    """

    names: Sequence[str]
    before: str = ""
    after: str = ""

    @property
    def is_bullet(self) -> bool:
        """Whether items carry no name that an answer could repeat."""
        return not self.names

    @property
    def is_number(self) -> bool:
        """Whether items are numbered, as questions are in some layouts."""
        return self.names == "0"

    def marker(self, index: int) -> str:
        """The marker of the item at `index`; names that run out go on as numbers."""
        if self.is_bullet:
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
    """How the options of every question in one training text look.

    Attributes:
        naming: How items are marked.
        introducer: The words before the first item, or "".
        delimiter: What stands between items; a newline puts each on its own line.
        none_of_these: The wording of a "none of these" item that is not the answer.
    """

    naming: Naming
    introducer: str
    delimiter: str
    none_of_these: str

    @classmethod
    def draw(cls, rng: random.Random, *, allow_numbers: bool) -> OptionStyle:
        """Draw a style; without numbers where the questions themselves are numbered."""
        return cls(
            naming=rng.choice([naming for naming in NAMINGS if allow_numbers or not naming.is_number]),
            introducer=rng.choice(INTRODUCERS),
            delimiter=rng.choice(DELIMITERS),
            none_of_these=rng.choice(NONE_OF_THESE),
        )


@dataclasses.dataclass(frozen=True, slots=True)
class OptionBlock:
    """Options laid out.

    Attributes:
        text: The options as they stand under the question.
        answer_marker: The marker of the right one, or "" where items carry no names.
    """

    text: str
    answer_marker: str


def lay_out_options(pair: InstructionPair, style: OptionStyle, rng: random.Random) -> OptionBlock | None:
    """Shuffle and lay out the options of a pair; None where none of them is the response."""
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
    if naming.is_bullet or blurred:
        delimiter = "\n"
    items = [f"{naming.marker(place)} {options[index]}" for place, index in enumerate(order)]
    gap = "\n" if delimiter == "\n" else " "
    text = f"{style.introducer}{gap if style.introducer else ''}{delimiter.join(items)}"
    return OptionBlock(text, answer_marker="" if naming.is_bullet else naming.marker(order.index(answer)))


def lists_options(pair: InstructionPair) -> bool:
    """Whether a reader sees options, those that stand in the instruction itself included."""
    return bool(pair.options) or _ITEM.search(pair.instruction) is not None


def find_answer(pair: InstructionPair) -> int | None:
    """Index of the option that the response is, letter case and outer spaces aside."""
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
