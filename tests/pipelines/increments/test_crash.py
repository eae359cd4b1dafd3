"""Crashes of the machine: only synced data is sure to survive.

The test records the file operations of a run. After each operation it makes the states that a crash at this
moment may leave. A file has the bytes of its last fsync. A folder has the names of its last fsync or the
current names, because a file system may write names before an fsync.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.increments.compact import compact
from pipelines.increments.prune import prune
from pipelines.inspect.verify import verify_corpus
from schemas.corpus_config import CorpusConfig
from schemas.errors import CorpusError
from schemas.manifest import newest_number, read_manifest

pytestmark = pytest.mark.slow

_OPERATIONS = ("fsync", "replace", "rename", "link", "mkdir", "unlink", "remove", "rmdir")


class Disk:
    """The contents of a folder that are certainly on the disk.

    Attributes:
        operations: Names of the recorded operations, in order.
        states: The different states that a crash may leave, each as the bytes of files by path.
    """

    def __init__(self, root: Path):
        self.operations: list[str] = []
        self.states: dict[str, dict[str, bytes]] = {}
        self._root = root
        self._lock = threading.Lock()
        self._files: dict[int, bytes] = {}
        self._folders: dict[int, dict[str, int]] = {}
        self._kept_open: list[int] = []  # so that no inode number is reused
        for path in (root, *root.rglob("*")):
            self._synced(os.open(path, os.O_RDONLY))

    def _synced(self, opened: int) -> None:
        path, number = Path(os.readlink(f"/proc/self/fd/{opened}")), os.fstat(opened).st_ino
        self._kept_open.append(opened)
        if path.is_dir():
            self._folders[number] = {each.name: each.stat().st_ino for each in path.iterdir()}
        else:
            self._files[number] = path.read_bytes()

    @contextlib.contextmanager
    def recorded(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        with monkeypatch.context() as patched:
            for name in _OPERATIONS:
                patched.setattr(os, name, self._recording(name, getattr(os, name)))
            yield
        for opened in self._kept_open:
            os.close(opened)

    def _recording(self, name: str, operation: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            with self._lock:
                done = operation(*arguments, **keywords)
                if name == "fsync":
                    opened = os.dup(arguments[0])
                    if not Path(os.readlink(f"/proc/self/fd/{opened}")).is_relative_to(self._root):
                        os.close(opened)
                        return done
                    self._synced(opened)
                self.operations.append(name)
                self._note_states()
            return done

        return call

    def _note_states(self) -> None:
        live_names = {
            path.stat().st_ino: path for path in (self._root, *self._root.rglob("*")) if path.is_dir()
        }
        for manifests_as_synced, others_as_synced in itertools.product((True, False), repeat=2):
            state = dict(
                self._state("", self._root.stat().st_ino, live_names, manifests_as_synced, others_as_synced)
            )
            # No reader opens a file that no manifest names, so only published files distinguish states.
            newest = max(name for name in state if name.startswith("manifest/"))
            named = {name: data for name, data in state.items() if self._is_read(name, state[newest])}
            digest = hashlib.blake2b(repr(sorted(named.items())).encode()).hexdigest()
            self.states.setdefault(digest, state)

    @staticmethod
    def _is_read(name: str, manifest: bytes) -> bool:
        increment = name.split("/")[1].partition(".")[0] if "/" in name else ""
        return name.startswith("manifest/") or increment.rpartition("-")[2].encode() in manifest

    def _state(
        self, path: str, number: int, live: dict[int, Path], manifests_as_synced: bool, others_as_synced: bool
    ) -> Iterator[tuple[str, bytes]]:
        as_synced = manifests_as_synced if path == "manifest/" else others_as_synced
        names = self._folders.get(number, {})
        if not as_synced and number in live:
            names = {each.name: each.stat().st_ino for each in live[number].iterdir()}
        for name, child in names.items():
            if child in self._folders or child in live:
                yield from self._state(f"{path}{name}/", child, live, manifests_as_synced, others_as_synced)
            else:
                yield f"{path}{name}", self._files.get(child, b"")


@pytest.fixture
def config(tmp_path: Path, corpus_config: Any, passages: Any, write_jsonl: Any, build: Any) -> CorpusConfig:
    """A corpus of one increment, and a file for another one."""
    made: CorpusConfig = corpus_config(tmp_path / "corpus", f"{tmp_path}/in/*.jsonl")
    write_jsonl(tmp_path / "in/0.jsonl", passages(3))
    build(made)
    write_jsonl(tmp_path / "in/1.jsonl", passages(6)[3:])
    return made


def check_states(disk: Disk, tmp_path: Path) -> set[int]:
    """Check that every state is a sound corpus, and return the numbers of the newest manifests."""
    newest = set()
    for number, state in enumerate(disk.states.values()):
        corpus = tmp_path / f"crashed-{number}"
        for name, data in state.items():
            (corpus / name).parent.mkdir(parents=True, exist_ok=True)
            (corpus / name).write_bytes(data)
        manifest = read_manifest(str(corpus))
        assert verify_corpus(str(corpus), manifest).damages == (), sorted(state)
        newest.add(newest_number(str(corpus)))
    return newest


def test_after_a_crash_at_any_moment_of_a_build_the_corpus_is_sound_with_the_old_manifest_or_the_new(
    config: CorpusConfig, build: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(Path(config.corpus))
    with disk.recorded(monkeypatch):
        build(config)
    assert disk.operations.count("fsync") > 30
    assert check_states(disk, tmp_path) == {1, 2}


def test_after_a_crash_at_any_moment_of_compaction_and_pruning_the_corpus_is_sound(
    config: CorpusConfig, build: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(config)
    disk = Disk(Path(config.corpus))
    with disk.recorded(monkeypatch):
        compact(config, quiet=True)
        prune(config.corpus)
    assert check_states(disk, tmp_path) == {2, 3}


@pytest.mark.parametrize("kind", ["files", "folders"])
def test_these_tests_find_what_is_not_synced(
    config: CorpusConfig, build: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    disk = Disk(Path(config.corpus))
    with disk.recorded(monkeypatch):
        sync = os.fsync
        is_lost = stat.S_ISREG if kind == "files" else stat.S_ISDIR
        monkeypatch.setattr(
            os, "fsync", lambda opened: None if is_lost(os.fstat(opened).st_mode) else sync(opened)
        )
        build(config)
    with pytest.raises((AssertionError, CorpusError)):
        check_states(disk, tmp_path)
