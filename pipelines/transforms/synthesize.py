"""Chains to synthesized documents, with as many chains under way as the synthesizer can take.

    process(chain)   submit to the event loop; at the limit, wait for whichever chain ends first
    finish_bundle    wait for the rest

Each worker process has one event loop and one open synthesizer, and keeps at most `max_in_flight`
chains under way, whatever number of threads Beam gives it. There is no barrier: a slow chain holds up
nothing but the end of its bundle. What a failed bundle left under way is cancelled, since Beam tries
the whole bundle again.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any

import apache_beam as beam
from apache_beam.utils.shared import Shared
from apache_beam.utils.windowed_value import WindowedValue

from pipelines.journal import JournaledGenerator
from pipelines.transforms.base import StepFn
from plugins.synthesizers import SYNTHESIZERS
from plugins.synthesizers.base import Synthesizer
from plugins.synthesizers.language_model import LanguageModelSynthesizer
from schemas.corpus_config import SynthesisConfig
from schemas.errors import RecordError
from schemas.records import Chain, Generation, SynthesizedDocument

_Result = tuple[SynthesizedDocument, ...]

_REPORT_EVERY_SEC = 1.0


class SynthesizeChains(StepFn):
    """Write pairs about the documents of each chain.

    Takes Chains; gives one tuple of SynthesizedDocuments for each, and a Reject beside every document
    that had to stay raw because its request failed.

    Args:
        config: Who writes the pairs, and how it is asked.
        seed: Of the synthesizer's random choices.
        journal: Directory of the generations so far.
        progress_dir: See Counters.
    """

    def __init__(self, config: SynthesisConfig, *, seed: int, journal: str, progress_dir: str | None):
        super().__init__("synthesize", progress_dir)
        self.config = config
        self.seed = seed
        self.journal = journal
        self._shared = Shared()
        self._engine: _Engine | None = None
        self._under_way: dict[Future[_Result], tuple[Chain, Any, Any]] = {}

    def setup(self) -> None:
        super().setup()
        engine: _Engine = self._shared.acquire(lambda: _Engine(self.config, self.seed, self.journal))
        engine.enter()
        self._engine = engine

    def start_bundle(self) -> None:
        self._abandon()

    def process(
        self, chain: Chain, timestamp: Any = beam.DoFn.TimestampParam, window: Any = beam.DoFn.WindowParam
    ) -> Iterator[Any]:
        assert self._engine is not None, "setup() comes first"
        self._under_way[self._engine.submit(chain)] = (chain, timestamp, window)
        while len(self._under_way) >= self.config.max_in_flight:
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
        done, _ = wait(self._under_way, timeout=_REPORT_EVERY_SEC, return_when=FIRST_COMPLETED)
        self._count_answers()
        for future in done:
            chain, timestamp, window = self._under_way.pop(future)
            for value in self._report(chain, future.result()):
                # What finish_bundle gives must say when and where it belongs.
                if isinstance(value, beam.pvalue.TaggedOutput):
                    yield beam.pvalue.TaggedOutput(
                        value.tag, WindowedValue(value.value, timestamp, (window,))
                    )
                else:
                    yield WindowedValue(value, timestamp, (window,))

    def _count_answers(self) -> None:
        """Count what arrived meanwhile: a chain may take minutes, and its answers are worth seeing."""
        assert self._engine is not None
        tally = self._engine.take_tally()
        for name, count in tally.items():
            self.counters.add(name, count)
        if tally:
            self.counters.flush()

    def _report(self, chain: Chain, documents: tuple[SynthesizedDocument, ...]) -> Iterator[Any]:
        if tuple(done.document for done in documents) != chain.documents:
            raise RecordError(
                f"synthesizer {self.config.backend!r} gave back other documents than those of chain "
                f"{chain.chain_id}; it must return each of them, in order."
            )
        self.counters.add("chains")
        self.counters.add("documents", len(documents))
        self.counters.add("documents_with_pairs", sum(bool(done.pairs) for done in documents))
        self.counters.add("pairs", sum(len(done.pairs) for done in documents))
        for done in documents:
            if done.failure:
                self.counters.add("failed_documents")
                reason, _, detail = done.failure.partition(": ")
                yield self.reject(
                    reason,
                    document_id=done.document.document_id,
                    source=done.document.source,
                    detail=f"kept as raw text: {detail}",
                )
        yield documents


class _Engine:
    """An event loop on a thread of its own, with an open synthesizer, for one worker process.

    Opened by the first who enters and closed by the last who leaves; it may be entered again.
    """

    def __init__(self, config: SynthesisConfig, seed: int, journal: str):
        self._config = config
        self._seed = seed
        self._journal = journal
        self._tally: Counter[str] = Counter()
        self._tally_lock = threading.Lock()
        self._lock = threading.Lock()
        self._users = 0

    def enter(self) -> None:
        with self._lock:
            if not self._users:
                self._open()
            self._users += 1

    def leave(self) -> None:
        with self._lock:
            self._users -= 1
            if not self._users:
                try:
                    asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
                finally:
                    self._stop()

    def submit(self, chain: Chain) -> Future[_Result]:
        return asyncio.run_coroutine_threadsafe(self._run(chain), self._loop)

    def _open(self) -> None:
        self._synthesizer: Synthesizer = SYNTHESIZERS.load(self._config.backend)(
            self._config, seed=self._seed
        )
        if isinstance(self._synthesizer, LanguageModelSynthesizer):
            self._synthesizer.generator = JournaledGenerator(
                self._synthesizer.generator,
                uri=self._journal,
                identity=self._synthesizer.identity,
                on_answer=self._count,
            )
        else:
            self._synthesizer.count = self._count
        self._running: set[Any] = set()
        self._slots = asyncio.Semaphore(self._config.max_in_flight)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="tutelage-synthesize", daemon=True
        )
        self._thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self._begin(), self._loop).result()
        except BaseException:
            self._stop()
            raise

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _begin(self) -> None:
        self._synthesizer.open()

    async def _end(self) -> None:
        await asyncio.gather(*self._running, return_exceptions=True)  # cancelled, not yet gone
        await self._synthesizer.close()

    async def _run(self, chain: Chain) -> _Result:
        task = asyncio.current_task()
        self._running.add(task)
        try:
            async with self._slots:
                return await self._synthesizer.synthesize(chain)
        finally:
            self._running.discard(task)

    def take_tally(self) -> Counter[str]:
        """Answers and their tokens since the last call, for whichever DoFn of this process asks first."""
        with self._tally_lock:
            tally, self._tally = self._tally, Counter()
        return tally

    def _count(self, generation: Generation, is_new: bool = True) -> None:
        with self._tally_lock:
            if not is_new:
                self._tally["from_journal"] += 1
                return
            self._tally["requests"] += 1
            for name in ("prompt_tokens", "completion_tokens", "cached_tokens"):
                self._tally[name] += getattr(generation, name)
