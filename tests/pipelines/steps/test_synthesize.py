"""The synthesis step in real Beam runs, with synthesizers made for the test."""

from __future__ import annotations

import asyncio
import pickle
import threading
import weakref
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.transforms.window import GlobalWindow

from pipelines.steps.base import REJECTS
from pipelines.steps.synthesize import SynthesizeChains
from plugins.synthesizers.base import Synthesizer
from plugins.synthesizers.generator import EndpointTally, GenerationRequest, Generator
from plugins.synthesizers.language_model import LanguageModelSynthesizer
from schemas.corpus_config import CleanConfig
from schemas.errors import ConfigError, RecordError, SynthesisError
from schemas.records import Chain, Document, Generation, InstructionPair, SynthesizedDocument
from schemas.synthesis_config import SynthesisConfig

GENERATION = Generation(
    text="answer", finish_reason="stop", prompt_tokens=10, completion_tokens=4, cached_tokens=3
)


def chain_of(*names: str) -> Chain:
    documents = tuple(Document.of(name, f"Text of {name}.", source=f"file:{name}") for name in names)
    return Chain(chain_id="+".join(names), documents=documents)


CHAINS = [chain_of(f"a{number}", f"b{number}") for number in range(20)]


class Obliging(Synthesizer):
    """Synthesizer that returns one pair and one generation for each document."""

    async def synthesize(self, chain: Chain) -> tuple[SynthesizedDocument, ...]:
        return tuple([await self.one(document) for document in chain.documents])

    async def one(self, document: Document) -> SynthesizedDocument:
        await asyncio.sleep(0)
        self.count(GENERATION)
        pair = InstructionPair(instruction=f"Ask {document.document_id}?", response="Yes.")
        return SynthesizedDocument(document=document, pairs=(pair,))


def step_of(config: SynthesisConfig) -> SynthesizeChains:
    return SynthesizeChains(config, clean=CleanConfig(), seed=1, journal="memory://no-journal-in-these-tests")


def names_in(documents: tuple[SynthesizedDocument, ...]) -> str:
    return "+".join(done.document.document_id for done in documents)


def run(
    backend: str,
    chains: list[Chain],
    *,
    max_in_flight: int = 4,
    expected: list[str] | None = None,
    rejects: list[tuple[str, ...]] | None = None,
) -> Counter[str]:
    """Run the step as one local bundle and return its counters."""
    config = SynthesisConfig(backend=backend, max_in_flight=max_in_flight)
    pipeline = beam.Pipeline(runner=FnApiRunner())
    done = (
        pipeline
        | beam.Create(chains, reshuffle=False)
        | beam.ParDo(step_of(config), sum(len(chain.documents) for chain in chains)).with_outputs(
            REJECTS, main="ok"
        )
    )
    if expected is not None:
        assert_that(done.ok | beam.Map(names_in), equal_to(expected), label="documents")
    if rejects is not None:
        found = done[REJECTS] | beam.Map(
            lambda each: (each.stage, each.reason, each.document_id, each.source, each.detail)
        )
        assert_that(found, equal_to(rejects), label="rejects")
    result = pipeline.run()
    return Counter(
        {counter.key.metric.name: counter.result for counter in result.metrics().query()["counters"]}
    )


def test_every_chain_comes_through_and_generations_are_counted(synthesizer: Callable[[type], str]) -> None:
    counts = run(synthesizer(Obliging), CHAINS, expected=[chain.chain_id for chain in CHAINS], rejects=[])
    assert counts == {
        "chains": 20,
        "documents": 40,
        "documents_with_pairs": 40,
        "pairs": 40,
        "requests": 40,
        "prompt_tokens": 400,
        "completion_tokens": 160,
        "cached_tokens": 120,
    }


