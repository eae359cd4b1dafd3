"""Web crawls: records of WARC and WET, wrong lengths, broken members."""

from __future__ import annotations

import gzip
import sys
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from plugins.readers import open_reader
from schemas import limits
from schemas.corpus_config import SourceConfig
from schemas.errors import ConfigError
from schemas.records import Document, Reject
from tests.plugins.readers.reading import COMPRESS, only_reject, places, read, texts, write

SAID = "The levator raises the upper lid of the eye."
PAGE = f"<html><head><title>Lids</title></head><body><p>{SAID}</p></body></html>"


def record(kind: str, body: bytes, *, length: int | None = None, **headers: str) -> bytes:
    named = {
        "WARC-Type": kind,
        "WARC-Target-URI": "https://example.org/a",
        "WARC-Date": "2024-05-01T10:00:00Z",
        "WARC-Record-ID": "<urn:uuid:0>",
        "Content-Length": str(len(body) if length is None else length),
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return f"WARC/1.0\r\n{lines}\r\n".encode() + body + b"\r\n\r\n"


def page(body: bytes, status: str = "200 OK", **headers: str) -> bytes:
    named = {"Content-Type": "text/html; charset=utf-8"}
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    block = f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + body
    return record("response", block, Content_Type="application/http; msgtype=response")


def wet(text: str, **options: object) -> bytes:
    return record("conversion", text.encode(), **options)  # type: ignore[arg-type]


def members(records: Iterable[bytes]) -> list[bytes]:
    """Each record a member of a `.gz`, as crawlers write it."""
    return [gzip.compress(each, mtime=0) for each in records]


TEXTS = [f"Page {number}:\r\n\r\n caf\u00e9 \u56db.\n" for number in range(5)]
INFO = record("warcinfo", b"software: made\r\n")


@pytest.mark.parametrize("ending", [*COMPRESS, "of members"])
def test_the_texts_of_a_wet_file(tmp_path: Path, ending: str) -> None:
    records = [INFO, *map(wet, TEXTS)]
    if ending == "of members":
        path = write(tmp_path / "a.wet.gz", b"".join(members(records)) + b"\0" * 512)
    else:
        path = write(tmp_path / f"a.wet{ending}", COMPRESS[ending](b"".join(records)))
    *found, last = read("wet", path)
    assert texts(found) == TEXTS
    assert places(path, found)[0][0] == "2"
    assert (last.reason, last.detail) == ("passed_over", "1 records that are no documents: 1 warcinfo")


def test_the_fields_of_a_record(tmp_path: Path) -> None:
    data = wet("A text.", WARC_Identified_Content_Language="eng,deu", WARC_Truncated="length")
    fields = ["url", "date", "language", "truncated", "content_type"]
    (found,) = read("wet", write(tmp_path / "a.wet", data), id_field="id", metadata_fields=fields)
    assert isinstance(found, Document)
    assert found.document_id == "<urn:uuid:0>"
    assert found.metadata == {
        "url": "https://example.org/a",
        "date": "2024-05-01T10:00:00Z",
        "language": "eng,deu",
        "truncated": "length",
    }


@pytest.mark.parametrize(("written", "wanted"), [("cp1252", "cp1252"), ("utf-16", "auto"), ("cp1252", None)])
def test_an_encoding_that_is_named_is_that_of_texts_too(
    tmp_path: Path, written: str, wanted: str | None
) -> None:
    path = write(tmp_path / "a.wet", record("conversion", "Le café".encode(written)))
    (found,) = read("wet", path, encoding=wanted)
    if wanted is None:
        assert isinstance(found, Reject) and found.reason == "invalid_utf8"
    else:
        assert isinstance(found, Document) and found.text == "Le café"
        assert found.metadata.get("detected_encoding") == ("utf-16" if wanted == "auto" else None)


def test_a_bad_record_before_a_broken_member_is_told_beside_it(tmp_path: Path) -> None:
    one, two, three, four = members([wet("one"), wet("two", length=99), wet("three"), wet("four")])
    path = write(tmp_path / "a.wet.gz", one + two + three[:3] + b"\xff" + three[4:] + four)
    assert places(path, read("wet", path)) == [
        ("1", "one"),
        ("2", "wrong_length"),
        ("3", "damaged_file"),
        ("4", "four"),
    ]


def test_pages_are_read_and_the_rest_is_counted(tmp_path: Path) -> None:
    chunked = b"".join(
        b"%x\r\n%s\r\n" % (len(each), each) for each in (PAGE.encode()[:9], PAGE.encode()[9:], b"")
    )
    records = [
        INFO,
        record("request", b"GET / HTTP/1.1\r\n\r\n"),
        page(PAGE.encode()),
        page(gzip.compress(PAGE.encode()), Content_Encoding="gzip"),
        page(chunked, Transfer_Encoding="chunked"),
        page(PAGE.encode("cp1252"), Content_Type="text/html; charset=windows-1252"),
        record("resource", PAGE.encode(), Content_Type="text/html"),
        page(PAGE.encode(), status="404 Not Found"),
        page(b"%PDF-1.7", Content_Type="application/pdf"),
        record("request", b"GET /b HTTP/1.1\r\n\r\n"),
    ]
    path = write(tmp_path / "a.warc.gz", b"".join(members(records)))
    *found, last = read("warc", path, metadata_fields=["title", "content_type"])
    assert texts(found) == [SAID] * 5
    assert {str(each.metadata) for each in found if isinstance(each, Document)} == {
        "{'title': 'Lids', 'content_type': 'text/html'}"
    }
    assert isinstance(last, Reject)
    assert last.detail == (
        "5 records that are no documents: 2 request, 1 warcinfo, 1 response with status 404, "
        "1 application/pdf"
    )


@pytest.mark.parametrize("length", [3, 5_000])
@pytest.mark.parametrize("zipped", [False, True])
def test_a_record_with_a_wrong_length_costs_only_itself(tmp_path: Path, length: int, zipped: bool) -> None:
    records = [wet("one"), wet("two and more", length=length), wet("three")]
    data = b"".join(members(records) if zipped else records)
    path = write(tmp_path / ("a.wet.gz" if zipped else "a.wet"), data)
    found = read("wet", path)
    assert places(path, found) == [("1", "one"), ("2", "wrong_length"), ("3", "three")]
    assert only_reject(found).detail == f"the record has 12 bytes and declares {length:,}"


@pytest.mark.parametrize("fault", ["data", "checksum", "begin"])
def test_a_broken_member_costs_only_itself(tmp_path: Path, fault: str) -> None:
    found = members(wet(text * 40) for text in TEXTS)
    at = {"data": 120, "checksum": -6, "begin": 3}[fault]
    broken = bytearray(found[2])
    broken[at] ^= 0xFF
    path = write(tmp_path / "a.wet.gz", b"".join([*found[:2], bytes(broken), *found[3:]]))
    read_back = read("wet", path)
    assert [each.reason for each in read_back if isinstance(each, Reject)] == ["damaged_file"]
    good = [(position, text) for position, text in places(path, read_back) if text != "damaged_file"]
    assert good == [(str(number + 1), TEXTS[number] * 40) for number in (0, 1, 3, 4)]
    assert only_reject(read_back).source == f"{path}:3"


def test_truncated_files_are_told(tmp_path: Path) -> None:
    records = [wet(text * 40) for text in TEXTS]
    path = write(tmp_path / "a.wet", b"".join(records)[:-30])
    assert [what for _, what in places(path, read("wet", path))][-1] == "truncated_file"
    path = write(tmp_path / "a.wet.gz", b"".join(members(records))[:-30])
    found = places(path, read("wet", path))
    assert found == [(str(n + 1), TEXTS[n] * 40) for n in range(4)] + [("5", "damaged_file")]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (record("conversion", b"caf\xe9"), "invalid_utf8"),
        (record("conversion", b"x", Content_Length="many"), "invalid_record"),
        (b"WARC/1.0\r\nno header\r\n\r\n", "invalid_record"),
        (page(b"no brotli", Content_Encoding="br"), "invalid_http"),
        (page(b"", Content_Encoding="gzip"), "no_main_text"),
        (
            page(b"<html><body><p>caf\xe9 au lait</body>", Content_Type="text/html; charset=utf-8"),
            "invalid_utf8",
        ),
    ],
)
def test_bad_records_are_rejects(tmp_path: Path, data: bytes, reason: str) -> None:
    found = read("warc", write(tmp_path / "a.warc", data + wet("good")))
    assert [each.reason for each in found if isinstance(each, Reject)] == [reason]
    assert texts(found[1:]) == ["good"]


