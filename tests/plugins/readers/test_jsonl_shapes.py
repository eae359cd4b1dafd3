"""JSON in other shapes than one row per line: arrays, joined objects, pretty-printed objects."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from plugins.readers import jsonl
from schemas.records import Reject
from tests.plugins.readers.reading import places, texts
from tests.plugins.readers.reading import read_parts as read

ROWS = [{"text": f"Record {number}: caf\u00e9.", "meta": {"n": [1, {"a": "]}"}]}} for number in range(4)]
TEXTS = [row["text"] for row in ROWS]
LINES = [json.dumps(row, ensure_ascii=False) for row in ROWS]
PRETTY = [json.dumps(row, ensure_ascii=False, indent=2) for row in ROWS]

SHAPES = {
    "array on a line": json.dumps(ROWS),
    "pretty array": json.dumps(ROWS, indent=2),
    "pretty array with tabs": json.dumps(ROWS, indent="\t") + "\n",
    "array of a row a line": "[\n" + ",\n".join(LINES) + "\n]\n",
    "array with its brackets beside rows": "[" + ",\n".join(LINES) + "]",
    "array with commas in front": "[ " + "\n, ".join(LINES) + "\n]",
    "an array a line": "\n".join(f"[{line}]" for line in LINES),
    "nothing between": "".join(LINES),
    "spaces between": "  ".join(LINES),
    "carriage returns": "\r".join(LINES) + "\r",
    "line ends of Windows": "[\r\n" + ",\r\n".join(LINES) + "\r\n]\r\n",
    "pretty objects": "\n".join(PRETTY),
    "pretty objects of Windows": "\r\n".join(PRETTY).replace("\n", "\r\n").replace("\r\r", "\r"),
    "json-seq": "".join(f"\x1e{line}\n" for line in LINES),
    "json-seq without line ends": "".join(f"\x1e{line}" for line in LINES),
    "pretty json-seq": "".join(f"\x1e{each}\n" for each in PRETTY),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("name", ["a.json", "a.json.gz"])
def test_every_row_comes_in(tmp_path: Path, shape: str, mark: str, name: str) -> None:
    data = (mark + SHAPES[shape]).encode()
    path = tmp_path / name
    path.write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    found = read(path)
    assert texts(found) == TEXTS
    assert len({each.source for each in found}) == 4


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("range_bytes", [1, 7, 60, 150])
def test_the_rows_of_any_parts_are_those_of_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: str, range_bytes: int
) -> None:
    path = tmp_path / "a.json"
    path.write_text(SHAPES[shape])
    whole = read(path)
    monkeypatch.setattr(jsonl, "RANGE_BYTES", range_bytes)
    assert read(path) == whole


def test_positions_are_those_of_lines_and_of_rows_on_a_line(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('[{"text": "one"}, {"text": "two"},\n{"text": "three"}]\n')
    assert places(path, read(path)) == [("@0", "one"), ("@0[1]", "two"), ("@35", "three")]
    path.write_text('[\n  {\n    "text": "one"\n  },\n  {\n    "text": "two"\n  }\n]')
    assert places(path, read(path)) == [("@2", "one"), ("@29", "two")]
    path = tmp_path / "a.json.gz"
    path.write_bytes(gzip.compress(b'{"text": "one"} {"text": "two"}\n\n{"text": "three"}\n'))
    assert places(path, read(path)) == [("1", "one"), ("1[1]", "two"), ("3", "three")]


def test_a_bad_row_of_a_pretty_array_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    rows = ['  {\n    "text": "one"\n  }', '  {\n    "text": "t"wo"\n  }', '  {\n    "text": "cut"',
            '  {\n    "text": "four"\n  }']  # fmt: skip
    path.write_text("[\n" + ",\n".join(rows) + "\n]")
    found = places(path, read(path))
    assert [what for _, what in found] == ["one", "invalid_json", "invalid_json", "four"]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'{"text": "one"} and more\n{"text": "two"}', ["one", "invalid_json", "two"]),
        (b'{"text": "one"}\n{\n{"text": "two"}\n', ["one", "invalid_json", "two"]),
        (b"[INFO] begun\n" + b'{"text": "one"}\n]', ["invalid_json", "one"]),
        (b'["a", 1]\n{"text": "one"}]', ["not_an_object", "not_an_object", "one"]),
        (b'[\n{"text": "one"},\n{"text": "caf\xe9"},\n{"text": "two"}\n]', ["one", "invalid_utf8", "two"]),
        (b'[\n{"text": "one"},\n{"text": "two"},', ["one", "two", "truncated_file"]),
        (b'[{"text": "one"}, {"text": "two"}', ["one", "two", "truncated_file"]),
        (b'{\n  "text": "one"\n}\n{\n  "text": "tw', ["one", "invalid_json"]),
        (b"[]\n", []),
        (b"[", ["truncated_file"]),
    ],
)
def test_what_is_no_row_is_on_record_and_the_rest_comes_in(
    tmp_path: Path, data: bytes, expected: list[str]
) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(data)
    assert [what for _, what in places(path, read(path))] == expected


def test_a_bad_item_of_an_array_on_a_line_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    rows = [
        '{"text": "one"}',
        '{"text": "t"wo", "of": [{"a": 1}, {"b": "}, {"}]}',
        '{"text": "three"}',
        "{\"text\": 'four'}",
        '{ "text" : "five"}',
    ]
    path.write_text(f"[{', '.join(rows)}]")
    found = read(path)
    assert places(path, found) == [
        ("@0", "one"),
        ("@0[1]", "invalid_json"),
        ("@0[2]", "three"),
        ("@0[3]", "invalid_json"),
        ("@0[4]", "five"),
    ]
    assert found[1].detail.endswith(
        "; 1 rows of the line were read before it; reading goes on 51 characters further"
    )


def test_a_bad_last_item_says_that_no_row_was_read_behind_it(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('[{"text": "one"}, {"text": "t"wo"}, {"body": "three"}]')
    *_, reject = read(path)
    assert isinstance(reject, Reject)
    assert reject.detail == (
        "Expecting ',' delimiter: line 1 column 31 (char 30); the line begins "
        '\'{"text": "t"wo"}, {"body": "three"}]\'; 1 rows of the line were read before it; '
        "no row of the line was read behind it"
    )


@pytest.mark.parametrize("range_bytes", [20, 1 << 26])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_another_encoding_is_one_reject(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str, range_bytes: int
) -> None:
    monkeypatch.setattr(jsonl, "RANGE_BYTES", range_bytes)
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(LINES), encoding=encoding)
    assert places(path, read(path)) == [("", "not_utf8")]


def test_a_large_array_that_is_cut_off_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl, "RANGE_BYTES", 100)
    path = tmp_path / "a.json"
    for between in (", ", ",\n"):
        path.write_text("[" + between.join(LINES))
        assert [what for _, what in places(path, read(path))] == [*TEXTS, "truncated_file"]
