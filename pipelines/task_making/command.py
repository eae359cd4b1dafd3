"""`tutelage tasks make`: evaluation tasks about what a corpus says."""

from __future__ import annotations

import json
import os
import re
import sys
from collections import Counter

from pipelines.task_making.folder import CARD, as_lines, check_output, files_of, write_folder
from pipelines.task_making.make import MadeTasks, make_tasks, rows_to_keep_out
from pipelines.task_making.seam import register
from plugins.commands.parser import Parser
from schemas import exit_status
from schemas.config import load_config
from schemas.corpus_config import CorpusConfig
from schemas.errors import ConfigError
from schemas.manifest import read_manifest

_FEW_ROWS = 20
_SAID = {
    "not_english": "texts are not English and were not asked about: the rules know no other language",
    "untold": "texts were left out: this corpus of an old version does not tell them from their pairs",
    "failed": "texts got no readable answer",
    "bad_pieces": "pieces of answers were no pair",
    "bad_pairs": "pairs were no question and answer",
}


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
        "--output", required=True, metavar="DIR", help="directory of the tasks; replaces earlier tasks there"
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
    manifest = read_manifest(config.corpus)
    made = make_tasks(config, manifest, num_documents=options.documents, base_model=options.base_model)
    kept_out = rows_to_keep_out(config, manifest, made.questions)
    name = re.sub(r"[^\w.-]", "-", os.path.basename(os.path.abspath(options.output)), flags=re.ASCII)

    def keep_out() -> None:
        if kept_out:
            register(config.corpus, name.lstrip(".") or "tasks", {"questions.jsonl": as_lines(kept_out)})

    write_folder(options.output, files_of(made), before=keep_out)
    for line in _warnings(config, options.documents, made):
        print(f"Warning: {line}", file=sys.stderr)
    if options.json:
        rows = {task: len(rows) for task, rows in made.tasks.items()}
        refused = {reason: len(each) for reason, each in (made.refused | made.text_only).items()}
        counts = made.counts | {"questions": len(made.questions), "kept_out": len(kept_out)}
        print(json.dumps({"output": options.output, "tasks": rows, "refused": refused, "counts": counts}))
    else:
        _print(options.output, made, len(kept_out))
    return exit_status.DONE


def _warnings(config: CorpusConfig, num_documents: int, made: MadeTasks) -> list[str]:
    counts = made.counts
    lines = [f"{counts[name]:,} {what}." for name, what in _SAID.items() if counts[name]]
    if counts["documents"] < num_documents:
        found = f"the corpus has {counts['documents']:,} to ask about, and all were taken"
        lines.append(f"--documents is {num_documents:,}; {found}.")
    if not counts["held_out"]:
        share = getattr(config, "holdout", 0.0)
        cure = "the corpus is too small for it" if share else "set holdout before documents come in"
        lines.append(f"no document is held out (holdout is {share:.1%}), so no task is about one: {cure}.")
    lines += [
        f"task {name} has {len(rows)} rows, fewer than {_FEW_ROWS}: its score is a rough guess."
        for name, rows in made.tasks.items()
        if len(rows) < _FEW_ROWS
    ]
    return lines


def _print(output: str, made: MadeTasks, num_kept_out: int) -> None:
    print(f"{output}: {len(made.tasks)} tasks of {len(made.questions):,} questions; {CARD} is their card.")
    for task, rows in made.tasks.items():
        print(f"  {task}: {len(rows):,} rows")
    for what, found in (("refused", made.refused), ("asked with their text only", made.text_only)):
        if found:
            print(f"  {what}: {', '.join(f'{len(each):,} {reason}' for reason, each in found.items())}")
    if asked := _asked(made.counts):
        print(f"  synthesis: {asked}")
    print(f"  kept out of later increments: {num_kept_out:,} of {len(made.questions):,} questions")
    print(f"Score a model: tutelage eval --model DIR --tasks {output}\nWhile it trains:")
    print(f"  callbacks:\n    domain_eval:\n      tasks: [{json.dumps(output)}]")


def _asked(counts: Counter[str]) -> str:
    names = {"requests": "answers asked for", "from_journal": "from the journal"}
    return ", ".join(f"{counts[name]:,} {what}" for name, what in names.items() if counts[name])
