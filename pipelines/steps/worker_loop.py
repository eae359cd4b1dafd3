"""Event loop for the requests of a step, one for each worker process.

The loop has a thread of its own. Beam's threads submit values and get futures. The loop tallies answers, and
the first Beam thread that asks takes the tally, since only Beam's threads can count.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import queue
import sys
import threading
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from typing import Any

from pipelines.store.journal import JournaledGenerator
from plugins.synthesizers.generator import EndpointTally, Generator
from plugins.synthesizers.language_model import LanguageModelSynthesizer
from schemas.records import Generation
from schemas.synthesis_config import SynthesisConfig

_TOKENS = ("prompt_tokens", "completion_tokens", "cached_tokens")
_ONLY_ENDPOINTS_KNOW = ("in_flight", "failed", "retried", "taken_out")


def max_chains_in_flight(config: SynthesisConfig) -> int:
    """Limit chains in flight in a process: more than requests, since a chain pauses between rounds."""
    return config.max_in_flight + config.max_in_flight // 2


class WorkerLoop(ABC):
    """The first user's `enter` opens it, the last user's `leave` closes it; then it may be entered again.

    Args:
        config: The synthesis section.
        journal: Directory of the generations so far.
    """

    def __init__(self, config: SynthesisConfig, journal: str):
        self._config = config
        self._journal = journal
        self._tally: Counter[str] = Counter()
        self._tally_lock = threading.Lock()
        self._damages: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._users = 0

    @abstractmethod
    def make(self) -> Sequence[Generator]:
        """Make what answers, without opening it; returns the generators whose endpoints are tallied."""

    @abstractmethod
    def open(self) -> None:
        """Open what `make` made; called on the event loop."""

    @abstractmethod
    async def close(self) -> None:
        """Close what `open` opened."""

    @abstractmethod
    def prepare(self, value: Any) -> Any:
        """Do what needs no answer, on a thread of Beam; returns the value for `run`."""

    @abstractmethod
    async def run(self, value: Any) -> Any:
        """Answer one value."""

    def journaled(self, asker: LanguageModelSynthesizer, **options: Any) -> JournaledGenerator:
        """Make the generator of a synthesizer answer from the journal."""
        return JournaledGenerator(
            asker.generator,
            uri=self._journal,
            identity=asker.identity,
            on_answer=self.count,
            on_damage=self._damages.put,
            **options,
        )

    def enter(self) -> None:
        """Add a user; open for the first."""
        with self._lock:
            if not self._users:
                self._open()
            self._users += 1

    def leave(self) -> None:
        """Remove a user; close after the last."""
        with self._lock:
            self._users -= 1
            if not self._users:
                try:
                    asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
                finally:
                    self._stop()

    def submit(self, value: Any) -> Future[Any]:
        """Start on a value as soon as there is a slot."""
        return asyncio.run_coroutine_threadsafe(self._run(self.prepare(value)), self._loop)

    def _open(self) -> None:
        self._generators = self.make()
        self._tallied: dict[tuple[int, str], EndpointTally] = {}
        self._running: set[Any] = set()
        self._settings = gc.get_threshold(), sys.getswitchinterval()
        self._slots = asyncio.Semaphore(max_chains_in_flight(self._config))
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
        thresholds, interval = self._settings
        gc.unfreeze()
        gc.set_threshold(*thresholds)
        sys.setswitchinterval(interval)

    async def _begin(self) -> None:
        self.open()
        gc.collect()
        gc.freeze()  # else each full collection visits the libraries' million objects
        gc.set_threshold(50_000, 10, 10)  # nearly all of 700 new objects are requests in flight
        sys.setswitchinterval(0.001)  # Beam's threads hold up the loop for this long after a system call

    async def _end(self) -> None:
        await asyncio.gather(*self._running, return_exceptions=True)  # cancelled, but not yet ended
        await self.close()

    async def _run(self, value: Any) -> Any:
        task = asyncio.current_task()
        self._running.add(task)
        try:
            async with self._slots:
                return await self.run(value)
        finally:
            self._running.discard(task)

    def take_tally(self) -> Counter[str]:
        """Return counts of answers, failures and requests in flight, as differences since the last call.

        Names are `from_journal` and the fields of EndpointTally, with `@endpoint` for one endpoint.
        """
        with self._tally_lock:
            tally, self._tally = self._tally, Counter()
            for place, now in self._endpoint_tallies().items():
                before, endpoint = self._tallied.get(place, EndpointTally()), place[1]
                for field in dataclasses.fields(EndpointTally):
                    change = getattr(now, field.name) - getattr(before, field.name)
                    if change:
                        tally[f"{field.name}@{endpoint}"] += change
                        if field.name in _ONLY_ENDPOINTS_KNOW:
                            tally[field.name] += change
                self._tallied[place] = now
        return tally

    def take_damages(self) -> Iterator[str]:
        """Yield file and line of damaged journal lines that were read since the last call."""
        with contextlib.suppress(queue.Empty):
            while True:
                yield self._damages.get_nowait()

    def _endpoint_tallies(self) -> dict[tuple[int, str], EndpointTally]:
        return {
            (number, endpoint): dataclasses.replace(tally)
            for number, generator in enumerate(self._generators)
            for endpoint, tally in generator.tallies().items()
        }

    def count(self, generation: Generation, is_new: bool = True) -> None:
        """Count a generation, by its tokens if it was paid for just now."""
        with self._tally_lock:
            if not is_new:
                self._tally["from_journal"] += 1
                return
            self._tally["requests"] += 1
            for name in _TOKENS:
                self._tally[name] += getattr(generation, name)
