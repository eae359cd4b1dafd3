"""Helpers of the readers' tests: write files, read them, summarise their records."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import zstandard

from plugins.readers import open_reader
from schemas.corpus_config import SourceConfig
from schemas.records import Document, Reject

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "": lambda data: data,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.ZstdCompressor(write_checksum=True).compress,
}


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def jsonl(*rows: Any) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def noise(num_rows: int) -> list[dict[str, str]]:
    """Rows that compress badly, so that a cut file keeps some rows and loses some."""
    rng = random.Random(2)
    return [{"text": f"{rng.getrandbits(240):060x}"} for _ in range(num_rows)]


def read(reader: str | None, uri: Path | str, **options: Any) -> list[Document | Reject]:
    named = {} if reader is None else {"reader": reader}  # a preset fills in a reader that is not set
    return list(open_reader(SourceConfig(uri=str(uri), **named, **options)).read(str(uri)))


def read_parts(path: Path) -> list[Document | Reject]:
    """Read a file of JSON lines part by part."""
    reader = open_reader(SourceConfig(reader="jsonl", uri=str(path)))
    return [each for part in reader.parts(str(path)) for each in reader.read(str(path), part)]


def texts(found: list[Document | Reject]) -> list[str]:
    assert all(isinstance(each, Document) for each in found), found
    return [each.text for each in found if isinstance(each, Document)]


def only_reject(found: list[Document | Reject]) -> Reject:
    (reject,) = [each for each in found if isinstance(each, Reject)]
    return reject


def places(uri: Path | str, found: list[Document | Reject]) -> list[tuple[str, str]]:
    """Each record's position in the file, and the document's text or the reject's reason."""
    return [
        (
            each.source.removeprefix(str(uri)).removeprefix(":"),
            each.text if isinstance(each, Document) else each.reason,
        )
        for each in found
    ]
