"""Wordings of one language: a YAML file with everything that a training text says around texts and pairs.

Three levels, each fills the next:

    options, reasoning, …    question side and answer side of a pair of one kind
    pairs, speakers          question side + answer side = one pair
    text_first, text_last    text + pairs = one document, in one layout

`languages/` has a file for each built-in language. A file of a user has the same keys (`template_files` in
the corpus YAML): it stands for the built-in file of its language, or with `extends: true` adds to it.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Annotated, Any

import pydantic
import yaml

from plugins.templates.patterns import Pattern, Slot
from schemas.config import Section, SectionT, load_config, validate
from schemas.errors import ConfigError

FOLDER = Path(__file__).with_name("languages")

QUESTION, OPTIONS, RATIONALE, ANSWER = Slot.QUESTION, Slot.OPTIONS, Slot.RATIONALE, Slot.ANSWER


def _pattern(slots: set[Slot], *last: Slot) -> pydantic.PlainValidator:
    return pydantic.PlainValidator(functools.partial(Pattern, slots=slots, last=last))


def _frame(*of_pairs: Slot) -> pydantic.PlainValidator:
    return _pattern({Slot.TEXT, *of_pairs}, Slot.TEXT, *of_pairs)


Pair = Annotated[Pattern, _pattern({QUESTION, ANSWER}, ANSWER)]
Ask = Annotated[Pattern, _pattern({QUESTION})]
AskWithOptions = Annotated[Pattern, _pattern({QUESTION, OPTIONS})]
Reply = Annotated[Pattern, _pattern({ANSWER}, ANSWER)]
ReplyWithReasoning = Annotated[Pattern, _pattern({RATIONALE, ANSWER}, RATIONALE, ANSWER)]
Numbering = Annotated[Pattern, _pattern({Slot.NUMBER})]
PairsFrame = Annotated[Pattern, _frame(Slot.PAIRS)]
NumberedFrame = Annotated[Pattern, _frame(Slot.QUESTIONS, Slot.ANSWERS)]
FewShotFrame = Annotated[Pattern, _frame(Slot.EXAMPLES, Slot.LAST_PAIR)]
NextTurnFrame = Annotated[Pattern, _frame(Slot.TURNS, Slot.NEXT_TURN)]
Words = Annotated[str, pydantic.StringConstraints(min_length=1)]


class OptionSides(Section):
    """Sides of pairs with options; each question side fits each answer side."""

    ask: tuple[AskWithOptions, ...] = pydantic.Field(min_length=1)
    reply: tuple[Reply, ...] = pydantic.Field(min_length=1)


class ReasoningSides(Section):
    """Sides of pairs with a rationale; each question side fits each answer side."""

    ask: tuple[Ask, ...] = pydantic.Field(min_length=1)
    reply: tuple[ReplyWithReasoning, ...] = pydantic.Field(min_length=1)


class OptionReasoningSides(Section):
    """Sides of pairs with options and a rationale; each question side fits each answer side."""

    ask: tuple[AskWithOptions, ...] = pydantic.Field(min_length=1)
    reply: tuple[ReplyWithReasoning, ...] = pydantic.Field(min_length=1)


class OptionWords(Section):
    """Words in and about lists of options.

    Attributes:
        introducers: Lines before the first item; "" for none.
        none_of_these: Items that say that no other item is right. Such an item stays last, and gets the
            wording of its training text unless it is the answer.
        stay_last: Other items that stay last, such as "All of the above".
        nouns: Words before a marker by which a pair speaks of an option: "option" for "option B".
        joins: Words between two markers: "and" for "both A and C".
        places: Words by which a pair speaks of the place of an option: "first option". A pair that speaks of
            markers or places keeps the order of its options.
    """

    introducers: tuple[str, ...] = ()
    none_of_these: tuple[Words, ...] = ()
    stay_last: tuple[Words, ...] = ()
    nouns: tuple[Words, ...] = ()
    joins: tuple[Words, ...] = ()
    places: tuple[Words, ...] = ()


class Frames(Section):
    """Frames of each layout, which join a document's text and its pairs.

    Attributes:
        classic: Pairs one below the other.
        dialogue: Pairs as turns of two speakers.
        numbered: All questions, then all answers.
        inline_few_shot: The last pair after the others as examples.
        next_turn: A dialogue whose last turn is asked for.
    """

    classic: tuple[PairsFrame, ...] = ()
    dialogue: tuple[PairsFrame, ...] = ()
    numbered: tuple[NumberedFrame, ...] = ()
    inline_few_shot: tuple[FewShotFrame, ...] = ()
    next_turn: tuple[NextTurnFrame, ...] = ()


class WordingFile(Section):
    """All wordings of one language. A wording is a text with `{slots}`.

    Attributes:
        language: ISO 639-1 code.
        extends: Whether the wordings are added to the built-in ones of the language.
        text_words: Words that name the text, in lower case: "passage". Wordings that hold one are not used
            where the model does not see the text (family `pairs_apart`).
        pairs: A pair, with an announcement of the answer: {question} {answer}.
        bare_pairs: A pair without an announcement, used in texts without options: {question} {answer}.
        questions: Question side of a pair without options and rationale: {question}.
        options: Groups of sides of a pair with options: ask {question} {options}, reply {answer}.
        reasoning: Groups of sides of a pair with a rationale: ask {question}, reply {rationale} {answer}.
        options_and_reasoning: Groups of sides of a pair with both.
        unfinished_questions: Question side with options where the question lacks its end mark, so that
            an option may finish the sentence: {question} {options}.
        option_words: Words in and about lists of options.
        speakers: Openings of the lines of asker and answerer in a dialogue.
        numberings: Openings of numbered questions and of their answers: {number}.
        text_first: Frames of each layout with the text before all questions.
        text_last: Frames of each layout with the text after the questions.
    """

    language: str
    extends: bool = False
    text_words: tuple[Words, ...] = ()
    pairs: tuple[Pair, ...] = ()
    bare_pairs: tuple[Pair, ...] = ()
    questions: tuple[Ask, ...] = ()
    options: tuple[OptionSides, ...] = ()
    reasoning: tuple[ReasoningSides, ...] = ()
    options_and_reasoning: tuple[OptionReasoningSides, ...] = ()
    unfinished_questions: tuple[AskWithOptions, ...] = ()
    option_words: OptionWords = OptionWords()
    speakers: tuple[tuple[Words, Words], ...] = ()
    numberings: tuple[tuple[Numbering, Numbering], ...] = ()
    text_first: Frames = Frames()
    text_last: Frames = Frames()

    @pydantic.field_validator("text_first", "text_last")
    @classmethod
    def _text_stands_where_the_key_says(cls, value: Frames, info: pydantic.ValidationInfo) -> Frames:
        for layout in Frames.model_fields:
            for number, frame in enumerate(getattr(value, layout)):
                first = next(part for part in frame.parts if isinstance(part, Slot))
                if (first is Slot.TEXT) != (info.field_name == "text_first"):
                    where = "before" if info.field_name == "text_first" else "behind"
                    raise ValueError(f"{layout}.{number} must have {{text}} {where} the questions")
        return value

    @pydantic.model_validator(mode="after")
    def _is_whole(self) -> WordingFile:
        missing = [] if self.extends else list(_empty(self, skip=("extends", "language", *_MAY_BE_EMPTY)))
        if missing:
            raise ValueError(
                f"no wording for {', '.join(missing)}. A language needs at least one for each key; a file "
                "with `extends: true` adds to the built-in wordings of its language"
            )
        return self


_MAY_BE_EMPTY = ("stay_last", "nouns", "joins", "places")


def _empty(section: Section, *, skip: Collection[str]) -> Iterator[str]:
    """Yield the dotted keys of a section that hold nothing."""
    for key in type(section).model_fields:
        value = getattr(section, key)
        if isinstance(value, Section):
            yield from (f"{key}.{inner}" for inner in _empty(value, skip=skip))
        elif key not in skip and not value:
            yield key


def built_in_languages() -> list[str]:
    """Return the codes of the languages that have a file here."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


