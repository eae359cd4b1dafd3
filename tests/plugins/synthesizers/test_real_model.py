"""The in-process backend with the small real model, through the chat protocol."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from plugins.synthesizers import SYNTHESIZERS
from schemas.records import Chain, Document, Generation
from schemas.synthesis_config import SynthesisConfig

TEXTS = (
    "The femoral nerve arises from the lumbar plexus. It supplies the quadriceps, the muscle group that "
    "straightens the knee. A lesion of it therefore weakens the knee and dulls the knee jerk.",
    "Metformin lowers the glucose output of the liver. It is the usual first drug for type 2 diabetes. "
    "Its commonest side effects are nausea and diarrhoea, which fade when the dose is raised slowly.",
)


@pytest.mark.slow
def test_a_real_model_writes_pairs_for_both_documents_of_a_chain(smollm2: Path) -> None:
    config = SynthesisConfig(
        backend="transformers", model=str(smollm2), max_new_tokens=96, context_tokens=1024
    )
    synthesizer = SYNTHESIZERS.load("transformers")(config, seed=1)
    received: list[Generation] = []
    synthesizer.count = received.append
    chain = Chain(
        chain_id="0",
        documents=tuple(Document.of(str(at), text, source=f"t:{at}") for at, text in enumerate(TEXTS)),
    )

    async def run() -> tuple[object, ...]:
        synthesizer.open()
        try:
            return await synthesizer.synthesize(chain)
        finally:
            await synthesizer.close()

    first, second = asyncio.run(run())
    assert first.pairs and second.pairs, received
    assert not first.follows_previous and second.follows_previous
    assert len(received) == 2 and all(0 < each.completion_tokens <= 96 for each in received)
    # The second prompt holds the first document and its pairs.
    assert received[1].prompt_tokens > received[0].prompt_tokens + 50
