"""JSON lines: one document per line."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from schemas.records import Document, Reject
from tests.plugins.readers.reading import jsonl, only_reject, read, texts, write


class TestJsonl:
    def test_a_bad_line_costs_only_itself(self, tmp_path: Path) -> None:
        lines = [
            b'{"text": "one"}',
            b'{"text": "tw',
            b"",
            b'["text"]',
            b'{"text": "caf\xe9"}',
            b'{"body": "x"}',
            b'{"text": 7}',
            b'{"text": " \\n "}',
            b'{"text": null}',
            b"[" * 100_000,
            b'{"text": "last"}',
        ]
        path = write(tmp_path / "a.jsonl.gz", gzip.compress(b"\n".join(lines)))
        found = read("jsonl", path)
        assert [each.text for each in found if isinstance(each, Document)] == ["one", "last"]
        rejects = [each for each in found if isinstance(each, Reject)]
        assert [(each.source.removeprefix(f"{path}:"), each.reason) for each in rejects] == [
            ("2", "invalid_json"),
            ("4", "not_an_object"),
            ("5", "invalid_utf8"),
            ("6", "missing_field"),
            ("7", "not_text"),
            ("8", "empty"),
            ("9", "missing_field"),
            ("10", "invalid_json"),
        ]
        assert {each.stage for each in rejects} == {"read"}
        assert rejects[0].detail == (
            'Unterminated string starting at: character 10; the row begins \'{"text": "tw\''
        )
        assert rejects[1].detail == "expected a JSON object, found str"
        assert rejects[2].detail == (
            "byte b'\\xe9' at offset 13 of the row, expected UTF-8. If the file is in Windows-1252, "
            "`encoding: cp1252` or `auto` on its source reads it"
        )
        assert rejects[3].detail == "no field 'text' in a row of body"
        assert rejects[4].detail == "field 'text' holds int, expected a string"
        assert rejects[5].detail == "field 'text' is empty"
        assert rejects[6].detail == "field 'text' is null in a row of text"

    def test_a_byte_order_mark_and_windows_line_ends_are_no_harm(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.jsonl", b'\xef\xbb\xbf{"text": "one"}\r\n{"text": "two"}\r\n')
        assert texts(read("jsonl", path)) == ["one", "two"]

    def test_half_an_emoji_becomes_a_replacement_character_and_a_reject(self, tmp_path: Path) -> None:
        path = write(
            tmp_path / "a.jsonl", b'{"text": "cut \\ud83d", "id": 1, "t": "\\udc00", "n": "\\ud83d\\ude00"}\n'
        )
        found, reject = read("jsonl", path, id_field="id", metadata_fields=["t", "n"])
        assert isinstance(found, Document)
        assert (found.text, found.metadata) == ("cut \ufffd", {"t": "\ufffd", "n": "\U0001f600"})
        assert reject == Reject(
            stage="read",
            reason="half_character",
            document_id="1",
            source=f"{path}:@0",
            detail="'text', 't' held half a character, such as \\ud83d alone, which became U+FFFD",
        )

    def test_half_an_emoji_is_no_part_of_an_id(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.jsonl", b'{"text": "one", "id": "x\\ud83d"}\n')
        (reject,) = read("jsonl", path, id_field="id")
        assert isinstance(reject, Reject)
        assert (reject.reason, reject.detail) == (
            "missing_id",
            "no usable id in field 'id', found 'x\\ud83d'",
        )

    def test_null_is_said_as_null(self, tmp_path: Path) -> None:
        rows = jsonl(
            {"a": None, "b": {"c": None}}, {"b": {}}, {"b": '{"c": null}'}, {"b": {"c": None}, "a": "x"}
        )
        *rejects, good = read("jsonl", write(tmp_path / "a.jsonl", rows), format="{a} {b.c}")
        assert [each.detail for each in rejects if isinstance(each, Reject)] == [
            "field 'a' and 'b.c' is null in a row of a, b",
            "no field 'a' or 'b.c' in a row of b",
            "field 'b.c' is null in a row of b",
        ]
        assert texts([good]) == ["x"]

    def test_dotted_fields_reach_into_objects(self, tmp_path: Path) -> None:
        rows = jsonl({"meta": {"body": {"text": "deep"}}}, {"meta.body.text": "flat"}, {"meta": "x"})
        found = read("jsonl", write(tmp_path / "a.jsonl", rows), text_field="meta.body.text")
        assert texts(found[:2]) == ["deep", "flat"]
        assert only_reject(found).detail == "no field 'meta.body.text' in a row of meta"

    def test_dotted_fields_reach_into_lists_and_into_strings_that_hold_json(self, tmp_path: Path) -> None:
        pages = {"pages": [{"page": 1, "text": "One."}, {"page": 2}, {"page": 3, "text": "Three."}]}
        path = write(tmp_path / "a.jsonl", jsonl(pages, {"pages": [{"page": 1}, 7, None]}))
        found = read("jsonl", path, text_field="pages.text")
        assert texts(found[:1]) == ["One.\n\nThree."]
        assert only_reject(found).detail == "no field 'pages.text' in a row of pages"
        path = write(tmp_path / "b.jsonl", jsonl({"meta": '{"body": "deep", "n": 1}'}, {"meta": "{body"}))
        found = read("jsonl", path, text_field="meta.body", metadata_fields=["meta.n"])
        assert isinstance(found[0], Document)
        assert (found[0].text, found[0].metadata) == ("deep", {"meta.n": "1"})
        assert only_reject(found).detail == "no field 'meta.body' in a row of meta"

    def test_ids_are_the_place_unless_a_field_is_named(self, tmp_path: Path) -> None:
        rows = jsonl(
            {"text": "a", "k": {"id": "x1"}},
            {"text": "b", "k": {"id": 7}},
            {"text": "c"},
            {"text": "d", "k": {"id": ""}},
            {"text": "e", "k": {"id": [1]}},
            {"text": "f", "k": {"id": 0}},
        )
        path = write(tmp_path / "a.jsonl.gz", gzip.compress(rows))
        by_place = read("jsonl", path)
        assert [each.document_id for each in by_place] == [f"{path}:{number}" for number in range(1, 7)]
        by_field = read("jsonl", path, id_field="k.id")
        assert [each.document_id for each in by_field if isinstance(each, Document)] == ["x1", "7", "0"]
        assert [each.source for each in by_field] == [f"{path}:{number}" for number in range(1, 7)]
        assert [(each.reason, each.detail) for each in by_field if isinstance(each, Reject)] == [
            ("missing_id", "no usable id in field 'k.id', found None"),
            ("missing_id", "no usable id in field 'k.id', found ''"),
            ("missing_id", "no usable id in field 'k.id', found [1]"),
        ]

    def test_metadata_is_carried_along_as_strings(self, tmp_path: Path) -> None:
        rows = jsonl({"text": "a", "title": "T", "year": 1999, "m": {"x": "deep"}}, {"text": "b"})
        path = write(tmp_path / "a.jsonl", rows)
        first, second = read("jsonl", path, metadata_fields=["title", "year", "m.x"])
        assert isinstance(first, Document) and isinstance(second, Document)
        assert first.metadata == {"title": "T", "year": "1999", "m.x": "deep"}
        assert second.metadata == {}

    @pytest.mark.parametrize(
        ("format_", "row", "expected"),
        [
            ("{a}\n{b}", {"a": "one", "b": "two"}, "one\ntwo"),
            ("{a}\n{b}", {"a": "", "b": "two"}, "two"),
            ("{a}\n{b}", {"b": "two"}, "two"),
            ("{a}\n{b}", {"a": "one", "b": None}, "one"),
            ("{a}\n{b} {c}", {"a": "one", "c": "three"}, "one three"),
            ("{a}\n{b} {c}", {"c": "three"}, "three"),
            ("Q: {a}\nA: {b.c}", {"a": "why", "b": {"c": "so"}}, "Q: why\nA: so"),
            ("{{{a}}} {a}", {"a": "{b}"}, "{{b}} {b}"),
            ("{a}", {"a": "  kept inside \n too "}, "kept inside \n too"),
        ],
    )
    def test_a_format_joins_fields_and_leaves_nothing_of_empty_ones(
        self, tmp_path: Path, format_: str, row: dict[str, Any], expected: str
    ) -> None:
        assert texts(read("jsonl", write(tmp_path / "a.jsonl", jsonl(row)), format=format_)) == [expected]

    @pytest.mark.parametrize(
        ("row", "reason", "detail"),
        [
            ({"c": "x"}, "missing_field", "no field 'a' or 'b' in a row of c"),
            ({"a": "", "b": " "}, "empty", "field 'a' and 'b' is empty"),
            ({"a": "x", "b": 3}, "not_text", "field 'b' holds int, expected a string"),
            ({}, "missing_field", "no field 'a' or 'b' in a row of no fields"),
        ],
    )
    def test_a_format_without_any_field_gives_a_reject(
        self, tmp_path: Path, row: dict[str, Any], reason: str, detail: str
    ) -> None:
        reject = only_reject(read("jsonl", write(tmp_path / "a.jsonl", jsonl(row)), format="{a}\n{b}"))
        assert (reject.reason, reject.detail) == (reason, detail)
