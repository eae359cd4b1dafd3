"""Rows of a corpus as batches of a model.

    shard directory ─► ShardStream ─┐
    shard directory ─► ShardStream ─┼─► RowDataset ─► RowLoader ─► {input_ids, labels, position_ids}
    shard directory ─► ShardStream ─┘             (stack_rows, to_batch)

A row packs several texts. With `attention_boundaries`, `position_ids` start anew at each text and no
`attention_mask` is passed; transformers then lets every text attend to itself alone. (An all-ones
mask would undo that, and so would a key-value cache: `model/packed_model.py` turns it off and checks the
result; `model/attention.py` says what each implementation of attention makes of the position ids.)

Epochs that read the same manifests are a phase. The shard directories of all phases are parts of one
dataset; an epoch draws no row from a part that its phase does not name, and neither its rows nor their
order depend on such parts. So a run that was stopped may be given a later phase and goes on as if it
had always had it.

Streaming's readers swallow errors: a shard that cannot be had ends the epoch early, or blocks for
ever the worker processes that wait for it. `RowDataset` marks such a shard in the memory that all
processes share, wakes those that wait, and counts its rows, so the run fails and names the shard.

Shapes: T tokens a row, B rows a batch.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import os
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from streaming import StreamingDataLoader, StreamingDataset
from streaming.base.dataset import _ShardState

from schemas.config import Section
from schemas.errors import ConfigError, CorpusError, TrainingError, TutelageError
from schemas.shard_index import CURE, LOSS_SPANS, row_fault
from schemas.train_config import LoaderConfig
from trainer.data.cache_folder import default_cache_dir, private_folder
from trainer.data.resolve_streams import ResolvedStream, rows_per_epoch
from trainer.data.shard_stream import ShardStream
from trainer.data.shared_memory_prefix import agreed_numbers

IGNORE_INDEX = -100
"""Label of a position without loss, as torch's cross entropy has it."""

_FAILED = 0
"""Shard state that Streaming never sets itself once a dataset is made; to it, the state is invalid."""

_LOCAL = _ShardState.LOCAL

_WATCH_SEC = 0.1

_MAX_TEMPORARY_BYTES = 107 - len("/pymp-12345678/listener-12345678")
"""A socket's path has at most 107 bytes, and multiprocessing adds two names of its own."""


class RowRules(Section):
    """What a row must look like, and how its texts see one another.

    Attributes:
        seq_len: T, tokens a row.
        vocab_size: Rows of the model's embedding.
        attention_boundaries: Whether each packed text attends to itself alone.
        loss_on: Whether all tokens of texts carry loss, or only the pairs that rows name.
    """

    seq_len: int
    vocab_size: int
    attention_boundaries: bool
    loss_on: Literal["all", "pairs"] = "all"


def stack_rows(
    rows: Sequence[Mapping[str, Any]], *, seq_len: int, loss_on: Literal["all", "pairs"] = "all"
) -> dict[str, Any]:
    """Put rows as they are stored side by side; reader processes hand them over so, at 4 bytes a token.

    Args:
        rows: `tokens`, int32 of shape (T,), and `segment_lengths`, int32 of shape (num_segments,); with loss
            on pairs also `loss_spans`, int32 of shape (2 * num_spans,); `row`, the number that the dataset
            gives it.
        seq_len: T.
        loss_on: As in RowRules.

    Returns:
        `tokens`, int32 of shape (B, T), and `segment_lengths`, a list for each row; `loss_spans`, an array
        for each row, or None where all tokens carry loss; `rows`, int64 of shape (B,), each row's number.

    Raises:
        TrainingError: A row has another length, or its texts do not fit into it.
    """
    segment_lengths = [row["segment_lengths"].tolist() for row in rows]
    for row in rows:
        if fault := row_fault(row, seq_len):
            raise TrainingError(
                f"a row {fault}. The shards do not belong to this manifest: rebuild the corpus."
            )
    tokens_BT = torch.from_numpy(np.stack([row["tokens"] for row in rows]))
    loss_spans = [row[LOSS_SPANS] for row in rows] if loss_on == "pairs" else None
    rows_B = torch.tensor([row["row"] for row in rows])
    return {"tokens": tokens_BT, "segment_lengths": segment_lengths, LOSS_SPANS: loss_spans, "rows": rows_B}


