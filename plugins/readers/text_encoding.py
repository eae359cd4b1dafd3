"""Encoding of text: UTF-8, one that the source names, or one found in the bytes.

    encoding: null, utf-8    UTF-8, with or without a byte order mark
    encoding: NAME           one of Python's encodings: utf-16, cp1252, shift_jis, gb18030
    encoding: auto           its byte order mark, else UTF-8 if most of it is that, else chardet's guess

chardet (0BSD) scores encodings by pairs of letters in 50 languages. It searches those of the WHATWG standard,
because pages and exports have no others. Windows-1252 wins unless another one scores clearly higher, because
a few signs such as "°" or "½" in an English text look like letters of other encodings.
`encoding_confidence` compares its score with that of the next best reading of the text: 0.5 is a tie.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from plugins.readers.decompression import MAGIC, peek

AUTO = "auto"
FIELDS = ("detected_encoding", "encoding_confidence")
"""Fields of rows, and metadata of documents, with `encoding: auto`."""

_HEAD_BYTES = 64
"""Bytes that `foreign` searches for zero bytes."""

_SAMPLE_BYTES = 1 << 18
"""Bytes that a stream shows before its encoding is chosen."""

_GUESS_BYTES = 1 << 16
"""Most bytes that a guess is made from: 20 ms."""

_WESTERN = "cp1252"
_CLEARLY = 1.5
"""Times the score of Windows-1252 that another encoding must have: in English it reaches 1.3, else 1.6."""

_WIDE = ("utf-16-le", "utf-16-be")
_PLAIN = re.compile("[\n\r -~]")
_LEAST_PLAIN = 0.005
"""ASCII characters of UTF-16 for each byte, at least: spaces, digits, line ends."""

_CONTROLS = bytes(set(range(32)) - set(b"\n\r"))
_MOST_CONTROLS = 0.2
"""Share of control bytes in text; UTF-16 in alphabets has 0.4, one zero byte in a short file 0.1."""

_CONTROL = re.compile("[\0-\x08\x0e-\x1f\x7f-\x9f]")
_MOST_IN_A_GUESS = 0.01
"""Share of control characters in the text of a guess."""

_OTHER_ALPHABETS = re.compile("[\u0370-\u06ff]")
_MIXED = re.compile("[A-Za-z](?=[\u0370-\u06ff])|[\u0370-\u06ff](?=[A-Za-z])")
_MOST_MIXED = 0.2
"""Changes of alphabet without a space, for each letter past Latin."""

_SHIFT = b"\x1b$"
_SHIFTED = "iso2022_jp_2"
"""Encoding whose letters are ASCII between shifts."""

_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, which begins alike
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_GUESSED = (
    *("gb18030", "big5hkscs", "cp932", "euc_jis_2004", "cp949", "cp866", "cp874"),
    *("koi8-r", "koi8-u", "iso8859-2", "iso8859-5"),
    *(f"cp{number}" for number in range(1250, 1259)),
)
_SIGNATURES = {
    **{begin: end for end, begins in MAGIC.items() for begin in begins},
    b"PAR1": "parquet",
    b"PK\x03\x04": "zip",
    b"%PDF-": "PDF",
}

_MOST_SURE, _SURE = 0.99, "1.00"
"""Confidence of a guess at most, and of what is no guess."""

_LINE = re.compile(rb"[^\n]*\n?")
_INVALID = "tutelage.invalid"
_BAD = "\udcff"
codecs.register_error(_INVALID, lambda error: (_BAD, error.end))  # type: ignore[attr-defined]


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
    head = data[:_SAMPLE_BYTES]
    num_plain, wide = max((len(_PLAIN.findall(head.decode(name, "replace"))), name) for name in _WIDE)
    has_controls = len(head) - len(head.translate(None, _CONTROLS)) > len(head) * _MOST_CONTROLS
    names = (
        *([wide] if has_controls and num_plain > len(head) * _LEAST_PLAIN else ()),
        *([_SHIFTED] if _SHIFT in head else ()),
        "utf-8",
    )
    for name in names:
        if _read(data, name, is_whole=is_whole) is not None:
            return _found(name, 1.0 if name != wide else _MOST_SURE)
    return _guess(_foreign_lines(data))


def _foreign_lines(data: bytes) -> bytes:
    """Return the lines that are not ASCII, up to a limit, without zero bytes."""
    num, lines = 0, []
    for found in _LINE.finditer(data):
        if not (line := found[0]).isascii():
            lines.append(line)
            num += len(line)
            if num > _GUESS_BYTES:
                break
    return b"".join(lines)[:_GUESS_BYTES].replace(b"\x00", b"")


def _guess(sample: bytes) -> Encoding:
    """Return the likeliest encoding of bytes.

    Valid characters of UTF-8 hardly occur in other encodings, so UTF-8 wins if they are half of what is not
    ASCII. In the passages of the tests they are at most 0.41 of it, in Thai.
    """
    as_utf8 = sample.decode("utf-8", _INVALID)
    num_foreign, num_bad = len(as_utf8) - len(as_utf8.encode("ascii", "ignore")), as_utf8.count(_BAD)
    if num_bad <= num_foreign / 2:
        return _found("utf-8", min(1 - num_bad / num_foreign, _MOST_SURE))
    import chardet

    found = chardet.detect_all(
        sample,
        ignore_threshold=True,
        compat_names=False,
        include_encodings=_GUESSED,
        max_bytes=_GUESS_BYTES,
    )
    scores = {name: each["confidence"] for each in found if (name := each["encoding"])}
    texts = {name: text for name in scores if (text := _read(sample, name)) and not _is_mixed(text)}
    controls = {name: len(_CONTROL.findall(text)) for name, text in texts.items()}
    fewest = min(controls.values(), default=0)
    names = [name for name in texts if controls[name] == fewest]
    if not names or fewest > len(sample) * _MOST_IN_A_GUESS:
        raise Undecodable("unknown_encoding", "no encoding fits its bytes. Name its encoding in `encoding`")
    best = max(names, key=lambda name: scores[name] / (1 if name == _WESTERN else _CLEARLY))
    rival = max((scores[name] for name in names if texts[name] != texts[best]), default=0.0)
    return _found(best, min(scores[best] / (scores[best] + rival), _MOST_SURE))


def _is_mixed(text: str) -> bool:
    """True if Greek to Arabic letters often stand beside Latin ones: `fermי` is a misreading of `fermé`."""
    return len(_MIXED.findall(text)) > _MOST_MIXED * len(_OTHER_ALPHABETS.findall(text))


def _read(data: bytes, name: str, *, is_whole: bool = False) -> str | None:
    """Decode bytes, of which the last character may be cut; None if some are no text in the encoding."""
    try:
        return codecs.getincrementaldecoder(name)().decode(data, final=is_whole)
    except UnicodeDecodeError:
        return None


def _found(name: str, confidence: float) -> Encoding:
    return Encoding(name, dict(zip(FIELDS, (name, f"{confidence:.2f}"), strict=True)))


def guess_in(values: Mapping[str, Any]) -> str | None:
    """Return the encoding by which a row was decoded if it was guessed."""
    name, confidence = (values.get(field) for field in FIELDS)
    return name if isinstance(name, str) and confidence not in (None, _SURE) else None


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


def check_text(head: bytes, wanted: str | None = None) -> None:
    """Raise Undecodable if a file is no text by its first bytes."""
    if found := foreign(head, wanted):
        raise Undecodable("not_utf8", found)


def fault_of(error: UnicodeDecodeError, wanted: str | None, of: str) -> tuple[str, str]:
    """Return the reason and details of a piece of a stream of `as_utf8` that is no text."""
    if is_utf8(wanted):
        return "invalid_utf8", undecodable(error, of)
    return "undecodable", unmarked(wanted, of)


def undecodable(error: UnicodeDecodeError, of: str = "") -> str:
    """Describe bytes that are no UTF-8, with the cure."""
    found = f"byte {error.object[error.start : error.start + 1]!r} at offset {error.start}{of}"
    return f"{found}, expected UTF-8. If the file is in Windows-1252, {_convert('cp1252')}"


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
    return f"`encoding: {encoding.lower()}` or `auto` on its source reads it"
