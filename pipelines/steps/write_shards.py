"""Tokenized texts to MDS shards, deterministic and idempotent.

    h = blake2b(seed, text_id) ─► group = h·N >> 64 ─► sort by (h, text_id) ─► pack ─► MDS shards

which is a global shuffle at the memory of one group. The bytes depend on the texts and the seed alone,
so a group written twice is the same group; files appear whole, the group's index.json last.

    texts/<stream>-00000.jsonl.zst      the texts of a group, in its order
    pairs/<stream>-00000.jsonl.zst      their pairs, text by text; no file where there are none
    lineage/<stream>-00000.jsonl.zst    a line for each of its rows: [[text, first token, tokens], …]

Rows of a group have the column `loss_spans` if any text of it has tokens without loss.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np

from pipelines.steps.base import StepFn
from pipelines.steps.pack import PACKERS, PackedRow, Piece
from pipelines.steps.parted_pairs import begins_with_passages, num_parted_pairs
from pipelines.steps.tokenize import TokenizedText, ends
from pipelines.steps.tuning_tokens import spans_within
from pipelines.store.layout import lineage_uri, pairs_uri, text_uri
from plugins.plain_ids import plain_ids
from plugins.token_ids import Ids
from plugins.tokenizers import load_tokenizer
from schemas import storage
from schemas.corpus_config import PackConfig, ShardConfig, TokenizerConfig
from schemas.manifest import ShardSet
from schemas.mds import MdsWriter
from schemas.records import PackedSample, to_json
from schemas.scratch_folder import scratch
from schemas.shard_index import COLUMNS, LOSS_SPANS

GROUP_FILE = "group.json"
"""Rows, tokens, texts and pairs of a group, and what of them is cut, beside its index.json."""

_HASHES = ["xxh64"]


class WriteShards(beam.PTransform):
    """Write the texts and the shards of one stream of one increment; its groups are merged by whoever
    publishes the increment (`merge_groups`).

    Args:
        increment: URI of the increment's directory.
        stream: Name of the stream.
        seed: Seed of the shuffle.
        pad_id: Token that fills rows.
        tokenizer: What the texts are tokenized with.
    """

    def __init__(
        self,
        increment: str,
        stream: str,
        *,
        seed: int,
        pad_id: int,
        tokenizer: TokenizerConfig,
        pack: PackConfig,
        shards: ShardConfig,
        progress_dir: str | None,
    ):
        super().__init__()
        self.seed = seed
        self.shards = shards
        self.write = WriteGroup(
            increment,
            stream,
            seed=seed,
            pad_id=pad_id,
            tokenizer=tokenizer,
            pack=pack,
            shards=shards,
            progress_dir=progress_dir,
        )

    def expand(self, texts: beam.PCollection) -> beam.PCollection:
        num_tokens = texts | "CountTokens" >> beam.Map(_size) | "SumTokens" >> beam.CombineGlobally(sum)
        return (
            texts
            | "KeyByGroup"
            >> beam.Map(_with_group, beam.pvalue.AsSingleton(num_tokens), self.shards.group_tokens, self.seed)
            | "GroupByGroup" >> beam.GroupByKey()
            | "WriteGroup" >> beam.ParDo(self.write)
        )


def merge_groups(increment: str, stream: str) -> ShardSet | None:
    """Merge the indexes of a stream's groups into one, in the order of the groups; None without groups.

    Args:
        increment: URI of the increment's directory.
        stream: Name of the stream.
    """
    uri = storage.join(increment, "shards", stream)
    fs, path = storage.filesystem(uri)
    if not fs.exists(path):
        return None
    shards: list[dict[str, Any]] = []
    sizes: Counter[str] = Counter()
    for group in sorted(entry.rsplit("/", 1)[-1] for entry in fs.ls(path, detail=False)):
        sizes.update(json.loads(storage.read_bytes(storage.join(uri, group, GROUP_FILE))))
        index = json.loads(storage.read_bytes(storage.join(uri, group, "index.json")))
        for shard in index["shards"]:
            for part in ("raw_data", "zip_data"):
                if shard.get(part):
                    shard[part]["basename"] = f"{group}/{shard[part]['basename']}"
            shards.append(shard)
    storage.write_bytes(
        storage.join(uri, "index.json"),
        json.dumps({"version": 2, "shards": shards}, sort_keys=True).encode(),
    )
    return ShardSet(
        path=storage.join("increments", increment.rstrip("/").rsplit("/", 1)[-1], "shards", stream),
        num_samples=sizes["num_samples"],
        num_tokens=sizes["num_tokens"],
        num_repeated_tokens=sizes["num_repeated_tokens"],
        num_texts=sizes["num_texts"],
        num_pairs=sizes["num_pairs"],
        num_cut_texts=sizes["num_cut_texts"],
        num_parted_pairs=sizes["num_parted_pairs"],
        num_pairs_asked_first=sizes["num_pairs_asked_first"],
        num_stored_pairs=sizes["num_stored_pairs"],
    )


def shuffle_key(seed: int, text_id: str) -> int:
    """Where a text falls in the shuffle: uniform in [0, 2⁶⁴)."""
    return int.from_bytes(hashlib.blake2b(f"{seed}:{text_id}".encode(), digest_size=8).digest(), "big")


def _with_loss_spans(row: PackedRow, texts: Sequence[TokenizedText]) -> PackedSample:
    """A row that says which of its tokens carry loss; all do of a text that says nothing."""
    found, at = [], 0
    for number, start, num_tokens in row.pieces:
        text = texts[number]
        whole = np.array([0, len(text.tokens)], dtype=np.int32)
        spans = whole if text.loss_spans is None else text.loss_spans
        found.append(spans_within(spans, start, start + num_tokens) + at)
        at += num_tokens
    return dataclasses.replace(row.sample, loss_spans=np.concatenate(found, dtype=np.int32, casting="unsafe"))


def _size(text: TokenizedText) -> int:
    return len(text.tokens)


def _with_group(
    text: TokenizedText, num_tokens: int, group_tokens: int, seed: int
) -> tuple[int, TokenizedText]:
    num_groups = max(1, math.ceil(num_tokens / group_tokens))
    return shuffle_key(seed, text.text.text_id) * num_groups >> 64, text


class WriteGroup(StepFn):
    """Write one group: a number, and its TokenizedTexts in any order."""

    def __init__(
        self,
        increment: str,
        stream: str,
        *,
        seed: int,
        pad_id: int,
        tokenizer: TokenizerConfig,
        pack: PackConfig,
        shards: ShardConfig,
        progress_dir: str | None,
    ):
        super().__init__("write", progress_dir)
        self.increment = increment
        self.stream = stream
        self.seed = seed
        self.pad_id = pad_id
        self.tokenizer = tokenizer
        self.pack = pack
        self.shards = shards

    def process(self, group: tuple[int, Iterable[TokenizedText]]) -> None:
        number, members = group
        texts = sorted(
            members, key=lambda each: (shuffle_key(self.seed, each.text.text_id), each.text.text_id)
        )
        uri = text_uri(self.increment, self.stream, f"{number:05d}")
        pairs = [to_json(pair) for each in texts for pair in each.text.pairs]
        if pairs:
            storage.write_lines_zst(pairs_uri(uri), pairs)
        storage.write_lines_zst(uri, (to_json(dataclasses.replace(each.text, pairs=())) for each in texts))
        rows = PACKERS[self.pack.method](
            [each.tokens for each in texts],
            seq_len=self.pack.seq_len,
            pad_id=self.pad_id,
            top_up=self.pack.top_up,
            may_begin=[begins_with_passages(each.text) for each in texts],
        )
        path = storage.join("shards", self.stream, f"{number:05d}")
        num_tokens = 0
        lineage: list[str] = []
        cut: defaultdict[int, list[Piece]] = defaultdict(list)
        columns = [*COLUMNS]
        if any(each.loss_spans is not None for each in texts):
            columns.append(LOSS_SPANS)
        with scratch("shards") as folder, storage.naming(folder):
            writer = MdsWriter(
                folder,
                columns,
                compression=self.shards.compression or None,
                hashes=_HASHES,
                size_limit=self.shards.size_limit_bytes,
            )
            for row in rows:
                sample = row.sample if LOSS_SPANS not in columns else _with_loss_spans(row, texts)
                writer.write({name: getattr(sample, name) for name in columns})
                lineage.append(json.dumps(row.pieces, separators=(",", ":")))
                num_tokens += int(np.sum(sample.segment_lengths))
                for piece in row.pieces:
                    if piece.num_tokens < len(texts[piece.text].tokens):
                        cut[piece.text].append(piece)
            writer.finish()
            storage.write_lines_zst(lineage_uri(self.increment, self.stream, f"{number:05d}"), lineage)
            sizes = {
                "num_samples": len(lineage),
                "num_tokens": num_tokens,
                "num_repeated_tokens": num_tokens - sum(len(each.tokens) for each in texts),
                "num_texts": len(texts),
                "num_pairs": sum(each.text.num_pairs for each in texts),
                "num_cut_texts": sum(any(piece.start for piece in pieces) for pieces in cut.values()),
                "num_parted_pairs": self._num_parted_pairs(texts, cut),
                "num_pairs_asked_first": sum(
                    passage.num_pairs
                    for each in texts
                    for passage in each.text.passages
                    if passage.asks_first
                ),
                "num_stored_pairs": len(pairs),
            }
            storage.write_bytes(
                storage.join(self.increment, path, GROUP_FILE), json.dumps(sizes, sort_keys=True).encode()
            )
            for name in sorted(os.listdir(folder), key=lambda name: (name == "index.json", name)):
                storage.upload(os.path.join(folder, name), storage.join(self.increment, path, name))
        self.counters.add("groups")
        self.counters.add("rows", len(lineage))

    def _num_parted_pairs(self, texts: Sequence[TokenizedText], cut: Mapping[int, Sequence[Piece]]) -> int:
        with_pairs = [number for number in cut if texts[number].text.num_pairs]
        if not with_pairs:  # nearly always: no tokenizer is loaded
            return 0
        tokenizer = load_tokenizer(self.tokenizer.name)
        before, _ = ends(tokenizer, self.tokenizer)

        def encode(text: str) -> Ids:
            return np.concatenate((before, plain_ids(tokenizer, text)), dtype=np.int32, casting="unsafe")

        return sum(
            num_parted_pairs(texts[number].text, texts[number].tokens, cut[number], encode)
            for number in with_pairs
        )
