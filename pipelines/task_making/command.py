"""`tutelage tasks make`: evaluation tasks about what a corpus says."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pipelines.command import spare_torch
from plugins.commands.parser import Parser
from schemas import exit_status
from schemas.config import load_config
from schemas.content_hash import digest
from schemas.corpus_config import CorpusConfig
from schemas.errors import ConfigError
from schemas.manifest import read_manifest

if TYPE_CHECKING:
    from pipelines.task_making.make import MadeTasks

_FEW_ROWS = 20
_FAULTS = {
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
    what = "make questions about the documents of a corpus, and about those that it holds out"
    make = actions.add_parser("make", help=what, description=what)
    make.add_argument("file", metavar="FILE.yaml", help="the YAML of a corpus that is built")
    overrides = "values that override the file's: synthesis.backend=mined needs no model"
    make.add_argument("overrides", nargs="*", default=[], metavar="key=value", help=overrides)
    output = "directory of the tasks; replaces earlier tasks there"
    make.add_argument("--output", required=True, metavar="DIR", help=output)
    documents = "documents to ask about, and at most so many held-out documents a stream (default 200)"
    make.add_argument("--documents", type=int, default=200, metavar="N", help=documents)
    base = "refuse questions that this model answers without the text; needs the extra `trainer`"
    make.add_argument("--base-model", metavar="DIR_OR_NAME", help=base)
    make.add_quiet()
    return parser


def main(argv: list[str]) -> int:
    """Run `tutelage tasks ARGV`; return the exit status."""
    options = build_parser().parse_args(argv)
    if options.documents < 1:
        raise ConfigError(f"--documents is {options.documents}; expected at least 1.")
    config = load_config(CorpusConfig, options.file, options.overrides)
    if options.base_model is None:
        spare_torch(config)
    from pipelines.runners.startup_warnings import quiet_libraries

    quiet_libraries()  # before the imports of the command
    from pipelines.store.made_tasks import register
    from pipelines.task_making.folder import as_lines, check_output, write_folder
    from pipelines.task_making.make import make_tasks, rows_to_keep_out
    from pipelines.task_making.rows import PERPLEXITY

    replaced = check_output(options.output)
    manifest = read_manifest(config.corpus)
    made = make_tasks(config, manifest, num_documents=options.documents, base_model=options.base_model)
    kept_out = rows_to_keep_out(made.questions, config.decontaminate)
    register(config.corpus, _registered_name(options.output), as_lines(kept_out))
    write_folder(options.output, made)
    for line in _warnings(config, options.documents, made):
        print(f"Warning: {line}", file=sys.stderr)
    if (newest := read_manifest(config.corpus).number) != manifest.number:
        meanwhile = f"manifest {newest} was published meanwhile, and may hold these questions"
        print(f"Warning: {meanwhile}. Make them again.", file=sys.stderr)
    _print(options.output, made)
    shortest = config.decontaminate.min_words
    others = f"the others have words of these texts, or fewer than {shortest} words"
    print(f"  kept out of later increments: {len(kept_out):,} of {len(made.questions):,} questions; {others}")
    if replaced:
        print(f"  replaced: {replaced} earlier files, and the questions that were kept out for them")
    if any(name.startswith(PERPLEXITY) for name in made.tasks):
        unless = f"unless you build with decontaminate.tasks=[{options.output}]"
        print(f"  a later document that quotes a held-out one becomes training text, {unless}")
    print(f"Score a model: tutelage eval --model DIR --tasks {options.output}\nWhile it trains:")
    print(f"  callbacks:\n    domain_eval:\n      tasks: [{json.dumps(options.output)}]")
    return exit_status.DONE


def _registered_name(output: str) -> str:
    """Name of a directory's questions in the corpus; directories of one name do not replace each other."""
    path = os.path.abspath(output)
    name = re.sub(r"[^\w-]", "-", os.path.basename(path), flags=re.ASCII)
    return f"{name}-{digest(path, size_bytes=4)}"


def _warnings(config: CorpusConfig, num_documents: int, made: MadeTasks) -> Iterator[str]:
    from pipelines.task_making.rows import QUESTION_TASKS

    counts = made.counts
    yield from (f"{counts[name]:,} {what}." for name, what in _FAULTS.items() if counts[name])
    if counts["documents"] < num_documents:
        found = f"the corpus has {counts['documents']:,} to ask about, and all were taken"
        yield f"--documents is {num_documents:,}; {found}."
    if not counts["held_out"]:
        cure = "the corpus is too small for it" if config.holdout else "set holdout before documents come in"
        yield f"no document is held out (holdout is {config.holdout:.1%}), so no task is about one: {cure}."
    for name in dict.fromkeys((*QUESTION_TASKS, *made.tasks)):
        num_rows = len(made.tasks.get(name, ()))
        if num_rows:
            if num_rows < _FEW_ROWS:
                yield f"task {name} has {num_rows} rows, fewer than {_FEW_ROWS}: its score is a rough guess."
        elif counts["held_out"] or not name.startswith("heldout"):
            yield f"task {name} is not written: no question is left for it."


def _print(output: str, made: MadeTasks) -> None:
    print(f"{output}: {len(made.tasks)} tasks of {len(made.questions):,} questions; README.md is their card.")
    for task, rows in made.tasks.items():
        print(f"  {task}: {len(rows):,} rows")
    if answers := [
        f"{made.counts[name]:,} {name}" for name in ("requests", "from_journal") if made.counts[name]
    ]:
        print(f"  answers: {', '.join(answers)}")
    for reason, questions in made.left_out.items():
        print(f"  questions left out: {len(questions):,}, {reason}")
