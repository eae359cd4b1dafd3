"""Linear reading time of long lines and records: the tests count the searched bytes."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from plugins.readers import decompression, open_reader
from schemas import storage
from schemas.corpus_config import SourceConfig

CHUNK = 1_000
LONG = 200 * CHUNK


@pytest.fixture
def cut_bytes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the pieces in each search for delimiters, with small chunks."""
    sizes: list[int] = []
    split = storage.split

    def counting(chunks: Any, cut: Any, longest: int, **options: Any) -> Iterator[bytes]:
        def counted(data: bytes) -> Any:
            sizes.append(len(data))
            return cut(data)

        return split(chunks, counted, longest, **options)

    monkeypatch.setattr(storage, "split", counting)
    monkeypatch.setattr(storage, "_CHUNK_BYTES", CHUNK)
    monkeypatch.setattr(decompression, "_CHUNK_BYTES", CHUNK)
    return sizes


@pytest.mark.parametrize("delimiter", [b"\n", b"<record>", b"aa"])
def test_every_byte_of_a_long_piece_is_looked_at_about_once(
    tmp_path: Path, cut_bytes: list[int], delimiter: bytes
) -> None:
    pieces = [b"x" * LONG, b"y", b"z" * LONG]
    (tmp_path / "a.gz").write_bytes(gzip.compress(delimiter.join(pieces)))
    assert list(decompression.pieces(decompression.chunks(str(tmp_path / "a.gz")), delimiter)) == pieces
    assert 2 * LONG < sum(cut_bytes) < 2.1 * LONG


def test_every_byte_of_a_long_stored_line_is_looked_at_about_once(
    tmp_path: Path, cut_bytes: list[int]
) -> None:
    line = "".join(f"{number:07x}" for number in range(LONG // 7))
    storage.write_lines_zst(str(tmp_path / "a.zst"), [line, "short"])
    assert list(storage.read_lines_zst(str(tmp_path / "a.zst"))) == [line, "short"]
    assert sum(cut_bytes) < 1.1 * LONG


def test_a_long_line_is_read_about_twice_however_many_ranges_it_spans(
    tmp_path: Path, cut_bytes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = b"first\n" + b"x" * LONG + b"\nlast\n"
    (tmp_path / "a").write_bytes(data)
    read: list[int] = []

    class Counting(io.FileIO):
        def read(self, size: int | None = -1) -> bytes:
            found = super().read(size)
            read.append(len(found))
            return found

    monkeypatch.setattr(fsspec, "open", Counting)
    ranges = [(start, start + 2_000) for start in range(0, len(data), 2_000)]
    found = [
        each for start, end in ranges for each in decompression.lines_between(str(tmp_path / "a"), start, end)
    ]
    assert found == [(0, b"first"), (6, b"x" * LONG), (6 + LONG + 1, b"last")]
    assert sum(read) < 2.1 * LONG
    assert sum(cut_bytes) < 1.1 * LONG


@pytest.mark.parametrize("inside", [b"", b"<PubmedArticle>"])
def test_every_byte_of_xml_without_articles_is_looked_at_about_once(
    tmp_path: Path, cut_bytes: list[int], inside: bytes
) -> None:
    (tmp_path / "a.xml").write_bytes(b"<PubmedArticleSet>" + inside + b"<item>1</item>" * (LONG // 14))
    list(open_reader(SourceConfig(reader="medline", uri="a")).read(str(tmp_path / "a.xml")))
    assert sum(cut_bytes) < 1.4 * LONG  # each chunk searches the length of a tag again


@pytest.mark.parametrize("delimiter", [b"\n", b"ab", b"aa", b"aab"])
@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_pieces_do_not_depend_on_where_chunks_end(delimiter: bytes, size: int) -> None:
    data = b"aabaaab\n\nbaaa\nab" * 3
    chunks = [data[start : start + size] for start in range(0, len(data), size)]
    pieces = list(storage.split(chunks, lambda each: each.split(delimiter), len(delimiter)))
    whole = data.split(delimiter)
    assert pieces == (whole if whole[-1] else whole[:-1])
