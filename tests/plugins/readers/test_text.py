"""Text files: one document per file, or several between delimiters."""

from __future__ import annotations

import gzip
import random
import tracemalloc
from pathlib import Path

import pytest

from plugins.readers import decompression, open_reader
from schemas.corpus_config import SourceConfig
from schemas.errors import ConfigError
from schemas.records import Document, Reject
from tests.plugins.readers.reading import COMPRESS, noise, only_reject, places, read, texts, write

INVALID = (
    "byte b'\\xe9' at offset 3{}, expected UTF-8. If the file is in Windows-1252, "
    "`encoding: cp1252` or `auto` on its source reads it"
)


class TestText:
    def test_a_file_is_one_document_named_by_its_path(self, tmp_path: Path) -> None:
        path = write(tmp_path / "case.txt", b"\xef\xbb\xbfA case.\r\n")
        (found,) = read("text", path)
        assert isinstance(found, Document)
        assert (found.text, found.document_id, found.source) == ("A case.\r\n", str(path), str(path))

    def test_bytes_that_are_no_text_are_a_reject(self, tmp_path: Path) -> None:
        for name, before in (("a.txt", b""), ("b.txt", b"\xef\xbb\xbf")):
            reject = only_reject(read("text", write(tmp_path / name, before + b"caf\xe9 au lait")))
            assert (reject.reason, reject.detail) == ("invalid_utf8", INVALID.format(""))
            assert reject.source == str(tmp_path / name)

    @pytest.mark.parametrize("options", [{}, {"delimiter": "---"}])
    @pytest.mark.parametrize(
        ("data", "detail"),
        [
            (
                "one---two".encode("utf-16"),
                "the file begins with the byte order mark of UTF-16; "
                "`encoding: utf-16` or `auto` on its source reads it",
            ),
            (
                "one---two".encode("utf-16-le"),
                "the file begins with zero bytes. If it is text in UTF-16LE, `encoding: utf-16le` "
                "or `auto` on its source reads it",
            ),
            (gzip.compress(b"one", mtime=0), "the file is compressed. Let its name end in .gz"),
            (b"%PDF-1.7\n", "the file is PDF, not text. Extract its text, or use another reader"),
        ],
    )
    def test_a_file_that_is_no_utf8_at_all_is_one_reject_with_the_cure(
        self, tmp_path: Path, data: bytes, detail: str, options: dict[str, str]
    ) -> None:
        path = write(tmp_path / "a.txt", data)
        (reject,) = read("text", path, **options)
        assert isinstance(reject, Reject)
        assert (reject.reason, reject.detail, reject.source) == ("not_utf8", detail, str(path))

    def test_an_empty_file_is_a_reject(self, tmp_path: Path) -> None:
        assert only_reject(read("text", write(tmp_path / "a.txt", b" \n"))).reason == "empty"

    def test_a_truncated_file_is_a_reject(self, tmp_path: Path) -> None:
        data = gzip.compress(random.Random(3).randbytes(5_000).hex().encode())
        reject = only_reject(read("text", write(tmp_path / "a.txt.gz", data[:-2_000])))
        assert (reject.reason, reject.source) == ("damaged_file", str(tmp_path / "a.txt.gz"))


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
        assert only_reject(found).detail == INVALID.format(" of the piece")

    @pytest.mark.parametrize("cut", [*range(1, 30), 64])
    def test_a_delimiter_is_found_wherever_the_chunks_of_a_file_end(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: int
    ) -> None:
        monkeypatch.setattr(decompression, "_CHUNK_BYTES", cut)
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
            "source 'a.jsonl' sets delimiter, which reader 'jsonl' does not use. "
            "Remove it, or choose another reader."
        )
