"""Compressed files: all documents of intact files, and documents before the damage in others."""

from __future__ import annotations

import lzma
import random
from pathlib import Path

import fsspec
import pytest

from schemas import storage
from schemas.records import Document, Reject
from tests.plugins.readers.reading import COMPRESS, jsonl, noise, only_reject, read, texts, write


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


@pytest.mark.parametrize(
    ("suffix", "num_rows", "why"),
    [
        (".gz", 10_000, "EOFError: Compressed file ended before the end-of-stream marker was reached"),
        (".zst", 10_000, "EOFError: the file ends in the middle of a zstd frame"),
        (".bz2", 60_000, "EOFError: the file ends in the middle of a bzip2 frame"),
        (".xz", 10_000, "EOFError: the file ends in the middle of a xz frame"),
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


@pytest.mark.parametrize("suffix", [".gz", ".zst", ".bz2", ".xz"])
@pytest.mark.parametrize("reader", ["jsonl", "text"])
def test_a_file_that_is_not_what_its_name_says_is_one_reject(
    tmp_path: Path, reader: str, suffix: str
) -> None:
    path = write(tmp_path / f"a{suffix}", jsonl({"text": "not compressed"}))
    (reject,) = read(reader, path)
    assert isinstance(reject, Reject) and reject.reason == "damaged_file"
    assert reject.detail.startswith(
        f"NotCompressed: the name ends in {suffix}, and the file begins with b'{{\"text\":', "
        f"as no {suffix} does"
    )


def test_padding_between_streams_of_xz_is_no_harm(tmp_path: Path) -> None:
    halves = [lzma.compress(jsonl({"text": text})) for text in ("one", "two")]
    assert texts(read("jsonl", write(tmp_path / "a.jsonl.xz", bytes(4).join(halves)))) == ["one", "two"]


def test_a_file_in_xz_without_its_extension_says_so(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", lzma.compress(b"text\none\n"))
    assert only_reject(read("csv", path)).detail == "the file is compressed. Let its name end in .xz"


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
    for name in ("a.jsonl", "a.jsonl.zst", "a.jsonl.gz", "a.jsonl.bz2", "a.jsonl.xz"):
        with pytest.raises(OSError, match="Input/output error"):
            read("jsonl", tmp_path / name)
