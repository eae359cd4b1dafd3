"""Encoding of text: UTF-8, one that the source names, or one found in the bytes.

    encoding: null, utf-8    UTF-8, with or without a byte order mark
    encoding: NAME           one of Python's encodings: utf-16, cp1252, shift_jis, gb18030
    encoding: auto           its byte order mark, else UTF-8 if it is that, else charset-normalizer's guess

charset-normalizer (MIT) is maintained, pure Python, and part of Beam's own dependencies. It searches the
encodings of the WHATWG standard, because pages and exports have no others. Its guess is weak on short texts:
`encoding_confidence` is 0 if it recognises no language in the decoded text.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import NamedTuple

from plugins.readers.decompression import peek

AUTO = "auto"
FIELDS = ("detected_encoding", "encoding_confidence")
"""Fields of rows, and metadata of documents, with `encoding: auto`."""

_HEAD_BYTES = 64
"""Bytes that `foreign` searches for zero bytes."""

_SAMPLE_BYTES = 1 << 18
"""Most bytes that a guess is made from."""

_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, which begins alike
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_GUESSED = (
    *("utf_16_le", "utf_16_be", "gb18030", "big5", "cp932", "euc_jp", "iso2022_jp", "cp949", "cp866"),
    *("koi8_r", "koi8_u", "cp874", *(f"cp{number}" for number in range(1250, 1259))),
)
_SIGNATURES = {
    b"\x1f\x8b": ".gz",
    b"BZh": ".bz2",
    b"\x28\xb5\x2f\xfd": ".zst",
    b"\xfd7zXZ": ".xz",
    b"PAR1": "parquet",
    b"PK\x03\x04": "zip",
    b"%PDF-": "PDF",
}

_INVALID = "tutelage.invalid"
codecs.register_error(_INVALID, lambda error: ("\udcff", error.end))  # type: ignore[attr-defined]


class Undecodable(Exception):
    """Bytes that are no text in the encoding of their source. Its arguments: a reason, and details."""


class Encoding(NamedTuple):
    """An encoding of Python, and the fields that tell how it was found: none if the source named it."""

    name: str
    fields: dict[str, str]


def encoding_of(data: bytes, wanted: str | None, *, is_whole: bool = True) -> Encoding:
    """Return the encoding of a file or field; `data` is all of it, or its beginning.

    Raises:
        Undecodable: With `auto`, no encoding fits.
    """
    if wanted != AUTO:
        return Encoding(wanted or "utf-8", {})
    if marked := next((name for mark, name in _MARKS.items() if data.startswith(mark)), None):
        return _found(marked, 1.0)
    try:
        codecs.getincrementaldecoder("utf-8")().decode(data, final=is_whole)
        if b"\x00" not in data[:_HEAD_BYTES]:
            return _found("utf-8", 1.0)
    except UnicodeDecodeError:
        pass
    import charset_normalizer

    sample = data[:_SAMPLE_BYTES]
    if b"\x00" not in sample:  # the library looks at a few places, where a file may be ASCII
        sample = b"\n".join(line for line in sample.split(b"\n") if not line.isascii())
    best = charset_normalizer.from_bytes(sample, cp_isolation=list(_GUESSED)).best()
    if best is None:
        raise Undecodable("unknown_encoding", "no encoding fits its bytes. Name its encoding in `encoding`")
    return _found(best.encoding, (1 - best.chaos) * best.coherence)


def _found(name: str, confidence: float) -> Encoding:
    return Encoding(name, dict(zip(FIELDS, (name, f"{confidence:.2f}"), strict=True)))


def is_marked(data: bytes) -> bool:
    """True if bytes begin with a byte order mark."""
    return data.startswith(tuple(_MARKS))


def decode(data: bytes, wanted: str | None) -> tuple[str, dict[str, str]]:
    """Decode a whole file or field: its text without a byte order mark, and `Encoding.fields`.

    Raises:
        Undecodable: Some bytes are no text in the encoding; or no encoding fits.
    """
    name, fields = encoding_of(data, wanted)
    try:
        return data.decode("utf-8-sig" if is_utf8(name) else name).removeprefix("\ufeff"), fields
    except UnicodeDecodeError as error:
        if is_utf8(name):
            raise Undecodable("invalid_utf8", undecodable(error)) from None
        found = f"byte {error.object[error.start : error.start + 1]!r} at offset {error.start}"
        raise Undecodable("undecodable", f"{found}, expected {name}. {_cure(wanted)}") from None


def as_utf8(chunks: Iterator[bytes], wanted: str | None) -> tuple[Iterator[bytes], dict[str, str]]:
    r"""Return a stream as UTF-8, and `Encoding.fields`.

    UTF-8 passes unchanged. Each piece that is no text in another encoding becomes the byte 0xff, which is no
    UTF-8: so `"utf-8"` refuses just the line or piece that holds it.

    Raises:
        Undecodable: With `auto`, no encoding fits the beginning of the stream.
    """
    if is_utf8(wanted):
        return chunks, {}
    head, chunks = peek(chunks, _SAMPLE_BYTES)
    encoding = encoding_of(head, wanted, is_whole=False)
    return _recoded(chunks, encoding.name), encoding.fields


def _recoded(chunks: Iterator[bytes], name: str) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(name)(_INVALID)
    for chunk in chunks:
        yield decoder.decode(chunk).encode("utf-8", "surrogateescape")
    yield decoder.decode(b"", final=True).encode("utf-8", "surrogateescape")


def foreign(head: bytes, wanted: str | None = None) -> str | None:
    """Return what a file is by its first bytes, with the cure; None if it may be text as wanted."""
    kind = next((kind for begin, kind in _SIGNATURES.items() if head.startswith(begin)), None)
    if kind is not None and kind.startswith("."):
        return f"the file is compressed. Let its name end in {kind}"
    if kind is not None:
        return f"the file is {kind}, not text. Extract its text, or use another reader"
    if not is_utf8(wanted):
        return None
    mark = next((name.upper() for mark, name in _MARKS.items() if head.startswith(mark)), "UTF-8")
    if mark != "UTF-8":
        return f"the file begins with the byte order mark of {mark}; {_convert(mark)}"
    if b"\x00" in head[:_HEAD_BYTES]:
        return f"the file begins with zero bytes. If it is text in UTF-16LE, {_convert('UTF-16LE')}"
    return None


def undecodable(error: UnicodeDecodeError, of: str = "") -> str:
    """Describe bytes that are no UTF-8, with the cure."""
    found = f"byte {error.object[error.start : error.start + 1]!r} at offset {error.start}{of}"
    return f"{found}, expected UTF-8. If the file is in Windows-1252, {_convert('CP1252')}"


def unmarked(wanted: str | None, of: str) -> str:
    """Describe bytes that `as_utf8` marked as no text, with the cure."""
    expected = "the encoding found in the file" if wanted == AUTO else str(wanted)
    return f"some bytes{of} are no text in {expected}. {_cure(wanted)}"


def is_utf8(wanted: str | None) -> bool:
    """True if a source's `encoding` names UTF-8, or nothing."""
    return wanted is None or (wanted != AUTO and codecs.lookup(wanted).name in ("utf-8", "utf-8-sig"))


def _cure(wanted: str | None) -> str:
    return "Name another `encoding`" if wanted != AUTO else "Name the `encoding`; it was guessed"


def _convert(encoding: str) -> str:
    return f"`iconv -f {encoding} -t UTF-8` converts it"
