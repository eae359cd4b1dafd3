"""Readers: every file gives its documents, and every thing that is none is on record with its place."""

from __future__ import annotations

import bz2
import gzip
import json
import random
import tracemalloc
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pyarrow
import pyarrow.parquet
import pytest
import zstandard

from plugins.readers import READERS, files, open_reader
from schemas import storage
from schemas.corpus_config import SourceConfig
from schemas.errors import ConfigError, InputError
from schemas.records import Document, Reject

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "": lambda data: data,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".zst": zstandard.ZstdCompressor(write_checksum=True).compress,
}


def read(reader: str, uri: Path | str, **options: Any) -> list[Document | Reject]:
    source = SourceConfig(reader=reader, uri=str(uri), **options)
    return list(READERS.load(reader)(source).read(str(uri)))


def texts(found: list[Document | Reject]) -> list[str]:
    assert all(isinstance(each, Document) for each in found), found
    return [each.text for each in found if isinstance(each, Document)]


def only_reject(found: list[Document | Reject]) -> Reject:
    (reject,) = [each for each in found if isinstance(each, Reject)]
    return reject


def jsonl(*rows: Any) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


@pytest.fixture
def memory() -> Iterator[str]:
    """A directory that is on no disk."""
    uri = f"memory://{uuid.uuid4().hex}"
    yield uri
    storage.remove_tree(uri)


