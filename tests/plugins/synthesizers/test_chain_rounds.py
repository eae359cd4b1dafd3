"""M-shot chains: their breaks and the cost of failures, after METHOD section 3."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from typing import Any

from plugins.protocols.base import Example, Parsed, SynthesisProtocol, pair_key
from plugins.synthesizers.chain_rounds import _may_come_again, _together, run_chain
from plugins.synthesizers.generator import GenerationFailure, GenerationRequest, Generator
from schemas.records import Chain, Document, Generation, InstructionPair, SynthesizedDocument
from schemas.synthesis_config import SynthesisConfig


class WordProtocol(SynthesisProtocol):
    """Prompts of words, `text q=a text q=a … text`; a token is a word, its id an index into `words`."""

    stop = ("<end>",)

    def __init__(self, worked: str = "") -> None:
        super().__init__(None, SynthesisConfig())
        self.worked_pairs = self.parse(worked).pairs
        self.words: list[str] = []

    def prompt(self, examples: Sequence[Example], document: Document) -> list[int]:
        words: list[str] = []
        for example in examples:
            words += example.document.text.split()
            words += [f"{pair.instruction}={pair.response}" for pair in example.pairs]
        words += document.text.split()
        self.words += [word for word in words if word not in self.words]
        return [self.words.index(word) for word in words]

    def parse(self, text: str) -> Parsed:
        """Pairs from words such as `question:answer`; `?` is unreadable."""
        if text == "?":
            return Parsed(pairs=(), num_bad_pieces=1)
        pieces = [word.split(":") for word in text.split()]
        return Parsed.of([InstructionPair(instruction=q, response=a) for q, a in pieces], num_bad_pieces=0)

    def repair(self, examples: Sequence[Example], document: Document, answer: str) -> list[int] | None:
        self.words += [word for word in (answer, "again") if word not in self.words]
        return [*self.prompt(examples, document), self.words.index(answer), self.words.index("again")]

    def words_of(self, request: GenerationRequest) -> str:
        return " ".join(self.words[token] for token in request.prompt_ids)


class ScriptedGenerator(Generator):
    """Gives the answers of a script in turn and records its requests."""

    def __init__(self, *script: str | GenerationFailure):
        self.script = list(script)
        self.requests: list[GenerationRequest] = []

    async def generate(self, request: GenerationRequest) -> Generation | GenerationFailure:
        self.requests.append(request)
        answer = self.script.pop(0)
        if isinstance(answer, GenerationFailure):
            return answer
        return Generation(
            text=answer,
            finish_reason="stop",
            prompt_tokens=1,
            completion_tokens=1,
            key=f"key {len(self.requests)}",
        )


class Run:
    """Drive one chain through its rounds; return its documents and requests."""

    def __init__(
        self,
        texts: Sequence[str],
        *script: str | GenerationFailure,
        budget: int = 1_000,
        limit: int = 16,
        worked: str = "",
        **settings: Any,
    ):
        protocol, generator = WordProtocol(worked), ScriptedGenerator(*script)
        documents = tuple(Document.of(text.split()[0], text, source="t") for text in texts)
        self.counted: list[Generation] = []
        self.done = asyncio.run(
            run_chain(
                Chain(chain_id="chain-7", documents=documents),
                protocol=protocol,
                generator=generator,
                config=SynthesisConfig(
                    **{
                        "context_tokens": budget + limit,
                        "max_new_tokens": limit,
                        "temperature": 0.5,
                        **settings,
                    }
                ),
                count=self.counted.append,
            )
        )
        assert tuple(each.document for each in self.done) == documents
        assert generator.script == []
        self.requests = generator.requests
        self.prompts = [protocol.words_of(request) for request in generator.requests]

    @property
    def follows(self) -> list[bool]:
        return [each.follows_previous for each in self.done]

    @property
    def questions(self) -> list[str]:
        return [" ".join(pair.instruction for pair in each.pairs) for each in self.done]


def failures(done: Sequence[SynthesizedDocument]) -> list[str]:
    return [each.failure for each in done]


def test_each_round_is_prompted_with_all_earlier_texts_and_their_pairs() -> None:
    run = Run(["A", "B", "C"], "q1:a1 q2:a2", "q3:a3", "q4:a4")
    assert run.prompts == ["A", "A q1=a1 q2=a2 B", "A q1=a1 q2=a2 B q3=a3 C"]
    assert run.follows == [False, True, True]
    assert run.questions == ["q1 q2", "q3", "q4"]
    assert failures(run.done) == ["", "", ""]
    assert len(run.counted) == 3


def test_a_request_carries_the_limits_and_the_chain() -> None:
    (request,) = Run(["A B"], "q:a", limit=20).requests
    assert request == GenerationRequest(
        prompt_ids=[0, 1], max_new_tokens=20, temperature=0.5, stop=("<end>",), affinity="chain-7"
    )


def test_the_chain_breaks_when_the_previous_text_got_no_pairs() -> None:
    run = Run(["A", "B", "C", "D"], "q1:a", "", "q3:a", "q4:a")
    assert run.prompts == ["A", "A q1=a B", "C", "C q3=a D"]
    assert run.follows == [False, False, False, True]


def test_a_text_without_pairs_stays_raw_and_joins_nothing() -> None:
    run = Run(["A", "B", "C"], "q1:a", "", "")
    assert [each.pairs == () for each in run.done] == [False, True, True]
    assert run.follows == [False, False, False]
    assert failures(run.done) == ["", "", ""]
    assert len(run.counted) == 3


def test_the_first_text_without_pairs_breaks_too() -> None:
    run = Run(["A", "B", "C"], "", "q2:a", "q3:a")
    assert run.prompts == ["A", "B", "B q2=a C"]
    assert run.follows == [False, False, True]


def test_the_chain_breaks_when_examples_and_text_do_not_fit() -> None:
    run = Run(["A a a", "B b b", "C c c", "D d d"], "q1:a", "q2:a", "q3:a", "q4:a", budget=8)
    assert run.prompts == ["A a a", "A a a q1=a B b b", "C c c", "C c c q3=a D d d"]
    assert run.follows == [False, True, False, True]


def test_a_prompt_of_exactly_the_budget_fits() -> None:
    texts = ["A a a", "B b b"]
    assert Run(texts, "q1:a", "q2:a", budget=7).follows == [False, True]
    assert Run(texts, "q1:a", "q2:a", budget=6).follows == [False, False]


def test_examples_reach_back_to_the_last_break_and_no_further() -> None:
    run = Run(["A", "B", "C", "D", "E"], "q1:a", "", "q3:a", "q4:a", "q5:a")
    assert run.prompts[-1] == "C q3=a D q4=a E"
    assert run.follows == [False, False, False, True, True]


def test_a_text_too_long_by_itself_is_not_sent_and_breaks_the_chain() -> None:
    run = Run(["A", "B b b b b", "C"], "q1:a", "q3:a", budget=4)
    assert run.prompts == ["A", "C"]
    assert failures(run.done) == [
        "",
        "too_long: the prompt has 5 tokens, at most 4 fit beside the generation",
        "",
    ]
    assert run.follows == [False, False, False]
    assert run.done[1].pairs == ()


def test_a_failed_request_costs_its_own_text_and_breaks_the_chain() -> None:
    run = Run(["A", "B", "C", "D"], "q1:a", GenerationFailure(reason="refused", detail="no"), "q3:a", "q4:a")
    assert run.prompts == ["A", "A q1=a B", "C", "C q3=a D"]
    assert failures(run.done) == ["", "refused: no", "", ""]
    assert run.follows == [False, False, False, True]
    assert len(run.counted) == 3


def test_a_failure_that_ends_the_chain_keeps_what_is_finished_and_sends_no_more() -> None:
    lost = GenerationFailure(reason="unreachable", detail="gone", ends_chain=True)
    run = Run(["A", "B", "C", "D"], "q1:a", "q2:a", lost)
    assert len(run.requests) == 3
    assert failures(run.done) == ["", "", "unreachable: gone", "unreachable: gone"]
    assert run.questions == ["q1", "q2", "", ""]
    assert run.follows == [False, True, False, False]


def test_a_question_that_earlier_documents_were_asked_stays() -> None:
    run = Run(["A", "B", "C"], "topic:cells q1:a", "Topic:genes", "topic:bones")
    assert run.questions == ["topic q1", "Topic", "topic"]
    assert run.follows == [False, True, True]
    assert run.prompts[2] == "A topic=cells q1=a B Topic=genes C"
    assert [each.dropped["repeated_questions"] for each in run.done] == [0, 0, 0]


def test_a_question_repeated_within_one_answer_is_dropped_and_counted() -> None:
    run = Run(["A"], "q1:first Q1:second q2:a")
    assert [(pair.instruction, pair.response) for pair in run.done[0].pairs] == [("q1", "first"), ("q2", "a")]
    assert run.done[0].dropped == {"bad_pieces": 0, "repeated_questions": 1, "copied_pairs": 0}


def test_a_pair_copied_from_an_example_of_the_prompt_is_dropped_and_counted() -> None:
    run = Run(["A", "B"], "q1:a q2:b", "Q1:A q2:other q3:c")
    assert run.questions == ["q1 q2", "q2 q3"]
    assert run.done[1].dropped == {"bad_pieces": 0, "repeated_questions": 0, "copied_pairs": 1}


def test_a_pair_copied_from_the_worked_example_is_dropped_and_counted() -> None:
    run = Run(["A", "B"], "wet:water q1:a", "wet:ice", worked="wet:Water")
    assert run.questions == ["q1", "wet"]
    assert [each.dropped["copied_pairs"] for each in run.done] == [1, 0]


def test_a_text_whose_pairs_are_all_copies_stays_raw_and_has_not_failed() -> None:
    run = Run(["A", "B", "C"], "q1:a", "q1:a", "q1:a")
    assert run.prompts == ["A", "A q1=a B", "C"]
    assert run.follows == [False, False, False]
    assert (run.questions, failures(run.done)) == (["q1", "", "q1"], ["", "", ""])


def test_documents_of_one_answer_share_question_and_response() -> None:
    run = Run(["A 5mg", "B 5MG"], "dose:5mg", "dose:5mg other:x")
    assert run.questions == ["dose", "dose other"]
    assert run.done[1].dropped["copied_pairs"] == 0


def test_a_choice_among_options_is_no_copy() -> None:
    pair = InstructionPair(instruction="Which sentiment?", response="bad", options=("good", "bad"))
    document = Document.of("a", "It was dull.", source="file:1")
    assert _may_come_again(pair, document)
    assert not _may_come_again(dataclasses.replace(pair, options=()), document)


def test_a_pair_with_other_options_is_no_copy() -> None:
    one = InstructionPair(instruction="q", response="a", options=("a", "b"))
    assert pair_key(one) == pair_key(dataclasses.replace(one, instruction=" Q", response="A "))
    assert pair_key(one) != pair_key(dataclasses.replace(one, options=("a", "c")))
    assert pair_key(one) != pair_key(dataclasses.replace(one, response="b"))


def test_a_document_names_the_answer_that_its_pairs_were_read_from() -> None:
    lost = GenerationFailure(reason="unreachable", detail="gone", ends_chain=True)
    run = Run(["A", "B", "C", "D"], "q1:a", "q1:b", lost)
    assert [document.generation for document in run.done] == ["key 1", "key 2", "", ""]


def test_a_chain_without_texts_asks_nothing() -> None:
    assert Run([]).done == ()


def test_thoughts_have_tokens_beside_those_of_the_answer() -> None:
    (request,) = Run(["A"], "q:a", budget=5, limit=20, thinking_tokens=4).requests
    assert request.max_new_tokens == 24
    run = Run(["A B"], budget=5, limit=20, thinking_tokens=4)  # 5 - 4 tokens are left for the prompt
    assert failures(run.done) == ["too_long: the prompt has 2 tokens, at most 1 fit beside the generation"]


LOST = GenerationFailure(reason="unreachable", detail="gone", ends_chain=True)
REFUSED = GenerationFailure(reason="refused", detail="no")


class TestSamples:
    def test_a_document_has_the_pairs_of_all_samples_and_each_question_once(self) -> None:
        run = Run(["A"], "q1:a1 q2:a2", "q2:other q3:a3", "q1:a1", samples=3)
        assert [(pair.instruction, pair.response) for pair in run.done[0].pairs] == [
            ("q1", "a1"),
            ("q2", "a2"),
            ("q3", "a3"),
        ]
        assert run.done[0].dropped["repeated_in_samples"] == 2
        assert run.done[0].generation == "key 1 key 2 key 3"
        assert [(each.sample, each.seed) for each in run.requests] == [(0, 0), (1, 1), (2, 2)]

    def test_pairs_of_one_sample_that_its_protocol_tells_apart_stay(self) -> None:
        """Such as a question with and without a request for reasoning."""
        plain, reasoned = (
            InstructionPair(instruction="q1", response="a1", rationale=each) for each in ("", "since")
        )
        answer = Generation(text="", finish_reason="stop", prompt_tokens=1, completion_tokens=1)
        document = Document.of("A", "A", source="t")
        made, _ = _together([(Parsed(pairs=(plain, reasoned)), answer)], document, set())
        assert made.pairs == (plain, reasoned)

    def test_examples_are_the_pairs_of_first_samples_so_that_prompts_stay_as_they_are(self) -> None:
        run = Run(["A", "B"], "q1:a1", "q2:a2", "q3:a3", "q4:a4", samples=2)
        assert run.prompts == ["A", "A", "A q1=a1 B", "A q1=a1 B"]
        assert run.follows == [False, True]

    def test_the_chain_breaks_where_the_first_sample_has_no_pairs(self) -> None:
        run = Run(["A", "B"], "", "q2:a2", "q3:a3", "q4:a4", samples=2)
        assert run.prompts == ["A", "A", "B", "B"]
        assert (run.questions, run.follows) == (["q2", "q3 q4"], [False, False])

    def test_a_failed_sample_costs_its_own_pairs(self) -> None:
        run = Run(["A"], REFUSED, "q2:a2", samples=2)
        assert (run.questions, failures(run.done)) == (["q2"], [""])
        assert run.done[0].dropped["failed_samples"] == 1

    def test_a_document_fails_if_all_samples_fail(self) -> None:
        run = Run(["A"], REFUSED, REFUSED, samples=2)
        assert failures(run.done) == ["refused: no"]

    def test_a_lost_server_is_asked_for_no_further_sample(self) -> None:
        run = Run(["A", "B"], LOST, samples=3)
        assert failures(run.done) == ["unreachable: gone"] * 2


class TestAnAnswerThatCannotBeRead:
    def test_it_is_asked_for_once_more_and_the_second_answer_counts(self) -> None:
        run = Run(["A", "B"], "?", "q1:a1", "q2:a2")
        assert run.prompts == ["A", "A ? again", "A q1=a1 B"]
        assert run.questions == ["q1", "q2"]
        assert len(run.counted) == 3

    def test_its_document_names_the_answer_that_was_read(self) -> None:
        run = Run(["A", "B"], "?", "q1:a1", "q2:a2")
        assert [document.generation for document in run.done] == ["key 2", "key 3"]

    def test_it_is_asked_for_only_once_more(self) -> None:
        run = Run(["A", "B"], "?", "?", "q2:a2")
        assert run.prompts == ["A", "A ? again", "B"]
        assert (run.questions, run.follows) == (["", "q2"], [False, False])
        assert failures(run.done) == ["unreadable: no pair in the answer (finished by stop): '?'", ""]
        assert run.done[0].generation == "key 2"
        assert run.done[0].dropped["bad_pieces"] == 1

    def test_it_is_left_where_asking_again_would_not_fit(self) -> None:
        run = Run(["A", "B"], "?", "q2:a2", budget=2)
        assert run.prompts == ["A", "B"]
        assert failures(run.done) == ["unreadable: no pair in the answer (finished by stop): '?'", ""]

    def test_an_answer_that_there_are_none_is_no_failure(self) -> None:
        assert failures(Run(["A"], "").done) == [""]

    def test_the_beginning_of_a_long_answer_is_named(self) -> None:
        run = Run(["A"], "<think>" + "x" * 500, "<think>" + "y" * 500)
        assert failures(run.done) == [
            f"unreadable: no pair in the answer (finished by stop): '<think>{'y' * 193}'"
        ]

    def test_a_failure_of_the_second_request_marks_the_document(self) -> None:
        run = Run(["A"], "?", GenerationFailure(reason="timeout", detail="no answer"))
        assert failures(run.done) == ["timeout: no answer"]
