"""Unchanged source files: a build does not read them again."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.increments.build import build_increment
from plugins.readers.file_state import file_state
from schemas import storage
from schemas.corpus_config import CorpusConfig
from schemas.manifest import read_manifest
from tests.published import read_stats

pytestmark = pytest.mark.slow

Config = Callable[..., CorpusConfig]
LONG_AGO = 1_700_000_000


def aged(path: str | Path, since: int = LONG_AGO) -> str:
    """Set the modification time of a file far into the past."""
    os.utime(path, (since, since))
    return str(path)


@pytest.fixture
def two_files(tmp_path: Path, passages: Any, write_jsonl: Any, corpus_config: Config) -> CorpusConfig:
    """A corpus not yet built, of two old files of six documents."""
    rows = passages(12)
    aged(write_jsonl(tmp_path / "in/a.jsonl", rows[:6]))
    aged(write_jsonl(tmp_path / "in/b.jsonl", rows[6:]))
    return corpus_config(tmp_path / "corpus", f"{tmp_path}/in/*.jsonl")


@pytest.fixture
def files_read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that a reader opened, in this process."""
    from plugins.readers.jsonl import JsonlReader

    names: list[str] = []
    rows_of = JsonlReader.rows_of

    def spy(self: Any, uri: str, part: Any) -> Any:
        names.append(Path(uri).name)
        return rows_of(self, uri, part)

    monkeypatch.setattr(JsonlReader, "rows_of", spy)
    return names


def test_a_file_keeps_its_state_until_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one")
    first = file_state(aged(path))
    assert first is not None
    assert file_state(str(path)) == first
    assert file_state(aged(path, LONG_AGO + 1)) != first
    path.write_text("three")
    assert file_state(aged(path)) != first


def test_a_file_that_changed_a_moment_ago_has_no_state(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("one")
    assert file_state(str(path)) is None
    now = time.time()
    os.utime(path, (now + 1, now + 1))
    assert file_state(str(path)) is None


def test_an_etag_is_the_state_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    uri = f"memory://state-{uuid.uuid4().hex}/a.txt"
    storage.write_bytes(uri, b"one")
    fs, _ = storage.filesystem(uri)
    info = fs.info
    monkeypatch.setattr(type(fs), "info", lambda self, path: {**info(path), "ETag": '"5d41"'})
    assert file_state(uri) == 'ETag "5d41"'


def test_a_file_in_memory_has_a_state_by_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    uri = f"memory://state-{uuid.uuid4().hex}/a.txt"
    storage.write_bytes(uri, b"one")
    assert file_state(uri) is None
    fs, path = storage.filesystem(uri)
    modified = fs.modified(path)
    monkeypatch.setattr(type(fs), "modified", lambda self, path: modified.replace(year=2001))
    assert file_state(uri).startswith("size 3, changed ")


def test_nothing_is_read_where_no_file_is_new_or_changed(
    two_files: CorpusConfig, build: Any, files_read: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    assert build(two_files).number == 1
    assert sorted(files_read) == ["a.jsonl", "b.jsonl"]
    files_read.clear()
    capfd.readouterr()
    assert build_increment(two_files) is None
    assert files_read == []
    assert capfd.readouterr().err == (f"No file is new or changed since increment 1 of {two_files.corpus}.\n")
    assert not list(Path(two_files.corpus).glob("increments/000002*"))


def test_only_new_and_changed_files_are_read(
    two_files: CorpusConfig,
    build: Any,
    files_read: list[str],
    tmp_path: Path,
    passages: Any,
    write_jsonl: Any,
) -> None:
    build(two_files)
    rows = passages(14)
    aged(write_jsonl(tmp_path / "in/b.jsonl", rows[6:13]))
    aged(write_jsonl(tmp_path / "in/c.jsonl", rows[13:]))
    files_read.clear()
    manifest = build(two_files)
    assert sorted(files_read) == ["b.jsonl", "c.jsonl"]
    assert (manifest.number, manifest.increments[1].num_documents) == (2, 2)
    counts = read_stats(two_files.corpus, 2)["counts"]
    assert (counts["read/files"], counts["read/documents"], counts["ledger/unchanged"]) == (2, 8, 6)
    assert build(two_files) is None
    assert sorted(files_read) == ["b.jsonl", "c.jsonl"]


def test_a_file_touched_without_change_is_read_once_more_and_noted(
    two_files: CorpusConfig, build: Any, files_read: list[str], tmp_path: Path
) -> None:
    build(two_files)
    aged(tmp_path / "in/a.jsonl", LONG_AGO + 5)
    files_read.clear()
    assert build(two_files) is None
    assert build(two_files) is None
    assert files_read == ["a.jsonl", "b.jsonl"]  # and the later file, whose versions may be newer
    aged(tmp_path / "in/b.jsonl", LONG_AGO + 5)
    files_read.clear()
    assert build(two_files) is None
    assert files_read == ["b.jsonl"]


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"filters": {"gopher_quality": {"min_words": 5}}}, id="a filter"),
        pytest.param({"clean": {"min_words": 4}}, id="cleaning"),
    ],
)
def test_what_decides_about_documents_makes_all_files_new(
    two_files: CorpusConfig, build: Any, files_read: list[str], changes: dict[str, Any]
) -> None:
    build(two_files)
    files_read.clear()
    values = two_files.model_dump()
    for section, change in changes.items():
        values[section] = {**values[section], **change}
    build(CorpusConfig.model_validate(values))
    assert sorted(files_read) == ["a.jsonl", "b.jsonl"]


