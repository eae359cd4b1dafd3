"""`tutelage tasks make`: evaluation tasks about what a corpus says."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

from pipelines.task_making.folder import as_lines, check_output, files_of, write_folder
from pipelines.task_making.verify import Refused, closed_book, verify
from plugins.commands.parser import Parser
from schemas import exit_status
from schemas.config import load_config
from schemas.corpus_config import CorpusConfig
from schemas.errors import ConfigError, InputError
from schemas.manifest import Manifest, read_manifest

_FEW_ROWS = 20


def build_parser() -> Parser:
    """Make the parser of `tutelage tasks …`."""
    parser = Parser(prog="tutelage tasks", description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    make = actions.add_parser(
        "make",
        help="make questions about the documents of a corpus, and about those that it holds out",
        usage="tutelage tasks make FILE.yaml [key=value ...] --output DIR [--documents N] "
        "[--base-model DIR_OR_NAME] [--json]",
    )
    make.add_argument("file", metavar="FILE.yaml", help="the YAML of a corpus that is built")
    make.add_argument(
        "overrides", nargs="*", default=[], metavar="key=value",
        help="values that override the file's: synthesis.backend=mined needs no model",
    )  # fmt: skip
    make.add_argument(
        "--output",
        required=True,
        metavar="DIR",
        help="directory of the tasks; earlier tasks there are replaced",
    )
    make.add_argument(
        "--documents", type=int, default=200, metavar="N",
        help="documents to ask about, and at most so many held-out documents a stream (default 200)",
    )  # fmt: skip
    make.add_argument(
        "--base-model", metavar="DIR_OR_NAME",
        help="refuse questions that this model answers without the text; needs the extra `trainer`",
    )  # fmt: skip
    make.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


def main(argv: list[str]) -> int:
    """Run `tutelage tasks ARGV`; return the exit status."""
    options = build_parser().parse_args(argv)
    if options.documents < 1:
        raise ConfigError(f"--documents is {options.documents}; expected at least 1.")
    check_output(options.output)
    config = load_config(CorpusConfig, options.file, options.overrides)
    if options.base_model is None:
        from pipelines.command import spare_torch

        spare_torch(config)
    made = make_tasks(config, options)
    for line in made["warnings"]:
        print(f"Warning: {line}", file=sys.stderr)
    if options.json:
        print(json.dumps(made, ensure_ascii=False))
    else:
        _print(made)
    return exit_status.DONE


def make_tasks(config: CorpusConfig, options: argparse.Namespace) -> dict[str, Any]:
    """Make the task directory; return its counts as plain values.

    Raises:
        ConfigError: A name, value or option is refused.
        CorpusError: The corpus is missing or damaged, or another run is at work on it.
        SynthesisError: Too many texts failed.
        InputError: No question was verified. In every case nothing was written.
    """
    from pipelines.store.pair_files import synthesizer_name
    from pipelines.task_making.drawn_texts import draw_texts, held_out_texts
    from pipelines.task_making.options import Options
    from pipelines.task_making.rows import perplexity_rows, question_rows

    manifest = read_manifest(config.corpus)
    counts: Counter[str] = Counter()
    drawn = draw_texts(
        config.corpus,
        manifest,
        _streams(config, manifest),
        seed=config.seed,
        num_documents=options.documents,
        counts=counts,
    )
    held_out = held_out_texts(config.corpus, manifest, options.documents, counts)
    synthesized = [each for each in held_out if each.stream in _streams(config, manifest)]
    candidates, stock, texts = _ask(config, [*drawn, *synthesized], counts)
    refused: Refused = {}
    questions = verify(candidates, config.corpus, manifest, refused)
    chooser = Options([*questions, *stock], texts, seed=config.seed)
    wrong = {each.question_id: chosen for each in questions if (chosen := chooser.of(each))}
    if options.base_model is not None:
        questions = _unknown(options.base_model, questions, wrong, refused)
    if not questions:
        raise InputError(_nothing(len(candidates), refused, counts))
    left_out: Refused = {}
    asked_alone = closed_book(questions, left_out)
    tasks = question_rows(questions, asked_alone, wrong) | perplexity_rows(held_out)
    author = synthesizer_name(config.synthesis)
    made_from = {
        "corpus": f"{config.corpus}, manifest {manifest.number}",
        "documents": f"{counts['documents']:,} drawn, {len(held_out):,} of {counts['held_out']:,} held out",
        "seed": str(config.seed),
        "questions by": f"{author} and cloze" if config.synthesis.backend == "mined" else author,
        "base model": options.base_model or "none: questions may be answerable without the text",
        "without three wrong options": f"{len(questions) - len(wrong):,}, asked for short answers only",
    }
    kept_out = _registered_rows(config, manifest, questions)
    write_folder(
        options.output,
        files_of(tasks, refused, left_out, made_from),
        before=lambda: _register(config, options.output, kept_out),
    )
    return {
        "output": options.output,
        "made_from": made_from,
        "tasks": {name: len(rows) for name, rows in tasks.items()},
        "questions": len(questions),
        "refused": {reason: len(each) for reason, each in refused.items()},
        "with_text_only": {reason: len(each) for reason, each in left_out.items()},
        "kept_out_of_next_build": len(kept_out),
        "counts": dict(counts),
        "warnings": [*_warnings(config, options, counts), *_few(tasks)],
    }


def _streams(config: CorpusConfig, manifest: Manifest) -> list[str]:
    """Streams that are asked about: those with pairs, or without any, all but those of tuning examples."""
    streams = config.streams.items()
    wanted = [name for name, stream in streams if stream.synthesize] or [
        name for name, stream in streams if stream.tuning is None
    ]
    found = sorted(set(wanted) & set(manifest.stream_names()))
    if not found:
        raise ConfigError(
            f"{config.corpus}: manifest {manifest.number} has no stream to ask about: expected one of "
            f"{', '.join(wanted) or 'the streams without tuning'}. Build the corpus with this YAML first."
        )
    return found


def _ask(
    config: CorpusConfig, texts: Sequence[Any], counts: Counter[str]
) -> tuple[list[Any], list[Any], list[Any]]:
    """Return the questions, further questions whose answers may be options, and the texts or parts."""
    from pipelines.task_making.cloze import Vocabulary, cloze_questions, is_english
    from pipelines.task_making.written import in_parts, written_questions
    from plugins.plain_token_ids import plain_ids
    from plugins.tokenizers import load_tokenizer

    tokenizer = load_tokenizer(config.tokenizer.name)

    def num_pieces(word: str) -> int:
        return len(plain_ids(tokenizer, f" {word}"))

    if config.synthesis.backend != "mined":
        parts = in_parts(config, texts)
        return written_questions(config, parts, Vocabulary(parts, num_pieces), counts), [], parts
    english = [text for text in texts if is_english(text.text)]
    counts["not_english"] = len(texts) - len(english)
    vocabulary = Vocabulary(english, num_pieces)
    candidates, stock = written_questions(config, english, vocabulary, counts), []
    for text in english:
        best, others = cloze_questions(text, vocabulary)
        candidates += best
        stock += others
    return candidates, stock, english


def _unknown(
    base_model: str, questions: list[Any], options: dict[str, tuple[str, ...]], refused: Refused
) -> list[Any]:
    """Return the questions that a base model does not answer without their text."""
    from pipelines.task_making.base_model import known_alone
    from pipelines.task_making.rows import choice_row

    rows = [
        choice_row(each, options[each.question_id], with_passage=False)
        for each in questions
        if each.question_id in options
    ]
    known = known_alone(base_model, rows) if rows else set()
    if known:
        refused["base_model"] = [each for each in questions if each.question_id in known]
    return [each for each in questions if each.question_id not in known]


def _nothing(num_candidates: int, refused: Refused, counts: Counter[str]) -> str:
    reasons = ", ".join(f"{len(each):,} {reason}" for reason, each in refused.items())
    found = f"{counts['documents']:,} documents gave {num_candidates:,} questions" + (
        f": {reasons}" if reasons else ""
    )
    cure = "Ask with another synthesizer, such as synthesis.backend=sglang, or another synthesis.prompt_file"
    if counts["not_english"]:
        cure = f"{counts['not_english']:,} texts are not English, and rules know no other language. {cure}"
    return f"no question is verified, and nothing was written. {found}. {cure}."


def _registered_rows(
    config: CorpusConfig, manifest: Manifest, questions: Sequence[Any]
) -> list[dict[str, Any]]:
    """Rows to keep out of later increments: questions whose words no training text holds.

    A question in the words of its text would keep the next version of that document out of the corpus.
    """
    from pipelines.task_making.rows import bare_row
    from pipelines.task_making.seam import training_overlaps

    rule = config.decontaminate
    told = training_overlaps(
        config.corpus,
        manifest,
        [each.text for each in questions],
        ngram=rule.ngram,
        min_words=rule.min_words,
        max_rows=rule.max_rows,
        texts=True,
    )
    return [bare_row(each) for at, each in enumerate(questions) if at not in told]


def _register(config: CorpusConfig, output: str, rows: Sequence[dict[str, Any]]) -> None:
    from pipelines.task_making.seam import register

    name = re.sub(r"[^A-Za-z0-9_.-]", "-", os.path.basename(os.path.abspath(output))).lstrip(".") or "tasks"
    if rows:
        register(config.corpus, name, {"questions.jsonl": as_lines(rows)})


def _warnings(config: CorpusConfig, options: argparse.Namespace, counts: Counter[str]) -> list[str]:
    lines = []
    if counts["documents"] < options.documents:
        lines.append(
            f"--documents is {options.documents:,}; the corpus has {counts['documents']:,}, all were taken."
        )
    if not counts["held_out"]:
        share = getattr(config, "holdout", 0.0)
        cure = (
            "the corpus is too small for it; raise it"
            if share
            else "set holdout: 1% before documents come in"
        )
        lines.append(
            f"no document is held out (holdout is {share:.1%}), so there are no held-out tasks: {cure}."
        )
    for name, what in (
        ("not_english", "texts are not English and were not asked about: the rules know no other language"),
        ("untold", "texts of an older version were left out: their pairs cannot be told from them"),
        ("failed", "texts got no readable answer"),
        ("bad_pieces", "pieces of answers were no pair"),
        ("bad_pairs", "pairs were no question and answer"),
    ):
        if counts[name]:
            lines.append(f"{counts[name]:,} {what}.")
    return lines


def _few(tasks: dict[str, list[Any]]) -> list[str]:
    return [
        f"task {name} has {len(rows)} rows, fewer than {_FEW_ROWS}: its score is a rough guess."
        for name, rows in tasks.items()
        if len(rows) < _FEW_ROWS
    ]


def _print(made: dict[str, Any]) -> None:
    output, counts = made["output"], made["counts"]
    print(
        f"{output}: {len(made['tasks'])} tasks about {made['made_from']['corpus']}; documents: "
        f"{made['made_from']['documents']}."
    )
    for name, num_rows in made["tasks"].items():
        print(f"  {name}: {num_rows:,} rows")
    for name, found in (("refused", "refused"), ("asked with their text only", "with_text_only")):
        if made[found]:
            print(f"  {name}: {', '.join(f'{count:,} {reason}' for reason, count in made[found].items())}")
    if counts.get("requests") or counts.get("from_journal"):
        print(
            f"  synthesis: {counts.get('requests', 0):,} answers asked for, {counts.get('from_journal', 0):,} from "
            "the journal"
        )
    print(
        f"  kept out of later increments: {made['kept_out_of_next_build']:,} of {made['questions']:,} questions"
    )
    print(
        f"Score a model: tutelage eval --model DIR --tasks {output}\n"
        "While it trains:\n"
        f"  callbacks:\n    domain_eval:\n      tasks: [{json.dumps(output)}]"
    )
