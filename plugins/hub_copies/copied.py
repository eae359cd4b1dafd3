"""Result of a push or pull, and the note about paths of this machine in what is sent."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from plugins.hub_copies.repository import Upload
from schemas import storage


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """Result of a push or pull.

    Attributes:
        kind: `corpus`, `model` or `tasks`.
        repository: Name on the hub.
        num_files: Files of the copy.
        num_copied: Files that were sent or fetched now; the others were there.
        manifest: Number of a corpus's manifest.
    """

    kind: str
    repository: str
    num_files: int
    num_copied: int
    manifest: int | None = None


def say_local_paths(files: Sequence[Upload], say: Callable[[str], None]) -> None:
    """Say how many values in JSON files are paths of this machine, with one of them."""
    found = []
    for file in files:
        if file.path.endswith(".json") and isinstance(file.source, str):
            try:
                found += [*_local_paths(json.loads(storage.read_bytes(file.source, limit=_MOST_BYTES)))]
            except Exception:  # a big or damaged file, which other checks report
                continue
    if found:
        say(
            f"note: {len(set(found)):,} paths of this machine are in what is sent, such as {found[0]}. "
            "Whoever reads the repository sees them, and the names of source files."
        )


_MOST_BYTES = 1 << 20


def _local_paths(values: Any) -> Iterator[str]:
    if isinstance(values, str) and values.startswith(("/", "~/", "file://")) and values.count("/") > 1:
        yield values
    for each in values.values() if isinstance(values, dict) else values if isinstance(values, list) else ():
        yield from _local_paths(each)
