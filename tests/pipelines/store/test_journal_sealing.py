"""Sealed journals: whatever is killed or damaged, answers stay, and damage is named."""

from __future__ import annotations

import asyncio
import random
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.store import journal_sealing, sorted_table
from pipelines.store.journal import Journal, answer_totals
from pipelines.store.journal_lines import frames_of, packed
from pipelines.store.journal_sealing import seal
from schemas import storage
from schemas.corpus_layout import names_in
from schemas.records import Generation

GOLDEN = Path(__file__).resolve().parents[2] / "golden/asked/journal"


def answer(text: str) -> Generation:
    return Generation(text=text, finish_reason="stop", prompt_tokens=1, completion_tokens=2)


def key(number: int) -> str:
    return f"{number * 0x9E3779B97F4A7C15 % (1 << 64):016x}{number:016x}"


def add(uri: str, texts: dict[str, str], attempt: int = 0) -> None:
    async def run() -> None:
        journal = Journal(uri)
        await asyncio.gather(*(journal.add(name, answer(text), attempt) for name, text in texts.items()))
        await journal.close()

    asyncio.run(run())


def found(uri: str, keys: list[str]) -> tuple[dict[str, tuple[str, int]], list[str]]:
    damages: list[str] = []
    journal = Journal(uri, damages.append)
    answers = {name: journal.find(name) for name in keys}
    return {name: (each[0].text, each[1]) for name, each in answers.items() if each}, damages


