"""Questions that a synthesizer writes: its pairs about the texts, one text a prompt.

The synthesizer runs as in a build, in a `SynthesizerLoop` with the corpus's journal: a stored answer is not
paid for again. Protocol `chat` asks with its exam prompt unless `synthesis.prompt_file` names another one, so
that the questions are worded unlike the training pairs. The wrong options that a model writes are not used,
because nothing shows that they are wrong.
"""

from __future__ import annotations

import dataclasses
import random
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import plugins.protocols
from pipelines.increments.preflight_checks import with_counting_tokenizer
from pipelines.steps.check_pairs import problem_of
from pipelines.steps.split_documents import row_limit
from pipelines.steps.synthesizer_loop import SynthesizerLoop
from pipelines.store.pair_files import synthesizer_name
from pipelines.task_making.cloze import TOKEN, Vocabulary
from pipelines.task_making.questions import Question, SourceText
from plugins.synthesizers import SYNTHESIZERS
from plugins.synthesizers.mining_connectives import cause_and_effect
from plugins.synthesizers.mining_sentences import Passage
from plugins.synthesizers.mining_wordings import ask_for
from schemas.corpus_config import CorpusConfig
from schemas.corpus_layout import journal_uri
from schemas.errors import SynthesisError
from schemas.records import Chain, InstructionPair, well_formed
from schemas.synthesis_config import SynthesisConfig

_EXAM_PROMPT = str(Path(plugins.protocols.__file__).with_name("exam_prompt.yaml"))
_POINTS_AT_TEXT = re.compile(
    r"\b(?:passage|text|document|article|author|paragraph|excerpt|above|below|following|mentioned)\b",
    re.IGNORECASE,
)


def in_parts(config: CorpusConfig, texts: Sequence[SourceText]) -> list[SourceText]:
    """Cut whole documents that are too long for the synthesizer's prompt or a row; other texts stay."""
    synthesizer = SYNTHESIZERS.load(config.synthesis.backend)(_asks_with(config), seed=config.seed)
    row = row_limit(config, synthesizer.pair_tokens)
    return [
        dataclasses.replace(text, text=part.text, part=part.part)
        for text in texts
        for part in ([text.as_document()] if text.part else synthesizer.split(text.as_document(), row))
    ]


def mined_questions(text: SourceText, *, seed: int) -> list[Question]:
    """Ask for the causes and effects that a rule of backend `mined` finds; they need their text."""
    rng = random.Random(f"{seed}:{text.document_id}:{text.part}")
    found = cause_and_effect(Passage.of(text.text), rng)
    return [_question(ask_for(each, rng), text, "mined", is_specific=False) for each in found]


def written_questions(
    config: CorpusConfig, texts: Sequence[SourceText], vocabulary: Vocabulary, counts: Counter[str]
) -> list[Question]:
    """Ask the synthesizer about each text; return its pairs as questions, without the span of the answer.

    `counts` gets `requests`, `from_journal`, `failed`, `bad_pieces` and `bad_pairs`.

    Raises:
        ConfigError: The synthesizer's configuration is refused.
        SynthesisError: More texts failed than `synthesis.max_failure_share` allows.
    """
    loop = SynthesizerLoop(_asks_with(config), config.seed, journal_uri(config.corpus))
    loop.enter()
    try:
        chains = [Chain(chain_id=str(at), documents=(each.as_document(),)) for at, each in enumerate(texts)]
        done = [future.result()[0] for future in [loop.submit(chain) for chain in chains]]
        counts.update(loop.take_tally())
    finally:
        loop.leave()
    failures = [f"{each.document.source}: {each.failure}" for each in done if each.failure]
    counts["failed"], share = len(failures), config.synthesis.max_failure_share
    if len(failures) > share * len(done):
        raise SynthesisError(
            f"synthesis.backend {config.synthesis.backend!r} gave no readable answer about {len(failures)} "
            f"of {len(done)} texts, but synthesis.max_failure_share is {share:g}: no task was made. First: "
            f"{'; '.join(failures[:3])}"
        )
    author = synthesizer_name(config.synthesis)
    questions = []
    for text, each in zip(texts, done, strict=True):
        counts.update(each.dropped)
        for pair in each.pairs:
            question = _question(pair, text, author, is_specific=_is_specific(pair.instruction, vocabulary))
            if problem_of(InstructionPair(instruction=question.text, response=question.answer)):
                counts["bad_pairs"] += 1
            else:
                questions.append(question)
    return questions


def _question(pair: InstructionPair, about: SourceText, author: str, *, is_specific: bool) -> Question:
    asked, answer = _line(pair.instruction), _line(pair.response)
    return Question(
        text=asked, answer=answer, about=about, author=author, statement=asked, is_specific=is_specific
    )


def _asks_with(config: CorpusConfig) -> SynthesisConfig:
    synthesis = with_counting_tokenizer(config).synthesis
    if synthesis.protocol == "chat" and synthesis.prompt_file is None:
        return synthesis.model_copy(update={"prompt_file": _EXAM_PROMPT})
    return synthesis


def _line(text: str) -> str:
    """A text in one line, without control characters."""
    return " ".join("".join(each if each.isprintable() else " " for each in well_formed(text)).split())


def _is_specific(question: str, vocabulary: Vocabulary) -> bool:
    """True if a question does not point at its text, and has a name or a technical word.

    In scripts without spaces the words are not known, and each question is taken to name its subject.
    """
    words = TOKEN.findall(question)
    names_subject = any(vocabulary.is_name(word) or vocabulary.is_technical(word) for word in words)
    return (names_subject or " " not in question) and not _POINTS_AT_TEXT.search(question)
