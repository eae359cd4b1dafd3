"""Watched folder: an audit hook notes writes outside its cache, and code that runs."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_CODE = ("os.system", "os.exec", "os.posix_spawn", "subprocess.Popen", "pickle.find_class", "marshal.loads")
_CHANGES = ("os.remove", "os.rename", "os.mkdir", "os.link", "os.symlink", "os.chmod", "shutil.rmtree")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

_allowed: list[str] = []
_noted: list[str] = []


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if not _allowed:
        return
    if event in _CODE:
        if not (
            event == "marshal.loads" and sys._getframe(1).f_code.co_filename.startswith("<frozen importlib")
        ):
            _noted.append(f"{event} {arguments[:2]!r}")
    elif event == "open":
        path, _, flags = arguments
        if isinstance(path, str | bytes) and isinstance(flags, int) and flags & _WRITES:
            _note_write(event, os.fsdecode(path))
    elif event in _CHANGES and isinstance(arguments[0], str | bytes):
        _note_write(event, os.fsdecode(arguments[0]))


def _note_write(event: str, path: str) -> None:
    real = os.path.realpath(path)
    if not any(real.startswith(f"{folder}/") or real == folder for folder in _allowed):
        _noted.append(f"{event} {path}")


sys.addaudithook(_hook)


@contextlib.contextmanager
def watched(root: Path) -> Iterator[None]:
    """Note events during the block; writes are allowed in `root/cache` and in a temporary folder."""
    _noted.clear()
    temporary = root / "tmp"
    temporary.mkdir()
    before, tempfile.tempdir = tempfile.tempdir, str(temporary)
    _allowed[:] = [os.path.realpath(root / name) for name in ("cache", "tmp")] + ["/dev"]
    try:
        yield
    finally:
        _allowed.clear()
        tempfile.tempdir = before


class Sandbox:
    """The watched folder.

    Args:
        root: Folder with the stranger's `corpus`, the user's `home`, and `cache`.
    """

    def __init__(self, root: Path):
        self.root = root
        self.corpus = root / "corpus"
        self.cache = root / "cache"
        self._before = self._state()

    def put(self, path: Path, data: bytes) -> None:
        """Write a file as the stranger; the audit hook ignores this write."""
        held, _allowed[:] = list(_allowed), []
        path.write_bytes(data)
        _allowed[:] = held

    def check(self) -> None:
        """Check that nothing was written outside the cache, and that no code ran.

        Restore all files of the corpus before the call.
        """
        assert _noted == []
        assert self._state() == self._before

    def _state(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.root)): path.read_bytes()
            for path in sorted(self.root.rglob("*"))
            if path.is_file() and path.relative_to(self.root).parts[0] not in ("cache", "tmp")
        }
