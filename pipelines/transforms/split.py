"""Documents that are too long for one prompt, cut into several."""

from __future__ import annotations

from collections.abc import Iterator

from pipelines.transforms.base import StepFn, guarded
from plugins.synthesizers import SYNTHESIZERS
from plugins.synthesizers.base import Synthesizer
from schemas.corpus_config import SynthesisConfig
from schemas.records import Document


class SplitDocuments(StepFn):
    """Cut each document as the synthesizer needs it; most stay whole."""

    def __init__(self, config: SynthesisConfig, *, seed: int, progress_dir: str | None):
        super().__init__("split", progress_dir)
        self.config = config
        self.seed = seed

    def setup(self) -> None:
        super().setup()
        self._synthesizer: Synthesizer = SYNTHESIZERS.load(self.config.backend)(self.config, seed=self.seed)

    @guarded
    def process(self, document: Document) -> Iterator[Document]:
        parts = self._synthesizer.split(document)
        if len(parts) > 1:
            self.counters.add("documents")
            self.counters.add("parts", len(parts))
        yield from parts
