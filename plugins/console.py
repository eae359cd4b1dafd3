"""Rich console that removes terminal commands from texts and keeps those of its own layout."""

from __future__ import annotations

from collections.abc import Iterable
from typing import IO, Any

import rich.console
from rich.segment import Segment

from schemas.terminal import CleanStream, shown


class Console(rich.console.Console):
    """Console that cleans texts before it styles them."""

    @property
    def file(self) -> IO[str]:
        """The raw stream, without the cleaning of standard output."""
        found: Any = super().file
        raw: IO[str] = found.raw if isinstance(found, CleanStream) else found
        return raw

    @file.setter
    def file(self, new_file: IO[str]) -> None:
        rich.console.Console.file.__set__(self, new_file)  # type: ignore[attr-defined]

    def render(self, *arguments: Any, **options: Any) -> Iterable[Segment]:
        """Render as rich does, then clean every segment that is no command of rich."""
        for segment in super().render(*arguments, **options):
            yield segment if segment.control else Segment(shown(segment.text), segment.style)
