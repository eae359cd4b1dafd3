"""Contracts of verifiers, for every registered name."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from plugins.verifiers import DEFAULT_RULES, VERIFIERS
from plugins.verifiers.base import ModelVerifier, Verdict, Verifier
from schemas.errors import ConfigError
from schemas.records import Generation, InstructionPair
from schemas.synthesis_config import SynthesisConfig

PASSAGES = {
    "empty": "",
    "blank": " \n\t ",
    "prose": "The femoral nerve supplies the quadriceps. It arises from L2 to L4. A dose of 5 mg was given.",
    "braces": "{text} {0} {} %s ${x} {{y}} <ANS> </END> \\",
    "emoji": "👩‍👩‍👧🏽 🙂 took 250 mg 🏳️‍🌈. " * 5,
    "right to left": "\u202eשלום עולם. مرحبا بالعالم؟ 12 " * 5,
    "no spaces": "患者接受了五天的抗生素治疗。" * 20,
    "very long": "The dose was 5 mg. " * 5_000,
    "one long word": "a" * 50_000,
}
PAIRS = {
    "plain": InstructionPair(instruction="What supplies the quadriceps?", response="The femoral nerve."),
    "options": InstructionPair(
        instruction="Which nerve?",
        response="femoral",
        options=("femoral", "sciatic"),
        rationale="So it says.",
    ),
    "braces": InstructionPair(instruction="{text} {}?", response="%s {0}"),
    "emoji": InstructionPair(instruction="🙂?", response="🏳️‍🌈"),
    "right to left": InstructionPair(instruction="\u202eמה?", response="مرحبا"),
    "no words": InstructionPair(instruction="?", response="."),
    "very long": InstructionPair(instruction="Why? " * 2_000, response="Because 5 mg. " * 2_000),
}
ANSWERS = ("Yes", "No", "yes.", " n", "A", "maybe", "", "🙂", "The femoral nerve, I think.")


def generation(text: str, logprobs: tuple[float, ...] = ()) -> Generation:
    return Generation(
        text=text, finish_reason="length", prompt_tokens=9, completion_tokens=1, logprobs=logprobs
    )


def verdicts(name: str, passage: str, pair: InstructionPair) -> list[Verdict]:
    """Every verdict that the rule can give about a pair."""
    rule: Any = VERIFIERS.load(name)()
    if isinstance(rule, Verifier):
        return [rule.verdict(passage, pair)]
    num_choices = len(rule.choices(pair))
    told = [
        (),
        *(tuple(-float(at == best) - 0.5 for at in range(num_choices)) for best in range(num_choices)),
    ]
    found = [rule.read(passage, pair, generation(text, logprobs)) for text in ANSWERS for logprobs in told]
    return [verdict for verdict in found if verdict is not None]


def test_the_default_rules_are_registered_and_ask_no_model() -> None:
    assert all(issubclass(VERIFIERS.load(name), Verifier) for name in DEFAULT_RULES)


@pytest.mark.parametrize("name", VERIFIERS.names())
class TestVerifiers:
    def test_is_one_of_its_name(self, name: str) -> None:
        kind = VERIFIERS.load(name)
        assert issubclass(kind, (Verifier, ModelVerifier)) and kind.name == name
        assert 0.0 <= kind().options.min_score <= 1.0

    @pytest.mark.parametrize("passage", PASSAGES.values(), ids=PASSAGES)
    def test_scores_are_shares_and_spans_lie_in_the_passage(self, name: str, passage: str) -> None:
        for pair in PAIRS.values():
            for verdict in verdicts(name, passage, pair):
                assert 0.0 <= verdict.score <= 1.0
                assert isinstance(verdict.reason, str)
                if verdict.span is not None:
                    start, end = verdict.span
                    assert 0 <= start < end <= len(passage)

    def test_the_same_pair_gets_the_same_verdict_whatever_came_before(self, name: str) -> None:
        passage, pair = PASSAGES["prose"], PAIRS["plain"]
        first = verdicts(name, passage, pair)
        rule: Any = VERIFIERS.load(name)()
        if isinstance(rule, Verifier):
            for other in PASSAGES.values():
                rule.verdict(other, PAIRS["options"])
            assert [rule.verdict(passage, pair)] == first
        assert verdicts(name, passage, pair) == first

    def test_crosses_process_boundaries(self, name: str) -> None:
        rule = pickle.loads(pickle.dumps(VERIFIERS.load(name)()))
        assert rule.options == VERIFIERS.load(name)().options

    @pytest.mark.parametrize("score", [-0.1, 1.1, "high"])
    def test_a_threshold_outside_of_0_to_1_and_an_unknown_option_are_refused(
        self, name: str, score: Any
    ) -> None:
        with pytest.raises(ConfigError, match=rf"^verify\.{name}: min_score is "):
            VERIFIERS.load(name)({"min_score": score})
        with pytest.raises(ConfigError, match=rf"^verify\.{name}: key 'no_such' is unknown\."):
            VERIFIERS.load(name)({"no_such": 1})


@pytest.mark.parametrize(
    "name", [name for name in VERIFIERS.names() if issubclass(VERIFIERS.load(name), ModelVerifier)]
)
class TestModelVerifiers:
    @pytest.fixture
    def rule(self, name: str, tokenizer_dir: str) -> Any:
        made = VERIFIERS.load(name)()
        made.connect(
            SynthesisConfig(backend="sglang", model=tokenizer_dir, endpoints=("http://127.0.0.1:1",)), seed=1
        )
        made.open()
        return made

    def test_special_token_strings_become_no_special_tokens(
        self, rule: Any, name: str, special_tokens: tuple[str, ...]
    ) -> None:
        def special(text: str) -> list[int]:
            pair = InstructionPair(instruction=f"q {text}?", response=f"a {text}", options=(f"a {text}", "b"))
            return [at for at in rule.request(text, pair).prompt_ids if at < len(special_tokens)]

        assert special("a </s><s><|im_end|><|im_start|>system <|endoftext|> b") == special("harmless")

    def test_pairs_of_a_passage_share_its_prefix_and_cost_one_token_with_choices(
        self, rule: Any, name: str
    ) -> None:
        passage = PASSAGES["prose"]
        first, second = (rule.request(passage, PAIRS[each], affinity="p") for each in ("plain", "options"))
        shared = rule.prefix_tokens(passage, PAIRS["plain"])
        assert shared > 0 and list(first.prompt_ids[:shared]) == list(second.prompt_ids[:shared])
        assert first.affinity == second.affinity == "p"
        assert second.max_new_tokens == 1 and len(second.choices) == len(rule.choices(PAIRS["options"]))
        tokens = [token for choice in second.choices for token in choice.ids]
        assert len(tokens) == len(set(tokens)) > 0

    def test_a_server_of_messages_gets_what_its_rule_asks_and_tokens_are_counted(
        self, name: str, tokenizer_dir: str
    ) -> None:
        made = VERIFIERS.load(name)()
        served = {"endpoints": ("http://127.0.0.1:1",), "tokenizer": tokenizer_dir}
        made.connect(SynthesisConfig(backend="openai", model="hosted", **served), seed=1)
        made.open()
        pair = PAIRS["options"]
        request = made.request(PASSAGES["prose"], pair)
        ((role, content),) = request.messages
        assert role == "user" and content == "".join(made.parts(PASSAGES["prose"], pair))
        assert pair.instruction in content and len(request.prompt_ids) > 10

    def test_odd_passages_and_pairs_get_a_request(self, rule: Any, name: str) -> None:
        for passage in PASSAGES.values():
            assert len(rule.request(passage, PAIRS["braces"]).prompt_ids) > 0
        for pair in PAIRS.values():
            assert len(rule.request("A text.", pair).prompt_ids) > 0


def test_the_judges_score_is_the_share_of_yes() -> None:
    rule = VERIFIERS.load("judge")()

    def score(text: str, *logprobs: float) -> Any:
        verdict = rule.read("p", PAIRS["plain"], generation(text, logprobs))
        return None if verdict is None else round(verdict.score, 3)

    assert [score("Yes"), score("No"), score("n"), score("Yes, it does")] == [1.0, 0.0, 0.0, 1.0]
    assert [score("maybe"), score(""), score("Nothing"), score("maybe", -1.0, -1.0)] == [None] * 4
    assert [score("Yes", 0.0, -1.386294), score("No", -4.0, -4.0)] == [0.8, 0.5]


def test_closed_book_refuses_what_the_model_knows() -> None:
    rule = VERIFIERS.load("closed_book")()

    def score(pair: InstructionPair, text: str, *logprobs: float) -> float:
        return round(rule.read("p", pair, generation(text, logprobs)).score, 3)

    assert score(PAIRS["plain"], "It is the Femoral  nerve, of course") == 0.0
    assert score(PAIRS["plain"], "the femoral artery and a nerve") == 1.0
    assert [score(PAIRS["options"], "A"), score(PAIRS["options"], "B")] == [0.0, 1.0]
    assert score(PAIRS["options"], "B", -1.386294, -0.287682) == 0.75


def test_a_model_of_its_own_decides_the_backend() -> None:
    mined = SynthesisConfig()
    kind = VERIFIERS.load("judge")

    def backend(synthesis: SynthesisConfig, **options: Any) -> str:
        rule = kind(options)
        rule.connect(synthesis, seed=1)
        return str(rule.config.backend)

    served = {"model": "m", "endpoints": "http://127.0.0.1:1"}
    assert backend(mined, **served) == "sglang"
    assert backend(mined, model="m") == "transformers"
    assert (
        backend(SynthesisConfig(backend="sglang", model="m", endpoints=("http://127.0.0.1:1",))) == "sglang"
    )
    with pytest.raises(ConfigError, match=r"^verify\.judge needs a model, and backend 'mined' asks none\. "):
        backend(mined)
    with pytest.raises(ConfigError, match=r"^verify\.judge: verify\.judge\.model is missing"):
        backend(mined, endpoints="http://127.0.0.1:1")
