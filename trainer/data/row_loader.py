"""Data loader of a rank: rows of all streams, read in this process or in reader processes, as batches.

shard directory ─► ShardStream ─┐
shard directory ─► ShardStream ─┼─► RowDataset ─► stack_rows ─► to_batch ─► {input_ids, labels, position_ids}
shard directory ─► ShardStream ─┘                 (reader)      (training process)
"""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from composer.utils import dist
from streaming import StreamingDataLoader

from schemas.errors import ConfigError, TutelageError
from schemas.shard_index import LOSS_SPANS
from schemas.train_config import LoaderConfig
from trainer.data.batches import RowRules, stack_rows, to_batch
from trainer.data.cache_folder import default_cache_dir, private_folder
from trainer.data.resolve_streams import ResolvedStream
from trainer.data.row_dataset import RowDataset
from trainer.data.rows_per_epoch import Phase, phases
from trainer.data.shard_stream import ShardStream
from trainer.data.stale_shared_memory import claim_segments

_MAX_TEMPORARY_BYTES = 107 - len("/pymp-12345678/listener-12345678")
"""The path of a socket has at most 107 bytes, and multiprocessing appends two names of its own."""


class RowLoader(StreamingDataLoader):  # type: ignore[misc, unused-ignore]
    """Streaming's loader of rows; errors of its reader processes keep their one-line message."""

    def __init__(self, rows: RowDataset, rules: RowRules, **options: Any):
        super().__init__(rows, collate_fn=functools.partial(stack_rows, rules=rules), **options)
        self.rules = rules

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        """Yield the batches of this rank."""
        try:
            for stacked in super().__iter__():
                lengths, spans = stacked["segment_lengths"], stacked[LOSS_SPANS]
                batch = to_batch(stacked["tokens"], lengths, self.rules, spans)
                yield {**batch, "rows": stacked["rows"]}
        except TutelageError as error:
            # torch puts the traceback of a reader process before the message.
            kind = type(error)
            raise kind(str(error).strip().rsplit(f"{kind.__name__}: ", 1)[-1]) from None


def build_loader(
    config: LoaderConfig, streams: Sequence[ResolvedStream], *, batch_size: int, vocab_size: int
) -> RowLoader:
    """Make the loader of this rank, and mark its shared memory as this process's.

    Args:
        config: Streams and how they are read; manifests pinned.
        streams: From `resolve_streams`.
        batch_size: Rows a step on this rank.
        vocab_size: Rows of the model's embedding.

    Raises:
        ConfigError: Reader processes cannot work here.
    """
    if config.num_workers:
        _check_socket_paths()
    dataset = config.dataset
    cache_dir = private_folder(dataset.cache_dir) if dataset.cache_dir else default_cache_dir()
    all_phases = phases(dataset, streams)
    shard_sets = [(stream, shard_set) for stream in streams for shard_set in stream.shard_sets]
    most_rows = [max(counts) for counts in zip(*(phase.num_rows for phase in all_phases), strict=True)]
    parts = [
        ShardStream(
            stream.corpus,
            shard_set,
            cache_dir=cache_dir,
            num_rows=num_rows,
            name_row=functools.partial(stream.name_row, shard_set),
        )
        for (stream, shard_set), num_rows in zip(shard_sets, most_rows, strict=True)
        if num_rows
    ]
    rows = RowDataset(
        parts,
        [
            Phase(
                first_epoch=phase.first_epoch,
                num_rows=tuple(num for num, most in zip(phase.num_rows, most_rows, strict=True) if most),
            )
            for phase in all_phases
        ],
        batch_size=batch_size,
        shuffle=dataset.shuffle,
        shuffle_seed=dataset.shuffle_seed,
    )
    if dist.get_local_rank() == 0:
        claim_segments(rows._shm_prefix_int)
    rules = RowRules(
        seq_len=streams[0].manifest.seq_len,
        vocab_size=vocab_size,
        attention_boundaries=dataset.attention_boundaries,
        loss_on=dataset.loss_on,
    )
    workers = {"prefetch_factor": config.prefetch_factor} if config.num_workers else {}
    return RowLoader(
        rows, rules, batch_size=batch_size, num_workers=config.num_workers, drop_last=True, **workers
    )


def _check_socket_paths() -> None:
    """Refuse a temporary directory whose path is too long for the sockets of reader processes.

    Reader processes send tensors through a socket in that directory. If they cannot make it they report
    nothing, and the run waits for ever.
    """
    folder = tempfile.gettempdir()
    if len(os.fsencode(folder)) > _MAX_TEMPORARY_BYTES:
        raise ConfigError(
            f"TMPDIR is {folder!r}, {len(os.fsencode(folder))} bytes long; the sockets of reader processes "
            f"allow {_MAX_TEMPORARY_BYTES}. Set a shorter TMPDIR, or train_loader.num_workers: 0."
        )
