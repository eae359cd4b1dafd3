"""JSON in other shapes than one row per line: arrays, joined objects, pretty-printed objects."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plugins.readers import json_values, jsonl, open_reader
from plugins.readers.base import BadRow, Row
from schemas import limits
from schemas.corpus_config import SourceConfig
from schemas.records import Document, Reject
from tests.plugins.readers.reading import noise, only_reject, places, texts
from tests.plugins.readers.reading import read as read_file
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
    "array with braces in a row, as of mongoexport": "["
    + ",\n".join(json.dumps(row, indent="\t") for row in ROWS)
    + "]",
    "pretty array without indentation": json.dumps(ROWS, indent=0),
    "rows that begin on a line with others": "[ " + ", ".join(PRETTY) + " ]",
    "objects whose keys begin on the first line": "\n".join(each.replace("{\n", "{", 1) for each in PRETTY),
    "a row on a line before pretty ones": "\n".join([LINES[0], *PRETTY[1:]]),
    "rows on lines before pretty ones": "\n".join([*LINES[:3], PRETTY[3]]),
    "pretty json-seq": "".join(f"\x1e{each}\n" for each in PRETTY),
}


def open_rows(path: Path) -> Iterator[Row | BadRow]:
    return open_reader(SourceConfig(reader="jsonl", uri=str(path))).rows(str(path))


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
    assert places(path, read(path)) == [("[0]", "one"), ("[1]", "two"), ("[2]", "three")]
    path.write_text('{"text": "one"}\n{"text": "two"} {"text": "three"}\n')
    assert places(path, read(path)) == [("@0", "one"), ("@16", "two"), ("@16[1]", "three")]
    path = tmp_path / "a.json.gz"
    path.write_bytes(gzip.compress(b'{"text": "one"}\n\n{"text": "two"} {"text": "three"}\n'))
    assert places(path, read(path)) == [("1", "one"), ("3", "two"), ("3[1]", "three")]
    path.write_bytes(gzip.compress(b'[{"text": "one"},\n{"text": "two"}]'))
    assert places(path, read(path)) == [("[0]", "one"), ("[1]", "two")]


def test_an_object_inside_a_row_is_no_row_whatever_its_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(
        '[\n {"id":1, "comments":[{"text":"nested"},\n{"id":901,"text":"nested"}],\n  "text":"one"},\n'
        '{"id":2, "comments":[\n{\n"text":"nested"\n}\n],\n"text":"two"}\n]'
    )
    assert places(path, read(path)) == [("[0]", "one"), ("[1]", "two")]


@given(
    st.lists(
        st.dictionaries(
            st.text(), st.recursive(st.none() | st.floats() | st.integers() | st.text(), st.lists)
        )
    ),
    st.sampled_from([None, 0, 1, "\t"]),
    st.integers(1, 40),
)
@settings(deadline=None, max_examples=50)
def test_any_array_in_any_chunks_is_read_as_json_reads_it(rows: list[Any], indent: Any, size: int) -> None:
    data = json.dumps(rows, indent=indent, ensure_ascii=False).encode("utf-8", "replace")
    chunks = [data[start : start + size] for start in range(0, len(data), size)]
    found = list(json_values.rows_in(chunks, str))
    assert [repr(each.values) for each in found if isinstance(each, Row)] == [
        repr(each) for each in json.loads(data)
    ]
    assert len(found) == len(rows)


def test_numbers_and_half_characters_are_those_of_json(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(
        '[\n{"text": "\\ud83d", "id": 18446744073709551617},\n{"text": "x", "id": 1.5, "n": NaN}]'
    )
    found = [row.values for row in open_rows(path) if isinstance(row, Row)]
    assert [row["id"] for row in found] == [18446744073709551617, 1.5]
    assert found[0]["text"] == "\ud83d" and repr(found[1]["n"]) == "nan"


def test_a_row_that_is_too_long_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RECORD_BYTES", 1_000)
    path = tmp_path / "a.json"
    escapes = '{\\"a\\": ' + "\\" * 3_000
    for long in ("x" * 3_000, "x" * 3_000_000, escapes, "y" * 1_000):
        path.write_text(f'[{{"text": "one"}}, {{"text": "{long}", "n": [{{}}]}}, {{"text": "two"}}]')
        found = read(path)
        assert places(path, found) == [("[0]", "one"), ("[1]", "record_too_long"), ("[2]", "two")]
        assert only_reject(found).detail == "it has more than 1,000 bytes, the most that a record may have"


@pytest.mark.parametrize("indent", [None, 0, 2])
def test_a_bad_row_costs_only_itself_if_its_end_is_certain(tmp_path: Path, indent: int | None) -> None:
    rows = [{"text": "one"}, {"text": "BAD", "of": [{"text": "nested"}, "} ,"]}, {"text": "three"}]
    path = tmp_path / "a.json"
    path.write_text(json.dumps(rows, indent=indent).replace('"BAD"', "bad"))
    found = read(path)
    assert places(path, found) == [("[0]", "one"), ("[1]", "invalid_json"), ("[2]", "three")]
    assert only_reject(found).detail.endswith("; 1 rows were read before it")
    path.write_text(json.dumps(rows, indent=indent).replace("BAD", 'b"d'))
    ends = ["one", "invalid_json"] if indent is None else ["one", "invalid_json", "three"]
    assert [what for _, what in places(path, read(path))] == ends


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'{"text": "one"} and more\n{"text": "two"}', ["one", "invalid_json", "two"]),
        (b'{"text": "one"}\n{\n{"text": "two"}\n', ["one", "invalid_json", "two"]),
        (b"[INFO] begun\n" + b'{"text": "one"}', ["invalid_json", "one"]),
        (b'["a", 1]\n{"text": "one"}]', ["not_an_object", "not_an_object", "one", "invalid_json"]),
        (b'{"text": "tw\n{"text": "one"}', ["invalid_json", "one"]),
        (b'{"text": "one"\n{"text": "two"}', ["invalid_json", "two"]),
        (b'[{"text": "one"},\n{"text": "two"', ["one", "invalid_json"]),
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


def test_where_the_end_of_a_bad_row_is_not_certain_no_row_behind_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('[{"text": "one"}, {"text": "t"wo"}, {"body": "three"}]')
    *_, reject = read(path)
    assert isinstance(reject, Reject)
    assert reject.detail == (
        "Expecting ',' delimiter: character 13; the row begins "
        '\'{"text": "t"wo"}, {"body": "three"}]\'; 1 rows were read before it, and none behind it'
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


def test_rows_before_damage_are_kept_and_counted(tmp_path: Path) -> None:
    data = gzip.compress(json.dumps(noise(20_000)).encode())
    path = tmp_path / "a.json.gz"
    path.write_bytes(data[: len(data) // 2])
    *rows, last = read(path)
    assert texts(rows) == [row["text"] for row in noise(20_000)[: len(rows)]] and len(rows) > 5_000
    assert isinstance(last, Reject) and last.reason == "damaged_file"
    assert last.detail.endswith(f"; {len(rows)} rows were read before it")


def test_a_large_array_that_is_cut_off_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonl, "RANGE_BYTES", 100)
    path = tmp_path / "a.json"
    for between in (", ", ",\n"):
        path.write_text("[" + between.join(LINES))
        assert [what for _, what in places(path, read(path))] == [*TEXTS, "truncated_file"]


def test_a_pretty_row_behind_the_first_bytes_says_what_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jsonl, "_HEAD_BYTES", 20)
    path = tmp_path / "a.json"
    path.write_text('{"text": "one"}\n{"text": "two"}\n{\n"text": 3}')
    first = next(each for each in read(path) if isinstance(each, Reject))
    assert first.source == f"{path}:@32" and first.detail == (
        "Expecting property name enclosed in double quotes: character 2; the row begins '{'; rows over "
        "several lines are read if the file's first megabyte has one"
    )


@pytest.mark.parametrize(
    ("value", "rows"),
    [
        ({"n": 2, "results": [{"text": "one"}, {"text": "two"}]}, "results"),
        ({"data": {"n": 2, "items": [{"text": "one"}, {"text": "two"}]}}, "data.items"),
    ],
)
def test_rows_under_a_key_are_named_by_the_reject_and_read_by_an_option(
    tmp_path: Path, value: dict[str, Any], rows: str
) -> None:
    path = tmp_path / "a.json"
    for indent, at in ((None, "@0"), (2, "[0]")):
        path.write_text(json.dumps(value, indent=indent))
        assert only_reject(read(path)).detail == (
            f"no field 'text' in a row of {', '.join(sorted(value))}; each item of {rows!r} may be a row: "
            f"set option `rows: {rows}` of reader jsonl"
        )
        found = read_file("jsonl", path, options={"rows": rows})
        assert places(path, found) == [(f"{at}.{rows}[0]", "one"), (f"{at}.{rows}[1]", "two")]


def test_rows_under_a_key_keep_their_encoding_and_faults(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"rows": [{"text": "one"}, 2]}\n{"row": []}\n{"rows": [{"text": "three"}]}\n', "utf-16")
    found = read_file("jsonl", path, options={"rows": "rows"}, encoding="auto")
    assert places(path, found) == [
        ("1.rows[0]", "one"),
        ("1.rows[1]", "not_an_object"),
        ("2", "no_rows"),
        ("3.rows[0]", "three"),
    ]
    assert isinstance(found[0], Document) and found[0].metadata["detected_encoding"] == "utf-16"
    assert isinstance(found[2], Reject)
    assert found[2].detail == "option rows: no list 'rows' in an object of row"
