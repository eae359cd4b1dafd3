"""Kinds of files, and the reader of each: the content decides, then the name's extension.

    magic bytes ─► root element of XML or HTML ─► extension ─► JSON by its beginning ─► text, or binary

A kind without a reader in READERS is refused by its name. To read a further kind, add its line to KINDS.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from plugins.readers import text_encoding
from plugins.readers.decompression import is_compressed


class Kind(NamedTuple):
    """How files of a kind are known, and the name of the reader that reads them."""

    reader: str
    magic: str = ""  # pattern of the first bytes, as Latin-1
    roots: tuple[str, ...] = ()  # names of the first element, in lower case
    extensions: tuple[str, ...] = ()


KINDS = {
    "zip": Kind("", magic=r"PK(?:\x03\x04|\x05\x06)", extensions=(".zip",)),
    "tar": Kind("", magic=r"(?s:.{257})ustar", extensions=(".tar", ".tgz", ".tbz2", ".txz")),
    "docx": Kind("docx", extensions=(".docx",)),  # docx, epub and others are zip: see `kind_of_zip`
    "epub": Kind("epub", extensions=(".epub",)),
    "pdf": Kind("pdf", magic="%PDF-", extensions=(".pdf",)),
    "parquet": Kind("parquet", magic="PAR1", extensions=(".parquet",)),
    "warc": Kind("warc", magic=r"WARC/\d", extensions=(".warc", ".wet")),
    "edgar": Kind("edgar", magic=r"\s*(?:<SEC-DOCUMENT|<SEC-HEADER|-----BEGIN PRIVACY-ENHANCED MESSAGE)"),
    "medline": Kind("medline", roots=("pubmedarticleset", "pubmedbookarticleset")),
    "jats": Kind("jats", roots=("pmc-articleset", "article"), extensions=(".nxml",)),
    "mediawiki": Kind("mediawiki", roots=("mediawiki",)),
    "html": Kind("html", roots=("html",), extensions=(".html", ".htm", ".xhtml")),
    "json": Kind("jsonl", extensions=(".jsonl", ".ndjson", ".json")),
    "csv": Kind("csv", extensions=(".csv",)),
    "tsv": Kind("tsv", extensions=(".tsv", ".tab")),
    "markdown": Kind("markdown", extensions=(".md", ".markdown")),
    "rst": Kind("rst", extensions=(".rst",)),
    "text": Kind("text", extensions=(".txt", ".text", "")),
    "image": Kind("image", magic=r"\x89PNG|\xff\xd8\xff|GIF8|II\*\x00|MM\x00\*|RIFF.{4}WEBP"),
    "rtf": Kind("rtf", magic=r"\{\\rtf", extensions=(".rtf",)),
    "office_97": Kind("office_97", magic=r"\xd0\xcf\x11\xe0", extensions=(".doc", ".xls", ".ppt")),
    "gzip": Kind("gzip", magic=r"\x1f\x8b"),
    "bzip2": Kind("bzip2", magic=r"BZh\d"),
    "xz": Kind("xz", magic=r"\xfd7zXZ"),
    "7z": Kind("7z", magic=r"7z\xbc\xaf"),
    "rar": Kind("rar", magic="Rar!"),
    "zstd": Kind("zstd", magic=r"\x28\xb5\x2f\xfd"),
    "xml": Kind("xml", extensions=(".xml",)),
}
"""Readers by kind. `zip` and `tar` have no reader: `archives.py` opens them."""

_MAGIC = {kind: re.compile(each.magic.encode("latin-1")) for kind, each in KINDS.items() if each.magic}
_BY_ROOT = {root: kind for kind, each in KINDS.items() for root in each.roots}
_BY_EXTENSION = {end: kind for kind, each in KINDS.items() for end in each.extensions}
_IN_ZIP = {"word/document.xml": "docx", "META-INF/container.xml": "epub", "xl/workbook.xml": "xlsx"} | {
    "ppt/presentation.xml": "pptx",
    "META-INF/manifest.xml": "opendocument",
    "META-INF/MANIFEST.MF": "jar",
}
_ROOT = re.compile(rb"<!doctype\s+(html)\b|<(?![?!])(?:[\w.-]{1,99}:)?([\w.-]{1,99})", re.IGNORECASE)
_JSON = re.compile(rb'\s*(?:\[\s*)?\{\s*["}]')
HEAD_BYTES = 1 << 16
"""First bytes of a file that say its kind."""


def kind_of(name: str, head: bytes) -> str:
    """Return the kind of a file by its first bytes, decompressed, and by its name.

    That is a name of KINDS, or for others `binary`, or `text with the extension …`.
    """
    head = head[:HEAD_BYTES]
    end = extension(name)
    by_name = _BY_EXTENSION.get(end)
    magic = next((kind for kind, pattern in _MAGIC.items() if pattern.match(head)), None)
    if magic is not None:
        is_tar = magic in ("gzip", "bzip2", "xz") and (by_name == "tar" or name.lower().endswith(".tar.xz"))
        return "tar" if is_tar else magic
    first, *others = head.removeprefix(b"\xef\xbb\xbf").split(b"<!--")
    bare = b"".join([first, *(each.partition(b"-->")[2] for each in others)]).lstrip()  # without comments
    if bare[:1] == b"<" and (found := _ROOT.search(bare)):
        root = _BY_ROOT.get((found[1] or found[2]).decode().lower())
        if root is not None and not (root == "jats" and by_name in ("html", "markdown")):
            return root
        if by_name is None and bare.startswith(b"<?xml"):
            return "xml"
    if by_name == "text" and not end and _JSON.match(bare):
        return "json"
    if by_name is None or (by_name == "text" and not end):
        if b"\x00" in head and not text_encoding.is_marked(head):
            return "binary"
        return "text" if by_name else f"text with the extension {end}"
    return by_name


def kind_of_zip(name: str, members: set[str]) -> str:
    """Return the kind of a zip by the names of its members; `zip` is one that only packs files.

    One that names itself a document, such as a docx without its main part, is no archive.
    """
    by_name = _BY_EXTENSION.get(extension(name), "zip")
    kind = next((kind for member, kind in _IN_ZIP.items() if member in members), "zip")
    return by_name if kind == "zip" and by_name in ("docx", "epub") else kind


def extension(name: str) -> str:
    """Return the extension of a file's name in lower case, without that of a compression."""
    if is_compressed(name):
        name = name.rpartition(".")[0]
    end = os.path.splitext(name)[1].lower()
    return end if re.fullmatch(r"\.[a-z0-9]{1,8}", end) else ""
