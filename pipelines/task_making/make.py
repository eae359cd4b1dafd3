"""From a published corpus to the rows of its tasks; nothing is written here."""

from __future__ import annotations

import dataclasses
import importlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.store.pair_files import synthesizer_name
from pipelines.task_making.cloze import Vocabulary, best_questions, cloze_questions
from pipelines.task_making.options import Options
from pipelines.task_making.questions import Question, SourceText, draw_texts, held_out_texts
from pipelines.task_making.rows import Row, closed_book_row, perplexity_rows, question_rows
from pipelines.task_making.verify import LeftOut, closed_book, overlapping, training_pairs, verify
from pipelines.task_making.written import in_parts, mined_questions, written_questions
from plugins.plain_token_ids import plain_ids
from plugins.synthesizers.mining_sentences import is_english
from plugins.tokenizers import load_tokenizer
from plugins.words import words_of
from schemas.corpus_config import CorpusConfig, DecontaminationConfig
from schemas.errors import ConfigError, InputError, missing_package
from schemas.manifest import Manifest

_BASE_MODEL = "--base-model"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MadeTasks:
    """The tasks about a corpus."""

    tasks: Mapping[str, Sequence[Row]]  # rows by task
    questions: Sequence[Question]  # of these rows
    left_out: LeftOut  # refused, or asked with their text only
    made_from: Mapping[str, str]  # lines of the card, by name
    counts: Counter[str]  # documents, texts and answers by what became of them


def make_tasks(
    config: CorpusConfig, manifest: Manifest, *, num_documents: int, base_model: str | None = None
) -> MadeTasks:
    """Make tasks about up to `num_documents` documents, and as many held-out ones of each stream.

    Raises:
        ConfigError: A name or value is refused, or the base model cannot be loaded.
        CorpusError: A file of the corpus is missing or damaged.
        SynthesisError: More texts failed than `synthesis.max_failure_share` allows.
        InputError: No question is verified, and no document is held out.
    """
    counts: Counter[str] = Counter()
    left_out: LeftOut = defaultdict(list)
    streams = _streams(config, manifest)
    base = None if base_model is None else _known_answers(base_model)  # refused before anything is paid for
    drawn = draw_texts(config.corpus, manifest, streams, num_documents, config.seed, counts)
    held_out = held_out_texts(config.corpus, manifest, num_documents, counts)
    of_streams = [*drawn, *(each for each in held_out if each.stream in streams)]
    texts, candidates = _ask(config, in_parts(config, of_streams), counts)
    verified = verify(candidates, training_pairs(config.corpus, manifest), left_out)
    chooser = Options(verified, texts, seed=config.seed)
    cloze = [each for each in verified if each.author == "cloze"]
    questions = [each for each in verified if each.author != "cloze"] + best_questions(cloze)
    options = {each.question_id: found for each in questions if (found := chooser.of(each))}
    if base is not None and options:
        asked = [each for each in questions if each.question_id in options]
        known = base.of([closed_book_row(each, options[each.question_id]) for each in asked])
        left_out["the base model knows the answer"] += [each for each in asked if each.question_id in known]
        questions = [each for each in questions if each.question_id not in known]
    if not questions and not held_out:
        raise InputError(_nothing(len(candidates), left_out, counts))
    author = synthesizer_name(config.synthesis)
    num_short = sum(each.question_id not in options for each in questions)
    asked_alone = closed_book(questions, left_out)
    return MadeTasks(
        tasks=question_rows(questions, asked_alone, options) | perplexity_rows(held_out),
        questions=questions,
        left_out=left_out,
        made_from={
            "corpus": f"{config.corpus}, manifest {manifest.number}",
            "documents": f"{counts['documents']:,} drawn",
            "held-out documents": f"{len(held_out):,} of {counts['held_out']:,}",
            "seed": str(config.seed),
            "questions by": f"{author} and cloze" if config.synthesis.backend == "mined" else author,
            "base model": base_model or "none, so a model may know answers without the text",
            "questions without three wrong options": f"{num_short:,}",
        },
        counts=counts,
    )


def rows_to_keep_out(questions: Sequence[Question], rule: DecontaminationConfig) -> list[Row]:
    """Rows that later increments must not hold: of questions that are long enough to be found.

    For a cloze this is its whole sentence. A question in the words of a text of the corpus is left out,
    because it would keep the next version of that document out.
    """
    long_enough = [each for each in questions if len(words_of(each.statement)) >= rule.min_words]
    texts = {each.about.text for each in questions if not each.about.held_out}
    told = overlapping([each.statement for each in long_enough], texts, rule)
    return [
        {"id": each.question_id, "text": each.statement}
        for at, each in enumerate(long_enough)
        if at not in told
    ]


def _streams(config: CorpusConfig, manifest: Manifest) -> list[str]:
    """Streams that are asked about: those with pairs, or without any, all but those of tuning examples."""
    streams = config.streams.items()
    wanted = [name for name, stream in streams if stream.synthesize]
    wanted = wanted or [name for name, stream in streams if stream.tuning is None]
    found = sorted({*wanted} & {*manifest.stream_names()})
    if not found:
        raise ConfigError(
            f"{config.corpus}: manifest {manifest.number} has no stream to ask about: expected one of "
            f"{', '.join(wanted) or 'the streams without tuning'}. Build the corpus with this YAML first."
        )
    return found


def _known_answers(base_model: str) -> Any:
    try:  # by name, since pipelines do not import the trainer
        trainer = importlib.import_module("trainer.evaluation.known_answers")
    except ImportError as error:
        raise missing_package(_BASE_MODEL, error) from error
    return trainer.KnownAnswers(_BASE_MODEL, base_model)


def _ask(
    config: CorpusConfig, texts: Sequence[SourceText], counts: Counter[str]
) -> tuple[Sequence[SourceText], list[Question]]:
    """Return the texts that are asked about, and the questions."""
    is_mined = config.synthesis.backend == "mined"
    if is_mined:
        english = [text for text in texts if is_english(text.text)]
        counts["not_english"] = len(texts) - len(english)
        texts = english
    tokenizer = load_tokenizer(config.tokenizer.name)
    vocabulary = Vocabulary(texts, lambda word: len(plain_ids(tokenizer, f" {word}")))
    if not is_mined:
        return texts, written_questions(config, texts, vocabulary, counts)
    asked: list[Question] = []
    for text in texts:
        asked += [*mined_questions(text, seed=config.seed), *cloze_questions(text, vocabulary)]
    return texts, asked


def _nothing(num_candidates: int, left_out: LeftOut, counts: Counter[str]) -> str:
    found = "".join(f"; {len(questions):,}: {reason}" for reason, questions in left_out.items())
    found += f"; {counts['not_english']:,} texts are not English" if counts["not_english"] else ""
    return (
        f"no question is verified, and nothing was written: {counts['documents']:,} documents gave "
        f"{num_candidates:,} questions{found}. "
        "Ask with another synthesizer, such as synthesis.backend=sglang, with another prompt "
        "(synthesis.prompt_file), or about more documents."
    )
