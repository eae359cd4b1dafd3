"""Labelled pairs: a passage, a pair about it, whether it is good or bad, and how it came to be bad.

    passages.jsonl    id, register, and the text, or the bundled file that holds it
    written.jsonl     pairs written by hand
    damaged.jsonl     good pairs made bad by `benchmarks.verification.damage`, read by hand afterwards

A third of the passages, chosen by a hash of their id, is held out: the rules were never changed for an error
on their pairs.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import groupby
from pathlib import Path
from typing import Any

import zstandard

from schemas.records import InstructionPair

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]

TUNING, HELD_OUT = "tuning", "held-out"


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """A pair with its label.

    Attributes:
        passage: Id of its passage.
        is_bad: The label.
        kind: Kind of good pair (numeric, summary, …) or of damage (number_changed, leaked, …).
        split: TUNING or HELD_OUT; all pairs of a passage have the same.
    """

    passage: str
    text: str
    pair: InstructionPair
    is_bad: bool
    kind: str
    split: str


def split_of(passage: str) -> str:
    """Split of a passage, by a hash of its id."""
    number = int.from_bytes(blake2b(passage.encode(), digest_size=8).digest(), "big")
    return HELD_OUT if number % 3 == 0 else TUNING


@functools.cache
def passages() -> dict[str, str]:
    """Texts by the id of their passage."""
    return {row["id"]: row.get("text") or _bundled(row["from"], row["id"]) for row in rows("passages")}


def load() -> list[Labelled]:
    """All labelled pairs, those of a passage one after another."""
    texts = passages()
    order = {passage: index for index, passage in enumerate(texts)}
    found = sorted([*rows("written"), *rows("damaged")], key=lambda row: order[row["passage"]])
    return [
        Labelled(
            passage=row["passage"],
            text=texts[row["passage"]],
            pair=pair_of(row),
            is_bad=row["label"] == "bad",
            kind=row["kind"],
            split=row["split"],
        )
        for row in found
    ]


def few_each(rows: Sequence[Labelled], number: int) -> list[Labelled]:
    """A number of pairs of each passage, spread over its list; all for 0."""
    found: list[Labelled] = []
    for _, each in groupby(rows, key=lambda row: row.passage):
        own = list(each)
        found += own[:: max(1, len(own) // number)][:number] if number else own
    return found


@functools.cache
def rows(name: str) -> list[dict[str, Any]]:
    """Rows of one of the files."""
    return [json.loads(line) for line in (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()]


def pair_of(row: dict[str, Any]) -> InstructionPair:
    """The pair of a row."""
    return InstructionPair(
        instruction=row["instruction"],
        response=row["response"],
        options=tuple(row.get("options", ())),
        rationale=row.get("rationale", ""),
    )


def _bundled(path: str, passage: str) -> str:
    file = ROOT / path
    if file.suffix == ".txt":
        return file.read_text(encoding="utf-8")
    lines = zstandard.ZstdDecompressor().stream_reader(file.read_bytes()).read().decode().splitlines()
    return str(next(row["text"] for row in map(json.loads, lines) if row["id"] == passage))
