"""Chains to synthesized documents, with as many chains under way as the synthesizer can take.

    process(chain)   submit to the event loop; at the limit, wait for whichever chain ends first
    finish_bundle    wait for the rest

Each worker process has one event loop and one open synthesizer (`synthesizer_loop.py`), and keeps at most
`max_in_flight` requests in flight, whatever number of threads Beam gives it. There is no barrier: a slow
chain holds up nothing but the end of its bundle. What a failed bundle left under way is cancelled, since
Beam tries the whole bundle again.

A run that cannot succeed any more ends at once: when more documents have failed here than the whole run may
lose, or when nothing but failures came for a long stretch. What was answered by then is in the journal.

Whoever wrote the pairs, they are cleaned and looked at here before they become training text: a bad one is
refused with a reason (`clean_pairs.py`) and costs only itself.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import apache_beam as beam
from apache_beam.utils.shared import Shared
from apache_beam.utils.windowed_value import WindowedValue

from pipelines.steps.base import NOT_OF_A_RECORD, StepFn
from pipelines.steps.clean import clean_pair
from pipelines.steps.clean_pairs import problem_of, with_pairs
from pipelines.steps.synthesizer_loop import Engine, max_under_way
from schemas.corpus_config import CleanConfig, SynthesisConfig
from schemas.errors import RecordError, SynthesisError
from schemas.records import UNEXPECTED, Chain, InstructionPair, SynthesizedDocument

_Result = tuple[SynthesizedDocument, ...]

_REPORT_EVERY_SEC = 1.0
_GATHER_SEC = 0.01
_FEW = 16
_HOPELESS_IN_A_ROW = 100
_SHOWN_FAILURES = 3
_ASKED = "passed over: its request is sent once more"


class SynthesizeChains(StepFn):
    """Write pairs about the documents of each chain.

    Takes Chains, and the number of documents in all of them; gives one tuple of SynthesizedDocuments for
    each, and a Reject for every bad pair and beside every document that had to stay raw because its request
    failed. Documents without pairs are counted: `failed_documents`, and `empty_documents` whose answer says
    that there is nothing to ask or left no sound pair.

    Args:
        config: Who writes the pairs, and how it is asked.
        clean: How documents, and so pairs, are cleaned.
        seed: Of the synthesizer's random choices.
        journal: Directory of the generations so far.
        progress_dir: See Counters.
        attempt: See Engine.

    Raises:
        SynthesisError: The run cannot succeed any more.
    """

    def __init__(
        self,
        config: SynthesisConfig,
        *,
        clean: CleanConfig,
        seed: int,
        journal: str,
        progress_dir: str | None,
        attempt: int = 0,
    ):
        super().__init__("synthesize", progress_dir)
        self.attempt = attempt
        self.config = config
        self.clean = clean
        self.seed = seed
        self.journal = journal
        self._shared = Shared()
        self._engine: Engine | None = None
        self._under_way: dict[Future[_Result], tuple[Chain, Any, Any]] = {}
        self._failures = _Failures(config.max_failure_share)

    def setup(self) -> None:
        super().setup()
        engine: Engine = self._shared.acquire(
            lambda: Engine(self.config, self.seed, self.journal, self.attempt)
        )
        engine.enter()
        self._engine = engine

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
        assert self._engine is not None, "setup() comes first"
        self.counters.at_work()
        self._failures.num_documents = num_documents
        future = self._engine.submit(chain)
        self._under_way[future] = (chain, timestamp, window)
        future.add_done_callback(self._done.put)
        while len(self._under_way) >= max_under_way(self.config):
            yield from self._finished()

    def finish_bundle(self) -> Iterator[Any]:
        while self._under_way:
            yield from self._finished()
        self._count_answers()
        super().finish_bundle()

    def teardown(self) -> None:
        self._abandon()
        if self._engine is not None:
            self._engine.leave()
            self._engine = None

    def _abandon(self) -> None:
        for future in self._under_way:
            future.cancel()
        self._under_way = {}

    def _finished(self) -> Iterator[Any]:
        assert self._engine is not None
        try:
            finished = [self._done.get(timeout=_REPORT_EVERY_SEC)]
        except queue.Empty:
            finished = []
        if finished and len(self._under_way) > _FEW:
            time.sleep(_GATHER_SEC)  # each waking takes the event loop's turn: better for several at a time
        while not self._done.empty():
            finished.append(self._done.get_nowait())
        if not finished or self.counters.are_due():
            self._count_answers()
        for future in finished:
            chain, timestamp, window = self._under_way.pop(future)
            try:
                documents = future.result()
            except NOT_OF_A_RECORD:
                raise
            except Exception as error:
                failure = f"{UNEXPECTED}: {type(error).__name__}: {error}"
                documents = tuple(
                    SynthesizedDocument(document=each, failure=failure) for each in chain.documents
                )
            for place in self._engine.take_damages():
                damage = self.reject("damaged_journal_line", document_id="", source=place, detail=_ASKED)
                yield _windowed(damage, timestamp, window)
            for value in self._report(chain, documents):
                yield _windowed(value, timestamp, window)

    def _count_answers(self) -> None:
        """Count what arrived meanwhile: a chain may take minutes, and its answers are worth seeing."""
        assert self._engine is not None
        tally = self._engine.take_tally()
        for name, count in tally.items():
            self.counters.add(name, count)
        if tally:
            self.counters.at_work()
            self.counters.flush()

    def _report(self, chain: Chain, documents: tuple[SynthesizedDocument, ...]) -> Iterator[Any]:
        if tuple(done.document for done in documents) != chain.documents:
            raise RecordError(
                f"synthesizer {self.config.backend!r} gave back other documents than those of chain "
                f"{chain.chain_id}; it must return each of them, in order."
            )
        kept: list[list[InstructionPair]] = []
        for done in documents:
            sound = []
            for number, pair in enumerate(self._cleaned(done), 1):
                problem = problem_of(pair)
                if problem is None:
                    sound.append(pair)
                else:
                    reason, found = problem
                    yield self._reject_of(done, reason, f"pair {number}: {found}")
            kept.append(sound)
        documents = with_pairs(documents, kept)
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
                yield self._reject_of(done, reason, f"kept as raw text: {detail}")
            else:
                self._failures.in_a_row = 0
                if not done.pairs:
                    self.counters.add("empty_documents")
        yield documents

    def _cleaned(self, done: SynthesizedDocument) -> Iterator[InstructionPair]:
        for pair in done.pairs:
            cleaned, masked = clean_pair(pair, self.clean)
            for kind, count in masked.items():
                self.counters.add(f"masked_{kind}", count)
            yield cleaned

    def _reject_of(self, done: SynthesizedDocument, reason: str, detail: str) -> beam.pvalue.TaggedOutput:
        document = done.document
        return self.reject(reason, document_id=document.document_id, source=document.source, detail=detail)


def _windowed(value: Any, timestamp: Any, window: Any) -> Any:
    """What finish_bundle gives must say when and where it belongs."""
    if isinstance(value, beam.pvalue.TaggedOutput):
        return beam.pvalue.TaggedOutput(value.tag, WindowedValue(value.value, timestamp, (window,)))
    return WindowedValue(value, timestamp, (window,))


class _Failures:
    """Failed documents of one DoFn, and when they are too many for the run.

    Attributes:
        num_documents: Documents of the whole run.
        in_a_row: Failures since a document last did not fail.
    """

    def __init__(self, max_share: float):
        self.num_documents = 0
        self.in_a_row = 0
        self._max_share = max_share
        self._total = 0
        self._first: list[str] = []

    def add(self, document: SynthesizedDocument) -> None:
        """Count a failed document; raises once the run is hopeless."""
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
            f"{what}, synthesis.max_failure_share is {self._max_share:g}: the run was ended early and "
            "nothing was published. What was answered is in the journal: see to the cause and run again. "
            f"First failures: {'; '.join(self._first)}"
        )
