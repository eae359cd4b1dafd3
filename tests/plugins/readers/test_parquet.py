"""Parquet: one document per row."""

from __future__ import annotations

import decimal
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from plugins.readers import READERS
from schemas import storage
from schemas.corpus_config import SourceConfig
from schemas.records import Document, Reject
from tests.plugins.readers.reading import noise, only_reject, read, texts, write


def parquet(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    pyarrow.parquet.write_table(pyarrow.table(columns), path, **options)
    return path


class TestParquet:
    def test_rows_are_documents_named_by_their_number(self, tmp_path: Path) -> None:
        path = parquet(tmp_path / "a.parquet", {"text": ["one", "", None, "四"], "n": [1, 2, 3, 4]})
        found = read("parquet", path)
        assert [(each.source.removeprefix(f"{path}:"), type(each).__name__) for each in found] == [
            ("0", "Document"),
            ("1", "Reject"),
            ("2", "Reject"),
            ("3", "Document"),
        ]
        assert texts([found[0], found[3]]) == ["one", "四"]
        assert [each.reason for each in found[1:3] if isinstance(each, Reject)] == ["empty", "missing_field"]

    def test_fields_inside_a_column_ids_metadata_and_formats(self, tmp_path: Path) -> None:
        columns = {
            "meta": [{"text": "deep", "other": 1}],
            "id": [7],
            "title": ["T"],
            "dotted.name": ["flat"],
        }
        path = parquet(tmp_path / "a.parquet", columns)
        (found,) = read("parquet", path, text_field="meta.text", id_field="id", metadata_fields=["title"])
        assert isinstance(found, Document)
        assert (found.text, found.document_id, found.metadata) == ("deep", "7", {"title": "T"})
        assert texts(read("parquet", path, text_field="dotted.name")) == ["flat"]
        assert texts(read("parquet", path, format="{title}: {meta.text}")) == ["T: deep"]

    def test_other_columns_are_not_read(self, tmp_path: Path) -> None:
        path = parquet(tmp_path / "a.parquet", {"text": ["one"], "image": [b"\xff"], "id": ["x"]})
        (row,) = READERS.load("parquet")(SourceConfig(reader="parquet", uri=str(path))).rows(str(path))
        assert row.values == {"text": "one"}

    def test_rows_of_many_groups_keep_their_numbers(self, tmp_path: Path) -> None:
        path = parquet(tmp_path / "a.parquet", {"text": [f"t{n}" for n in range(3_000)]}, row_group_size=700)
        found = read("parquet", path)
        assert texts(found) == [f"t{n}" for n in range(3_000)]
        assert found[-1].source == f"{path}:2999"

    def test_a_file_without_the_column_is_one_reject(self, tmp_path: Path) -> None:
        path = parquet(tmp_path / "a.parquet", {"body": ["x", "y"], "id": [1, 2]})
        (reject,) = read("parquet", path)
        assert reject == Reject(
            stage="read",
            reason="missing_column",
            document_id="",
            source=str(path),
            detail="no column 'text'; the file has body, id. Set text_field or format.",
        )

    def test_a_file_without_rows_holds_no_documents(self, tmp_path: Path) -> None:
        path = parquet(tmp_path / "a.parquet", {"text": pyarrow.array([], pyarrow.string())})
        assert read("parquet", path) == []

    def test_on_another_file_system(self, memory: str, tmp_path: Path) -> None:
        data = parquet(tmp_path / "a.parquet", {"text": ["one"]}).read_bytes()
        storage.write_bytes(f"{memory}/a.parquet", data)
        assert texts(read("parquet", f"{memory}/a.parquet")) == ["one"]

    @pytest.mark.parametrize(
        "data", [b"", b"PAR1", b"no parquet at all" * 10, b"PAR1" + b"\xff" * 90 + b"PAR1"]
    )
    def test_what_is_no_parquet_is_one_reject(self, tmp_path: Path, data: bytes) -> None:
        path = write(tmp_path / "a.parquet", data)
        (reject,) = read("parquet", path)
        assert isinstance(reject, Reject)
        assert (reject.reason, reject.source) == ("damaged_file", f"{path}:0")
        assert reject.detail.endswith("; 0 rows were read before it")

    @pytest.mark.parametrize("compression", ["none", "snappy", "zstd", "gzip"])
    def test_rows_before_a_damaged_group_are_kept(self, tmp_path: Path, compression: str) -> None:
        rows = [row["text"] for row in noise(4_000)]
        path = parquet(
            tmp_path / "a.parquet",
            {"text": rows},
            row_group_size=1024,
            compression=compression,
            use_dictionary=False,
        )
        start = pyarrow.parquet.ParquetFile(path).metadata.row_group(2).column(0).data_page_offset
        data = bytearray(path.read_bytes())
        data[start : start + 3_000] = b"\xff" * 3_000
        *documents, last = read("parquet", write(path, bytes(data)))
        assert texts(documents) == rows[: len(documents)] and len(documents) >= 1024
        assert isinstance(last, Reject)
        assert (last.reason, last.source) == ("damaged_file", f"{path}:{len(documents)}")
        assert last.detail.endswith(f"; {len(documents)} rows were read before it")

    @pytest.mark.parametrize("kind", [pyarrow.binary(), pyarrow.large_binary(), pyarrow.binary(5)])
    def test_binary_columns_are_text(self, tmp_path: Path, kind: pyarrow.DataType) -> None:
        values = [b"caf\xc3\xa9", b"caf\xe9s", None, b"three"]
        path = parquet(
            tmp_path / "a.parquet",
            {"text": pyarrow.array(values, kind), "id": pyarrow.array([b"a", b"b", b"c", b"d"], kind)}
            if kind != pyarrow.binary(5)
            else {"text": pyarrow.array(values, kind), "id": list("abcd")},
        )
        first, bad, empty, last = read("parquet", path, id_field="id", metadata_fields=["id"])
        assert texts([first, last]) == ["caf\u00e9", "three"]
        assert [first.document_id, last.document_id] == ["a", "d"]
        assert isinstance(first, Document) and first.metadata == {"id": "a"}
        assert isinstance(bad, Reject) and isinstance(empty, Reject)
        assert (bad.reason, bad.source) == ("invalid_utf8", f"{path}:1")
        assert bad.detail == "byte b'\\xe9' at offset 3 of a field"
        assert empty.reason == "missing_field"

    def test_a_string_that_is_no_text_costs_only_its_row(self, tmp_path: Path) -> None:
        binary = pyarrow.array([b"one", b"caf\xe9", b"three"], pyarrow.binary())
        strings = pyarrow.Array.from_buffers(pyarrow.string(), 3, binary.buffers())
        first, second, third = read("parquet", parquet(tmp_path / "a.parquet", {"text": strings}))
        assert texts([first, third]) == ["one", "three"]
        assert isinstance(second, Reject)
        assert (second.reason, second.source) == ("invalid_utf8", f"{tmp_path}/a.parquet:1")
        assert second.detail == "byte b'\\xe9' at offset 3 of a field"

    def test_bytes_are_text_if_they_are_utf_8(self, tmp_path: Path) -> None:
        columns = {"text": ["é".encode(), b"caf\xe9", b"three"], "id": [b"a", b"b", b"c"], "key": [b"k"] * 3}
        path = parquet(tmp_path / "a.parquet", columns)
        first, second, third = read("parquet", path, id_field="id", metadata_fields=["key"])
        assert texts([first, third]) == ["é", "three"]
        assert isinstance(first, Document) and (first.document_id, first.metadata) == ("a", {"key": "k"})
        assert isinstance(second, Reject)
        assert (second.reason, second.detail) == (
            "invalid_utf8",
            "byte b'\\xe9' at offset 3 of a field",
        )

    @pytest.mark.parametrize(
        ("values", "found"),
        [
            (
                pyarrow.array([1_700_000_000_123_456_789], pyarrow.timestamp("ns")),
                "2023-11-14 22:13:20.123456789",
            ),
            (pyarrow.array([1_700_000_000_123_456], pyarrow.timestamp("us")), "2023-11-14 22:13:20.123456"),
            (pyarrow.array([253_402_300_800_000], pyarrow.timestamp("ms")), "10000-01-01 00:00:00.000"),
            (
                pyarrow.array([253_402_300_800_000], pyarrow.timestamp("ms", "UTC")),
                "10000-01-01 00:00:00.000Z",
            ),
            (pyarrow.array([2**61], pyarrow.timestamp("us")), f"<value out of range: {2**61}>"),
            (pyarrow.array([3_000_000], pyarrow.date32()), "10183-09-21"),
            (pyarrow.array([86_399_999_999_999], pyarrow.time64("ns")), "23:59:59.999999999"),
            (pyarrow.array([123_456_789_123], pyarrow.duration("ns")), "123456789123"),
            (pyarrow.array([decimal.Decimal("1.10")]), "1.10"),
            (pyarrow.array(["a"]).dictionary_encode(), "a"),
            (pyarrow.array(["a"], pyarrow.large_string()), "a"),
            (pyarrow.array([[("a", "b")]], pyarrow.map_(pyarrow.string(), pyarrow.string())), "[('a', 'b')]"),
            (
                pyarrow.array([{"n": [123]}], pyarrow.struct({"n": pyarrow.list_(pyarrow.time64("ns"))})),
                "{'n': ['00:00:00.000000123']}",
            ),
        ],
    )
    def test_a_value_of_any_type_is_metadata_as_text(
        self, tmp_path: Path, values: pyarrow.Array, found: str
    ) -> None:
        path = parquet(tmp_path / "a.parquet", {"text": ["one"], "seen": values})
        (document,) = read("parquet", path, metadata_fields=["seen"])
        assert isinstance(document, Document) and document.metadata == {"seen": found}

    def test_a_value_that_cannot_be_read_costs_only_its_row(self, tmp_path: Path) -> None:
        times = pyarrow.array([None, 1], pyarrow.timestamp("ns", "Nowhere/Land"))
        path = parquet(tmp_path / "a.parquet", {"text": ["one", "two"], "seen": times})
        first, second = read("parquet", path, metadata_fields=["seen"])
        assert texts([first]) == ["one"]
        assert isinstance(second, Reject)
        assert (second.reason, second.source) == ("unreadable_value", f"{path}:1")
        assert second.detail.startswith("ArrowInvalid: Cannot locate ") and "'Nowhere/Land'" in second.detail

    def test_an_id_that_is_a_whole_number_is_one_however_it_is_stored(self, tmp_path: Path) -> None:
        ids = pyarrow.array([1.0, float("nan"), None, 1.5, 1e300])
        path = parquet(tmp_path / "a.parquet", {"text": list("abcde"), "id": ids})
        first, *others = read("parquet", path, id_field="id")
        assert isinstance(first, Document) and first.document_id == "1"
        assert [(each.reason, each.detail) for each in others if isinstance(each, Reject)] == [
            ("missing_id", f"no usable id in field 'id', found {value}")
            for value in ("nan", "None", "1.5", "1e+300")
        ]

    def test_a_column_that_occurs_twice_is_not_guessed(self, tmp_path: Path) -> None:
        table = pyarrow.table([["one"], ["two"], ["x"]], names=["text", "text", "id"])
        pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
        reject = only_reject(read("parquet", tmp_path / "a.parquet"))
        assert (reject.reason, reject.detail) == (
            "repeated_column",
            "the file has 2 columns 'text'; which is meant?",
        )