def to_batch(
    tokens_BT: torch.Tensor,
    segment_lengths: Sequence[Sequence[int]],
    rules: RowRules,
    loss_spans: Sequence[np.ndarray[Any, np.dtype[np.int32]]] | None = None,
) -> dict[str, torch.Tensor]:
    """Turn packed rows into what a causal LM of transformers takes.

    Labels are the tokens themselves (transformers shifts them), but -100 on padding, outside of
    `loss_spans` and, with boundaries, on the first token of every text, which nothing before it may predict.

    All rows are worked on at once: an operation on an array of their size lets go of Python's lock, and
    Streaming's threads, which wait for it, cost more than the operation.

    Args:
        tokens_BT: int32 of shape (B, T).
        segment_lengths: Lengths of the texts of each row; what they leave of T is padding.
        rules: What the rows must look like.
        loss_spans: For each row, first token and end of each run of tokens that carry loss, in turn; None
            where all tokens of texts do.

    Returns:
        input_ids, labels and position_ids, each int64 of shape (B, T).

    Raises:
        TrainingError: A token has no row in the embedding.
    """
    num_rows, seq_len = tokens_BT.shape
    tokens = tokens_BT.numpy().reshape(-1)  # rows laid end to end
    largest = int(tokens.view(np.uint32).max())  # as unsigned, ids below 0 are the largest
    if largest >= rules.vocab_size:
        raise TrainingError(
            f"a row holds token id {np.uint32(largest).astype(np.int32)}, but the model's embedding has "
            f"{rules.vocab_size} rows. The corpus was made for another model: rebuild it with this model's "
            "tokenizer."
        )
    input_ids = tokens.astype(np.int64)
    labels = input_ids.copy()
    starts: list[int] = []  # of rows, texts and padding
    unpredictable: list[int] = []
    for row_start, lengths in zip(range(0, len(tokens), seq_len), segment_lengths, strict=True):
        row_end = row_start + seq_len
        ends = [row_start + end for end in itertools.accumulate(lengths)]
        labels[ends[-1] : row_end] = IGNORE_INDEX
        starts.append(row_start)
        if rules.attention_boundaries:
            inner = [end for end in ends if end < row_end]
            unpredictable += inner
            starts += inner
    labels[unpredictable] = IGNORE_INDEX
    if loss_spans is not None:
        labels[~_within(loss_spans, num_rows, seq_len)] = IGNORE_INDEX
    position_ids = np.ones(len(tokens), np.int64)  # steps, which add up to positions
    position_ids[0] = 0
    position_ids[starts[1:]] = 1 - np.diff(starts)
    np.cumsum(position_ids, out=position_ids)
    made = {"input_ids": input_ids, "labels": labels, "position_ids": position_ids}
    return {name: torch.from_numpy(values.reshape(num_rows, seq_len)) for name, values in made.items()}


