"""Event loop with an open synthesizer, one for each worker process.

The loop has a thread of its own. Beam's threads submit chains and get futures. The loop tallies answers, and
the first Beam thread that asks takes the tally, since only Beam's threads can count.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import gc
import queue
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

from pipelines.steps.check_pairs import problem_of
from pipelines.store.journal import JournaledGenerator
from plugins.protocols.base import pair_key
from plugins.synthesizers import SYNTHESIZERS
from plugins.synthesizers.base import Synthesizer
from plugins.synthesizers.generator import EndpointTally
from plugins.synthesizers.language_model import LanguageModelSynthesizer
from schemas.records import Chain, Generation, SynthesizedDocument
from schemas.synthesis_config import SynthesisConfig

_TOKENS = ("prompt_tokens", "completion_tokens", "cached_tokens")
_ONLY_ENDPOINTS_KNOW = ("in_flight", "failed", "retried", "taken_out")


def max_chains_in_flight(config: SynthesisConfig) -> int:
    """Limit chains in flight in a process: more than requests, since a chain pauses between rounds."""
    return config.max_in_flight + config.max_in_flight // 2


class SynthesizerLoop:
    """The first user's `enter` opens it, the last user's `leave` closes it; then it may be entered again.

    The arguments are those of SynthesizeChains.
    """

    def __init__(self, config: SynthesisConfig, seed: int, journal: str, attempt: int = 0):
        self._config = config
        self._seed = seed
        self._journal = journal
        self._attempt = attempt
        self._tally: Counter[str] = Counter()
        self._tally_lock = threading.Lock()
        self._damages: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._users = 0

    def enter(self) -> None:
        """Add a user; open the synthesizer for the first."""
        with self._lock:
            if not self._users:
                self._open()
            self._users += 1

    def leave(self) -> None:
        """Remove a user; close the synthesizer after the last."""
        with self._lock:
            self._users -= 1
            if not self._users:
                try:
                    asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
                finally:
                    self._stop()

    def submit(self, chain: Chain) -> Future[tuple[SynthesizedDocument, ...]]:
        """Start a chain as soon as there is a slot."""
        self._synthesizer.prepare(chain)
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
                attempt=self._attempt,
                is_useful=functools.partial(_is_useful, self._synthesizer),
                on_damage=self._damages.put,
            )
        else:
            self._synthesizer.count = self._count
        self._tallied: dict[str, EndpointTally] = {}
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
        self._synthesizer.open()
        gc.collect()
        gc.freeze()  # else each full collection visits the libraries' million objects
        gc.set_threshold(50_000, 10, 10)  # nearly all of 700 new objects are requests in flight
        sys.setswitchinterval(0.001)  # Beam's threads hold up the loop for this long after a system call

    async def _end(self) -> None:
        await asyncio.gather(*self._running, return_exceptions=True)  # cancelled, but not yet ended
        await self._synthesizer.close()

    async def _run(self, chain: Chain) -> tuple[SynthesizedDocument, ...]:
        task = asyncio.current_task()
        self._running.add(task)
        try:
            async with self._slots:
                return await self._synthesizer.synthesize(chain)
        finally:
            self._running.discard(task)

    def take_tally(self) -> Counter[str]:
        """Return counts of answers, failures and requests in flight, as differences since the last call.

        Names are `from_journal` and the fields of EndpointTally, with `@endpoint` for one endpoint.
        """
        with self._tally_lock:
            tally, self._tally = self._tally, Counter()
            for endpoint, now in self._endpoint_tallies().items():
                before = self._tallied.get(endpoint, EndpointTally())
                for field in dataclasses.fields(EndpointTally):
                    change = getattr(now, field.name) - getattr(before, field.name)
                    if change:
                        tally[f"{field.name}@{endpoint}"] += change
                        if field.name in _ONLY_ENDPOINTS_KNOW:
                            tally[field.name] += change
                self._tallied[endpoint] = now
        return tally

    def take_damages(self) -> Iterator[str]:
        """Yield file and line of damaged journal lines that were read since the last call."""
        with contextlib.suppress(queue.Empty):
            while True:
                yield self._damages.get_nowait()

    def _endpoint_tallies(self) -> dict[str, EndpointTally]:
        if not isinstance(self._synthesizer, LanguageModelSynthesizer):
            return {}
        return {
            endpoint: dataclasses.replace(tally)
            for endpoint, tally in self._synthesizer.generator.tallies().items()
        }

    def _count(self, generation: Generation, is_new: bool = True) -> None:
        with self._tally_lock:
            if not is_new:
                self._tally["from_journal"] += 1
                return
            self._tally["requests"] += 1
            for name in _TOKENS:
                self._tally[name] += getattr(generation, name)


def _is_useful(synthesizer: LanguageModelSynthesizer, text: str) -> bool:
    """True if a generated text holds a sound pair."""
    worked = set(map(pair_key, synthesizer.protocol.worked_pairs))
    pairs = synthesizer.protocol.read(text).pairs
    return any(problem_of(pair) is None and pair_key(pair) not in worked for pair in pairs)