@functools.cache
def built_in(language: str) -> WordingFile:
    """Read the built-in wordings of a language."""
    path = FOLDER / f"{language}.yaml"
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast
    return validate(
        WordingFile, yaml.load(path.read_text(encoding="utf-8"), Loader=loader), name=f"languages/{path.name}"
    )


def read_wordings(path: str) -> WordingFile:
    """Read a user's file of wordings.

    Raises:
        ConfigError: It cannot be read, a wording is wrong, its language is unknown, or it extends a language
            without built-in wordings; names the key.
    """
    from plugins.document_language import identifier

    found = load_config(WordingFile, path)
    known = set(identifier().labels)
    if found.language not in known:
        raise ConfigError(
            f"{path}: language is {found.language!r}; expected an ISO 639 code, such as "
            f"{', '.join(built_in_languages())}."
        )
    if not found.extends:
        return found
    if found.language not in built_in_languages():
        raise ConfigError(
            f"{path}: extends is true, but there are no built-in wordings in {found.language!r}, only in "
            f"{', '.join(built_in_languages())}. Set extends: false, and write all keys."
        )
    return merged(built_in(found.language), found)


def merged(first: SectionT, second: SectionT) -> SectionT:
    """Return the wordings of two files of one language together."""
    joined = {name: _joined(getattr(first, name), getattr(second, name)) for name in type(first).model_fields}
    return first.model_copy(update=joined)


def _joined(first: Any, second: Any) -> Any:
    if isinstance(first, Section):
        return merged(first, second)
    return first + second if isinstance(first, tuple) else first