def test_generations_received_in_tasks_of_the_synthesizers_own_are_counted(
    synthesizer: Callable[[type], str],
) -> None:
    class AllAtOnce(Obliging):
        async def synthesize(self, chain: Chain) -> tuple[SynthesizedDocument, ...]:
            return tuple(await asyncio.gather(*map(self.one, chain.documents)))

    assert run(synthesizer(AllAtOnce), CHAINS)["requests"] == 40


@pytest.mark.parametrize(("max_in_flight", "chains"), [(1, 1), (2, 3), (6, 9)])
def test_half_as_many_chains_again_as_requests_are_under_way_where_there_are_enough(
    synthesizer: Callable[[type], str], max_in_flight: int, chains: int
) -> None:
    """A chain pauses between its rounds; the client limits the requests in flight."""
    under_way: list[int] = [0]

    class Watched(Obliging):
        now = 0

        async def synthesize(self, chain: Chain) -> tuple[SynthesizedDocument, ...]:
            self.now += 1
            under_way.append(self.now)
            await asyncio.sleep(0.01)
            self.now -= 1
            return await super().synthesize(chain)

    run(synthesizer(Watched), CHAINS, max_in_flight=max_in_flight)
    assert max(under_way) == chains


def test_two_threads_of_a_process_share_one_open_synthesizer_and_its_limit(
    synthesizer: Callable[[type], str],
) -> None:
    events: list[str] = []
    under_way: list[int] = []

    class Watched(Obliging):
        now = 0

        def open(self) -> None:
            events.append("open")

        async def close(self) -> None:
            events.append("close")

        async def synthesize(self, chain: Chain) -> tuple[SynthesizedDocument, ...]:
            self.now += 1
            under_way.append(self.now)
            await asyncio.sleep(0.01)
            self.now -= 1
            return await super().synthesize(chain)

    config = SynthesisConfig(backend=synthesizer(Watched), max_in_flight=2)
    data = pickle.dumps(step_of(config))
    first, second = pickle.loads(data), pickle.loads(data)
    first.setup()
    second.setup()

    def work(step: SynthesizeChains) -> None:
        step.start_bundle()
        for chain in CHAINS:
            list(step.process(chain, 40, 0, GlobalWindow()))
        list(step.finish_bundle())

    threads = [threading.Thread(target=work, args=(step,)) for step in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first.teardown()
    assert events == ["open"]
    second.teardown()
    assert events == ["open", "close"]
    assert (len(under_way), max(under_way)) == (40, 3)


def test_a_step_set_up_after_the_last_was_torn_down_opens_the_synthesizer_again(
    synthesizer: Callable[[type], str],
) -> None:
    """Beam tears a step down after a failed bundle, and sets up another step for the retry."""

    class Connected(Obliging):
        connected = False

        def open(self) -> None:
            self.connected = True

        async def close(self) -> None:
            self.connected = False

        async def synthesize(self, chain: Chain) -> tuple[SynthesizedDocument, ...]:
            assert self.connected
            return await super().synthesize(chain)

    config = SynthesisConfig(backend=synthesizer(Connected))
    data = pickle.dumps(step_of(config))
    for _ in range(2):
        step = pickle.loads(data)
        step.setup()
        step.start_bundle()
        given = [*step.process(CHAINS[0], 40, 0, GlobalWindow()), *step.finish_bundle()]
        step.teardown()
        assert [names_in(each.value) for each in given] == ["a0+b0"]


def test_cycles_are_found_while_a_synthesizer_is_open(synthesizer: Callable[[type], str]) -> None:
    """Cyclic garbage collection is then less frequent, but not off."""

    class Node:
        itself: Any = None

    class Cyclic(Obliging):
        async def synthesize(self, chain: Chain) -> tuple[SynthesizedDocument, ...]:
            node = Node()
            node.itself = node
            found = weakref.ref(node)
            del node
            kept: list[list[object]] = [[] for _ in range(60_000)]
            assert found() is None, len(kept)
            return await super().synthesize(chain)

    run(synthesizer(Cyclic), CHAINS[:1], expected=["a0+b0"])


def test_a_slow_chain_holds_up_no_other(synthesizer: Callable[[type], str]) -> None:
    """The first chain waits for all others, so with a barrier this test would never end."""
    others = len(CHAINS) - 1

    class FirstIsLast(Obliging):
        num_done = 0

        async def synthesize(self, chain: Chain) -> tuple[SynthesizedDocument, ...]:
            while chain.chain_id == "a0+b0" and self.num_done < others:
                await asyncio.sleep(0.001)
            self.num_done += 1
            return await super().synthesize(chain)

    counts = run(
        synthesizer(FirstIsLast),
        CHAINS,
        max_in_flight=2,
        expected=[chain.chain_id for chain in CHAINS],
    )
    assert counts["chains"] == 20


def test_failures_become_rejects_and_their_documents_stay(synthesizer: Callable[[type], str]) -> None:
    class Refusing(Obliging):
        async def one(self, document: Document) -> SynthesizedDocument:
            if document.document_id in ("b3", "a5"):
                return SynthesizedDocument(document=document, failure="refused: status 400: no: thanks")
            return await super().one(document)

    counts = run(
        synthesizer(Refusing),
        CHAINS,
        expected=[chain.chain_id for chain in CHAINS],
        rejects=[
            ("synthesize", "refused", "b3", "file:b3", "kept as raw text: status 400: no: thanks"),
            ("synthesize", "refused", "a5", "file:a5", "kept as raw text: status 400: no: thanks"),
        ],
    )
    assert (counts["failed_documents"], counts["rejected_refused"], counts["documents"]) == (2, 2, 40)
    assert counts["requests"] == 38


def test_pairs_are_cleaned_and_bad_ones_refused_whoever_wrote_them(
    synthesizer: Callable[[type], str],
) -> None:
    bad = {
        "empty_pair": InstructionPair(instruction="Which?", response="\x08 \x0b"),
        "no_question": InstructionPair(instruction="?!", response="a"),
        "format_in_pair": InstructionPair(instruction="Which? <QUE> What?", response="a"),
    }
    more_bad = (
        InstructionPair(instruction="Which?", response='a", "answer": "b'),
        InstructionPair(instruction="Which?", response="a</think>b"),
        InstructionPair(instruction="Which?", response="a", options=("a", "\x00")),
    )
    good = InstructionPair(
        instruction="Is it caf\u00c3\u00a9\x07 \ud83d?",
        response="e\u0301\r\n\r\n\r\n1",
        options=("e\u0301\r\n\r\n\r\n1", "+"),
        rationale="So it\x1b is.",
    )

    class Careless(Obliging):
        async def one(self, document: Document) -> SynthesizedDocument:
            pairs = (*bad.values(), *more_bad)
            pairs = {"a": (good, *pairs), "b": pairs, "c": (good,)}[document.document_id]
            return SynthesizedDocument(
                document=document,
                pairs=pairs,
                follows_previous=document.document_id != "a",
                dropped={"copied_pairs": 2},
            )

    config = SynthesisConfig(backend=synthesizer(Careless))
    step = step_of(config)
    step.setup()
    step.start_bundle()
    given = [*step.process(chain_of("a", "b", "c"), 3, 0, GlobalWindow()), *step.finish_bundle()]
    step.teardown()
    *rejects, done = (each.value for each in given)
    assert [(each.value.document_id, each.value.reason) for each in rejects] == [
        (name, reason)
        for name in ("a", "b")
        for reason in (*bad, "format_in_pair", "format_in_pair", "empty_pair")
    ]
    assert rejects[1].value.detail == "pair 3: its question '?!' holds no letter or digit"
    cleaned = InstructionPair(
        instruction="Is it caf\u00e9 \ufffd?",
        response="\u00e9\n\n1",
        options=("\u00e9\n\n1", "+"),
        rationale="So it is.",
    )
    assert [each.pairs for each in done] == [(cleaned,), (), (cleaned,)]
    assert [each.follows_previous for each in done] == [False, False, False]
    counts = step.counters._counts
    assert (counts["synthesize/pairs"], counts["synthesize/empty_documents"]) == (2, 1)
    assert (counts["synthesize/rejected_format_in_pair"], counts["synthesize/copied_pairs"]) == (6, 6)


def test_an_unexpected_exception_of_a_chain_fails_its_documents(synthesizer: Callable[[type], str]) -> None:
    class Buggy(Obliging):
        async def synthesize(self, chain: Chain) -> tuple[SynthesizedDocument, ...]:
            if chain.chain_id == "a2+b2":
                raise RuntimeError("a bug")
            return await super().synthesize(chain)

    detail = "kept as raw text: RuntimeError: a bug"
    counts = run(
        synthesizer(Buggy),
        CHAINS,
        expected=[chain.chain_id for chain in CHAINS],
        rejects=[("synthesize", "unexpected_error", name, f"file:{name}", detail) for name in ("a2", "b2")],
    )
    assert (counts["failed_documents"], counts["rejected_unexpected_error"], counts["documents"]) == (
        2,
        2,
        40,
    )


def test_what_a_failed_bundle_left_under_way_is_cancelled(synthesizer: Callable[[type], str]) -> None:
    ended: list[str] = []

    class Endless(Obliging):
        async def synthesize(self, chain: Chain) -> tuple[SynthesizedDocument, ...]:
            if chain.chain_id == "a2+b2":
                raise SynthesisError("no more")
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                ended.append(chain.chain_id)
                raise
            return ()

    step = step_of(SynthesisConfig(backend=synthesizer(Endless), max_in_flight=2))
    step.setup()
    step.start_bundle()
    with pytest.raises(SynthesisError, match="no more"):
        for chain in CHAINS:
            list(step.process(chain, 40, 0, GlobalWindow()))
    step.teardown()
    assert sorted(ended) == ["a0+b0", "a1+b1"]


def test_a_synthesizer_that_loses_a_document_is_found_out(synthesizer: Callable[[type], str]) -> None:
    class Losing(Obliging):
        async def synthesize(self, chain: Chain) -> tuple[SynthesizedDocument, ...]:
            return (await super().synthesize(chain))[1:]

    step = step_of(SynthesisConfig(backend=synthesizer(Losing)))
    step.setup()
    step.start_bundle()
    list(step.process(CHAINS[0], 40, 0, GlobalWindow()))
    with pytest.raises(RecordError) as caught:
        list(step.finish_bundle())
    step.teardown()
    assert str(caught.value) == (
        "synthesizer 'of_a_test' returned other documents than those of chain a0+b0; "
        "it must return each of them, in order."
    )


def test_a_synthesizer_that_cannot_open_can_still_be_torn_down(synthesizer: Callable[[type], str]) -> None:
    class Closed(Obliging):
        def open(self) -> None:
            raise ConfigError("synthesis.model is not there.")

    step: Any = step_of(SynthesisConfig(backend=synthesizer(Closed)))
    before = threading.active_count()
    with pytest.raises(ConfigError, match=r"^synthesis\.model is not there\.$"):
        step.setup()
    step.teardown()
    assert threading.active_count() == before


def failing(*names: str) -> type[Obliging]:
    class Failing(Obliging):
        async def one(self, document: Document) -> SynthesizedDocument:
            if not names or document.document_id in names:
                return SynthesizedDocument(document=document, failure="refused: HTTP 400: no")
            return await super().one(document)

    return Failing


class TestAHopelessRun:
    def test_it_ends_as_soon_as_more_documents_failed_than_the_whole_run_may_lose(
        self, synthesizer: Callable[[type], str]
    ) -> None:
        step = step_of(SynthesisConfig(backend=synthesizer(failing()), max_in_flight=1))
        step.setup()
        step.start_bundle()
        with pytest.raises(SynthesisError) as caught:
            for chain in CHAINS:
                list(step.process(chain, 40, 0, GlobalWindow()))
        step.teardown()
        assert str(caught.value) == (
            "3 of 40 documents failed, synthesis.max_failure_share is 0.05: the run ended early and "
            "nothing was published. The journal keeps the answers: fix the cause and run again. "
            "First failures: file:a0: refused: HTTP 400: no; file:b0: refused: HTTP 400: no; "
            "file:a1: refused: HTTP 400: no"
        )

    def test_in_a_large_run_it_ends_after_a_hundred_failures_in_a_row(
        self, synthesizer: Callable[[type], str]
    ) -> None:
        step = step_of(SynthesisConfig(backend=synthesizer(failing()), max_in_flight=1))
        step.setup()
        step.start_bundle()
        with pytest.raises(SynthesisError, match=r"^100 documents in a row failed, synthesis\.max_failure"):
            for number in range(100):
                list(step.process(chain_of(f"c{number}"), 1_000_000, 0, GlobalWindow()))
        step.teardown()

    def test_failures_with_successes_between_them_go_on(self, synthesizer: Callable[[type], str]) -> None:
        backend = synthesizer(failing(*[f"b{number}" for number in range(120)]))
        step = step_of(SynthesisConfig(backend=backend, max_in_flight=1))
        step.setup()
        step.start_bundle()
        given = []
        for number in range(120):
            given += step.process(chain_of(f"a{number}", f"b{number}"), 1_000_000, 0, GlobalWindow())
        given += step.finish_bundle()
        step.teardown()
        assert len(given) == 240

    def test_a_share_of_one_never_ends_a_run(self, synthesizer: Callable[[type], str]) -> None:
        step = step_of(SynthesisConfig(backend=synthesizer(failing()), max_failure_share=1))
        step.setup()
        step.start_bundle()
        given = [value for chain in CHAINS for value in step.process(chain, 40, 0, GlobalWindow())]
        given += step.finish_bundle()
        step.teardown()
        assert len(given) == 60


def test_what_endpoints_do_is_counted_for_each_of_them_and_in_flight_ends_at_zero(
    synthesizer: Callable[[type], str], tmp_path: Path, tokenizer_dir: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.runners.counters._WRITE_EVERY_SEC", 0.0)

    class TwoEndpoints(Generator):
        def __init__(self) -> None:
            self.all = {"http://a:1": EndpointTally(), "http://b:1": EndpointTally(retried=2, taken_out=1)}

        def tallies(self) -> dict[str, EndpointTally]:
            return self.all

        async def generate(self, request: GenerationRequest) -> Generation:
            tally = self.all["http://a:1"]
            tally.in_flight += 1
            await asyncio.sleep(sum(request.prompt_ids) % 7 / 200)  # at different times
            tally.in_flight -= 1
            tally.add(GENERATION)
            return GENERATION

    class Asking(LanguageModelSynthesizer):
        def __init__(self, config: SynthesisConfig, *, seed: int):
            super().__init__(config, seed=seed, generator=TwoEndpoints())

    config = SynthesisConfig(
        backend=synthesizer(Asking),
        protocol="instruction_synthesizer",
        model=tokenizer_dir,
        max_in_flight=4,
        max_failure_share=1,
    )
    step = SynthesizeChains(config, clean=CleanConfig(), seed=1, journal=str(tmp_path))
    pipeline = beam.Pipeline(runner=FnApiRunner())
    pipeline | beam.Create(CHAINS, reshuffle=False) | beam.ParDo(step, 40).with_outputs(REJECTS, main="ok")
    counters = pipeline.run().metrics().query()["counters"]
    counts = {each.key.metric.name: each.result for each in counters}
    assert (counts["requests"], counts["requests@http://a:1"]) == (40, 40)
    assert (counts["retried"], counts["retried@http://b:1"]) == (2, 2)
    assert (counts["taken_out"], counts["taken_out@http://b:1"]) == (1, 1)
    assert counts["cached_tokens@http://a:1"] == 120
    assert counts["in_flight"] == counts["in_flight@http://a:1"] == 0
