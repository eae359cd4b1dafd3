"""Encodings of text files: named, marked and detected."""

from __future__ import annotations

from pathlib import Path

import pytest

from plugins.readers import decompression, open_reader
from plugins.readers.text_encoding import as_utf8, decode, encoding_of
from schemas.config import validate
from schemas.corpus_config import SourceConfig
from schemas.errors import ConfigError
from schemas.records import Document, Reject
from tests.plugins.readers.reading import COMPRESS, only_reject, places, read, texts, write

GERMAN = (
    "Die Patientin wurde wegen Übelkeit und Schwäche eingeliefert. Der Blutdruck betrug 140/72 mmHg. "
    "Über die Ursache ließ sich nichts Genaues sagen; später fand man eine Entzündung der Gallenblase."
)
JAPANESE = "患者は発熱のため入院した。血圧は140/72であった。抗生物質の投与を開始した。"
CHINESE = "患者接受了五天的抗生素治疗。血压为140/72。患者出院后恢复良好。"
RUSSIAN = "Больной поступил с жалобами на боли в груди. Давление 140 на 72. " * 3

NAMED = [
    ("utf-8", GERMAN),
    ("utf-16", GERMAN),
    ("utf-16-le", JAPANESE),
    ("cp1252", GERMAN),
    ("shift_jis", JAPANESE),
    ("gb18030", CHINESE),
    ("koi8-r", RUSSIAN),
]


@pytest.mark.parametrize(("encoding", "text"), NAMED)
@pytest.mark.parametrize("size", [1, 3, 1 << 20])
def test_a_named_encoding_is_read_whole_and_in_pieces_and_in_lines(
    tmp_path: Path, encoding: str, text: str, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decompression, "_CHUNK_BYTES", size)
    whole = write(tmp_path / "whole.txt", text.encode(encoding))
    assert texts(read("text", whole, encoding=encoding)) == [text]
    pieces = write(tmp_path / "pieces.txt", f"{text}\n---\n{text}".encode(encoding))
    found = read("text", pieces, encoding=encoding, delimiter="\n---\n")
    assert places(pieces, found) == [("1", text), ("2", text)]
    rows = write(tmp_path / "rows.jsonl", f'{{"text": "{text}"}}\n{{"text": "2"}}\n'.encode(encoding))
    where = ["@0", f"@{len(text.encode()) + 13}"] if encoding == "utf-8" else ["1", "2"]
    assert places(rows, read("jsonl", rows, encoding=encoding)) == list(zip(where, [text, "2"], strict=True))


@pytest.mark.parametrize(
    ("bytes_", "name", "text"),
    [
        (GERMAN.encode(), "utf-8", GERMAN),
        (b"plain ascii", "utf-8", "plain ascii"),
        (GERMAN.encode("utf-8-sig"), "utf-8", GERMAN),
        (GERMAN.encode("utf-16"), "utf-16", GERMAN),
        (b"\xfe\xff" + GERMAN.encode("utf-16-be"), "utf-16", GERMAN),
        (GERMAN.encode("utf-32"), "utf-32", GERMAN),
        (JAPANESE.encode("cp932"), "cp932", JAPANESE),
        (CHINESE.encode("gb18030"), "gb18030", CHINESE),
        (RUSSIAN.encode("koi8-r"), "koi8-r", RUSSIAN),
        (RUSSIAN.encode("cp1251"), "cp1251", RUSSIAN),
    ],
)
@pytest.mark.parametrize("reader", ["text", "pieces", "jsonl"])
def test_auto_finds_the_encoding_and_says_it_in_the_metadata(
    tmp_path: Path, reader: str, bytes_: bytes, name: str, text: str
) -> None:
    path = tmp_path / "a"
    if reader == "jsonl":
        bytes_ = f'{{"text": "{text}"}}\n'.encode(name)
    write(path, bytes_)
    options = {"delimiter": "\f"} if reader == "pieces" else {}
    (found,) = read("text" if reader == "pieces" else reader, path, encoding="auto", **options)
    assert isinstance(found, Document)
    assert found.text == text
    metadata = dict(found.metadata)
    assert metadata["detected_encoding"] == name
    confidence = float(metadata["encoding_confidence"])
    assert confidence == 1.0 if name.startswith("utf") else 0 <= confidence < 1


