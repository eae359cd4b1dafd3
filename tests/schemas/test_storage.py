"""Atomic writes, on disk and on other fsspec file systems."""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard

from schemas import storage
from schemas.errors import ConfigError, CorpusError


@pytest.fixture(params=["local", "file", "memory"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A directory on each kind of file system."""
    if request.param != "memory":
        yield f"file://{tmp_path}" if request.param == "file" else str(tmp_path)
        return
    uri = f"memory://{uuid.uuid4().hex}"
    yield uri
    storage.remove_tree(uri)


def test_a_scheme_that_nobody_knows_is_wrong_use() -> None:
    with pytest.raises(ConfigError, match=r"^nowhere://x: cannot be opened: Protocol not known: nowhere\. "):
        storage.filesystem("nowhere://x")


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (("a", "b", "c"), "a/b/c"),
        (("gs://bucket/", "/b/", "c.json"), "gs://bucket/b/c.json"),
        (("/", "a"), "/a"),
        (("memory://x", "y"), "memory://x/y"),
    ],
)
def test_parts_are_joined_by_single_slashes(parts: tuple[str, ...], expected: str) -> None:
    assert storage.join(*parts) == expected


def test_only_plain_paths_and_file_uris_are_local() -> None:
    uris = ("a/b", "/a", "file:///a", "memory://a", "s3://b/a")
    assert [storage.is_local(uri) for uri in uris] == [True, True, True, False, False]


def test_bytes_come_back(root: str) -> None:
    uri = storage.join(root, "deep", "er", "a.bin")
    assert not storage.exists(uri)
    storage.write_bytes(uri, b"\x00one")
    assert storage.exists(uri)
    assert storage.read_bytes(uri) == b"\x00one"


def test_a_write_replaces_what_was_there(root: str) -> None:
    uri = storage.join(root, "a")
    storage.write_bytes(uri, b"a longer one")
    storage.write_bytes(uri, b"two")
    assert storage.read_bytes(uri) == b"two"


def test_a_relative_path_is_written_under_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    storage.write_bytes("a.txt", b"x")
    assert (tmp_path / "a.txt").read_bytes() == b"x"


def fail(*arguments: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failing_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    uri = str(tmp_path / "a")
    storage.write_bytes(uri, b"old")
    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="No space left"):
        storage.write_bytes(uri, b"new")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"old"}


def test_a_failing_exclusive_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        storage.create_bytes(str(tmp_path / "a"), b"new")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_to_is_what_the_error_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: object, *arguments: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("builtins.open", refuse)
    for write in (storage.write_bytes, storage.create_bytes):
        with pytest.raises(PermissionError):
            write(str(tmp_path / "a"), b"new")


def test_a_failing_upload_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x")
    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="No space left"):
        storage.upload(str(source), str(tmp_path / "to" / "a"))
    assert list((tmp_path / "to").iterdir()) == []


def test_an_upload_is_a_copy(root: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x")
    storage.upload(str(source), storage.join(root, "to", "a"))
    assert storage.read_bytes(storage.join(root, "to", "a")) == b"x"
    assert source.exists()


def test_an_exclusive_write_succeeds_once(root: str) -> None:
    uri = storage.join(root, "claims", "a")
    assert storage.create_bytes(uri, b"first") is True
    assert storage.create_bytes(uri, b"second") is False
    assert storage.read_bytes(uri) == b"first"


def test_of_many_threads_one_makes_the_file(tmp_path: Path) -> None:
    uri = str(tmp_path / "a")
    start = threading.Barrier(16)
    made: list[int] = []

    def create(number: int) -> None:
        start.wait()
        if storage.create_bytes(uri, str(number).encode() * 1000):
            made.append(number)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert storage.read_bytes(uri) == str(made[0]).encode() * 1000
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_tree_is_removed_and_a_missing_one_is_no_error(root: str) -> None:
    storage.write_bytes(storage.join(root, "t", "deep", "a"), b"x")
    storage.write_bytes(storage.join(root, "other"), b"x")
    storage.remove_tree(storage.join(root, "t"))
    storage.remove_tree(storage.join(root, "t"))
    assert not storage.exists(storage.join(root, "t"))
    assert storage.exists(storage.join(root, "other"))


LINES = ["", "plain", "漢字 🧬", "half an emoji \ud83d", "carriage\rreturn \u2028 separator", "x" * 70_000]


def test_lines_come_back(root: str) -> None:
    uri = storage.join(root, "a.jsonl.zst")
    storage.write_lines_zst(uri, LINES)
    assert list(storage.read_lines_zst(uri)) == LINES


def test_many_megabytes_of_lines_come_back(tmp_path: Path) -> None:
    lines = [f"{number:07d}" * 20 for number in range(20_000)]
    storage.write_lines_zst(str(tmp_path / "a.zst"), lines)
    assert list(storage.read_lines_zst(str(tmp_path / "a.zst"))) == lines


def test_no_lines_come_back_as_none(root: str) -> None:
    storage.write_lines_zst(storage.join(root, "a.zst"), [])
    assert list(storage.read_lines_zst(storage.join(root, "a.zst"))) == []


def test_equal_lines_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        storage.write_lines_zst(str(tmp_path / name), iter(LINES))
    data = (tmp_path / "a").read_bytes()
    assert data == (tmp_path / "b").read_bytes()
    assert zstandard.ZstdDecompressor().decompress(data).endswith(b"x\n")


def test_lines_of_a_file_cut_short_are_not_taken_for_all_of_them(tmp_path: Path) -> None:
    path = tmp_path / "a.zst"
    storage.write_lines_zst(str(path), [os.urandom(50).hex() for _ in range(5_000)])
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CorpusError, match=r"a\.zst: is truncated: it ends inside its zstd frame"):
        list(storage.read_lines_zst(str(path)))


def test_lines_of_a_damaged_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.zst"
    path.write_bytes(b"no zstd at all")
    with pytest.raises(CorpusError, match=r"a\.zst: is damaged: "):
        list(storage.read_lines_zst(str(path)))
