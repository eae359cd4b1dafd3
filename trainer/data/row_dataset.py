"""Rows of many shard directories as one dataset: mixed, shuffled and resumed by Streaming.

The shard directories of all phases are parts of one dataset. An epoch draws no row from a part that its phase
does not name, and neither its rows nor their order depend on such parts. So a stopped run may get a later
phase, and goes on as if it had always had it.

Streaming's readers swallow errors: a shard that cannot be read ends the epoch early, or blocks the reader
processes that wait for it for ever. `RowDataset` marks such a shard in the memory that all processes share,
wakes the processes that wait, and counts its rows, so the run fails and names the shard.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from streaming import StreamingDataset
from streaming.base.dataset import _ShardState

from schemas.errors import CorpusError, TrainingError, TutelageError
from schemas.shard_index import CURE
from trainer.data.rows_per_epoch import Phase, steps_per_epoch
from trainer.data.shard_stream import ShardStream
from trainer.data.shared_memory_prefix import agreed_numbers

_FAILED = 0
"""Shard state that Streaming never sets once a dataset is made; Streaming calls it invalid."""

_LOCAL = _ShardState.LOCAL

_WATCH_SEC = 0.1


def count_own_batches(num_batches: int, worker: int, num_workers: int) -> int:
    """Count the batches of one reader process among the whole batches that are left of an epoch.

    Streaming deals batches to a rank's readers in turn, and repeats rows until all ranks have equally many.
    The repeated rows may fill a last batch on two ranks that is incomplete on one rank: the epoch would end a
    step later, and all later batches would be others. So only rows of whole batches are read.

    Args:
        num_batches: Whole batches of all ranks together.
        worker: Number of the reader process in its rank, from 0.
        num_workers: Reader processes of a rank; 1 if the training process reads.
    """
    return len(range(worker, num_batches, num_workers))


class RowDataset(StreamingDataset):  # type: ignore[misc, unused-ignore]
    """Rows of many shard directories (`streams`), mixed by `phases`; an epoch that ends early is an error."""

    def __init__(self, streams: Sequence[ShardStream], phases: Sequence[Phase], **options: Any):
        with agreed_numbers():
            super().__init__(streams=streams, **options)
        self.phases = tuple(phases)
        self._announced = 0
        self._failure: BaseException | None = None
        # Composer reads the length once, before the first epoch, and cuts longer epochs off there.
        self.length = max(self.num_rows_of_rank(phase) for phase in self.phases)

    def num_rows_of_rank(self, phase: Phase) -> int:
        """Count the rows of one rank in an epoch of a phase: those of whole batches over all ranks."""
        return self._steps(sum(phase.num_rows)) * int(self.batch_size)

    def enter_phase(self, epoch: int) -> None:
        """Draw from each part the rows that the phase of this epoch takes."""
        phase = [each for each in self.phases if each.first_epoch <= epoch][-1]
        self.epoch_size = sum(phase.num_rows)
        for stream, num_rows in zip(self.streams, phase.num_rows, strict=True):
            stream.choose = num_rows

    def state_dict(self, num_samples: int, from_beginning: bool) -> dict[str, Any]:
        """Return the position for a checkpoint; between two epochs it is the start of the next.

        Streaming names the epoch that it began last. After the end of that epoch Composer counts 0 samples of
        the next one, and a resumed run would begin the old one again.
        """
        state: dict[str, Any] = super().state_dict(num_samples, from_beginning)
        if from_beginning and not num_samples:
            state["epoch"] = max(state["epoch"], self.next_epoch)
        return state

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield this process's rows of the next epoch, as they are stored.

        Raises:
            TrainingError: A shard cannot be read, or rows are missing for another reason.
        """
        if not hasattr(self, "_event"):
            self._event = threading.Event()
        finished = threading.Event()
        threading.Thread(target=self._wake_on_failure, args=(finished,), daemon=True).start()
        self._announced = num_rows = 0
        self._failure = None
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
        """Return a row as it is stored, and its number among the rows of all parts as `row`.

        Raises:
            CorpusError: The bytes are no such row.
        """
        shard_id, _ = self.spanner[sample_id]
        if self._shard_states[shard_id] != _LOCAL:  # Streaming reads a cached shard unchecked
            self.prepare_shard(shard_id)
        try:
            return {**super().get_item(sample_id, retry), "row": sample_id}
        except (ValueError, IndexError) as error:
            raise CorpusError(f"{self.name_row(sample_id)}: row cannot be read: {error}. {CURE}") from error

    def name_row(self, number: int) -> str:
        """Return where a row lies: `domain:17 of gs://bucket/corpus (manifest 3)`."""
        part = int(np.searchsorted(self.sample_offset_per_stream, number, side="right")) - 1
        return str(self.streams[part].name_row(number - int(self.sample_offset_per_stream[part])))

    def prepare_shard(self, shard_id: int, blocking: bool = True) -> None:
        """Fetch a shard; mark it for all processes if that fails."""
        try:
            super().prepare_shard(shard_id, blocking)
        except TutelageError as error:
            self._failure = error  # before the mark: who sees the mark asks for the reason
            self._shard_states[shard_id] = _FAILED
            raise

    def on_exception(self, future: Any) -> None:
        """Stop this process's readers; `__iter__` raises the error (Streaming would print a traceback)."""
        error = future.exception()
        if error is not None:
            self._failure = self._failure or error  # later errors follow from the first
            self._event.set()

    def _prepare_thread(self, it: Any) -> None:
        _note_exit(super()._prepare_thread, it)

    def _ready_thread(self, it: Any) -> None:
        _note_exit(super()._ready_thread, it)

    def _get_work(self, epoch: int, sample_in_epoch: int) -> Any:
        self.enter_phase(epoch)
        sample_ids = super()._get_work(epoch, sample_in_epoch)
        world = self._parallel_worker_world
        num_batches = self._steps(int(self.epoch_size) - sample_in_epoch)
        own_batches = count_own_batches(num_batches, world.worker_of_rank, world.workers_per_rank)
        sample_ids = sample_ids[: own_batches * int(self.batch_size)]
        self._announced = len(sample_ids)
        return sample_ids

    def _steps(self, num_rows: int) -> int:
        return steps_per_epoch(num_rows, int(self.batch_size) * int(self._parallel_rank_world.num_ranks))

    def _wake_on_failure(self, finished: threading.Event) -> None:
        """Watch the shared states: the only sign of a shard that failed in another process."""
        while not finished.wait(_WATCH_SEC):
            if self._failed_shards():
                self._event.set()

    def _failed_shards(self) -> list[int]:
        return [int(i) for i in np.flatnonzero(self._shard_states.numpy() == _FAILED)]

    def _explain(self, num_rows: int) -> str:
        failure = self._failure
        if isinstance(failure, TutelageError):
            reason = str(failure)
        elif failed := self._failed_shards():
            stream = self.streams[self.stream_per_shard[failed[0]]]
            raw, packed = self.shards[failed[0]].file_pairs[0]
            reason = f"{stream.uri}/{(packed or raw).basename}: shard cannot be read."
        else:
            reason = f"Cause: {failure!r}."
        return f"the rows ended after {num_rows} of {self._announced}. {reason} Restore the shard and resume."


def _note_exit(thread: Any, it: Any) -> None:
    """Run a reader thread; count it as ended if it fails, since the end of the epoch waits for it."""
    try:
        thread(it)
    except BaseException:
        it.on_exit()
        raise
