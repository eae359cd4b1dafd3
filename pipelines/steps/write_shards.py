"""MDS shards of tokenized texts, deterministic and idempotent.

    texts ─► groups in shuffled order (shuffle.py) ─► pack (pack.py) ─► MDS shards of each group

The bytes depend on the texts and the seed alone, so a group that is written twice has the same bytes. Files
appear whole, the group's index.json last.

    texts/<stream>-00000.jsonl.zst      the texts of a group, in its order
    pairs/<stream>-00000.jsonl.zst      their pairs, text by text; no file without pairs
    lineage/<stream>-00000.jsonl.zst    a line for each of its rows: [[text, first token, tokens], …]

Rows of a group have the column `loss_spans` if a text of the group has tokens without loss.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import apache_beam as beam
import numpy as np

from pipelines.steps.base import StepFn
from pipelines.steps.loss_spans import spans_within
from pipelines.steps.pack import PACKERS, PackedRow, Piece
from pipelines.steps.parted_pairs import begins_with_passages, num_parted_pairs
from pipelines.steps.shuffle import group_of, shuffle_key
from pipelines.steps.tokenize import TokenizedText, ends
from plugins.plain_token_ids import Ids, plain_ids
from plugins.tokenizers import load_tokenizer
from schemas import storage
from schemas.corpus_config import PackConfig, ShardConfig, TokenizerConfig
from schemas.corpus_layout import (
    GROUP_FILE,
    INDEX_FILE,
    index_uri,
    lineage_uri,
    names_in,
    pairs_uri,
    shards_path,
    shards_uri,
    text_uri,
)
from schemas.manifest import ShardSet
from schemas.mds import MdsWriter
from schemas.records import PackedSample, to_json
from schemas.scratch_folder import scratch
from schemas.shard_index import COLUMNS, LOSS_SPANS

_HASHES = ["xxh64"]


@beam.ptransform_fn
def WriteShards(texts: beam.PCollection, write: WriteGroup) -> beam.PCollection:
    """Write the texts and the shards of one stream of one increment.

    Publishing merges the indexes of the groups (`merge_groups`).
    """
    num_tokens = texts | "CountTokens" >> beam.Map(_size) | "SumTokens" >> beam.CombineGlobally(sum)
    return (
        texts
        | "KeyByGroup"
        >> beam.Map(_with_group, beam.pvalue.AsSingleton(num_tokens), write.shards.group_tokens, write.seed)
        | "GroupByGroup" >> beam.GroupByKey()
        | "WriteGroup" >> beam.ParDo(write)
    )


def merge_groups(increment: str, stream: str) -> ShardSet | None:
    """Merge the indexes of a stream's groups in the order of the groups; returns None without groups."""
    uri = shards_uri(increment, stream)
    groups = [name for name in names_in(uri) if name != INDEX_FILE]
    if not groups:
        return None
    shards: list[dict[str, Any]] = []
    sizes: Counter[str] = Counter()
    for group in groups:
        sizes.update(json.loads(storage.read_bytes(storage.join(uri, group, GROUP_FILE))))
        index = json.loads(storage.read_bytes(index_uri(storage.join(uri, group))))
        for shard in index["shards"]:
            for part in ("raw_data", "zip_data"):
                if shard.get(part):
                    shard[part]["basename"] = f"{group}/{shard[part]['basename']}"
            shards.append(shard)
    storage.write_bytes(index_uri(uri), json.dumps({"version": 2, "shards": shards}, sort_keys=True).encode())
    return ShardSet(path=shards_path(increment.rstrip("/").rsplit("/", 1)[-1], stream), **sizes)


def _with_loss_spans(row: PackedRow, texts: Sequence[TokenizedText]) -> PackedSample:
    """Add the loss spans to a row; all tokens of a text without spans carry loss."""
    found, at = [], 0
    for number, start, num_tokens in row.pieces:
        text = texts[number]
        whole = np.array([0, len(text.tokens)], dtype=np.int32)
        spans = whole if text.loss_spans is None else text.loss_spans
        found.append(spans_within(spans, start, start + num_tokens) + at)
        at += num_tokens
    return dataclasses.replace(row.sample, loss_spans=np.concatenate(found, dtype=np.int32, casting="unsafe"))


def _parts(texts: Sequence[TokenizedText]) -> Iterator[Piece]:
    for number, text in enumerate(texts):
        starts = itertools.accumulate(text.part_sizes, initial=0)
        yield from (Piece(number, *part) for part in zip(starts, text.part_sizes, strict=False))


