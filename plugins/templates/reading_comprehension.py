"""Reading comprehension: a text with questions and answers, in many natural layouts.

A training text has one `Style` for all its documents and pairs, so that a chain of documents reads as a
series of few-shot examples:

    pair ── form ──► question side, answer side ── layout and voice ──► frame ◄── text
                                                                          │
    document 1 ─── separator ─── document 2 ─── separator ─── …       ◄───┘

Layouts and their shares are those of Instruction Pre-Training (Cheng et al. 2024, arXiv
2406.14491): if every document has at least two pairs, classic 80% and each other 5%; otherwise classic 95%
and dialogue 5%. In 5% the text comes after the questions.

A golden test pins the order of draws, because a build repeats a corpus byte by byte from its seeds.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from plugins.templates.base import RAW, Rendered, TemplateFamily
from plugins.templates.options import OptionStyle, lay_out_options, lists_options
from plugins.templates.patterns import Pattern, Slot
from plugins.templates.text_layouts import TEXT_FIRST, TEXT_LAST
from plugins.templates.wordings import (
    BARE_VOICES,
    BETWEEN_DOCUMENTS,
    FORMS,
    LABELLED_VOICES,
    NUMBERINGS,
    OPTION_VOICES,
    SPEAKERS,
    Form,
)
from schemas.errors import RecordError
from schemas.records import InstructionPair, SynthesizedDocument

TEXT_LAST_SHARE = 0.05
SHARES_ANY_PAIRS = {"classic": 0.95, "dialogue": 0.05}
SHARES_TWO_PAIRS = {
    "classic": 0.80,
    "dialogue": 0.05,
    "numbered": 0.05,
    "inline_few_shot": 0.05,
    "next_turn": 0.05,
}
BETWEEN_PAIRS = "\n\n"


@dataclasses.dataclass(frozen=True, slots=True)
class Style:
    """Choices shared by the documents and pairs of one training text."""

    layout: str
    frame: Pattern
    voice: Pattern
    forms: Mapping[tuple[bool, bool], Form]
    options: OptionStyle
    speakers: tuple[str, str]
    numbering: tuple[str, str]
    between_documents: str

    @classmethod
    def draw(cls, rng: random.Random, documents: Sequence[SynthesizedDocument]) -> Style:
        """Draw a style that suits all documents."""
        shares = SHARES_TWO_PAIRS if all(len(item.pairs) >= 2 for item in documents) else SHARES_ANY_PAIRS
        layout = rng.choices(list(shares), weights=list(shares.values()))[0]
        frames = TEXT_LAST if rng.random() < TEXT_LAST_SHARE else TEXT_FIRST
        any_options = any(lists_options(pair) for item in documents for pair in item.pairs)
        return cls(
            layout=layout,
            frame=rng.choice(frames[layout]),
            voice=rng.choice(OPTION_VOICES if any_options else LABELLED_VOICES + BARE_VOICES),
            forms={kind: rng.choice(forms) for kind, forms in FORMS.items()},
            options=OptionStyle.draw(rng, allow_numbers=layout != "numbered"),
            speakers=rng.choice(SPEAKERS),
            numbering=rng.choice(NUMBERINGS),
            between_documents=rng.choice(BETWEEN_DOCUMENTS),
        )


class Sides(NamedTuple):
    """One pair in its form: the question with options, and the answer with reasoning."""

    ask: str
    reply: str


def _sides(pair: InstructionPair, style: Style, rng: random.Random) -> Sides:
    block = lay_out_options(pair, style.options, rng)
    form = style.forms[block is not None, bool(pair.rationale)]
    values = {Slot.QUESTION: pair.instruction, Slot.ANSWER: pair.response, Slot.RATIONALE: pair.rationale}
    if block is not None:
        values[Slot.OPTIONS] = block.text
        if form.names_item and block.answer_marker:
            values[Slot.ANSWER] = f"{block.answer_marker} {pair.response}"
    return Sides(form.ask.fill(values), form.reply.fill(values))


def _voiced(pairs: Sequence[Sides], style: Style) -> str:
    filled = (style.voice.fill({Slot.QUESTION: pair.ask, Slot.ANSWER: pair.reply}) for pair in pairs)
    return BETWEEN_PAIRS.join(filled)


def _turns(pairs: Sequence[Sides], style: Style) -> list[str]:
    asks, replies = style.speakers
    return [line for pair in pairs for line in (f"{asks}{pair.ask}", f"{replies}{pair.reply}")]


def _numbered(sides: Sequence[str], style: Style) -> str:
    before, after = style.numbering
    return _stacked([f"{before}{number}{after}{side}" for number, side in enumerate(sides, start=1)])


def _stacked(items: Sequence[str]) -> str:
    """Join items by a newline, or by a blank line if an item holds one itself."""
    return ("\n\n" if any("\n\n" in item for item in items) else "\n").join(items)


LAYOUTS: Mapping[str, Callable[[Sequence[Sides], Style], dict[Slot, str]]] = {
    "classic": lambda pairs, style: {Slot.PAIRS: _voiced(pairs, style)},
    "dialogue": lambda pairs, style: {Slot.PAIRS: _stacked(_turns(pairs, style))},
    "numbered": lambda pairs, style: {
        Slot.QUESTIONS: _numbered([pair.ask for pair in pairs], style),
        Slot.ANSWERS: _numbered([pair.reply for pair in pairs], style),
    },
    "inline_few_shot": lambda pairs, style: {
        Slot.EXAMPLES: _voiced(pairs[:-1], style),
        Slot.LAST_PAIR: _voiced(pairs[-1:], style),
    },
    "next_turn": lambda pairs, style: {
        Slot.TURNS: _stacked(_turns(pairs, style)[:-1]),
        Slot.NEXT_TURN: _turns(pairs, style)[-1],
    },
}
"""Values for the slots of a layout's frames."""


class ReadingComprehension(TemplateFamily):
    """Text with questions and answers, in the reference's mix of layouts."""

    name = "reading_comprehension"

    def render(self, documents: Sequence[SynthesizedDocument], *, seed: int) -> Rendered:
        """Render one run of a chain; see `TemplateFamily.render`."""
        if not documents:
            raise RecordError(f"{self.name}: a run of a chain holds at least one document, found none")
        if not any(item.pairs for item in documents):
            return Rendered.joined([item.document.text for item in documents], "\n\n", template=RAW)
        rng = random.Random(seed)
        style = self._style(rng, documents)
        passages = [_document(item, style, rng) for item in documents]
        return Rendered.joined(passages, style.between_documents, template=f"{self.name}/{style.layout}")

    def _style(self, rng: random.Random, documents: Sequence[SynthesizedDocument]) -> Style:
        return Style.draw(rng, documents)


class PairsApart(ReadingComprehension):
    """Pairs that are answered from memory: the model reads them without their text.

    A pair after its text teaches to read, since the answer stands above it. The style is the classic layout
    of reading comprehension.
    """

    name = "pairs_apart"
    is_apart = True

    def _style(self, rng: random.Random, documents: Sequence[SynthesizedDocument]) -> Style:
        style = super()._style(rng, documents)
        return dataclasses.replace(style, layout="classic", frame=TEXT_FIRST["classic"][0])


def _document(item: SynthesizedDocument, style: Style, rng: random.Random) -> str:
    if not item.pairs:
        return item.document.text
    values = LAYOUTS[style.layout]([_sides(pair, style, rng) for pair in item.pairs], style)
    return style.frame.fill({**values, Slot.TEXT: item.document.text})
