"""Damages of a file, drawn from a seed: misleading JSON values, and changed bytes."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import zstandard

NASTY: tuple[Any, ...] = (
    *("/etc/passwd", "/tmp/written", "../../home/keys", "..", ".", "", "a/../../b", "~/x", "C:\\x", "x\x00y"),
    *(
        "file:///tmp/x",
        "s3://bucket/x",
        "simplecache::file:///tmp/x",
        "shard.00000.mds",
        "\ud83d",
        "\x1b]52;c;x\x07",
    ),
    *("pkl", "json", "ndarray", "ndarray:int64", "str", "shake_128", "zstd:99", "xz", "nan", "1", "é" * 300),
    *(-1, 0, 1, 2**31, 2**32, 2**63, 2**64, 10**30, -(2**63), 1.5, 1e300, True, None),
    *([], {}, [[]], [None], {"": 1}, {"basename": "/etc/passwd"}, ["pkl", "pkl"], [1, 2, 3]),
)

RAW = (
    *(b"", b"\x00" * 64, b"\xff\xfe", b"null", b"1e999", b"NaN", b"[1", b"{}", b"[]", b'"x"', b"[" * 100_000),
    *(b'{"a":' * 50_000, b"9" * 5_000, b"-" + b"9" * 5_000, b'{"version": 2, "shards": 3}'),
)


def mutate_value(rng: random.Random, value: Any) -> Any:
    """Return a copy of a JSON value with one to three changes."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        places = list(_places(value))
        if not places:
            return copy.deepcopy(rng.choice(NASTY))
        holder, key = rng.choice(places)
        action = rng.random()
        if action < 0.7:
            holder[key] = copy.deepcopy(rng.choice(NASTY))
        elif action < 0.8:
            del holder[key]
        elif action < 0.9 and isinstance(holder, dict):
            holder[rng.choice(("extra", "basename", "__class__", "format"))] = holder.pop(key)
        elif isinstance(holder, list):
            holder.insert(0, copy.deepcopy(holder[key]))
        else:
            holder[key] = [holder[key]]
    return value


def mutate_json(rng: random.Random, data: bytes) -> bytes:
    """Return a damaged copy of a JSON file."""
    if rng.random() < 0.1:
        return rng.choice(RAW)
    if rng.random() < 0.1:
        return mutate_bytes(rng, data)
    text = json.dumps(mutate_value(rng, json.loads(data)))
    return text.encode()


def mutate_lines(rng: random.Random, data: bytes) -> bytes:
    """Return a copy of a JSON lines file with one damaged line."""
    lines = data.splitlines()
    at = rng.randrange(len(lines))
    lines[at] = mutate_json(rng, lines[at])
    return b"".join(line + b"\n" for line in lines)


def mutate_zst(rng: random.Random, data: bytes) -> bytes:
    """Damage one line of a zstd JSON lines file, or its compressed bytes."""
    if rng.random() < 0.3:
        return mutate_bytes(rng, data)
    plain = zstandard.ZstdDecompressor().decompressobj().decompress(data)
    return zstandard.ZstdCompressor(level=1).compress(mutate_lines(rng, plain))


def mutate_bytes(rng: random.Random, data: bytes) -> bytes:
    """Flip, cut off, insert or repeat bytes."""
    changed = bytearray(data)
    action = rng.random()
    at = rng.randrange(len(data))
    if action < 0.7:
        for _ in range(rng.choice((1, 1, 4))):
            changed[rng.randrange(min(len(data), rng.choice((64, len(data)))))] ^= 1 << rng.randrange(8)
    elif action < 0.8:
        del changed[at:]
    elif action < 0.9:
        changed[at:at] = rng.randbytes(rng.choice((1, 4, 100)))
    else:
        changed[at : at + 8] = rng.choice((b"\xff" * 8, b"\x00" * 8))
    return bytes(changed)


def _places(value: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        found.append((value, key))
        found += _places(item)
    return found
