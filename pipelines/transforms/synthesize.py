"""Chains to synthesized documents, with as many chains under way as the synthesizer can take.

    process(chain)   submit to the event loop; at the limit, wait for whichever chain ends first
    finish_bundle    wait for the rest

Each worker process has one event loop and one open synthesizer, whatever number of threads Beam
gives it. There is no barrier: a slow chain holds up nothing but the end of its bundle.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.shared import Shared
from apache_beam.utils.windowed_value import WindowedValue

from pipelines.transforms.base import StepFn
from plugins.synthesizers import SYNTHESIZERS
from plugins.synthesizers.base import Synthesizer
from schemas.corpus_config import SynthesisConfig
from schemas.records import Chain, Generation, SynthesizedDocument

_Result = tuple[tuple[SynthesizedDocument, ...], list[Generation]]


class SynthesizeChains(StepFn):
    """Write pairs about the documents of each chain.

    Takes Chains; gives one tuple of SynthesizedDocuments for each, and a Reject beside every document
    that had to stay raw because its request failed.
    """

    def __init__(self, config: SynthesisConfig, *, seed: int, progress_dir: str | None):
        super().__init__("synthesize", progress_dir)
        self.config = config
        self.seed = seed
        self._shared = Shared()

    def setup(self) -> None:
        super().setup()
        self._engine: _Engine = self._shared.acquire(lambda: _Engine(self.config, self.seed))
        self._engine.enter()
        self._under_way: dict[Future[_Result], Any] = {}

    def start_bundle(self) -> None:
        self._under_way = {}

    def process(
        self, chain: Chain, timestamp: Any = beam.DoFn.TimestampParam, window: Any = beam.DoFn.WindowParam
    ) -> Iterator[Any]:
        self._under_way[self._engine.submit(chain)] = (timestamp, window)
        while len(self._under_way) >= self.config.max_in_flight:
            yield from self._finished()

    def finish_bundle(self) -> Iterator[Any]:
        while self._under_way:
            yield from self._finished()
        super().finish_bundle()

    def teardown(self) -> None:
        self._engine.leave()

    def _finished(self) -> Iterator[Any]:
        done, _ = wait(self._under_way, return_when=FIRST_COMPLETED)
        for future in done:
            timestamp, window = self._under_way.pop(future)
            documents, generations = future.result()
            for value in self._report(documents, generations):
                if isinstance(value, beam.pvalue.TaggedOutput):
                    yield beam.pvalue.TaggedOutput(
                        value.tag, WindowedValue(value.value, timestamp, (window or GlobalWindow(),))
                    )
                else:
                    yield WindowedValue(value, timestamp, (window or GlobalWindow(),))

    def _report(
        self, documents: tuple[SynthesizedDocument, ...], generations: list[Generation]
    ) -> Iterator[Any]:
        self.counters.add("chains")
        self.counters.add("documents", len(documents))
        self.counters.add("documents_with_pairs", sum(bool(done.pairs) for done in documents))
        self.counters.add("pairs", sum(len(done.pairs) for done in documents))
        self.counters.add("requests", len(generations))
        for name in ("prompt_tokens", "completion_tokens", "cached_tokens"):
            self.counters.add(name, sum(getattr(generation, name) for generation in generations))
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
    """An event loop on a thread of its own, with an open synthesizer, for one worker process."""

    def __init__(self, config: SynthesisConfig, seed: int):
        self._synthesizer: Synthesizer = SYNTHESIZERS.load(config.backend)(config, seed=seed)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="tutelage-synthesize", daemon=True
        )
        self._lock = threading.Lock()
        self._users = 0
        self._thread.start()
        self._synthesizer.count = self._count  # type: ignore[method-assign]
        self._generations: dict[Any, list[Generation]] = {}
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result()

    async def _open(self) -> None:
        self._synthesizer.open()

    def enter(self) -> None:
        with self._lock:
            self._users += 1

    def leave(self) -> None:
        """The last user closes the synthesizer."""
        with self._lock:
            self._users -= 1
            if self._users:
                return
        asyncio.run_coroutine_threadsafe(self._synthesizer.close(), self._loop).result()

    def submit(self, chain: Chain) -> Future[_Result]:
        return asyncio.run_coroutine_threadsafe(self._run(chain), self._loop)

    async def _run(self, chain: Chain) -> _Result:
        task = asyncio.current_task()
        self._generations[task] = []
        try:
            return await self._synthesizer.synthesize(chain), self._generations[task]
        finally:
            del self._generations[task]

    def _count(self, generation: Generation) -> None:
        self._generations[asyncio.current_task()].append(generation)
