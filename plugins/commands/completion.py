"""`tutelage completion SHELL`: a script with which bash or zsh completes commands, options and files.

The script lists everything itself, so that a press of TAB starts no Python.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import shtab

from plugins.commands import COMMANDS
from plugins.commands.parser import Parser, parser_of
from schemas.errors import ConfigError

_COMPLETED = {
    **dict.fromkeys(("FILE", "FILE.yaml"), shtab.FILE),
    **dict.fromkeys(("DIR", "DIR_OR_NAME", "URI", "BASE"), shtab.DIRECTORY),
}
"""Values that are paths, by the metavar of their argument."""


def main(argv: Sequence[str]) -> int:
    """Print the script; return the exit status."""
    parser = Parser(prog="tutelage completion", description=__doc__.partition("\n")[0])
    parser.add_argument("shell", choices=["bash", "zsh"], help="shell that reads the script")
    shell = parser.parse_args(argv).shell
    print(shtab.complete(_whole_parser(parser), shell))
    return 0


def _whole_parser(own: Parser) -> argparse.ArgumentParser:
    """Make a parser of all commands; one whose packages are not installed has a name and no options."""
    parsers = {"completion": own}
    for name in COMMANDS.names():
        if name in parsers:
            continue
        try:
            parsers[name] = parser_of(COMMANDS.load(name))
        except ConfigError as error:
            print(f"Options of `tutelage {name}` are left out: {error}", file=sys.stderr)
            parsers[name] = Parser(prog=f"tutelage {name}")
    whole = argparse.ArgumentParser(prog="tutelage", description="Raw text to a model that knows the domain.")
    whole.add_argument("--version", action="store_true", help="print the version")
    commands = whole.add_subparsers(
        metavar="COMMAND",
        parser_class=lambda prog: parsers[prog.split()[-1]],  # type: ignore[call-overload]
    )
    for name, parser in parsers.items():
        commands.add_parser(name, help=(parser.description or "").partition("\n")[0])
        _complete_paths(parser)
    return whole


def _complete_paths(parser: argparse.ArgumentParser) -> None:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                _complete_paths(inner)
        elif action.metavar in _COMPLETED:
            action.complete = _COMPLETED[action.metavar]  # type: ignore[attr-defined]