class TestExpand:
    @pytest.fixture(autouse=True)
    def tree(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("b.txt", "a.txt", "c.jsonl", ".hidden", "deep/d.txt", "deep/er/e.txt"):
            write(tmp_path / "data" / name, b"x")
        monkeypatch.chdir(tmp_path)

    @pytest.mark.parametrize(
        ("uri", "expected"),
        [
            ("data/b.txt", ["data/b.txt"]),
            ("data/*.txt", ["data/a.txt", "data/b.txt"]),
            ("data/[bc].*", ["data/b.txt", "data/c.jsonl"]),
            ("data/deep", ["data/deep/d.txt"]),
            ("data", ["data/a.txt", "data/b.txt", "data/c.jsonl"]),
            ("data/**/*.txt", ["data/a.txt", "data/b.txt", "data/deep/d.txt", "data/deep/er/e.txt"]),
        ],
    )
    def test_relative_paths_stay_relative_and_are_sorted(self, uri: str, expected: list[str]) -> None:
        assert files.expand(uri) == expected

    def test_a_file_that_is_matched_twice_is_listed_once(self) -> None:
        assert files.expand("data/**") == [
            "data/a.txt",
            "data/b.txt",
            "data/c.jsonl",
            "data/deep/d.txt",
            "data/deep/er/e.txt",
        ]

    def test_a_file_uri_is_a_path(self, tmp_path: Path) -> None:
        assert files.expand(f"file://{tmp_path}/data/*.jsonl") == [f"{tmp_path}/data/c.jsonl"]

    def test_other_file_systems_are_listed_alike(self, memory: str) -> None:
        for name in ("b.txt", "a.txt", "c.jsonl", ".hidden", "deep/d.txt"):
            storage.write_bytes(f"{memory}/{name}", b"x")
        root = memory.replace("memory://", "memory:///")
        assert files.expand(f"{memory}/*.txt") == [f"{root}/a.txt", f"{root}/b.txt"]
        assert files.expand(memory) == [f"{root}/a.txt", f"{root}/b.txt", f"{root}/c.jsonl"]
        assert files.expand(f"{memory}/c.jsonl") == [f"{root}/c.jsonl"]
        assert files.expand(f"{memory}/**/d.txt") == [f"{root}/deep/d.txt"]

    @pytest.mark.parametrize("uri", ["data/z.txt", "data/*.md", "nowhere", "memory://nowhere/at/all"])
    def test_no_match_says_what_to_check(self, uri: str) -> None:
        with pytest.raises(InputError) as caught:
            files.expand(uri)
        assert str(caught.value) == (
            f"source uri {uri!r} matches no file. Check the path; globs such as *.jsonl.zst work."
        )


@pytest.mark.parametrize("suffix", COMPRESS)
class TestCompressed:
    def test_jsonl(self, tmp_path: Path, suffix: str) -> None:
        data = jsonl({"text": "one"}, {"text": "two\nlines"}, {"text": "漢字 🧬"})
        path = write(tmp_path / f"a.jsonl{suffix}", COMPRESS[suffix](data))
        assert texts(read("jsonl", path)) == ["one", "two\nlines", "漢字 🧬"]

    def test_text(self, tmp_path: Path, suffix: str) -> None:
        path = write(tmp_path / f"a.txt{suffix}", COMPRESS[suffix]("one\n\n漢字 ".encode()))
        assert texts(read("text", path)) == ["one\n\n漢字 "]

    def test_several_frames_are_one_file(self, tmp_path: Path, suffix: str) -> None:
        halves = jsonl({"text": "one"}) + b'{"text": "t', b'wo"}\n' + jsonl({"text": "three"})
        path = write(tmp_path / f"a.jsonl{suffix}", b"".join(map(COMPRESS[suffix], halves)))
        assert texts(read("jsonl", path)) == ["one", "two", "three"]

    def test_an_empty_file_holds_no_documents(self, tmp_path: Path, suffix: str) -> None:
        path = write(tmp_path / f"a.jsonl{suffix}", COMPRESS[suffix](b""))
        assert read("jsonl", path) == []
        assert read("jsonl", write(tmp_path / f"b.jsonl{suffix}", b"")) == []

    def test_on_another_file_system(self, memory: str, suffix: str) -> None:
        uri = f"{memory}/a.jsonl{suffix}"
        storage.write_bytes(uri, COMPRESS[suffix](jsonl({"text": "one"})))
        (document,) = read("jsonl", uri)
        assert (document.source, texts([document])) == (f"{uri}:{'1' if suffix else '@0'}", ["one"])

    def test_many_megabytes_come_whole(self, tmp_path: Path, suffix: str) -> None:
        rng = random.Random(1)
        rows = [{"text": f"{rng.getrandbits(120):030x}" * 20} for _ in range(4_000)]
        path = write(tmp_path / f"a.jsonl{suffix}", COMPRESS[suffix](jsonl(*rows)))
        assert texts(read("jsonl", path)) == [row["text"] for row in rows]


def noise(num_rows: int) -> list[dict[str, str]]:
    """Rows that compress badly, so that a cut takes some and leaves some."""
    rng = random.Random(2)
    return [{"text": f"{rng.getrandbits(240):060x}"} for _ in range(num_rows)]


@pytest.mark.parametrize(
    ("suffix", "num_rows", "why"),
    [
        (".gz", 10_000, "EOFError: Compressed file ended before the end-of-stream marker was reached"),
        (".zst", 10_000, "EOFError: the file ends in the middle of a zstd frame"),
        (".bz2", 60_000, "EOFError: the file ends in the middle of a bzip2 frame"),
    ],
)
def test_rows_before_the_end_of_a_truncated_file_are_kept(
    tmp_path: Path, suffix: str, num_rows: int, why: str
) -> None:
    rows = noise(num_rows)
    data = COMPRESS[suffix](jsonl(*rows))
    path = write(tmp_path / f"a.jsonl{suffix}", data[: len(data) // 2])
    *documents, last = read("jsonl", path)
    kept = texts(documents)
    assert 0.35 * num_rows < len(kept) < 0.55 * num_rows  # bzip2 has large blocks
    assert kept == [row["text"] for row in rows[: len(kept)]]
    assert last == Reject(
        stage="read",
        reason="damaged_file",
        document_id="",
        source=f"{path}:{len(kept) + 1}",
        detail=f"{why}; {len(kept)} lines were read before it",
    )


@pytest.mark.parametrize("suffix", [".gz", ".zst", ".bz2"])
def test_rows_before_damage_are_kept(tmp_path: Path, suffix: str) -> None:
    rows = noise(40_000)
    data = bytearray(COMPRESS[suffix](jsonl(*rows)))
    middle = len(data) // 2
    data[middle : middle + 2_000] = b"\xff" * 2_000
    path = write(tmp_path / f"a.jsonl{suffix}", bytes(data))
    *documents, last = read("jsonl", path)
    good = [each.text for each in documents if isinstance(each, Document)]
    assert good[:8_000] == [row["text"] for row in rows[:8_000]]
    assert isinstance(last, Reject) and last.reason == "damaged_file"


@pytest.mark.parametrize("suffix", [".gz", ".zst", ".bz2"])
@pytest.mark.parametrize("reader", ["jsonl", "text"])
def test_a_file_that_is_not_what_its_name_says_is_one_reject(
    tmp_path: Path, reader: str, suffix: str
) -> None:
    path = write(tmp_path / f"a{suffix}", jsonl({"text": "not compressed"}))
    (reject,) = read(reader, path)
    assert isinstance(reject, Reject) and reject.reason == "damaged_file"


def test_an_error_of_the_storage_is_raised_since_trying_again_may_help(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        def __enter__(self) -> Broken:
            return self

        def __exit__(self, *error: object) -> None:
            pass

        def read(self, size: int = -1) -> bytes:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(fsspec, "open", lambda uri, mode: Broken())
    for name in ("a.jsonl", "a.jsonl.zst", "a.jsonl.gz", "a.jsonl.bz2"):
        with pytest.raises(OSError, match="Input/output error"):
            read("jsonl", tmp_path / name)


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
            'Unterminated string starting at: line 1 column 10 (char 9); the line begins \'{"text": "tw\''
        )
        assert rejects[1].detail == "expected a JSON object, found list"
        assert rejects[2].detail == "byte b'\\xe9' at offset 13 of the line"
        assert rejects[3].detail == "no field 'text' in a row of body"
        assert rejects[4].detail == "field 'text' holds int, expected a string"
        assert rejects[5].detail == "field 'text' is empty"

    def test_a_byte_order_mark_and_windows_line_ends_are_no_harm(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.jsonl", b'\xef\xbb\xbf{"text": "one"}\r\n{"text": "two"}\r\n')
        assert texts(read("jsonl", path)) == ["one", "two"]

    def test_half_an_emoji_becomes_a_replacement_character(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.jsonl", b'{"text": "cut \\ud83d", "id": "\\ud83d", "t": "\\udc00"}\n')
        (found,) = read("jsonl", path, id_field="id", metadata_fields=["t"])
        assert isinstance(found, Document)
        assert (found.text, found.document_id, found.metadata) == ("cut \ufffd", "\ufffd", {"t": "\ufffd"})

    def test_dotted_fields_reach_into_objects(self, tmp_path: Path) -> None:
        rows = jsonl({"meta": {"body": {"text": "deep"}}}, {"meta.body.text": "flat"}, {"meta": "x"})
        found = read("jsonl", write(tmp_path / "a.jsonl", rows), text_field="meta.body.text")
        assert texts(found[:2]) == ["deep", "flat"]
        assert only_reject(found).detail == "no field 'meta.body.text' in a row of meta"

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


class TestText:
    def test_a_file_is_one_document_named_by_its_path(self, tmp_path: Path) -> None:
        path = write(tmp_path / "case.txt", b"\xef\xbb\xbfA case.\r\n")
        (found,) = read("text", path)
        assert isinstance(found, Document)
        assert (found.text, found.document_id, found.source) == ("A case.\r\n", str(path), str(path))

    def test_bytes_that_are_no_text_are_a_reject(self, tmp_path: Path) -> None:
        for name, before in (("a.txt", b""), ("b.txt", b"\xef\xbb\xbf")):
            reject = only_reject(read("text", write(tmp_path / name, before + b"caf\xe9 au lait")))
            assert (reject.reason, reject.detail) == ("invalid_utf8", "byte b'\\xe9' at offset 3")
            assert reject.source == str(tmp_path / name)

    def test_an_empty_file_is_a_reject(self, tmp_path: Path) -> None:
        assert only_reject(read("text", write(tmp_path / "a.txt", b" \n"))).reason == "empty"

    def test_a_truncated_file_is_a_reject(self, tmp_path: Path) -> None:
        data = gzip.compress(random.Random(3).randbytes(5_000).hex().encode())
        reject = only_reject(read("text", write(tmp_path / "a.txt.gz", data[:-2_000])))
        assert (reject.reason, reject.source) == ("damaged_file", str(tmp_path / "a.txt.gz"))


def places(path: Path, found: list[Document | Reject]) -> list[tuple[str, str]]:
    """Where each record stands in the file, and what it is: a document's text, or a reject's reason."""
    return [
        (each.source.removeprefix(f"{path}:"), each.text if isinstance(each, Document) else each.reason)
        for each in found
    ]


class TestTextWithDelimiter:
    @pytest.mark.parametrize(
        ("delimiter", "data", "expected"),
        [
            ("\n\n\n", "one\n\nstill one\n\n\ntwo", [("1", "one\n\nstill one"), ("2", "two")]),
            ("\n<|endoftext|>\n", "one\n<|endoftext|>\ntwo\n", [("1", "one"), ("2", "two\n")]),
            ("---", "one---two---", [("1", "one"), ("2", "two")]),
            ("---", "------one--- \n ---two", [("3", "one"), ("5", "two")]),
            ("\n\n\n", "one\n\n\n\ntwo", [("1", "one"), ("2", "\ntwo")]),
            ("§", "eins§zwei", [("1", "eins"), ("2", "zwei")]),
            ("---", "no delimiter in it", [("1", "no delimiter in it")]),
            ("---", "", []),
            ("---", " --- \n", []),
        ],
    )
    def test_pieces_are_documents_named_by_their_number_and_blank_ones_only_count(
        self, tmp_path: Path, delimiter: str, data: str, expected: list[tuple[str, str]]
    ) -> None:
        path = write(tmp_path / "a.txt", data.encode())
        found = read("text", path, delimiter=delimiter)
        assert places(path, found) == expected
        assert all(each.document_id == each.source for each in found)

    def test_a_bad_piece_costs_only_itself(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.txt", b"one\n\n\ncaf\xe9 au lait\n\n\n\xef\xbb\xbfthree")
        found = read("text", path, delimiter="\n\n\n")
        assert places(path, found) == [("1", "one"), ("2", "invalid_utf8"), ("3", "three")]
        assert only_reject(found).detail == "byte b'\\xe9' at offset 3 of the piece"

    @pytest.mark.parametrize("cut", [*range(1, 30), 64])
    def test_a_delimiter_is_found_wherever_the_chunks_of_a_file_end(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: int
    ) -> None:
        monkeypatch.setattr(files, "_CHUNK_BYTES", cut)
        path = write(tmp_path / "a.txt", b"one<|endoftext|>two<|endof<|endoftext|><|endoftext|>three")
        found = read("text", path, delimiter="<|endoftext|>")
        assert places(path, found) == [("1", "one"), ("2", "two<|endof"), ("4", "three")]

    @pytest.mark.parametrize("suffix", [".gz", ".zst", ".bz2"])
    def test_pieces_before_the_end_of_a_truncated_file_are_kept(self, tmp_path: Path, suffix: str) -> None:
        expected = [row["text"] for row in noise(60_000)]
        data = COMPRESS[suffix]("---".join(expected).encode())
        path = write(tmp_path / f"a.txt{suffix}", data[: len(data) // 2])
        *documents, last = read("text", path, delimiter="---")
        assert len(documents) > 10_000 and texts(documents) == expected[: len(documents)]
        assert isinstance(last, Reject)
        assert (last.reason, last.source) == ("damaged_file", f"{path}:{len(documents) + 1}")
        assert last.detail.endswith(f"; {len(documents)} pieces were read before it")

    def test_one_piece_is_held_at_a_time(self, tmp_path: Path) -> None:
        path = write(tmp_path / "a.txt", (b"x" * 99_997 + b"---") * 300)
        reader = open_reader(SourceConfig(reader="text", uri=str(path), delimiter="---"))
        tracemalloc.start()
        try:
            assert sum(1 for _ in reader.read(str(path))) == 300
            _, peak_bytes = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak_bytes < 8_000_000  # of 30 MB

    def test_a_delimiter_is_refused_where_it_means_nothing(self) -> None:
        with pytest.raises(ConfigError) as caught:
            open_reader(SourceConfig(reader="jsonl", uri="a.jsonl", delimiter="---"))
        assert str(caught.value) == (
            "source 'a.jsonl' sets delimiter, which reader 'jsonl' has no use for. "
            "Remove it, or choose another reader."
        )


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

    def test_a_string_that_is_no_text_costs_only_its_row(self, tmp_path: Path) -> None:
        binary = pyarrow.array([b"one", b"caf\xe9", b"three"], pyarrow.binary())
        strings = pyarrow.Array.from_buffers(pyarrow.string(), 3, binary.buffers())
        first, second, third = read("parquet", parquet(tmp_path / "a.parquet", {"text": strings}))
        assert texts([first, third]) == ["one", "three"]
        assert isinstance(second, Reject)
        assert (second.reason, second.source) == ("invalid_utf8", f"{tmp_path}/a.parquet:1")
        assert second.detail == "byte b'\\xe9' at offset 3 of a field"

    def test_bytes_are_not_taken_for_text(self, tmp_path: Path) -> None:
        reject = only_reject(read("parquet", parquet(tmp_path / "a.parquet", {"text": [b"one"]})))
        assert (reject.reason, reject.detail) == ("not_text", "field 'text' holds bytes, expected a string")
