"""Command-line arguments of `tutelage corpus`."""

from __future__ import annotations

import argparse
from typing import Any

from plugins.commands.parser import Parser


def make_parser(description: str | None) -> Parser:
    """Make the parser of all sub-commands; it does not see Beam's options, which come after `--`."""
    parser = Parser(prog="tutelage corpus", description=description)
    commands = parser.add_subparsers(dest="command", required=True)

    build = _of_a_yaml(
        commands, "build", "[--reread] [--retry-empty]", "build one increment of what is new in the sources"
    )
    build.add_argument("--reread", action="store_true", help="read unchanged files again")
    build.add_argument(
        "--retry-empty",
        action="store_true",
        help="ask again about documents in the corpus without pairs, and where a stored answer has none",
    )

    plan = _of_a_yaml(
        commands,
        "plan",
        "[--requests-per-sec X | --tokens-per-sec X | --sample N]",
        "show what a build would do: documents, chains, requests, tokens, hours; sends and writes nothing",
    )
    speed: dict[str, Any] = {"type": float, "metavar": "X"}
    plan.add_argument("--requests-per-sec", help="speed of all servers together, in requests", **speed)
    plan.add_argument("--tokens-per-sec", help="speed of all servers together, in generated tokens", **speed)
    plan.add_argument(
        "--sample",
        type=int,
        metavar="N",
        help="count nothing; show how N records are read, cleaned and filtered, some beside their source",
    )

    watch = _of_a_yaml(
        commands,
        "watch",
        "[--interval SEC] [--min-documents N] [--settle SEC]",
        "build increments as files arrive, until stopped",
        json=False,
    )
    seconds: dict[str, Any] = {"type": float, "metavar": "SEC"}
    watch.add_argument("--interval", default=60.0, help="time between two scans (default 60)", **seconds)
    watch.add_argument(
        "--settle", default=10.0, help="time that a file must be unchanged (default 10)", **seconds
    )
    watch.add_argument(
        "--min-documents",
        type=int,
        default=1,
        metavar="N",
        help="least documents of an increment (default 1)",
    )

    withdraw = _of_a_yaml(
        commands,
        "withdraw",
        "[--id ID ...] [--ids-from FILE] [--source URI ...]",
        "remove documents from the corpus for good",
    )
    again: dict[str, Any] = {"action": "append", "default": []}
    withdraw.add_argument("--id", help="a document_id; may be repeated", **again)
    withdraw.add_argument("--ids-from", metavar="FILE", help="a file with one document_id a line")
    withdraw.add_argument(
        "--source", metavar="URI", help="a file, folder or glob of the sources; may be repeated", **again
    )

    _of_a_yaml(commands, "compact", "", "rewrite all increments as one, without superseded text")

    show = _of_a_corpus(commands, "show", "show the content of a corpus: counts, texts, packed rows, copies")
    show.add_argument("--stream", help="stream of the texts and rows (default: the first)")
    count: dict[str, Any] = {"type": int, "metavar": "N"}
    show.add_argument("--texts", default=1, help="texts to show (default 1)", **count)
    show.add_argument("--rows", default=0, help="packed rows to show, decoded (default 0)", **count)
    show.add_argument(
        "--duplicates", **count, help="show only up to N clusters of copies that the newest increment dropped"
    )
    show.add_argument(
        "--pairs", **count, help="show only up to N current pairs, with their passages and verdicts"
    )
    show.add_argument("--rule", metavar="NAME", help="with --pairs: verdicts of one rule of `verify`")
    show.add_argument("--worst", action="store_true", help="with --pairs: the lowest scores first")
    show.add_argument(
        "--row", metavar="STREAM:INDEX", help="show only one packed row, with its texts, documents and files"
    )
    _add_whole(show)

    trace = _of_a_corpus(
        commands, "trace", "show everything about a document: increments, texts, rows, answers, rejects"
    )
    trace.add_argument(
        "document_id", help="the document_id, or the first 8 or more digits of the content hash"
    )
    _add_whole(trace)

    _of_a_corpus(commands, "verify", "read every shard and row, and name everything missing or damaged")

    prune = commands.add_parser("prune", help="remove increments that no kept manifest needs")
    _add_corpus(prune)
    prune.add_argument(
        "--keep",
        type=int,
        action="append",
        default=[],
        metavar="NUMBER",
        help="a manifest to keep beside the newest, such as one that a run pins; may be repeated",
    )
    prune.add_argument("--journal", action="store_true", help="remove the journal of generations, too")
    prune.add_argument("--dry-run", action="store_true", help="only show what would be removed")
    prune.add_argument("--json", action="store_true", help="print the result as JSON")
    prune.add_quiet()
    export = _of_a_corpus(
        commands, "export-pairs", "write the instruction pairs of all current documents", json=False
    )
    export.add_argument(
        "--format",
        choices=("jsonl", "alpaca", "messages"),
        default="jsonl",
        help="all fields of a pair (default); instruction, input, output; or chat messages",
    )
    export.add_argument("--stream", help="export one stream only (default: all)")
    export.add_argument(
        "--with-passage",
        action="store_true",
        help="add the passage, as alpaca's input or before the question",
    )
    export.add_argument("--output", metavar="FILE", help="a file or URI (default: standard output)")
    return parser


def _add_whole(parser: Parser) -> None:
    parser.add_argument(
        "--whole", action="store_true", help="show long texts whole, not only their beginning"
    )


def _add_corpus(parser: Parser) -> None:
    parser.add_argument("uri", metavar="URI", help="directory of the corpus, or its YAML")


def _of_a_yaml(
    commands: argparse._SubParsersAction[Parser], name: str, usage: str, does: str, *, json: bool = True
) -> Parser:
    options = " ".join(each for each in (usage, "[--json]" if json else "", "[--quiet]") if each)
    parser = commands.add_parser(
        name,
        help=does,
        hint="Beam's options come after `--`.",
        usage=f"tutelage corpus {name} FILE.yaml [key=value ...] {options} [-- beam options]",
    )
    parser.add_argument("file", metavar="FILE.yaml", help="a corpus YAML")
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="key=value", help="values that override the file's"
    )
    if json:
        parser.add_argument("--json", action="store_true", help="print the result and progress as JSON")
    parser.add_quiet()
    return parser


def _of_a_corpus(
    commands: argparse._SubParsersAction[Parser], name: str, does: str, *, json: bool = True
) -> Parser:
    parser = commands.add_parser(name, help=does)
    _add_corpus(parser)
    parser.add_argument(
        "--manifest", type=int, metavar="NUMBER", help="number of the manifest (default: the newest)"
    )
    if json:
        parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.add_quiet()
    return parser
