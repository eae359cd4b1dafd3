"""What can be said after `tutelage corpus`."""

from __future__ import annotations

import argparse
from typing import Any

from plugins.commands.parser import Parser


def make_parser(description: str | None) -> Parser:
    """A parser of all sub-commands; Beam's options, behind `--`, are not its business."""
    parser = Parser(prog="tutelage corpus", description=description)
    commands = parser.add_subparsers(dest="command", required=True)

    build = _of_a_yaml(
        commands,
        "build",
        "[--reread] [--retry-empty]",
        "take in what is new in the sources, as one increment",
    )
    build.add_argument(
        "--reread", action="store_true", help="read files again that have not changed since they were read"
    )
    build.add_argument(
        "--retry-empty",
        action="store_true",
        help="ask again for documents without pairs: those in the corpus, and stored answers without any",
    )

    plan = _of_a_yaml(
        commands,
        "plan",
        "[--requests-per-sec X | --tokens-per-sec X]",
        "what a build would do: documents, chains, requests, tokens, hours; sends and writes nothing",
    )
    speed: dict[str, Any] = {"type": float, "metavar": "X"}
    plan.add_argument("--requests-per-sec", help="requests that all servers together answer", **speed)
    plan.add_argument("--tokens-per-sec", help="tokens that all servers together generate", **speed)

    watch = _of_a_yaml(
        commands,
        "watch",
        "[--interval SEC] [--min-documents N] [--settle SEC]",
        "take in files as they arrive, an increment at a time, until stopped",
        json=False,
    )
    seconds: dict[str, Any] = {"type": float, "metavar": "SEC"}
    watch.add_argument("--interval", default=60.0, help="from one look to the next (default 60)", **seconds)
    watch.add_argument(
        "--settle", default=10.0, help="how long a file must have been as it is (default 10)", **seconds
    )
    watch.add_argument(
        "--min-documents", type=int, default=1, metavar="N", help="documents of an increment (default 1)"
    )

    withdraw = _of_a_yaml(
        commands,
        "withdraw",
        "[--id ID ...] [--ids-from FILE] [--source URI ...]",
        "take documents out of the corpus, for good",
    )
    again: dict[str, Any] = {"action": "append", "default": []}
    withdraw.add_argument("--id", help="a document; may be given again", **again)
    withdraw.add_argument("--ids-from", metavar="FILE", help="a file of one document_id a line")
    withdraw.add_argument(
        "--source", metavar="URI", help="a file, folder or glob; may be given again", **again
    )

    _of_a_yaml(commands, "compact", "", "write all increments as one, without what is superseded")

    show = _of_a_corpus(commands, "show", "what is in a corpus: counts, texts, packed rows, copies")
    show.add_argument("--stream", help="stream to show texts and rows of; default the first")
    count: dict[str, Any] = {"type": int, "metavar": "N"}
    show.add_argument("--texts", default=1, help="texts to show (default 1)", **count)
    show.add_argument("--rows", default=0, help="packed rows to show, decoded (default 0)", **count)
    show.add_argument(
        "--duplicates",
        **count,
        help="show up to N clusters of copies that the newest increment dropped, and nothing else",
    )
    show.add_argument(
        "--row",
        metavar="STREAM:INDEX",
        help="show one packed row with the texts, documents and files that it is made of, and nothing else",
    )
    _add_whole(show)

    trace = _of_a_corpus(
        commands, "trace", "what became of a document: increments, texts, rows, answers, rejects"
    )
    trace.add_argument(
        "document_id", help="name of the document, or how the hash of its content begins (8 digits or more)"
    )
    _add_whole(trace)

    _of_a_corpus(
        commands, "verify", "read every shard and row; name what is missing, damaged or not as announced"
    )

    prune = commands.add_parser("prune", help="remove increments that no kept manifest needs")
    _add_corpus(prune)
    prune.add_argument(
        "--keep",
        type=int,
        action="append",
        default=[],
        metavar="NUMBER",
        help="a manifest to keep beside the newest, such as one that a run pins; may be given again",
    )
    prune.add_argument("--journal", action="store_true", help="remove the journal of generations, too")
    prune.add_argument("--dry-run", action="store_true", help="say what would go and remove nothing")
    prune.add_argument("--json", action="store_true", help="print the result as JSON")
    export = _of_a_corpus(
        commands, "export-pairs", "write the instruction pairs of all current documents", json=False
    )
    export.add_argument(
        "--format",
        choices=("jsonl", "alpaca", "messages"),
        default="jsonl",
        help="all that is known of a pair (default); instruction, input, output; or chat messages",
    )
    export.add_argument("--stream", help="the only stream wanted; default all")
    export.add_argument(
        "--with-passage", action="store_true", help="the passage too: alpaca's input, or before the question"
    )
    export.add_argument("--output", metavar="FILE", help="a file or URI; default standard output")
    return parser


def _add_whole(parser: Parser) -> None:
    parser.add_argument(
        "--whole", action="store_true", help="show long texts to their end, not their beginning alone"
    )


def _add_corpus(parser: Parser) -> None:
    parser.add_argument("uri", metavar="URI", help="directory of the corpus, or its YAML")


def _of_a_yaml(
    commands: argparse._SubParsersAction[Parser],
    name: str,
    usage: str,
    does: str,
    *,
    json: bool = True,
) -> Parser:
    options = " ".join(each for each in (usage, "[--json]" if json else "") if each)
    parser = commands.add_parser(
        name,
        help=does,
        hint="Beam's options come after `--`.",
        usage=f"tutelage corpus {name} FILE.yaml [key=value ...] {options} [-- beam options]",
    )
    parser.add_argument("file", metavar="FILE.yaml", help="a corpus YAML")
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="key=value", help="values that win over the file's"
    )
    if json:
        parser.add_argument("--json", action="store_true", help="print the result as JSON, and no progress")
    return parser


def _of_a_corpus(
    commands: argparse._SubParsersAction[Parser], name: str, does: str, *, json: bool = True
) -> Parser:
    parser = commands.add_parser(name, help=does)
    _add_corpus(parser)
    parser.add_argument(
        "--manifest", type=int, metavar="NUMBER", help="number of the manifest; default the newest"
    )
    if json:
        parser.add_argument("--json", action="store_true", help="print what was asked for as JSON")
    return parser