def _within(
    spans: Sequence[np.ndarray[Any, np.dtype[np.int32]]], num_rows: int, seq_len: int
) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which tokens of rows laid end to end lie in a span of their row."""
    steps = np.zeros(num_rows * seq_len + 1, np.int64)
    for row_start, found in zip(range(0, num_rows * seq_len, seq_len), spans, strict=True):
        steps[row_start + found[0::2]] += 1  # one span may begin where another ends: two statements
        steps[row_start + found[1::2]] -= 1
    return steps[:-1].cumsum() > 0


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


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """Epochs that read the same manifests.

    Attributes:
        first_epoch: The first of them, counted from 0.
        num_rows: Rows that each of them takes from each part; 0 from a part that it does not read.
    """

    first_epoch: int
    num_rows: tuple[int, ...]


def count_own_batches(num_batches: int, worker: int, num_workers: int) -> int:
    """Batches of a reader process among the whole batches that are left of an epoch.

    Streaming deals batches to a rank's readers in turn, and repeats rows until all ranks have equally
    many. That may fill a last batch on two ranks that is incomplete on one: the epoch would end a step
    later, and all batches after it would be others. So only rows of whole batches are read.

    Args:
        num_batches: Whole batches of all ranks together.
        worker: Number of the reader process in its rank, from 0.
        num_workers: Reader processes of a rank; 1 if the training process reads.
    """
    return len(range(worker, num_batches, num_workers))


class RowDataset(StreamingDataset):  # type: ignore[misc, unused-ignore]
    """Rows of many shard directories, mixed, that never ends an epoch early without an error.

    Args:
        streams: The parts, each a shard directory.
        phases: Which epochs take how many rows from each part, in order; the first begins at epoch 0.
        **options: Of StreamingDataset.
    """

    def __init__(self, streams: Sequence[ShardStream], phases: Sequence[Phase], **options: Any):
        with agreed_numbers():
            super().__init__(streams=streams, **options)
        self.phases = tuple(phases)
        self._announced = 0
        # Composer asks once, before the first epoch, and cuts longer ones off there.
        self.length = max(self.num_rows_of_rank(phase) for phase in self.phases)

    def num_rows_of_rank(self, phase: Phase) -> int:
        """Rows that one rank sees in an epoch of a phase: those of whole batches of all ranks."""
        return sum(phase.num_rows) // self._global_batch_size() * int(self.batch_size)

    def enter_phase(self, epoch: int) -> None:
        """Draw from the parts as the phase of this epoch does."""
        phase = [each for each in self.phases if each.first_epoch <= epoch][-1]
        self.epoch_size = sum(phase.num_rows)
        for stream, num_rows in zip(self.streams, phase.num_rows, strict=True):
            stream.choose = num_rows

    def state_dict(self, num_samples: int, from_beginning: bool) -> dict[str, Any]:
        """Where reading stands; between two epochs that is the start of the next.

        Streaming names the epoch that it began last. After its end Composer counts 0 samples of the
        next one, and the run would begin the old one again.
        """
        state: dict[str, Any] = super().state_dict(num_samples, from_beginning)
        if from_beginning and not num_samples:
            state["epoch"] = max(state["epoch"], self.next_epoch)
        return state

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """This process's rows of the next epoch, as they are stored.

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

    def get_item(self, sample_id: int, retry: int = 7) -> dict[str, Any]:
        """A row as it is stored, and its number among all parts' as `row`.

        Raises:
            CorpusError: Its bytes are no such row.
        """
        shard_id, _ = self.spanner[sample_id]
        if self._shard_states[shard_id] != _LOCAL:  # Streaming reads what is cached without asking
            self.prepare_shard(shard_id)
        try:
            return {**super().get_item(sample_id, retry), "row": sample_id}
        except (ValueError, IndexError) as error:
            raise CorpusError(f"{self.name_row(sample_id)}: row cannot be read: {error}. {CURE}") from error

    def name_row(self, number: int) -> str:
        """Where the row of a number lies: `domain:17 of gs://bucket/corpus (manifest 3)`."""
        part = int(np.searchsorted(self.sample_offset_per_stream, number, side="right")) - 1
        return str(self.streams[part].name_row(number - int(self.sample_offset_per_stream[part])))

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
        self.enter_phase(epoch)
        sample_ids = super()._get_work(epoch, sample_in_epoch)
        world = self._parallel_worker_world
        num_batches = (int(self.epoch_size) - sample_in_epoch) // self._global_batch_size()
        own_batches = count_own_batches(num_batches, world.worker_of_rank, world.workers_per_rank)
        sample_ids = sample_ids[: own_batches * int(self.batch_size)]
        self._announced = len(sample_ids)
        return sample_ids

    def _global_batch_size(self) -> int:
        return int(self.batch_size) * int(self._parallel_rank_world.num_ranks)

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
    """Streaming's loader of rows, whose worker processes' errors keep their one-line message.

    Args:
        rows: What is read.
        rules: What rows must look like.
        **options: Of torch's DataLoader.
    """

    def __init__(self, rows: RowDataset, rules: RowRules, **options: Any):
        stack = functools.partial(stack_rows, seq_len=rules.seq_len, loss_on=rules.loss_on)
        super().__init__(rows, collate_fn=stack, **options)
        self.rules = rules

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        """Batches of this rank."""
        try:
            for stacked in super().__iter__():
                lengths, spans = stacked["segment_lengths"], stacked[LOSS_SPANS]
                batch = to_batch(stacked["tokens"], lengths, self.rules, spans)
                yield {**batch, "rows": stacked["rows"]}
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
    cache_dir = private_folder(dataset.cache_dir) if dataset.cache_dir else default_cache_dir()
    epochs = sorted({epoch for stream in streams for epoch, _ in stream.manifests})
    counts = [list(itertools.chain(*rows_per_epoch(dataset, streams, epoch))) for epoch in epochs]
    places = [(stream, shard_set) for stream in streams for shard_set in stream.shard_sets]
    read = [at for at in range(len(places)) if any(num_rows[at] for num_rows in counts)]
    parts = [
        ShardStream(
            stream.corpus,
            shard_set,
            cache_dir=cache_dir,
            num_rows=max(num_rows[at] for num_rows in counts),
            name_row=functools.partial(stream.name_row, shard_set),
        )
        for at in read
        for stream, shard_set in [places[at]]
    ]
    phases = [
        Phase(first_epoch=epoch, num_rows=tuple(num_rows[at] for at in read))
        for epoch, num_rows in zip(epochs, counts, strict=True)
    ]
    rules = RowRules(
        seq_len=streams[0].manifest.seq_len,
        vocab_size=vocab_size,
        attention_boundaries=dataset.attention_boundaries,
        loss_on=dataset.loss_on,
    )
    rows = RowDataset(
        parts, phases, batch_size=batch_size, shuffle=dataset.shuffle, shuffle_seed=dataset.shuffle_seed
    )
    for phase in phases:
        if rows.num_rows_of_rank(phase) < batch_size:
            raise ConfigError(
                f"from epoch {phase.first_epoch} on an epoch has {sum(phase.num_rows)} rows, too few for a "
                f"batch of {batch_size} rows on each rank. Lower global_train_batch_size, or raise "
                "train_loader.dataset.epoch_size."
            )
    workers = {"prefetch_factor": config.prefetch_factor} if config.num_workers else {}
    return RowLoader(
        rows, rules, batch_size=batch_size, num_workers=config.num_workers, drop_last=True, **workers
    )


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
