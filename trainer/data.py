"""Rows of a corpus as batches of a model.

    shard directory ─► ShardStream ─┐
    shard directory ─► ShardStream ─┼─► RowDataset ─► RowLoader ─► {input_ids, labels, position_ids}
    shard directory ─► ShardStream ─┘   (row_to_example)

A row packs several texts. With `attention_boundaries`, `position_ids` start anew at each text and no
`attention_mask` is passed; transformers then lets every text attend to itself alone. (An all-ones
mask would undo that, and so would a key-value cache: `build.py` turns it off and checks the result.)

The corpus is only ever read. Shards are fetched through fsspec, checked and decompressed into a
cache directory of their own, because Streaming would decompress a local corpus in place.

Streaming's readers swallow errors: a shard that cannot be had ends the epoch early, or blocks for
ever the worker processes that wait for it. `RowDataset` marks such a shard in the memory that all
processes share, wakes those that wait, and counts its rows, so the run fails and names the shard.

Shapes: T tokens a row, B rows a batch.
"""

from __future__ import annotations

import getpass
import os
import tempfile
import threading
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from streaming import Stream, StreamingDataLoader, StreamingDataset
from streaming.base.compression import decompress

from schemas import storage
from schemas.config import Section
from schemas.errors import ConfigError, CorpusError, TrainingError, TutelageError
from schemas.manifest import ShardSet
from schemas.records import digest
from schemas.train_config import LoaderConfig
from trainer.shards import ResolvedStream, check_hash, index_fingerprint, read_index, rows_per_epoch

IGNORE_INDEX = -100
"""Label of a position without loss, as torch's cross entropy has it."""

_FAILED = 0
"""Shard state that Streaming never sets itself once a dataset is made; to it, the state is invalid."""

_WATCH_SEC = 0.1

_MAX_TEMPORARY_BYTES = 107 - len("/pymp-12345678/listener-12345678")
"""A socket's path has at most 107 bytes, and multiprocessing adds two names of its own."""


class RowRules(Section):
    """What a row must look like, and how its texts see one another.

    Attributes:
        seq_len: T, tokens a row.
        vocab_size: Rows of the model's embedding.
        attention_boundaries: Whether each packed text attends to itself alone.
    """

    seq_len: int
    vocab_size: int
    attention_boundaries: bool


def row_to_example(tokens_T: Any, segment_lengths: Any, rules: RowRules) -> dict[str, torch.Tensor]:
    """Turn a packed row into what a causal LM of transformers takes.

    Labels are the tokens themselves (transformers shifts them), but -100 on padding and, with
    boundaries, on the first token of every text, which nothing before it may predict.

    Args:
        tokens_T: int32 of shape (T,).
        segment_lengths: int32 of shape (num_segments,); what they leave of T is padding.
        rules: What the row must look like.

    Returns:
        input_ids, labels and position_ids, each int64 of shape (T,).

    Raises:
        TrainingError: The row breaks the rules.
    """
    used = int(segment_lengths.sum())
    if tokens_T.shape != (rules.seq_len,) or used > rules.seq_len:
        raise TrainingError(
            f"a row has {tokens_T.shape[0]} tokens in segments of {used} together; its manifest says rows of "
            f"{rules.seq_len}. The shards do not belong to this manifest: rebuild the corpus."
        )
    if int(tokens_T.max()) >= rules.vocab_size or int(tokens_T.min()) < 0:
        raise TrainingError(
            f"a row holds token id {int(tokens_T.max())}, but the model's embedding has "
            f"{rules.vocab_size} rows. "
            "The corpus was made for another model: rebuild it with this model's tokenizer."
        )
    input_ids_T = torch.from_numpy(tokens_T.astype(np.int64))
    labels_T = input_ids_T.clone()
    labels_T[used:] = IGNORE_INDEX
    position_ids_T = torch.arange(rules.seq_len)
    if rules.attention_boundaries:
        ends = np.cumsum(segment_lengths)
        for start in [int(end) for end in ends if end < rules.seq_len]:
            position_ids_T[start:] = torch.arange(rules.seq_len - start)
            labels_T[start] = IGNORE_INDEX
    return {"input_ids": input_ids_T, "labels": labels_T, "position_ids": position_ids_T}


def count_tokens(batch: dict[str, torch.Tensor]) -> dict[str, int]:
    """Tokens of a batch in Composer's two senses: all of them, and those that carry loss.

    Composer's clock (`max_duration: 1000000tok`) counts the first; the second weighs microbatches and
    ranks, so that the loss of a step is the mean over its tokens however they are split.
    """
    targets_BT = batch["labels"][:, 1:]
    return {
        "total": batch["input_ids"].numel(),
        "loss_generating": int((targets_BT != IGNORE_INDEX).sum()),
    }


