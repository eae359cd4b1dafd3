"""Rich's console, which sends a terminal the commands of its own layout and none that stands in a text."""

from __future__ import annotations

from collections.abc import Iterable
from typing import IO, Any

import rich.console
from rich.segment import Segment

from schemas.terminal import CleanStream, shown


class Console(rich.console.Console):
    """A console whose texts are cleaned before they are styled."""

    @property
    def file(self) -> IO[str]:
        """Where it writes, past the cleaning of all that is printed."""
        found: Any = super().file
        raw: IO[str] = found.raw if isinstance(found, CleanStream) else found
        return raw

    @file.setter
    def file(self, new_file: IO[str]) -> None:
        rich.console.Console.file.__set__(self, new_file)  # type: ignore[attr-defined]

    def render(self, *arguments: Any, **options: Any) -> Iterable[Segment]:
        """Render as rich does, then clean what is no command of rich's."""
        for segment in super().render(*arguments, **options):
            yield segment if segment.control else Segment(shown(segment.text), segment.style)
