"""Synthesis of pairs for chains, with as many chains in flight as the synthesizer can take.

    process(chain)   submit to the event loop; at the limit, wait for the first chain that ends
    finish_bundle    wait for the others

Each worker process has one event loop with one open synthesizer (`synthesizer_loop.py`), and keeps at most
`max_in_flight` requests in flight on any number of Beam threads. There is no barrier: a slow chain delays
only the end of its bundle. After a failed bundle its chains in flight are cancelled, since Beam tries the
whole bundle again.

A run that cannot succeed ends early: when more documents have failed here than the whole run may lose, or
after many failures in a row. The journal keeps all answers.

This step also cleans and checks all pairs before they become training text, whatever synthesizer wrote them.
A bad pair is rejected with a reason (`check_pairs.py`); the other pairs go on.
"""

from __future__ import annotations

import dataclasses
import queue
import time
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import apache_beam as beam
from apache_beam.utils.shared import Shared
from apache_beam.utils.windowed_value import WindowedValue

from pipelines.steps.base import NOT_OF_A_RECORD, StepFn
from pipelines.steps.check_pairs import keep_pairs, problem_of
from pipelines.steps.clean import clean_pairs
from pipelines.steps.synthesizer_loop import SynthesizerLoop, max_chains_in_flight
from schemas.corpus_config import CleanConfig
from schemas.errors import RecordError, SynthesisError
from schemas.records import UNEXPECTED, Chain, InstructionPair, Reject, SynthesizedDocument
from schemas.synthesis_config import SynthesisConfig

_Result = tuple[SynthesizedDocument, ...]

_REPORT_EVERY_SEC = 1.0
_GATHER_SEC = 0.01
_FEW = 16
_HOPELESS_IN_A_ROW = 100
_SHOWN_FAILURES = 3
_ASKED = "passed over: its request is sent once more"


@dataclasses.dataclass(eq=False)
class SynthesizeChains(StepFn):
    """Write pairs about the documents of each chain.

    Takes Chains, and the number of documents in all of them; gives one tuple of SynthesizedDocuments for
    each, and a Reject for every bad pair and for every document whose request failed, which goes on as raw
    text. The step counts documents without pairs: `failed_documents`, and `empty_documents`, whose answer
    names no question or holds no sound pair.

    Raises:
        SynthesisError: The run cannot succeed any more.
    """

    step = "synthesize"
    config: SynthesisConfig
    clean: CleanConfig  # for documents, and so for pairs
    seed: int  # of the synthesizer's random choices
    journal: str  # directory of the generations so far
    attempt: int = 0  # number of the retry of answers without pairs; 0 for no retry

    def __post_init__(self) -> None:
        self._shared = Shared()
        self._loop: SynthesizerLoop | None = None
        self._in_flight: dict[Future[_Result], tuple[Chain, Any, Any]] = {}
        self._failures = _Failures(self.config.max_failure_share)

    def setup(self) -> None:
        super().setup()
        loop: SynthesizerLoop = self._shared.acquire(
            lambda: SynthesizerLoop(self.config, self.seed, self.journal, self.attempt)
        )
        loop.enter()
        self._loop = loop

    def start_bundle(self) -> None:
        self._abandon()
        self._done: queue.SimpleQueue[Future[_Result]] = queue.SimpleQueue()

    def process(
        self,
        chain: Chain,
        num_documents: int,
        timestamp: Any = beam.DoFn.TimestampParam,
        window: Any = beam.DoFn.WindowParam,
    ) -> Iterator[Any]:
        assert self._loop is not None, "setup() comes first"
        self.counters.at_work()
        self._failures.num_documents = num_documents
        future = self._loop.submit(chain)
        self._in_flight[future] = (chain, timestamp, window)
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
            chain, timestamp, window = self._in_flight.pop(future)
            try:
                documents = future.result()
            except NOT_OF_A_RECORD:
                raise
            except Exception as error:
                failure = f"{UNEXPECTED}: {type(error).__name__}: {error}"
                documents = tuple(
                    SynthesizedDocument(document=each, failure=failure) for each in chain.documents
                )
            for place in self._loop.take_damages():
                reason = "damaged_journal_line"
                damage = Reject(stage=self.step, reason=reason, document_id="", source=place, detail=_ASKED)
                yield _windowed(self.pass_on(damage), timestamp, window)
            for value in self._report(chain, documents):
                yield _windowed(value, timestamp, window)

    def _count_answers(self) -> None:
        """Count answers as they arrive, since a chain may take minutes."""
        assert self._loop is not None
        tally = self._loop.take_tally()
        for name, count in tally.items():
            self.counters.add(name, count)
        if tally:
            self.counters.at_work()
            self.counters.flush()

    def _report(self, chain: Chain, documents: tuple[SynthesizedDocument, ...]) -> Iterator[Any]:
        if tuple(done.document for done in documents) != chain.documents:
            raise RecordError(
                f"synthesizer {self.config.backend!r} returned other documents than those of chain "
                f"{chain.chain_id}; it must return each of them, in order."
            )
        kept: list[list[InstructionPair]] = []
        for done in documents:
            sound = []
            for number, pair in enumerate(clean_pairs(done.pairs, self.clean, self.counters), 1):
                problem = problem_of(pair)
                if problem is None:
                    sound.append(pair)
                else:
                    reason, found = problem
                    yield self.reject(reason, done.document, f"pair {number}: {found}")
            kept.append(sound)
        documents = keep_pairs(documents, kept)
        self.counters.add("chains")
        self.counters.add("documents", len(documents))
        self.counters.add("documents_with_pairs", sum(bool(done.pairs) for done in documents))
        self.counters.add("pairs", sum(len(done.pairs) for done in documents))
        for done in documents:
            for name, count in done.dropped.items():
                if count:
                    self.counters.add(name, count)
            if done.failure:
                self.counters.add("failed_documents")
                self._failures.add(done)
                reason, _, detail = done.failure.partition(": ")
                yield self.reject(reason, done.document, f"kept as raw text: {detail}")
            else:
                self._failures.in_a_row = 0
                if not done.pairs:
                    self.counters.add("empty_documents")
        yield documents


def _windowed(value: Any, timestamp: Any, window: Any) -> Any:
    """Add timestamp and window, which Beam requires of the outputs of finish_bundle."""
    if isinstance(value, beam.pvalue.TaggedOutput):
        return beam.pvalue.TaggedOutput(value.tag, WindowedValue(value.value, timestamp, (window,)))
    return WindowedValue(value, timestamp, (window,))


class _Failures:
    """Failed documents of one DoFn; raises when they are too many for the run."""

    def __init__(self, max_share: float):
        self.num_documents = 0  # of the whole run
        self.in_a_row = 0  # since the last document that did not fail
        self._max_share = max_share
        self._total = 0
        self._first: list[str] = []

    def add(self, document: SynthesizedDocument) -> None:
        """Count a failed document; raises SynthesisError once the run cannot succeed."""
        self._total += 1
        self.in_a_row += 1
        if len(self._first) < _SHOWN_FAILURES:
            self._first.append(f"{document.document.source}: {document.failure}")
        if self._max_share >= 1:
            return
        if self._total > self._max_share * self.num_documents:
            what = f"{self._total} of {self.num_documents} documents failed"
        elif self.in_a_row >= _HOPELESS_IN_A_ROW:
            what = f"{self.in_a_row} documents in a row failed"
        else:
            return
        raise SynthesisError(
            f"{what}, synthesis.max_failure_share is {self._max_share:g}: the run ended early and "
            "nothing was published. The journal keeps the answers: fix the cause and run again. "
            f"First failures: {'; '.join(self._first)}"
        )
