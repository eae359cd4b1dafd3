"""Reading comprehension: a text with questions and answers, in many natural layouts.

A training text has one `Style` for all its documents and pairs, so that a chain of documents reads as a
series of few-shot examples:

    pair ── form ──► question side, answer side ── layout and voice ──► frame ◄── text
                                                                          │
    document 1 ─── separator ─── document 2 ─── separator ─── …       ◄───┘

Layouts and their shares are those of Instruction Pre-Training (Cheng et al. 2024, arXiv
2406.14491): if every document has at least two pairs, classic 80% and each other 5%; otherwise classic 95%
and dialogue 5%. In 5% the text comes after the questions.

The words are those of the document's language (`languages/*.yaml`, `template_files`). In a chain of several
languages each has a style of its own, in one layout.

A golden test pins the order of draws, because a build repeats a corpus byte by byte from its seeds.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from plugins.templates.base import RAW, Rendered, TemplateFamily
from plugins.templates.options import OptionStyle, is_finished, lay_out_options, lists_options, pick
from plugins.templates.patterns import Pattern, Slot
from plugins.templates.wordings import Form, WordingChoice, Wordings, language_of_label
from schemas.errors import RecordError
from schemas.records import InstructionPair, SynthesizedDocument

TEXT_LAST_SHARE = 0.05
NAMES_ITEM_SHARE = 0.6
"""Share of the texts whose answers among options repeat the marker of their option."""
SHARES_ANY_PAIRS = {"classic": 0.95, "dialogue": 0.05}
SHARES_TWO_PAIRS = {
    "classic": 0.80,
    "dialogue": 0.05,
    "numbered": 0.05,
    "inline_few_shot": 0.05,
    "next_turn": 0.05,
}
BETWEEN_PAIRS = "\n\n"
BETWEEN_DOCUMENTS = ("\n\n\n", "\n\n---\n\n", "\n\n***\n\n", "\n\n=====\n\n", "\n\n* * *\n\n")
BARE_FRAME = Pattern("{text}\n\n{pairs}", slots={Slot.TEXT, Slot.PAIRS})


class Style(NamedTuple):
    """Choices shared by the documents of one language in a training text, and by their pairs."""

    layout: str
    frame: Pattern
    voice: Pattern
    forms: Mapping[tuple[bool, bool], Form]
    unfinished: Pattern
    names_item: bool
    options: OptionStyle
    speakers: tuple[str, str]
    numbering: tuple[Pattern, Pattern]

    @classmethod
    def draw(
        cls, rng: random.Random, wordings: Wordings, *, layout: str, is_text_last: bool, any_options: bool
    ) -> Style:
        """Draw a style from the wordings of one language."""
        file = wordings.file
        return cls(
            layout=layout,
            frame=pick(rng, getattr(file.text_last if is_text_last else file.text_first, layout)),
            voice=pick(rng, wordings.option_voices if any_options else wordings.voices),
            forms=wordings.draw_forms(rng),
            unfinished=pick(rng, wordings.unfinished),
            names_item=rng.random() < NAMES_ITEM_SHARE,
            options=OptionStyle.draw(rng, wordings.option_rules, allow_numbers=layout != "numbered"),
            speakers=pick(rng, wordings.option_speakers if any_options else wordings.speakers),
            numbering=pick(rng, file.numberings),
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
        if style.names_item and block.answer_marker:
            values[Slot.ANSWER] = f"{block.answer_marker} {pair.response}"
    ask = form.ask if block is None or is_finished(pair) else style.unfinished
    return Sides(ask.fill(values), form.reply.fill(values))


def _voiced(pairs: Sequence[Sides], style: Style) -> str:
    filled = (style.voice.fill({Slot.QUESTION: pair.ask, Slot.ANSWER: pair.reply}) for pair in pairs)
    return BETWEEN_PAIRS.join(filled)


def _turns(pairs: Sequence[Sides], style: Style) -> list[str]:
    asks, replies = style.speakers
    return [line for pair in pairs for line in (f"{asks}{pair.ask}", f"{replies}{pair.reply}")]


def _numbered(sides: Sequence[str], numbering: Pattern) -> str:
    numbers = (numbering.fill({Slot.NUMBER: str(at)}) for at in range(1, len(sides) + 1))
    return _stacked([f"{number}{side}" for number, side in zip(numbers, sides, strict=True)])


def _stacked(items: Sequence[str]) -> str:
    """Join items by a newline, or by a blank line if an item holds one itself."""
    return ("\n\n" if any("\n\n" in item for item in items) else "\n").join(items)


LAYOUTS: Mapping[str, Callable[[Sequence[Sides], Style], dict[Slot, str]]] = {
    "classic": lambda pairs, style: {Slot.PAIRS: _voiced(pairs, style)},
    "dialogue": lambda pairs, style: {Slot.PAIRS: _stacked(_turns(pairs, style))},
    "numbered": lambda pairs, style: {
        Slot.QUESTIONS: _numbered([pair.ask for pair in pairs], style.numbering[0]),
        Slot.ANSWERS: _numbered([pair.reply for pair in pairs], style.numbering[1]),
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

    def __init__(self, files: Sequence[str] = ()):
        self._choice = WordingChoice(files, shows_text=not self.is_apart)

    def render(self, documents: Sequence[SynthesizedDocument], *, seed: int) -> Rendered:
        """Render one run of a chain; see `TemplateFamily.render`."""
        if not documents:
            raise RecordError(f"{self.name}: a run of a chain holds at least one document, found none")
        labels = [self._choice.label_of(item.document) if item.pairs else "" for item in documents]
        if not any(labels):
            return Rendered.joined([item.document.text for item in documents], "\n\n", template=RAW)
        rng = random.Random(seed)
        layout, is_text_last = self._draw_layout(rng, documents)
        any_options = any(lists_options(pair) for item in documents for pair in item.pairs)
        between_documents = pick(rng, BETWEEN_DOCUMENTS)
        languages = [language_of_label(label) for label in labels]
        styles = {
            language: self._style(
                Style.draw(
                    rng,
                    self._choice[language],
                    layout=layout,
                    is_text_last=is_text_last,
                    any_options=any_options,
                )
            )
            for language in dict.fromkeys(languages)
            if language
        }
        passages = [
            _document(item, styles[language], rng) if item.pairs else item.document.text
            for item, language in zip(documents, languages, strict=True)
        ]
        return Rendered.joined(
            passages,
            between_documents,
            template=f"{self.name}/{layout}",
            wordings=[label for label in labels if label],
        )

    def _draw_layout(self, rng: random.Random, documents: Sequence[SynthesizedDocument]) -> tuple[str, bool]:
        """Draw the layout, and whether the text comes after the questions."""
        shares = SHARES_TWO_PAIRS if all(len(item.pairs) >= 2 for item in documents) else SHARES_ANY_PAIRS
        layout = rng.choices(list(shares), weights=list(shares.values()))[0]
        return layout, rng.random() < TEXT_LAST_SHARE

    def _style(self, style: Style) -> Style:
        return style


class PairsApart(ReadingComprehension):
    """Pairs that are answered from memory: the model reads them without their text.

    A pair after its text teaches to read, since the answer stands above it. The layout is the classic one of
    reading comprehension, without wordings that name the text.
    """

    name = "pairs_apart"
    is_apart = True

    def _draw_layout(self, rng: random.Random, documents: Sequence[SynthesizedDocument]) -> tuple[str, bool]:
        return "classic", False

    def _style(self, style: Style) -> Style:
        return style._replace(frame=BARE_FRAME)


def _document(item: SynthesizedDocument, style: Style, rng: random.Random) -> str:
    values = LAYOUTS[style.layout]([_sides(pair, style, rng) for pair in item.pairs], style)
    return style.frame.fill({**values, Slot.TEXT: item.document.text})