def test_bombs_meet_the_limit_of_a_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RECORD_BYTES", 10_000)
    bomb = page(gzip.compress(b"\0" * 5_000_000), Content_Encoding="gzip")
    long = wet("long" * 9_000)
    path = write(tmp_path / "a.warc", bomb + long + wet("good"))
    assert [what for _, what in places(path, read("warc", path))] == [
        "record_too_long",
        "record_too_long",
        "good",
    ]


@pytest.mark.parametrize(("reader", "module"), [("warc", "fastwarc.warc"), ("mediawiki", "mwparserfromhell")])
def test_a_missing_library_is_one_line(monkeypatch: pytest.MonkeyPatch, reader: str, module: str) -> None:
    for name in [
        name for name in sys.modules if name.startswith(("plugins.readers.w", "plugins.readers.mediaw"))
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError) as caught:
        open_reader(SourceConfig(reader=reader, uri="a"))
    assert f"pip install 'tutelage[{reader}]'" in str(caught.value)


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
def test_a_compressed_body_that_ends_early_is_a_reject(
    tmp_path: Path, encoding: str, compress: Callable[[bytes], bytes]
) -> None:
    body = compress(PAGE.encode())
    cut = page(body[:-9], Content_Encoding=encoding)
    told = cut.replace(b"WARC-Type", b"WARC-Truncated: length\r\nWARC-Type")
    path = write(tmp_path / "a.warc", page(body, Content_Encoding=encoding) + cut + told)
    whole, reject, short = read("warc", path)
    assert texts([whole]) == [SAID]
    assert isinstance(reject, Reject) and isinstance(short, Document)
    assert (reject.reason, reject.detail) == ("invalid_http", "the compressed body is damaged, or ends early")