class ShardStream(Stream):  # type: ignore[misc, unused-ignore]
    """A shard directory of a corpus, fetched through fsspec into a cache directory.

    Streaming sees a stream that is wholly local (no `remote`), whose missing files this class
    supplies: from any file system, checked for size and hash, written whole under their final name,
    so that two runs may share a cache.

    Args:
        corpus: URI of the corpus.
        shard_set: The directory in it.
        cache_dir: Under which shards are cached, in a folder named after the index's content.
        num_rows: Rows an epoch takes.
    """

    def __init__(self, corpus: str, shard_set: ShardSet, *, cache_dir: str, num_rows: int):
        self.uri = storage.join(corpus, shard_set.path)
        index = read_index(corpus, shard_set)
        local = os.path.join(cache_dir, digest(self.uri, size_bytes=8) + "-" + index_fingerprint(index)[:16])
        super().__init__(local=local, choose=num_rows)
        index_path = os.path.join(local, "index.json")
        if not os.path.exists(index_path):
            _write_whole(index_path, storage.read_bytes(storage.join(self.uri, "index.json")))

    def apply_default(self, default: dict[str, Any]) -> None:
        """Take the dataset's defaults; compressed files are never kept."""
        super().apply_default(default)
        self.safe_keep_zip = False

    def set_up_local(self, shards: list[Any], cache_usage_per_shard: Any) -> None:
        """Drop cached files of a wrong size, then let Streaming see what is there."""
        for raw, _ in (pair for shard in shards for pair in shard.file_pairs):
            path = os.path.join(self.local, raw.basename)
            if os.path.exists(path) and os.path.getsize(path) != raw.bytes:
                os.unlink(path)
        super().set_up_local(shards, cache_usage_per_shard)

    def _prepare_shard_part(self, raw_info: Any, zip_info: Any = None, compression: str | None = None) -> int:
        """Fetch one shard file if the cache lacks it; returns the bytes by which the cache grew."""
        path = os.path.join(self.local, raw_info.basename)
        if os.path.exists(path):
            return 0
        info = zip_info or raw_info
        name = f"{self.uri}/{info.basename}"
        try:
            data = storage.read_bytes(name)
        except OSError as error:
            raise CorpusError(f"{name}: shard cannot be read: {error}.") from error
        if len(data) != info.bytes:
            raise CorpusError(f"{name}: shard has {len(data)} bytes, its index says {info.bytes}.")
        check_hash(name, [data], info.hashes or {})
        if zip_info is not None:
            try:
                data = decompress(compression, data)
            except Exception as error:  # each compression library raises its own
                raise CorpusError(
                    f"{name}: shard cannot be decompressed ({compression}): {error}."
                ) from error
        if len(data) != raw_info.bytes:
            raise CorpusError(f"{name}: shard unpacks to {len(data)} bytes, its index says {raw_info.bytes}.")
        _write_whole(path, data)
        return len(data)


class RowDataset(StreamingDataset):  # type: ignore[misc, unused-ignore]
    """Rows of many shard directories, mixed, that never ends an epoch early without an error."""

    def __init__(self, streams: Sequence[ShardStream], rules: RowRules, **options: Any):
        super().__init__(streams=streams, **options)
        self.rules = rules
        self.max_seq_len = rules.seq_len
        self._announced = 0

    def __getitem__(self, at: int) -> dict[str, torch.Tensor]:
        """The example of one row."""
        row = super().__getitem__(at)
        return row_to_example(row["tokens"], row["segment_lengths"], self.rules)

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        """This process's rows of the next epoch.

        Raises:
            TrainingError: A shard could not be had, or rows are missing for another reason.
        """
        if not hasattr(self, "_event"):
            self._event = threading.Event()
        finished = threading.Event()
        threading.Thread(target=self._wake_on_failure, args=(finished,), daemon=True).start()
        self._announced = num_rows = 0
        try:
            for row in super().__iter__():
                num_rows += 1
                yield row
        except TutelageError:
            raise
        except RuntimeError as error:  # Streaming's own, raised in __iter__ and get_item
            raise TrainingError(self._explain(num_rows)) from error
        finally:
            finished.set()
        if self._event.is_set() or num_rows < self._announced:
            raise TrainingError(self._explain(num_rows))

    def prepare_shard(self, shard_id: int, blocking: bool = True) -> None:
        """Fetch a shard; one that cannot be had is marked for all processes."""
        try:
            super().prepare_shard(shard_id, blocking)
        except TutelageError:
            self._shard_states[shard_id] = _FAILED
            raise

    def on_exception(self, future: Any) -> None:
        """Stop this process's readers; `__iter__` says why (Streaming would print a traceback too)."""
        error = future.exception()
        if error is not None:
            self._failure = error
            self._event.set()

    def _prepare_thread(self, it: Any) -> None:
        _note_exit(super()._prepare_thread, it)

    def _ready_thread(self, it: Any) -> None:
        _note_exit(super()._ready_thread, it)

    def _get_work(self, epoch: int, sample_in_epoch: int) -> Any:
        sample_ids = super()._get_work(epoch, sample_in_epoch)
        self._announced = int((sample_ids != -1).sum())  # -1 pads the last batch
        return sample_ids

    def _wake_on_failure(self, finished: threading.Event) -> None:
        """Another process's failure is seen in the shared states only; waiting for it has no end."""
        while not finished.wait(_WATCH_SEC):
            if self._failed_shards():
                self._event.set()

    def _failed_shards(self) -> list[int]:
        return [int(i) for i in np.flatnonzero(self._shard_states.numpy() == _FAILED)]

    def _explain(self, num_rows: int) -> str:
        failure = getattr(self, "_failure", None)
        if isinstance(failure, TutelageError):
            reason = str(failure)
        elif failed := self._failed_shards():
            stream = self.streams[self.stream_per_shard[failed[0]]]
            raw, packed = self.shards[failed[0]].file_pairs[0]
            reason = f"{stream.uri}/{(packed or raw).basename}: shard cannot be read."
        else:
            reason = f"Cause: {failure!r}."
        return f"the rows ended after {num_rows} of {self._announced}. {reason} Restore the shard and resume."


