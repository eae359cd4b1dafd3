"""Corpora with linked folders, foreign locks, named pipes, or endless lines in a journal."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipelines.increments.lease import held, new_token
from pipelines.store.journal import Journal
from plugins.commands.main import main
from schemas import limits
from schemas.corpus_layout import manifest_numbers
from schemas.errors import CorpusError
from schemas.manifest import read_manifest

LINKED = [
    "lock",
    "manifest",
    "ledger",
    "dedup",
    "journal",
    "increments",
    "tokenizer",
    "tokenizer/*",
    "dedup/*",
]


@pytest.fixture
def corpus(built: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(built, tmp_path / "corpus"))


@pytest.mark.slow
@pytest.mark.parametrize("name", LINKED)
def test_a_run_neither_writes_nor_removes_behind_a_link(
    name: str, corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (corpus / "lock").mkdir(exist_ok=True)
    folder = sorted(corpus.glob(name))[0]
    victim = tmp_path / "victim"
    folder.rename(victim)
    for photo in ("20240101.tar.gz", "20231231-beef"):
        (victim / photo).write_text("precious")
    folder.symlink_to(victim)
    before = sorted(path.name for path in victim.iterdir())
    for command in (["prune", str(corpus)], ["prune", str(corpus), "--dry-run"]):
        assert main(["corpus", *command]) == 1
        assert f"{folder}: is a link." in capsys.readouterr().err
    with pytest.raises(CorpusError, match="is a link"), held(str(corpus), new_token()):
        pass
    assert sorted(path.name for path in victim.iterdir()) == before


def lock(corpus: Path, name: str = "000001.json", **changes: Any) -> Path:
    values = {
        "token": "0123456789ab",
        "host": "h",
        "boot": "b",
        "pid_namespace": "n",
        "pid": 12,
        "process_started": "1",
        "since": "2026-01-01T00:00:00+00:00",
        "renewed": "2026-01-01T00:00:00+00:00",
        "released": True,
    }
    path = corpus / "lock" / name
    path.parent.mkdir(exist_ok=True)
    for old in path.parent.iterdir():
        old.unlink()
    path.write_text(json.dumps({**values, **changes}))
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"token": "x/../../../victim"}, "token is 'x/"),
        ({"pid": "../../etc"}, "pid is '../../etc'"),
        ({"pid": 10**30}, "pid is 1000"),
        ({"renewed": "now"}, "renewed: "),
        ({"host": "h" * 300}, "host is "),
        ({"more": 1}, "key 'more' is unknown"),
    ],
)
def test_a_lock_that_no_run_wrote_is_refused(changes: dict[str, Any], told: str, corpus: Path) -> None:
    path = lock(corpus, **changes)
    with pytest.raises(CorpusError) as caught, held(str(corpus), new_token()):
        pass
    assert str(path) in str(caught.value) and told in str(caught.value)
    assert "If no run is at work on this corpus, remove it and run again." in str(caught.value)


def test_a_lock_that_never_ends_or_has_an_odd_name_is_no_reason_to_wait(corpus: Path) -> None:
    for name in ("3.json", "٣.json", "000000.json"):
        lock(corpus, name)
        with held(str(corpus), new_token()) as lease:
            assert lease.uri.endswith("/000001.json")
    path = lock(corpus)
    path.write_bytes(b" " * (limits.LOCK_BYTES + 1))
    with (
        pytest.raises(CorpusError, match=r"000001\.json: has more than 65,536 bytes"),
        held(str(corpus), "a"),
    ):
        pass
    path.write_bytes(b"[" * 60_000)
    with pytest.raises(CorpusError, match=r"000001\.json: is damaged"), held(str(corpus), "a"):
        pass
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(CorpusError, match="is a pipe, socket or device"), held(str(corpus), "a"):
        pass


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "pattern",
    ["manifest/000001.json", "*/*/texts/*.zst", "*/*/shards/domain/index.json", "tokenizer/*/files.json"],
)
def test_a_pipe_is_not_waited_for(pattern: str, corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = sorted(corpus.glob(pattern))[0]
    path.unlink()
    os.mkfifo(path)
    assert main(["corpus", "verify", str(corpus), "--manifest", "1"]) == 1
    assert "is a pipe, socket or device, expected a file" in "".join(capsys.readouterr())


def test_a_folder_and_other_digits_are_no_manifests(corpus: Path) -> None:
    (corpus / "manifest/٣.json").write_text("{}")
    assert manifest_numbers(str(corpus)) == [1, 2]
    (corpus / "manifest/000009.json").mkdir()
    with pytest.raises(CorpusError, match=r"000009\.json: is a folder, expected a file"):
        read_manifest(str(corpus))


def test_a_journal_line_without_end_is_one_damaged_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "JOURNAL_LINE_BYTES", 1000)
    generation = {"text": "t", "finish_reason": "stop", "prompt_tokens": 3, "completion_tokens": 2}
    good = [json.dumps({"key": key * 16, "generation": generation}) for key in ("ab", "cd")]
    (tmp_path / "1-x-0001.jsonl").write_text(f"{good[0]}\n{'x' * 10_000}\n{good[1]}\n")
    damaged: list[str] = []
    journal = Journal(str(tmp_path), damaged.append)
    assert [journal.find(key * 16) is not None for key in ("ab", "cd")] == [True, True]
    assert damaged == [f"{tmp_path}/1-x-0001.jsonl: line 2"]
