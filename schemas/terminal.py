r"""Output to a terminal: control characters are printed as `\u001b`, so that no terminal executes them.

Answers, ids, file names and errors of servers come from others, and control sequences in them could write the
clipboard (OSC 52), change the title or overwrite text. `clean_streams` covers standard output and standard
error of a whole command.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator
from typing import Any

_COMMANDS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]|(?<!^)\r(?!\n|$)")
"""Control characters except tab and newline; progress bars may begin with a carriage return."""


def shown(text: str) -> str:
    r"""Escape control characters as `\u001b`; JSON keeps its meaning."""
    return _COMMANDS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


class CleanStream:
    """A text stream that escapes control characters."""

    def __init__(self, raw: Any):
        self.raw = raw  # for progress bars and colours

    def write(self, text: str) -> int:
        """Write a text; return its length."""
        self.raw.write(shown(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write several texts."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.raw, name)


@contextlib.contextmanager
def clean_streams() -> Iterator[None]:
    """Replace standard output and standard error by a CleanStream inside the block."""
    out, err = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = CleanStream(out), CleanStream(err)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = out, err
