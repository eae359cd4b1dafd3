"""`tutelage push` and `tutelage pull`: corpora, models and tasks on the Hugging Face hub."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Sequence
from typing import Any

from plugins.commands.parser import Parser
from plugins.hub_copies import COPIES
from plugins.hub_copies.repository import Repository, repository_name
from plugins.progress import note
from schemas import exit_status, storage
from schemas.corpus_layout import MANIFESTS, manifest_numbers, names_in
from schemas.errors import ConfigError

_KINDS = {"corpus": "dataset", "model": "model", "tasks": "dataset"}
_OF_MODELS = ("config.json", "adapter_config.json", "tokenizer_config.json")


def push_main(argv: Sequence[str]) -> int:
    """Run `tutelage push`; return the exit status."""
    parser = Parser(
        prog="tutelage push", description="Send a corpus, model or tasks to the Hugging Face hub."
    )
    parser.add_argument("place", metavar="PLACE", help="a corpus, an exported model, or a folder of tasks")
    parser.add_argument(
        "name", metavar="hub:NAME", help="hub:OWNER/NAME; without OWNER the account of the token"
    )
    parser.add_argument("--public", action="store_true", help="readable by everybody (default: private)")
    _add_shared(parser)
    arguments = parser.parse_args(argv)
    repository_name(arguments.name)
    kind = arguments.kind or _kind_of_folder(arguments.place)
    repository = Repository(arguments.name, _KINDS[kind])
    copied = COPIES.load(kind).push(
        arguments.place, repository, public=arguments.public, extras=arguments.extras, say=note
    )
    _print(arguments, copied, f"{arguments.place} is on the hub as {kind} {repository.name}", "sent")
    return exit_status.DONE


def pull_main(argv: Sequence[str]) -> int:
    """Run `tutelage pull`; return the exit status."""
    parser = Parser(
        prog="tutelage pull", description="Fetch a corpus, model or tasks from the Hugging Face hub."
    )
    parser.add_argument(
        "name", metavar="hub:NAME", help="hub:OWNER/NAME; without OWNER the account of the token"
    )
    parser.add_argument("folder", metavar="DIR", help="a local folder")
    _add_shared(parser)
    arguments = parser.parse_args(argv)
    if not storage.is_local(arguments.folder):
        raise ConfigError(f"{arguments.folder}: pull writes to a local folder. Copy it from there.")
    kind, repository, commit = _on_the_hub(arguments.name, arguments.kind)
    copied = COPIES.load(kind).pull(
        repository, arguments.folder.rstrip("/"), commit=commit, extras=arguments.extras, say=note
    )
    _print(arguments, copied, f"{arguments.folder} holds {kind} {repository.name}", "fetched")
    return exit_status.DONE


def _add_shared(parser: Parser) -> None:
    parser.add_argument("--kind", choices=sorted(_KINDS), help="default: what the files say")
    parser.add_argument(
        "--with",
        dest="extras",
        action="append",
        default=[],
        metavar="WHAT",
        choices=("rejects", "journal", "sources", "made-tasks"),
        help="more of a corpus: rejects (and dropped copies), journal, sources (what was read) or "
        "made-tasks; may be repeated",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_quiet()


def _kind_of_folder(place: str) -> str:
    if manifest_numbers(place):
        return "corpus"
    names = names_in(place)
    if any(name in names for name in _OF_MODELS):
        return "model"
    if any(name.endswith((".jsonl", ".yaml", ".yml")) for name in names):
        return "tasks"
    raise ConfigError(
        f"{place!r} is no corpus (no manifest/*.json), no model (no config.json) and no folder of tasks (no "
        "*.jsonl or *.yaml). Name the folder of one of these."
    )


def _on_the_hub(name: str, kind: str | None) -> tuple[str, Repository, str]:
    """Kind, repository and newest commit of a name; a data set and a model may have the same."""
    types = dict.fromkeys(_KINDS.values() if kind is None else [_KINDS[kind]])
    repositories = [Repository(name, each) for each in types]
    found = [(each, commit) for each in repositories if (commit := each.commit()) is not None]
    if not found:
        raise ConfigError(
            f"{repositories[0].api.endpoint} has no {' or '.join(types)} repository {repositories[0].name!r} "
            "for this token. If it is private, log in with `hf auth login`, or set HF_TOKEN."
        )
    if len(found) > 1:
        raise ConfigError(f"{name}: there is a data set and a model of this name. Add --kind.")
    repository, commit = found[0]
    if kind is None and repository.kind == "dataset":
        is_corpus = any(path.startswith(f"{MANIFESTS}/") for path in repository.files(commit))
        return ("corpus" if is_corpus else "tasks"), repository, commit
    return kind or "model", repository, commit


def _print(arguments: argparse.Namespace, copied: Any, head: str, verb: str) -> None:
    if arguments.json:
        print(json.dumps(dataclasses.asdict(copied)))
        return
    at = f", manifest {copied.manifest}" if copied.manifest else ""
    print(f"{head}{at}: {copied.num_files:,} files, {copied.num_copied:,} {verb} now.")