def _size(text: TokenizedText) -> int:
    return len(text.tokens)


def _with_group(
    text: TokenizedText, num_tokens: int, group_tokens: int, seed: int
) -> tuple[int, TokenizedText]:
    return group_of(seed, text.text.text_id, num_tokens=num_tokens, group_tokens=group_tokens), text


@dataclasses.dataclass(eq=False, kw_only=True)
class WriteGroup(StepFn):
    """Write one group: a number, and its TokenizedTexts in any order."""

    step = "write"
    increment: str  # URI of the increment's directory
    stream: str
    seed: int  # of the shuffle
    pad_id: int  # fills rows
    tokenizer: TokenizerConfig
    pack: PackConfig
    shards: ShardConfig

    def process(self, group: tuple[int, Iterable[TokenizedText]]) -> None:
        number, members = group
        texts = sorted(members, key=lambda each: shuffle_key(self.seed, each.text.text_id))
        uri = text_uri(self.increment, self.stream, f"{number:05d}")
        pairs = [to_json(pair) for each in texts for pair in each.text.pairs]
        if pairs:
            storage.write_lines_zst(pairs_uri(uri), pairs)
        storage.write_lines_zst(uri, (to_json(dataclasses.replace(each.text, pairs=())) for each in texts))
        parts = list(_parts(texts))
        begins = [begins_with_passages(each.text) for each in texts]
        rows = PACKERS[self.pack.method](
            [texts[number].tokens[start : start + size] for number, start, size in parts],
            seq_len=self.pack.seq_len,
            pad_id=self.pad_id,
            top_up=self.pack.top_up,
            may_begin=[begins[part.text] for part in parts],
        )
        folder_uri = storage.join(shards_uri(self.increment, self.stream), f"{number:05d}")
        num_tokens = 0
        lineage: list[str] = []
        cut: defaultdict[int, list[Piece]] = defaultdict(list)
        continued: set[int] = set()
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
                for piece in row.pieces:
                    if piece.num_tokens < parts[piece.text].num_tokens:
                        cut[parts[piece.text].text].append(piece.within(parts))
                    if piece.start:
                        continued.add(parts[piece.text].text)
                row = dataclasses.replace(row, pieces=tuple(piece.within(parts) for piece in row.pieces))
                sample = row.sample if LOSS_SPANS not in columns else _with_loss_spans(row, texts)
                writer.write({name: getattr(sample, name) for name in columns})
                lineage.append(json.dumps(row.pieces, separators=(",", ":")))
                num_tokens += int(np.sum(sample.segment_lengths))
            writer.finish()
            storage.write_lines_zst(lineage_uri(self.increment, self.stream, f"{number:05d}"), lineage)
            sizes = {
                "num_samples": len(lineage),
                "num_tokens": num_tokens,
                "num_repeated_tokens": num_tokens - sum(len(each.tokens) for each in texts),
                "num_texts": len(texts),
                "num_pairs": sum(each.text.num_pairs for each in texts),
                "num_cut_texts": len(continued),
                "num_parted_pairs": self._num_parted_pairs(texts, cut),
                "num_pairs_asked_first": sum(
                    each.num_pairs for text in texts for each in text.text.passages if each.asks_first
                ),
                "num_stored_pairs": len(pairs),
            }
            storage.write_bytes(
                storage.join(folder_uri, GROUP_FILE), json.dumps(sizes, sort_keys=True).encode()
            )
            for name in sorted(os.listdir(folder), key=lambda name: (name == INDEX_FILE, name)):
                storage.upload(os.path.join(folder, name), storage.join(folder_uri, name))
        self.counters.add("groups")
        self.counters.add("rows", len(lineage))

    def _num_parted_pairs(self, texts: Sequence[TokenizedText], cut: Mapping[int, Sequence[Piece]]) -> int:
        apart = sum(each.text.num_pairs for each in texts if each.text.is_apart)
        with_pairs = [
            number for number in cut if texts[number].text.num_pairs and not texts[number].text.is_apart
        ]
        if not with_pairs:  # nearly always: no tokenizer is loaded
            return apart
        tokenizer = load_tokenizer(self.tokenizer.name)
        before, _ = ends(tokenizer, self.tokenizer)

        def encode(text: str) -> Ids:
            return np.concatenate((before, plain_ids(tokenizer, text)), dtype=np.int32, casting="unsafe")

        return apart + sum(
            num_parted_pairs(texts[number].text, texts[number].tokens, cut[number], encode)
            for number in with_pairs
        )