def test_western_text_in_windows_encoding_is_found(tmp_path: Path) -> None:
    """Windows-1250 and Windows-1252 have the German letters at the same bytes."""
    (found,) = read("text", write(tmp_path / "a", GERMAN.encode("cp1252")), encoding="auto")
    assert isinstance(found, Document)
    assert found.text == GERMAN and dict(found.metadata)["detected_encoding"] in ("cp1250", "cp1252")


def test_without_auto_a_document_says_nothing_about_its_encoding(tmp_path: Path) -> None:
    path = write(tmp_path / "a", GERMAN.encode("cp1252"))
    (found,) = read("text", path, encoding="cp1252")
    assert isinstance(found, Document) and dict(found.metadata) == {}


@pytest.mark.parametrize("encoding", ["cp1252", "shift_jis", "utf-16-le", "gb18030"])
def test_what_stays_undecodable_is_a_reject_of_its_piece_only(tmp_path: Path, encoding: str) -> None:
    bad = b"\x81" if encoding == "cp1252" else b"\x00\xdc" if encoding == "utf-16-le" else b"\xff"
    one, two = "one ".encode(encoding), " two\n---\nthree".encode(encoding)
    path = write(tmp_path / "a", one + bad + two)
    found = read("text", path, encoding=encoding, delimiter="\n---\n")
    assert places(path, found) == [("1", "undecodable"), ("2", "three")]
    assert only_reject(found).detail == (
        f"some bytes of the piece are no text in {encoding}. Name another `encoding`"
    )
    whole = only_reject(read("text", path, encoding=encoding))
    assert whole.reason == "undecodable"
    assert whole.detail.startswith("byte b'") and f"expected {encoding}." in whole.detail
    rows = write(tmp_path / "b", '{"text": "'.encode(encoding) + bad + '"}\n{"text": "b"}'.encode(encoding))
    assert places(rows, read("jsonl", rows, encoding=encoding)) == [("1", "undecodable"), ("2", "b")]


def test_bytes_of_no_encoding_are_a_reject(tmp_path: Path) -> None:
    path = write(tmp_path / "a", bytes(range(256)) * 4)
    for options in ({}, {"delimiter": "---"}):
        reject = only_reject(read("text", path, encoding="auto", **options))
        assert (reject.reason, reject.source) == ("unknown_encoding", str(path))
    assert only_reject(read("jsonl", path, encoding="auto")).reason == "unknown_encoding"


def test_an_archive_is_told_whatever_the_encoding(tmp_path: Path) -> None:
    path = write(tmp_path / "a", b"PK\x03\x04 and so on")
    for encoding in ("auto", "cp1252", "utf-8"):
        assert only_reject(read("text", path, encoding=encoding)).reason == "not_utf8"


def test_a_sample_may_end_within_a_character() -> None:
    assert encoding_of("患".encode()[:2], "auto", is_whole=False).name == "utf-8"
    assert encoding_of(b"abc", None) == ("utf-8", {})


@pytest.mark.parametrize("suffix", [".zst", ".gz", ".bz2"])
def test_a_compressed_file_is_sampled_beyond_its_first_chunk(tmp_path: Path, suffix: str) -> None:
    text = "plain words first\n" * 2_000 + RUSSIAN
    path = write(tmp_path / f"a.txt{suffix}", COMPRESS[suffix](f"{text}\f".encode("koi8-r")))
    assert texts(read("text", path, encoding="auto", delimiter="\f")) == [text]
    cut = write(tmp_path / f"b.txt{suffix}", path.read_bytes()[:-20])
    *_, last = read("text", cut, encoding="auto", delimiter="\f")
    assert isinstance(last, Reject) and last.reason == "damaged_file"


def test_utf8_passes_unchanged_as_a_stream() -> None:
    chunks = iter([b"caf\xc3", b"\xa9 \xff"])
    found, fields = as_utf8(chunks, "UTF_8")
    assert found is chunks and fields == {}
    assert decode(b"\xef\xbb\xbfa", None) == ("a", {})


@pytest.mark.parametrize("name", ["utf8x", "base64", ""])
def test_an_unknown_encoding_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="is no encoding of text; expected auto, utf-8"):
        validate(SourceConfig, {"reader": "text", "uri": "a", "encoding": name}, name="corpus.yaml")


def test_readers_of_binary_formats_refuse_an_encoding() -> None:
    with pytest.raises(ConfigError, match="sets encoding, which reader 'parquet' does not use"):
        open_reader(SourceConfig(reader="parquet", uri="a", encoding="auto"))
