"""Layout of the options of a question: their order, their markers, the text around them.

A training text has one `OptionStyle`. The options of every question are shuffled, so that the marker of the
right option carries no information. Two cases limit the shuffle:

- "None of these", "All of the above" and the like stay last (`option_words` of the language).
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

from plugins.templates.wording_files import OptionWords
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
_NOT_NUMBERED = tuple(naming for naming in NAMINGS if not naming.is_number)
DELIMITERS = ("\n", "\n", "\n", "\n", "; ", " | ", "   ")

_ITEM = re.compile(r"^[ \t]*[(\[]?(?:[A-Ha-h]|[ivx]+|\d{1,2})(?:[.)\]:]\s|[、．])", re.MULTILINE)
_FINISHED = re.compile(r"""[.?!:;…_。？！：；؟۔।][\s"'”’»“）)\]」』]*\Z""")


class OptionRules:
    """Recognition of options and pairs that limit the shuffle, in one language."""

    def __init__(self, words: OptionWords):
        self.words = words
        self._none = frozenset(map(_folded, words.none_of_these))
        self._last = self._none | frozenset(map(_folded, words.stay_last))
        marks = [r"\((?:[a-hA-H]|[ivx]{1,4}|\d)\)"]
        if words.nouns:
            marks.append(rf"(?<![^\W\d_])(?i:{_any_of(words.nouns)})\s*\(?(?:[A-Z]|[ivx]+|\d)(?![A-Za-z\d])")
        if words.joins:
            marks.append(rf"(?<![A-Za-z])[A-H],?\s*(?:{_any_of(words.joins)})\s*[A-H](?![A-Za-z])")
        if words.places:
            marks.append(rf"(?i:{_any_of(words.places)})")
        self._positions = re.compile("|".join(marks))

    def is_none(self, option: str) -> bool:
        """True if an option says that no other one is right."""
        return _folded(option) in self._none

    def stays_last(self, option: str) -> bool:
        """True if an option says something about the options before it."""
        return _folded(option) in self._last

    def speaks_of_positions(self, pair: InstructionPair) -> bool:
        """True if a pair names options by their markers or places."""
        return any(map(self._positions.search, (pair.instruction, pair.rationale, *pair.options)))


def _folded(option: str) -> str:
    return option.strip().rstrip(".。").casefold()


def _any_of(words: Sequence[str]) -> str:
    return "|".join(map(re.escape, words))


@dataclasses.dataclass(frozen=True, slots=True)
class OptionStyle:
    """Look of the options of every question in one training text.

    Attributes:
        naming: The markers of items.
        introducer: The words before the first item, or "".
        delimiter: The text between items; a newline puts each on its own line.
        none_of_these: The wording of a "none of these" item that is not the answer.
        rules: Recognition of options and pairs that limit the shuffle.
    """

    naming: Naming
    introducer: str
    delimiter: str
    none_of_these: str
    rules: OptionRules

    @classmethod
    def draw(cls, rng: random.Random, rules: OptionRules, *, allow_numbers: bool) -> OptionStyle:
        """Draw a style, without numbers if the questions themselves have numbers."""
        return cls(
            naming=rng.choice(NAMINGS if allow_numbers else _NOT_NUMBERED),
            introducer=rng.choice(rules.words.introducers),
            delimiter=rng.choice(DELIMITERS),
            none_of_these=rng.choice(rules.words.none_of_these),
            rules=rules,
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
    if style.rules.speaks_of_positions(pair):
        naming = PLAIN_LETTERS
        order = list(range(len(options)))
    else:
        order = _shuffled(options, style.rules, rng)
    for index, option in enumerate(options):
        if index != answer and style.rules.is_none(option) and option not in pair.rationale:
            options[index] = style.none_of_these
    delimiter = style.delimiter
    blurred = any(mark in option for option in options for mark in ("\n", delimiter.strip() or delimiter))
    if blurred or not naming.names:
        delimiter = "\n"
    items = [f"{naming.marker(place)} {options[index]}" for place, index in enumerate(order)]
    gap = "\n" if delimiter == "\n" else " "
    introducer = style.introducer if is_finished(pair) else ""
    text = f"{introducer}{gap if introducer else ''}{delimiter.join(items)}"
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


def is_finished(pair: InstructionPair) -> bool:
    """True if the question has its end mark; otherwise an option may be the end of its sentence."""
    return _FINISHED.search(pair.instruction) is not None


def _shuffled(options: Sequence[str], rules: OptionRules, rng: random.Random) -> list[int]:
    free = [index for index, option in enumerate(options) if not rules.stays_last(option)]
    last = [index for index in range(len(options)) if index not in free]
    rng.shuffle(free)
    return free + last
