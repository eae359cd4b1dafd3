"""Steps that send requests: values in flight on a worker's event loop.

    process(value)   submit to the event loop; at the limit, wait for the first value that ends
    finish_bundle    wait for the others

Each worker process has one event loop (`worker_loop.py`), and keeps at most `max_in_flight` requests in
flight on any number of Beam threads. There is no barrier: a slow value delays only the end of its bundle.
After a failed bundle its values in flight are cancelled, since Beam tries the whole bundle again.

A run that cannot succeed ends early: when more has failed here than the whole run may lose, or after many
failures in a row. The journal keeps all answers.
"""

from __future__ import annotations

import dataclasses
import queue
import time
from abc import abstractmethod
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import apache_beam as beam
from apache_beam.utils.shared import Shared
from apache_beam.utils.windowed_value import WindowedValue

from pipelines.steps.base import NOT_OF_A_RECORD, StepFn
from pipelines.steps.worker_loop import WorkerLoop, max_chains_in_flight
from schemas.errors import SynthesisError
from schemas.records import UNEXPECTED, Reject
from schemas.synthesis_config import SynthesisConfig

_REPORT_EVERY_SEC = 1.0
_GATHER_SEC = 0.01
_FEW = 16
_HOPELESS_IN_A_ROW = 100
_SHOWN_FAILURES = 3
_ASKED = "passed over: its request is sent once more"


@dataclasses.dataclass(eq=False)
class InFlightFn(StepFn):
    """A step whose values are answered on an event loop.

    Takes values, and as a side input the number of documents or pairs (`unit`) in all of them.

    Raises:
        SynthesisError: The run cannot succeed any more.
    """

    unit = "documents"
    config: SynthesisConfig

    def __post_init__(self) -> None:
        self._shared = Shared()
        self._loop: WorkerLoop | None = None
        self._in_flight: dict[Future[Any], tuple[Any, Any, Any]] = {}
        self.failures = Failures(self.config.max_failure_share, self.unit)

    @abstractmethod
    def make_loop(self) -> WorkerLoop:
        """Make the loop of a worker process."""

    @abstractmethod
    def unanswered(self, value: Any, failure: str) -> Any:
        """The answer for a value that led to an unexpected exception."""

    @abstractmethod
    def report(self, value: Any, answer: Any) -> Iterator[Any]:
        """Yield the outputs for a value and its answer, and count."""

    def setup(self) -> None:
        super().setup()
        loop: WorkerLoop = self._shared.acquire(self.make_loop)
        loop.enter()
        self._loop = loop

    def start_bundle(self) -> None:
        self._abandon()
        self._done: queue.SimpleQueue[Future[Any]] = queue.SimpleQueue()

    def process(
        self,
        value: Any,
        num_expected: int,
        timestamp: Any = beam.DoFn.TimestampParam,
        window: Any = beam.DoFn.WindowParam,
    ) -> Iterator[Any]:
        assert self._loop is not None, "setup() comes first"
        self.counters.at_work()
        self.failures.num_expected = num_expected
        future = self._loop.submit(value)
        self._in_flight[future] = (value, timestamp, window)
        future.add_done_callback(self._done.put)
        while len(self._in_flight) >= max_chains_in_flight(self.config):
            yield from self._finished()

    def finish_bundle(self) -> Iterator[Any]:
        while self._in_flight:
            yield from self._finished()
        self._count_answers()
        super().finish_bundle()

    def teardown(self) -> None:
        self._abandon()
        if self._loop is not None:
            self._loop.leave()
            self._loop = None

    def _abandon(self) -> None:
        for future in self._in_flight:
            future.cancel()
        self._in_flight = {}

    def _finished(self) -> Iterator[Any]:
        assert self._loop is not None
        try:
            finished = [self._done.get(timeout=_REPORT_EVERY_SEC)]
        except queue.Empty:
            finished = []
        if finished and len(self._in_flight) > _FEW:
            time.sleep(_GATHER_SEC)  # each wake-up interrupts the event loop: gather several
        while not self._done.empty():
            finished.append(self._done.get_nowait())
        if not finished or self.counters.are_due():
            self._count_answers()
        for future in finished:
            value, timestamp, window = self._in_flight.pop(future)
            try:
                answer = future.result()
            except NOT_OF_A_RECORD:
                raise
            except Exception as error:
                answer = self.unanswered(value, f"{UNEXPECTED}: {type(error).__name__}: {error}")
            for place in self._loop.take_damages():
                reason = "damaged_journal_line"
                damage = Reject(stage=self.step, reason=reason, document_id="", source=place, detail=_ASKED)
                yield _windowed(self.pass_on(damage), timestamp, window)
            for output in self.report(value, answer):
                yield _windowed(output, timestamp, window)

    def _count_answers(self) -> None:
        """Count answers as they arrive, since a value may take minutes."""
        assert self._loop is not None
        tally = self._loop.take_tally()
        for name, count in tally.items():
            self.counters.add(name, count)
        if tally:
            self.counters.at_work()
            self.counters.flush()


def _windowed(value: Any, timestamp: Any, window: Any) -> Any:
    """Add timestamp and window, which Beam requires of the outputs of finish_bundle."""
    if isinstance(value, beam.pvalue.TaggedOutput):
        return beam.pvalue.TaggedOutput(value.tag, WindowedValue(value.value, timestamp, (window,)))
    return WindowedValue(value, timestamp, (window,))


class Failures:
    """Failures of one DoFn; raises when they are too many for the run."""

    def __init__(self, max_share: float, unit: str):
        self.num_expected = 0  # documents or pairs of the whole run
        self.in_a_row = 0  # since the last one that did not fail
        self._unit = unit
        self._max_share = max_share
        self._total = 0
        self._first: list[str] = []

    def add(self, source: str, failure: str) -> None:
        """Count a failure; raises SynthesisError once the run cannot succeed."""
        self._total += 1
        self.in_a_row += 1
        if len(self._first) < _SHOWN_FAILURES:
            self._first.append(f"{source}: {failure}")
        if self._max_share >= 1:
            return
        if self._total > self._max_share * self.num_expected:
            what = f"{self._total} of {self.num_expected} {self._unit} failed"
        elif self.in_a_row >= _HOPELESS_IN_A_ROW:
            what = f"{self.in_a_row} {self._unit} in a row failed"
        else:
            return
        raise SynthesisError(
            f"{what}, synthesis.max_failure_share is {self._max_share:g}: the run ended early and "
            "nothing was published. The journal keeps the answers: fix the cause and run again. "
            f"First failures: {'; '.join(self._first)}"
        )