class RowLoader(StreamingDataLoader):  # type: ignore[misc, unused-ignore]
    """Streaming's loader, whose worker processes' errors keep their one-line message."""

    def __iter__(self) -> Iterator[Any]:
        """Batches of this rank."""
        try:
            yield from super().__iter__()
        except TutelageError as error:
            # torch wraps a worker's error into its traceback, which opens the message.
            kind = type(error)
            raise kind(str(error).strip().rsplit(f"{kind.__name__}: ", 1)[-1]) from None


def _note_exit(thread: Any, it: Any) -> None:
    """Run a reader thread; one that fails is counted as ended, or the end of the epoch waits for it."""
    try:
        thread(it)
    except BaseException:
        it.on_exit()
        raise


def default_cache_dir() -> str:
    """A folder of this user in the system's temporary one; shards lie in it by corpus and content."""
    return os.path.join(tempfile.gettempdir(), f"tutelage-{getpass.getuser()}", "shards")


def build_loader(
    config: LoaderConfig,
    streams: Sequence[ResolvedStream],
    *,
    batch_size: int,
    vocab_size: int,
) -> RowLoader:
    """Make the loader of this rank.

    Args:
        config: Streams and how they are read; manifests pinned.
        streams: What `resolve_streams` made of them.
        batch_size: Rows a step on this rank.
        vocab_size: Rows of the model's embedding.

    Raises:
        ConfigError: Reader processes could not work here.
    """
    if config.num_workers:
        _check_socket_paths()
    dataset = config.dataset
    cache_dir = dataset.cache_dir or default_cache_dir()
    parts = [
        ShardStream(stream.corpus, shard_set, cache_dir=cache_dir, num_rows=num_rows)
        for stream, counts in zip(streams, rows_per_epoch(dataset, streams), strict=True)
        for shard_set, num_rows in zip(stream.shard_sets, counts, strict=True)
        if num_rows
    ]
    rows = RowDataset(
        parts,
        RowRules(
            seq_len=streams[0].manifest.seq_len,
            vocab_size=vocab_size,
            attention_boundaries=dataset.attention_boundaries,
        ),
        batch_size=batch_size,
        shuffle=dataset.shuffle,
        shuffle_seed=dataset.shuffle_seed,
    )
    workers = {"prefetch_factor": config.prefetch_factor} if config.num_workers else {}
    return RowLoader(rows, batch_size=batch_size, num_workers=config.num_workers, drop_last=True, **workers)


def _check_socket_paths() -> None:
    """Reader processes hand over tensors by a socket in the temporary directory.

    Where its path is too long for a socket they cannot, and say so to nobody: the run waits for ever.
    """
    folder = tempfile.gettempdir()
    if len(os.fsencode(folder)) > _MAX_TEMPORARY_BYTES:
        raise ConfigError(
            f"TMPDIR is {folder!r}, {len(os.fsencode(folder))} bytes long; the sockets of reader processes "
            f"allow {_MAX_TEMPORARY_BYTES}. Set a shorter TMPDIR, or train_loader.num_workers: 0."
        )


def _write_whole(path: str, data: bytes) -> None:
    """Write a file so that other processes see it whole or not at all."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    temporary = f"{path}.{uuid.uuid4().hex}.tmp"
    with open(temporary, "wb") as file:
        file.write(data)
    os.replace(temporary, path)
