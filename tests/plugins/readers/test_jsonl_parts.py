"""Plain JSON lines in parts: any cuts give the same documents at the same positions."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plugins.readers import decompression, jsonl, open_reader
from plugins.readers.base import WHOLE, Part, Reader
from schemas.corpus_config import SourceConfig
from schemas.records import Document
from tests.plugins.readers.reading import places, read, read_parts

LINES = b'{"text": "one"}\n\n{"text": "tw\n{"text": "three"}\r\n{"text": "caf\xe9"}\n{"text": "last"}'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a.jsonl"
    path.write_bytes(LINES)
    return path


def reader_of(path: Path) -> Reader:
    return open_reader(SourceConfig(reader="jsonl", uri=str(path)))


def test_positions_are_offsets_of_lines(path: Path) -> None:
    assert places(path, read("jsonl", path)) == [
        ("@0", "one"),
        ("@17", "invalid_json"),
        ("@30", "three"),
        ("@49", "invalid_utf8"),
        ("@66", "last"),
    ]
    assert LINES[66:] == b'{"text": "last"}'


@pytest.mark.parametrize("range_bytes", [*range(1, 40), 66, 81, 82, 83, 1_000])
@pytest.mark.parametrize("chunk_bytes", [1, 7, 1 << 20])
def test_any_parts_give_what_the_whole_file_gives(
    path: Path, monkeypatch: pytest.MonkeyPatch, range_bytes: int, chunk_bytes: int
) -> None:
    whole = read("jsonl", path)
    monkeypatch.setattr(jsonl, "RANGE_BYTES", range_bytes)
    monkeypatch.setattr(decompression, "_CHUNK_BYTES", chunk_bytes)
    assert read_parts(path) == whole


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lines=st.lists(st.text(alphabet="ab é🧬\r", max_size=6)),
    ends_in_a_line_end=st.booleans(),
    range_bytes=st.integers(1, 50),
)
def test_any_file_gives_the_same_lines_however_it_is_cut(
    tmp_path: Path, lines: list[str], ends_in_a_line_end: bool, range_bytes: int
) -> None:
    data = ("\n".join(lines) + "\n" * ends_in_a_line_end).encode()
    path = tmp_path / "a.jsonl"
    path.write_bytes(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jsonl, "RANGE_BYTES", range_bytes)
        parts = reader_of(path).parts(str(path))
    found = [each for part in parts for each in decompression.lines_between(str(path), *part)]
    assert [line for _, line in found] == list(decompression.lines(str(path)))
    assert all(data[offset : offset + len(line)] == line for offset, line in found)


def test_one_file_gives_the_texts_of_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl, "RANGE_BYTES", 100)
    rows = [json.dumps({"text": f"passage {number}"}) for number in range(40)]
    (tmp_path / "one.jsonl").write_text("\n".join(rows))
    for number in range(4):
        (tmp_path / f"many-{number}.jsonl").write_text("\n".join(rows[10 * number : 10 * number + 10]) + "\n")
    one = read_parts(tmp_path / "one.jsonl")
    many = [each for number in range(4) for each in read_parts(tmp_path / f"many-{number}.jsonl")]
    assert all(isinstance(each, Document) for each in one)
    assert [each.content_hash for each in one] == [each.content_hash for each in many]  # type: ignore[union-attr]


def test_parts_meet_and_the_last_goes_on_to_the_end(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert reader_of(path).parts(str(path)) == [WHOLE]
    monkeypatch.setattr(jsonl, "RANGE_BYTES", 30)
    assert reader_of(path).parts(str(path)) == [Part(0, 30), Part(30, 60), Part(60, None)]


def test_a_part_reads_little_more_than_itself(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path.write_bytes(b'{"text": "one"}\n' * 10_000)
    monkeypatch.setattr(decompression, "_CHUNK_BYTES", 64)
    lines = list(decompression.lines_between(str(path), 1_600, 3_200))
    assert [offset for offset, _ in lines] == list(range(1_600, 3_200, 16))


def test_a_part_inside_one_long_line_is_empty(path: Path) -> None:
    path.write_bytes(b'{"text": "' + b"x" * 1_000 + b'"}\n{"text": "next"}\n')
    assert list(decompression.lines_between(str(path), 100, 900)) == []
    assert list(decompression.lines_between(str(path), 900, 1_013)) == []
    assert list(decompression.lines_between(str(path), 1_013, 1_014)) == [(1_013, b'{"text": "next"}')]


def test_compressed_files_are_not_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl, "RANGE_BYTES", 10)
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(LINES))
    assert reader_of(path).parts(str(path)) == [WHOLE]
    assert [each.source.rsplit(":", 1)[1] for each in read_parts(path)] == ["1", "3", "4", "5", "6"]


def test_an_empty_file_is_one_part_without_documents(path: Path) -> None:
    path.write_bytes(b"")
    assert reader_of(path).parts(str(path)) == [WHOLE]
    assert read_parts(path) == []
