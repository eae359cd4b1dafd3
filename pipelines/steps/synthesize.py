"""Synthesis of pairs for chains, with as many chains in flight as the synthesizer can take (`in_flight.py`).

This step also cleans and checks all pairs before they become training text, whatever synthesizer wrote them.
A bad pair is rejected with a reason (`check_pairs.py`); the other pairs go on.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from pipelines.steps.check_pairs import keep_pairs, problem_of
from pipelines.steps.clean import clean_pairs
from pipelines.steps.in_flight import InFlightFn
from pipelines.steps.synthesizer_loop import SynthesizerLoop
from schemas.corpus_config import CleanConfig
from schemas.errors import RecordError
from schemas.records import Chain, InstructionPair, SynthesizedDocument


@dataclasses.dataclass(eq=False)
class SynthesizeChains(InFlightFn):
    """Write pairs about the documents of each chain.

    Takes Chains, and the number of documents in all of them; gives one tuple of SynthesizedDocuments for
    each, and a Reject for every bad pair and for every document whose request failed, which goes on as raw
    text. The step counts documents without pairs: `failed_documents`, and `empty_documents`, whose answer
    names no question or holds no sound pair.

    Raises:
        SynthesisError: The run cannot succeed any more.
    """

    step = "synthesize"
    clean: CleanConfig  # for documents, and so for pairs
    seed: int  # of the synthesizer's random choices
    journal: str  # directory of the generations so far
    attempt: int = 0  # number of the retry of answers without pairs; 0 for no retry

    def make_loop(self) -> SynthesizerLoop:
        return SynthesizerLoop(self.config, self.seed, self.journal, self.attempt)

    def unanswered(self, value: Chain, failure: str) -> tuple[SynthesizedDocument, ...]:
        return tuple(SynthesizedDocument(document=each, failure=failure) for each in value.documents)

    def report(self, value: Chain, answer: tuple[SynthesizedDocument, ...]) -> Iterator[Any]:
        documents = answer
        if tuple(done.document for done in documents) != value.documents:
            raise RecordError(
                f"synthesizer {self.config.backend!r} returned other documents than those of chain "
                f"{value.chain_id}; it must return each of them, in order."
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
                self.failures.add(done.document.source, done.failure)
                reason, _, detail = done.failure.partition(": ")
                yield self.reject(reason, done.document, f"kept as raw text: {detail}")
            else:
                self.failures.in_a_row = 0
                if not done.pairs:
                    self.counters.add("empty_documents")
        yield documents
