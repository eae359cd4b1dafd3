"""What is printed: characters that command a terminal are shown, never obeyed.

Answers, ids, file names and servers' errors come from others, and a terminal obeys what it is sent: it
writes the clipboard (OSC 52), changes its title, moves the cursor over what stands there. Standard output and
standard error are both cleaned while a command runs, so that no place that prints has to think of it.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator
from typing import Any

_COMMANDS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]|(?<!^)\r(?!\n|$)")
"""Control characters but tab and newline; a carriage return may open what is written, as of a bar."""


def shown(text: str) -> str:
    r"""A text with its control characters as `\u001b`: JSON stays the same JSON."""
    return _COMMANDS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


class CleanStream:
    """A text stream that shows control characters.

    Attributes:
        raw: The stream behind it, for what writes control characters of its own.
    """

    def __init__(self, raw: Any):
        self.raw = raw

    def write(self, text: str) -> int:
        """Write a text; returns its length."""
        self.raw.write(shown(text))
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write texts one after the other."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.raw, name)


@contextlib.contextmanager
def clean_streams() -> Iterator[None]:
    """Clean standard output and standard error for the time being."""
    out, err = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = CleanStream(out), CleanStream(err)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = out, err
