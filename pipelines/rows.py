"""Packed rows as they are stored, read one shard at a time.

A StreamingDataset would do for training; for a look at some rows it takes shared memory of the whole machine,
and attaches to that of every other run. Here a shard is fetched, unpacked into a temporary folder, and read
by Streaming's own reader of its format.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

from pipelines.transforms.example_tokens import spans_within
from schemas import storage
from schemas.errors import CorpusError
from schemas.scratch import scratch
from schemas.shards import LOSS_SPANS


def read_rows(corpus: str, shards: str, start: int = 0) -> Iterator[dict[str, Any]]:
    """Yield the rows of a shard directory in order, from one on.

    Args:
        corpus: The corpus.
        shards: One of its shard directories, relative to it.
        start: The first row wanted.

    Raises:
        CorpusError: A file is missing or damaged.
    """
    from streaming.base.format import reader_from_json

    uri = storage.join(corpus, shards)
    at = 0
    for info in json.loads(storage.read_bytes(storage.join(uri, "index.json")))["shards"]:
        first, at = at, at + info["samples"]
        if at <= start:
            continue
        with scratch("rows") as folder, storage.naming(folder):
            path = os.path.join(folder, info["raw_data"]["basename"])
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(_shard(uri, info))
            reader = reader_from_json(folder, None, info)
            for number in range(max(start - first, 0), info["samples"]):
                yield reader[number]


def loss_note(row: dict[str, Any], start: int, end: int) -> str:
    """How many of some of a row's tokens carry loss, in words; "" where all do."""
    if LOSS_SPANS not in row:
        return ""
    spans = spans_within(row[LOSS_SPANS], start, end)
    return f", loss on {int((spans[1::2] - spans[0::2]).sum())}"


def _shard(uri: str, info: dict[str, Any]) -> bytes:
    """The bytes of a shard, decompressed."""
    from streaming.base.compression import decompress

    zipped = info.get("zip_data")
    file = storage.join(uri, (zipped or info["raw_data"])["basename"])
    try:
        data = storage.read_bytes(file)
        plain: bytes = decompress(info["compression"], data) if zipped else data
    except FileNotFoundError:
        raise CorpusError(f"{file}: is missing, though index.json names it. Restore it.") from None
    except Exception as error:  # each compression has errors of its own
        raise CorpusError(f"{file}: is damaged: {error}. Restore it.") from error
    if len(plain) != info["raw_data"]["bytes"]:
        raise CorpusError(
            f"{file}: is damaged: it holds {len(plain)} bytes, expected {info['raw_data']['bytes']}. "
            "Restore it."
        )
    return plain
