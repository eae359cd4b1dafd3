"""Argument parser of all commands: options and `key=value` in any order, suggestions for misspelt words."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from plugins.progress import Mode, set_mode
from schemas.errors import unknown_name

_asked_for: ContextVar[bool] = ContextVar("asked_for", default=False)


class _Built(Exception):
    """Carries a parser out of the command that built it."""

    def __init__(self, parser: Parser):
        self.parser = parser


def parser_of(command: Callable[[list[str]], object]) -> Parser:
    """Return the parser that a command builds; the command ends there."""
    token = _asked_for.set(True)
    try:
        command([])
    except _Built as built:
        return built.parser
    finally:
        _asked_for.reset(token)
    raise TypeError(f"{command} reads no arguments with a Parser.")


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` that intermixes options with positional arguments, in sub-commands too.

    `parse_intermixed_args` refuses parsers with sub-commands. This class intermixes in each parser without
    sub-commands.

    Args:
        hint: Advice after the message about an unknown option.
    """

    def __init__(self, *args: Any, hint: str = "", **named: Any):
        super().__init__(*args, **named)
        self._hint = hint
        self._is_intermixing = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Parse all arguments; an unknown argument ends the process with exit status 2, so none remains."""
        if _asked_for.get():
            raise _Built(self)
        if self._is_intermixing or self._subparsers is not None:
            return super().parse_known_args(args, namespace)
        words = list(sys.argv[1:] if args is None else args)
        for word in words:  # first, because a misspelt option can make argparse miss another argument
            if word.startswith("--") and " " not in word and not self._knows(word):
                self._refuse_option(word)
        self._is_intermixing = True  # argparse calls this method for the options, then for the rest
        try:
            found, unknown = self.parse_known_intermixed_args(words, namespace)
        finally:
            self._is_intermixing = False
        for word in unknown:
            if word.startswith("-"):
                self._refuse_option(word)
            self.error(f"unexpected argument {word!r}.")
        progress = Mode.EVENTS if getattr(found, "json", False) else Mode.LINES
        set_mode(Mode.QUIET if getattr(found, "quiet", False) else progress)
        return found, []

    def add_quiet(self) -> None:
        """Add the option `--quiet` of commands that show progress."""
        self.add_argument("--quiet", action="store_true", help="no progress: only the result and errors")

    def _knows(self, word: str) -> bool:
        """True for an option or, as in argparse, an abbreviation of one."""
        return any(name.startswith(word.partition("=")[0]) for name in self._option_string_actions)

    def _refuse_option(self, word: str) -> None:
        known = [name for name in self._option_string_actions if name.startswith("--")]
        message = unknown_name("option", word.partition("=")[0], known)
        self.error(f"{message} {self._hint}".rstrip())

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        if action.option_strings:
            raise argparse.ArgumentError(action, unknown_name("value", str(value), action.choices))
        raise argparse.ArgumentError(None, unknown_name(action.dest, str(value), action.choices))
