"""From a published corpus to the rows of its tasks; nothing is written here."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from pipelines.store.pair_files import synthesizer_name
from pipelines.task_making.base_model import BaseModel
from pipelines.task_making.cloze import Vocabulary, best_questions, cloze_questions, is_english
from pipelines.task_making.drawn_texts import draw_texts, held_out_texts
from pipelines.task_making.options import Options
from pipelines.task_making.questions import Question, SourceText
from pipelines.task_making.rows import Row, bare_row, choice_row, perplexity_rows, question_rows
from pipelines.task_making.seam import training_overlaps
from pipelines.task_making.verify import Refused, closed_book, verify
from pipelines.task_making.written import in_parts, mined_questions, written_questions
from plugins.plain_token_ids import plain_ids
from plugins.tokenizers import load_tokenizer
from schemas.corpus_config import CorpusConfig
from schemas.errors import ConfigError, InputError
from schemas.manifest import Manifest


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MadeTasks:
    """The tasks about a corpus.

    Attributes:
        tasks: Rows by task.
        questions: The questions of these rows.
        refused: Refused questions by reason.
        text_only: Questions that are asked with their text only, by reason.
        made_from: Lines of the card, by name.
        counts: Documents, texts and answers by what became of them.
    """

    tasks: Mapping[str, Sequence[Row]]
    questions: Sequence[Question]
    refused: Refused
    text_only: Refused
    made_from: Mapping[str, str]
    counts: Counter[str]


def make_tasks(
    config: CorpusConfig, manifest: Manifest, *, num_documents: int, base_model: str | None = None
) -> MadeTasks:
    """Make tasks about up to `num_documents` documents, and as many held-out ones of each stream.

    Raises:
        ConfigError: A name or value is refused, or the base model cannot be loaded.
        CorpusError: A file of the corpus is missing or damaged.
        SynthesisError: More texts failed than `synthesis.max_failure_share` allows.
        InputError: No question is verified.
    """
    counts: Counter[str] = Counter()
    refused: Refused = {}
    text_only: Refused = {}
    streams = _streams(config, manifest)
    base = None if base_model is None else BaseModel(base_model)  # refused before anything is paid for
    drawn = draw_texts(
        config.corpus, manifest, streams, seed=config.seed, num_documents=num_documents, counts=counts
    )
    held_out = held_out_texts(config.corpus, manifest, num_documents, counts)
    texts, candidates = _ask(config, [*drawn, *(each for each in held_out if each.stream in streams)], counts)
    verified = verify(candidates, config.corpus, manifest, refused)
    chooser = Options(verified, texts, seed=config.seed)
    cloze = [each for each in verified if each.author == "cloze"]
    questions = [each for each in verified if each.author != "cloze"] + best_questions(cloze)
    options = {each.question_id: found for each in questions if (found := chooser.of(each))}
    if base is not None:
        questions = _unknown(base, questions, options, refused)
    if not questions:
        raise InputError(_nothing(len(candidates), refused, counts))
    asked_alone = closed_book(questions, text_only)
    author = synthesizer_name(config.synthesis)
    held = f"{len(held_out):,} of {counts['held_out']:,} held out"
    num_short = sum(each.question_id not in options for each in questions)
    return MadeTasks(
        tasks=question_rows(questions, asked_alone, options) | perplexity_rows(held_out),
        questions=questions,
        refused=refused,
        text_only=text_only,
        made_from={
            "corpus": f"{config.corpus}, manifest {manifest.number}",
            "documents": f"{counts['documents']:,} drawn, {held}",
            "seed": str(config.seed),
            "questions by": f"{author} and cloze" if config.synthesis.backend == "mined" else author,
            "base model": base_model or "none, so a model may know answers without the text",
            "questions without three wrong options": f"{num_short:,}",
        },
        counts=counts,
    )


def rows_to_keep_out(config: CorpusConfig, manifest: Manifest, questions: Sequence[Question]) -> list[Row]:
    """Rows that later increments must not hold: questions whose words no training text holds.

    A question in the words of its text would keep the next version of that document out of the corpus.
    """
    rule = config.decontaminate
    texts = [each.text for each in questions]
    rules = {"ngram": rule.ngram, "min_words": rule.min_words, "max_rows": rule.max_rows}
    told = training_overlaps(config.corpus, manifest, texts, **rules, texts=True)
    return [bare_row(each) for at, each in enumerate(questions) if at not in told]


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


def _ask(
    config: CorpusConfig, texts: Sequence[SourceText], counts: Counter[str]
) -> tuple[Sequence[SourceText], list[Question]]:
    """Return the texts or their parts, and the questions about them."""
    if config.synthesis.backend != "mined":
        parts = in_parts(config, texts)
        return parts, written_questions(config, parts, Vocabulary(parts, _num_pieces(config)), counts)
    english = [text for text in texts if is_english(text.text)]
    counts["not_english"] = len(texts) - len(english)
    vocabulary = Vocabulary(english, _num_pieces(config))
    asked: list[Question] = []
    for text in english:
        asked += mined_questions(text, seed=config.seed)
        asked += cloze_questions(text, vocabulary)
    return english, asked


def _num_pieces(config: CorpusConfig) -> Callable[[str], int]:
    tokenizer = load_tokenizer(config.tokenizer.name)
    return lambda word: len(plain_ids(tokenizer, f" {word}"))


def _unknown(
    base: BaseModel, questions: Sequence[Question], options: Mapping[str, tuple[str, ...]], refused: Refused
) -> list[Question]:
    """Return the questions that a base model does not answer without their text."""
    rows = [
        choice_row(each, options[each.question_id], with_passage=False)
        for each in questions
        if each.question_id in options
    ]
    known = base.knows(rows)
    if known:
        refused["base_model"] = [each for each in questions if each.question_id in known]
    return [each for each in questions if each.question_id not in known]


def _nothing(num_candidates: int, refused: Refused, counts: Counter[str]) -> str:
    reasons = ", ".join(f"{len(each):,} {reason}" for reason, each in refused.items())
    other = f"{counts['not_english']:,} texts are not English, the only language of the rules. "
    return (
        f"no question is verified, and nothing was written: {counts['documents']:,} documents gave "
        f"{num_candidates:,} questions{f' ({reasons})' if reasons else ''}. "
        f"{other if counts['not_english'] else ''}Ask with another synthesizer, such as "
        "synthesis.backend=sglang, with another prompt (synthesis.prompt_file), or about more documents."
    )
