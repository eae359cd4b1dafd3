"""A count of what is read of the memory store."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count reads of files in the memory store, by the name of the file."""
    counts: Counter[str] = Counter()
    opens, fetches = MemoryFileSystem._open, MemoryFileSystem.cat_file

    def count_open(self: Any, path: str, mode: str = "rb", **options: Any) -> Any:
        if "r" in mode:
            counts[path.rsplit("/", 1)[-1]] += 1
        return opens(self, path, mode, **options)

    def count_fetch(self: Any, path: str, *args: Any, **options: Any) -> Any:
        counts[path.rsplit("/", 1)[-1]] += 1
        return fetches(self, path, *args, **options)

    monkeypatch.setattr(MemoryFileSystem, "_open", count_open)
    monkeypatch.setattr(MemoryFileSystem, "cat_file", count_fetch)
    return counts
