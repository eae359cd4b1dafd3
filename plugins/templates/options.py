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
from typing import NamedTuple, TypeVar

from plugins.templates.wording_files import OptionWords
from plugins.words import SENTENCE_ENDS
from schemas.records import InstructionPair

ItemT = TypeVar("ItemT")

ROMAN = ("i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x", "xi", "xii", "xiii", "xiv", "xv")


def pick(rng: random.Random, items: Sequence[ItemT]) -> ItemT:
    """Choose one item: `rng.choice`, in a third of its time."""
    return items[int(rng.random() * len(items))]


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
_FINISHED = re.compile(rf"""[.?!:;…_：；{SENTENCE_ENDS}][\s"'”’»“）)\]」』]*\Z""")


class OptionRules:
    """Recognition of options and pairs that limit the shuffle, in one language.

    Attributes:
        words: The words of the language.
        none: Folded options that say that no other one is right.
        last: Folded options that say something about the options before them.
    """

    def __init__(self, words: OptionWords):
        self.words = words
        self.none = frozenset(map(_folded, words.none_of_these))
        self.last = self.none | frozenset(map(_folded, words.stay_last))
        marks = [r"\((?:[a-hA-H]|[ivx]{1,4}|\d)\)"]
        if words.nouns:
            marks.append(rf"(?<![^\W\d_])(?i:{_any_of(words.nouns)})\s*\(?(?:[A-Z]|[ivx]+|\d)(?![A-Za-z\d])")
        if words.joins:
            marks.append(rf"(?<![A-Za-z])[A-H],?\s*(?:{_any_of(words.joins)})\s*[A-H](?![A-Za-z])")
        if words.places:
            marks.append(rf"(?i:{_any_of(words.places)})")
        self._positions = re.compile("|".join(marks))

    def speaks_of_positions(self, pair: InstructionPair) -> bool:
        """True if a pair names options by their markers or places."""
        search = self._positions.search
        return any(map(search, pair.options)) or bool(search(pair.instruction) or search(pair.rationale))


def _folded(option: str) -> str:
    return option.strip().rstrip(".。").casefold()


def _any_of(words: Sequence[str]) -> str:
    return "|".join(map(re.escape, words))


class OptionStyle(NamedTuple):
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
            naming=pick(rng, NAMINGS if allow_numbers else _NOT_NUMBERED),
            introducer=pick(rng, rules.words.introducers),
            delimiter=pick(rng, DELIMITERS),
            none_of_these=pick(rng, rules.words.none_of_these),
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
    naming, rules = style.naming, style.rules
    folded = [_folded(option) for option in options]
    if rules.speaks_of_positions(pair):
        naming = PLAIN_LETTERS
        order = list(range(len(options)))
    else:
        order = _shuffled(folded, rules, rng)
    for index, option in enumerate(options):
        if index != answer and folded[index] in rules.none and option not in pair.rationale:
            options[index] = style.none_of_these
    delimiter = style.delimiter
    mark = delimiter.strip() or delimiter
    if not naming.names or any(mark in option or "\n" in option for option in options):
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


def _shuffled(folded: Sequence[str], rules: OptionRules, rng: random.Random) -> list[int]:
    free = [index for index, option in enumerate(folded) if option not in rules.last]
    last = [index for index in range(len(folded)) if index not in free]
    rng.shuffle(free)
    return free + last
