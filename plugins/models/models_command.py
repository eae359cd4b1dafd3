"""`tutelage models`: list small models, and fetch one."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from plugins.commands.parser import Parser
from plugins.models import MODELS, default_output
from plugins.progress import note


def build_parser() -> Parser:
    """Make the parser of `tutelage models …`."""
    parser = Parser(prog="tutelage models", description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    fetch = actions.add_parser("fetch", help="download a model and make it a Hugging Face directory")
    fetch.add_argument("name", help=f"one of: {', '.join(MODELS.names())}")
    fetch.add_argument(
        "--output",
        type=Path,
        metavar="DIR",
        help="directory of the model (default: models/NAME in this directory)",
    )
    fetch.add_argument("--json", action="store_true", help="print the answer as one JSON object")
    fetch.add_quiet()

    known = actions.add_parser("list", help="list the models, and whether models/ holds them")
    known.add_argument("--json", action="store_true", help="print the answer as a JSON list")
    return parser


def main(argv: list[str]) -> int:
    """Run `tutelage models ARGV`; return the exit status."""
    options = build_parser().parse_args(argv)
    return _list(options) if options.action == "list" else _fetch(options)


def _fetch(options: argparse.Namespace) -> int:
    fetch = MODELS.load(options.name)
    model = fetch(options.output, say=note)
    if options.json:
        print(json.dumps({"name": model.name, "path": str(model.path.resolve()), "is_new": model.is_new}))
    else:
        print(f"{model.name} is in {model.path}" + ("" if model.is_new else " (it was there before)"))
    return 0


def _list(options: argparse.Namespace) -> int:
    folders = {name: default_output(name) for name in MODELS.names()}
    known = [
        {"name": name, "path": str(folder), "is_here": (folder / "config.json").is_file()}
        for name, folder in folders.items()
    ]
    if options.json:
        print(json.dumps(known))
    else:
        for model in known:
            print(f"{model['name']}  {model['path'] if model['is_here'] else 'not fetched'}")
    return 0


if __name__ == "__main__":
    from plugins.commands.main import run

    sys.exit(run(main))