@pytest.fixture(params=["local", "memory"])
def uri(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr("pipelines.store.journal._REMOTE_GATHER_SEC", 0.01)
    return str(tmp_path / "journal") if request.param == "local" else f"memory://{uuid.uuid4().hex}/journal"


@pytest.mark.parametrize("seed", range(3))
def test_a_journal_is_a_dict_in_which_the_newest_attempt_wins(
    uri: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sorted_table, "PARTITION_ROWS", 50)
    monkeypatch.setattr(journal_sealing, "_TABLE_ROWS", 60)
    rng, expected = random.Random(seed), dict[str, tuple[str, int]]()
    for number in range(9):
        attempt = rng.choice([0, 0, 3, 7])
        texts = {key(rng.randrange(400)): f"{number} é\ud800" for _ in range(80)}
        add(uri, texts, attempt)
        for name, text in texts.items():
            if attempt >= expected.get(name, ("", 0))[1]:
                expected[name] = text, attempt
        seal(uri)
        assert found(uri, [key(each) for each in range(401)]) == (expected, [])
    assert len([name for name in names_in(uri) if name.startswith("sealed-")]) == 1
    listed = {name.rsplit("-", 1)[0] for name in names_in(uri) if name.endswith(".keys")}
    assert 1 <= len(listed) < 4 + 4


def test_a_run_killed_at_any_write_or_deletion_loses_nothing(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected: dict[str, tuple[str, int]] = {}
    changes = [(storage, name) for name in ("write_bytes", "create_bytes", "remove_file")]
    for kill_at in range(12):
        texts = {key(kill_at * 100 + each): f"{kill_at}" for each in range(20)}
        add(uri, texts)
        expected |= {name: (text, 0) for name, text in texts.items()}
        left = kill_at

        def killed(change: Any) -> Any:
            def run(*arguments: Any, **options: Any) -> Any:
                nonlocal left
                if not left:
                    raise KeyboardInterrupt
                left -= 1
                return change(*arguments, **options)

            return run

        with monkeypatch.context() as patch:
            for module, name in changes:
                patch.setattr(module, name, killed(getattr(module, name)))
            try:
                seal(uri)
            except KeyboardInterrupt:
                pass
        assert found(uri, list(expected)) == (expected, [])
    seal(uri)
    assert found(uri, list(expected)) == (expected, [])
    assert answer_totals(uri) == (240, 480)
    assert not [name for name in names_in(uri) if name.endswith("-0001.jsonl.zst")]


def test_a_truncated_table_is_named_and_made_anew(tmp_path: Path) -> None:
    uri = str(tmp_path)
    texts = {key(number): "a" for number in range(30)}
    add(uri, texts)
    seal(uri)
    (table,) = tmp_path.glob("*.keys")
    table.write_bytes(table.read_bytes()[:-1])
    answers, damages = found(uri, list(texts))
    assert answers == {} and damages[0] == f"{table}: has 1,163 bytes, expected 1,164"
    said: list[str] = []
    seal(uri, say=said.append)
    assert said == [f"Journal: {damages[0]}", f"Journal: {uri}: its tables are made anew from its files."]
    assert found(uri, list(texts)) == ({name: ("a", 0) for name in texts}, [])


def test_a_damaged_page_is_named_and_costs_its_own_answers(tmp_path: Path) -> None:
    uri = str(tmp_path)
    keys = sorted(key(number) for number in range(600))
    add(uri, dict.fromkeys(keys, "a"))
    seal(uri)
    (table,) = tmp_path.glob("*.keys")
    data = bytearray(table.read_bytes())
    data[-1] ^= 255
    table.write_bytes(data)
    answers, damages = found(uri, keys)
    assert sorted(answers) == keys[:512]
    assert len(damages) == 1 and damages[0].startswith(f"{table}: is damaged: its page at byte")
    add(uri, dict.fromkeys(keys[512:], "b"))
    seal(uri)
    assert [text for text, _ in map(found(uri, keys)[0].get, keys)] == ["a"] * 512 + ["b"] * 88  # type: ignore[misc]


def test_a_damaged_listing_is_named_and_costs_nothing(uri: str) -> None:
    texts = {key(number): "a" for number in range(30)}
    add(uri, texts)
    seal(uri)
    (listing,) = (name for name in names_in(uri) if name.startswith("sealed-"))
    storage.write_bytes(storage.join(uri, listing), b"{")
    answers, damages = found(uri, list(texts))
    assert len(answers) == 30 and len(damages) == 1 and listing in damages[0]
    seal(uri)
    assert found(uri, list(texts)) == ({name: ("a", 0) for name in texts}, [])


def test_an_old_journal_opens_and_is_sealed_without_a_change_of_its_files(tmp_path: Path) -> None:
    before = {}
    for file in GOLDEN.glob("*.jsonl"):
        before[file.name] = file.read_bytes()
        (tmp_path / file.name).write_bytes(before[file.name])
    keys = [line.split(b'"key":"')[1][:32].decode() for data in before.values() for line in data.splitlines()]
    answers, _ = found(str(tmp_path), keys)
    assert len(answers) == len(keys) > 5
    seal(str(tmp_path))
    assert found(str(tmp_path), keys) == (answers, [])
    assert {name: (tmp_path / name).read_bytes() for name in before} == before


def test_on_a_store_each_flush_is_one_object_and_a_look_up_reads_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipelines.store.journal._REMOTE_GATHER_SEC", 0.05)
    uri = f"memory://{uuid.uuid4().hex}/journal"
    written: list[str] = []
    write = storage.write_bytes
    monkeypatch.setattr(storage, "write_bytes", lambda uri, data: (written.append(uri), write(uri, data))[1])
    rng = random.Random(1)
    texts = {key(number): rng.randbytes(500).hex() for number in range(3000)}
    for start in range(0, 3000, 1000):
        add(uri, {key(number): texts[key(number)] for number in range(start, start + 1000)})
    flushes = [each for each in written if each.endswith(".jsonl.zst")]
    assert 3 <= len(flushes) == len(set(flushes)) <= 9
    seal(uri)
    assert len([name for name in names_in(uri) if name.endswith(".jsonl.zst")]) == 1
    journal = Journal(uri)
    folder = journal._view.snapshot.folder
    read: list[int] = []
    original = folder.read
    monkeypatch.setattr(
        folder, "read", lambda name, at, size: (read.append(size), original(name, at, size))[1]
    )
    assert journal.find(key(7)) == (answer(texts[key(7)]), 0)
    assert journal.find("ff" * 16) is None
    assert len(read) == 4 and sum(read) < 100_000 < 2_000_000


def test_a_damaged_frame_costs_no_other() -> None:
    lines = [b"%d" % number * 70_000 + b"\n" for number in range(3)]
    data = bytearray(packed(lines))
    places = [(at, size) for at, size, _ in frames_of(bytes(data))]
    assert len(places) == 3
    data[places[1][0] + 8] ^= 255
    assert [text for _, _, text in frames_of(bytes(data)) if text] == [lines[0], lines[2]]


def test_of_equal_ranks_the_last_row_wins() -> None:
    row = np.dtype([("key", ">u8"), ("rest", ">u8"), ("rank", "<u8"), ("value", "<u4")])
    rows = np.array([(2, 0, 1, 10), (1, 5, 2, 11), (1, 5, 1, 12), (2, 0, 1, 13)], row)
    assert sorted_table.newest(rows).tolist() == [(1, 5, 2, 11), (2, 0, 1, 13)]