def test_what_does_not_decide_about_documents_leaves_files_read(
    two_files: CorpusConfig, build: Any, files_read: list[str]
) -> None:
    build(two_files)
    files_read.clear()
    assert build(two_files.model_copy(update={"seed": 99})) is None
    assert files_read == []


@pytest.mark.parametrize("harm", ["removed", "damaged", "cut short"])
def test_without_a_good_note_everything_is_read_again_and_nothing_taken_in_twice(
    two_files: CorpusConfig, build: Any, files_read: list[str], harm: str
) -> None:
    build(two_files)
    note = Path(two_files.corpus) / "sources.jsonl.zst"
    if harm == "removed":
        note.unlink()
    else:
        note.write_bytes(b"no zstd" if harm == "damaged" else note.read_bytes()[:-9])
    files_read.clear()
    assert build(two_files) is None
    assert sorted(files_read) == ["a.jsonl", "b.jsonl"]
    files_read.clear()
    assert build(two_files) is None
    assert files_read == []


def test_a_note_of_a_manifest_that_is_gone_counts_for_nothing(
    two_files: CorpusConfig, build: Any, tmp_path: Path, write_jsonl: Any, passages: Any
) -> None:
    build(two_files)
    aged(write_jsonl(tmp_path / "in/c.jsonl", passages(15)[12:]))
    assert build(two_files).increments[1].num_documents == 3
    (Path(two_files.corpus) / "manifest/000002.json").unlink()
    assert build(two_files).increments[1].num_documents == 3


def test_reread_reads_unchanged_files(
    two_files: CorpusConfig, files_read: list[str], tutelage: Any, tmp_path: Path
) -> None:
    yaml = tmp_path / "corpus.yaml"
    yaml.write_text(json.dumps(two_files.model_dump(mode="json")))
    assert tutelage("corpus", "build", str(yaml)).status == 0
    files_read.clear()
    assert "nothing new" in tutelage("corpus", "build", str(yaml)).out
    assert files_read == []
    assert "nothing new" in tutelage("corpus", "build", str(yaml), "--reread").out
    assert sorted(files_read) == ["a.jsonl", "b.jsonl"]


def test_a_run_that_publishes_nothing_because_of_an_error_notes_nothing(
    two_files: CorpusConfig, build: Any, synthesizer: Any, files_read: list[str]
) -> None:
    from plugins.synthesizers.mined import MinedSynthesizer
    from schemas.errors import ConfigError

    class Closed(MinedSynthesizer):
        def open(self) -> None:
            raise ConfigError("no.")

    synthesis = two_files.synthesis.model_copy(update={"backend": synthesizer(Closed)})
    with pytest.raises(ConfigError):
        build(two_files.model_copy(update={"synthesis": synthesis}))
    files_read.clear()
    assert build(two_files).increments[0].num_documents == 12
    assert read_manifest(two_files.corpus).number == 1
