"""Event loop with an open synthesizer, one for each worker process."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from pipelines.steps.check_pairs import problem_of
from pipelines.steps.worker_loop import WorkerLoop
from plugins.protocols.base import pair_key
from plugins.synthesizers import SYNTHESIZERS
from plugins.synthesizers.base import Synthesizer
from plugins.synthesizers.generator import Generator
from plugins.synthesizers.language_model import LanguageModelSynthesizer
from schemas.records import Chain, SynthesizedDocument
from schemas.synthesis_config import SynthesisConfig


class SynthesizerLoop(WorkerLoop):
    """Loop that answers chains; the arguments are those of SynthesizeChains."""

    def __init__(self, config: SynthesisConfig, seed: int, journal: str, attempt: int = 0):
        super().__init__(config, journal)
        self._seed = seed
        self._attempt = attempt

    def make(self) -> Sequence[Generator]:
        self._synthesizer: Synthesizer = SYNTHESIZERS.load(self._config.backend)(
            self._config, seed=self._seed
        )
        if not isinstance(self._synthesizer, LanguageModelSynthesizer):
            self._synthesizer.count = self.count
            return ()
        self._synthesizer.generator = self.journaled(
            self._synthesizer,
            attempt=self._attempt,
            is_useful=functools.partial(_is_useful, self._synthesizer),
        )
        return (self._synthesizer.generator,)

    def open(self) -> None:
        self._synthesizer.open()

    async def close(self) -> None:
        await self._synthesizer.close()

    def prepare(self, value: Chain) -> Chain:
        self._synthesizer.prepare(value)
        return value

    async def run(self, value: Chain) -> tuple[SynthesizedDocument, ...]:
        return await self._synthesizer.synthesize(value)


def _is_useful(synthesizer: LanguageModelSynthesizer, text: str) -> bool:
    """True if a generated text holds a sound pair."""
    worked = set(map(pair_key, synthesizer.protocol.worked_pairs))
    pairs = synthesizer.protocol.read(text).pairs
    return any(problem_of(pair) is None and pair_key(pair) not in worked for pair in pairs)
