"""Encoding of text files: UTF-8 only. Other encodings and formats are recognised by their first bytes."""

from __future__ import annotations

_HEAD_BYTES = 64
"""Bytes that `foreign` searches for zero bytes."""

_SIGNATURES = {
    b"\xff\xfe\x00\x00": "UTF-32",  # before UTF-16, which begins alike
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
    b"\x1f\x8b": ".gz",
    b"BZh": ".bz2",
    b"\x28\xb5\x2f\xfd": ".zst",
    b"PAR1": "parquet",
    b"PK\x03\x04": "zip",
    b"%PDF-": "PDF",
}


def foreign(head: bytes) -> str | None:
    """Return what a file is by its first bytes, with the cure; None if it may be UTF-8 text."""
    kind = next((kind for begin, kind in _SIGNATURES.items() if head.startswith(begin)), None)
    if kind is None and b"\x00" in head[:_HEAD_BYTES]:
        kind = "UTF-16LE"
        return f"the file begins with zero bytes. If it is text in {kind}, {_convert(kind)}"
    if kind is None:
        return None
    if kind.startswith("UTF"):
        return f"the file begins with the byte order mark of {kind}; {_convert(kind)}"
    if kind.startswith("."):
        return f"the file is compressed. Let its name end in {kind}"
    return f"the file is {kind}, not text. Extract its text, or use another reader"


def undecodable(error: UnicodeDecodeError, of: str = "") -> str:
    """Describe bytes that are no UTF-8, with the cure."""
    found = f"byte {error.object[error.start : error.start + 1]!r} at offset {error.start}{of}"
    return f"{found}, expected UTF-8. If the file is in Windows-1252, {_convert('CP1252')}"


def _convert(encoding: str) -> str:
    return f"`iconv -f {encoding} -t UTF-8` converts it"
