"""The chat protocol: prompts token by token, and pairs from any answer of a model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from plugins.protocols.base import Example
from plugins.protocols.chat_json import ChatProtocol
from plugins.protocols.json_pairs import write_lines, write_object
from plugins.tokenizers import load_tokenizer
from schemas.errors import ConfigError
from schemas.records import Document, InstructionPair
from schemas.synthesis_config import SynthesisConfig

MakeDocument = Callable[[str], Document]
PROMPT = {
    "system": "Ask.",
    "request": "Text: {text} Ask about it.",
    "example": {"text": "Water is wet.", "pairs": [{"question": "What is wet?", "answer": "Water."}]},
    "prefill": '{"question": "',
}
OPENING = (
    "<|im_start|>system\nAsk.<|im_end|>\n"
    "<|im_start|>user\nText: Water is wet. Ask about it.<|im_end|>\n"
    '<|im_start|>assistant\n{"question": "What is wet?", "answer": "Water."}<|im_end|>\n'
)


def pair(instruction: str, response: str, **more: Any) -> InstructionPair:
    return InstructionPair(instruction=instruction, response=response, **more)


@pytest.fixture
def make(tmp_path: Path, tokenizer: Any) -> Callable[..., ChatProtocol]:
    """A protocol with the prompt above; keyword arguments change its keys."""

    def make_protocol(
        tokenizer: Any = tokenizer, constrain_json: bool = False, **changes: Any
    ) -> ChatProtocol:
        path = tmp_path / "prompt.yaml"
        path.write_text(yaml.safe_dump({**PROMPT, **changes}))
        config = SynthesisConfig(model="some/model", prompt_file=str(path))
        return ChatProtocol(tokenizer, config, constrain_json=constrain_json)

    return make_protocol


@pytest.fixture
def protocol(make: Callable[..., ChatProtocol]) -> ChatProtocol:
    return make()


class TestPrompt:
    def test_a_document_alone_follows_the_worked_example(
        self, protocol: ChatProtocol, tokenizer: Any, document: MakeDocument
    ) -> None:
        ids = protocol.prompt([], document("The cell."))
        assert tokenizer.decode(ids) == (
            OPENING + "<|im_start|>user\nText: The cell. Ask about it.<|im_end|>\n"
            '<|im_start|>assistant\n{"question": "'
        )
        turns = [token for token in ids if token in (2, 3)]
        assert turns == [2, 3, 2, 3, 2, 3, 2, 3, 2]

    def test_earlier_documents_are_earlier_turns(
        self, protocol: ChatProtocol, tokenizer: Any, document: MakeDocument
    ) -> None:
        example = Example(
            document=document("One."),
            pairs=(pair("q1", "a1"), pair("q2", "b", options=("a", "b"), rationale="since")),
        )
        assert tokenizer.decode(protocol.prompt([example], document("Two."))) == (
            OPENING + "<|im_start|>user\nText: One. Ask about it.<|im_end|>\n"
            '<|im_start|>assistant\n{"question": "q1", "answer": "a1"}\n'
            '{"question": "q2", "options": ["a", "b"], "reasoning": "since", "answer": "b"}<|im_end|>\n'
            "<|im_start|>user\nText: Two. Ask about it.<|im_end|>\n"
            '<|im_start|>assistant\n{"question": "'
        )

    def test_each_round_begins_with_the_tokens_of_the_one_before(
        self, protocol: ChatProtocol, document: MakeDocument
    ) -> None:
        examples: list[Example] = []
        prefill = len(protocol.plain_ids('{"question": "'))
        before: list[int] = []
        for name in ("One", "Two", "Three"):
            ids = protocol.prompt(examples, document(f"{name} cell binds.")).tolist()
            assert ids[: len(before)] == before
            before = ids[:-prefill]
            examples.append(Example(document=document(f"{name} cell binds."), pairs=(pair(name, "a"),)))
        assert len(before) > 100

    def test_special_token_strings_in_documents_and_pairs_stay_plain_text(
        self, protocol: ChatProtocol, tokenizer: Any, special_tokens: tuple[str, ...], document: MakeDocument
    ) -> None:
        def special(text: str) -> list[int]:
            example = Example(document=document(text), pairs=(pair(f"q {text}", f"a {text}"),))
            ids = protocol.prompt([example], document(text))
            assert tokenizer.decode(ids).count(text) == 4
            return [token for token in ids if token < len(special_tokens)]

        assert special("x<|im_end|><|im_start|>system <s></s><|endoftext|>y") == special("x y")

    def test_a_document_may_speak_of_placeholders(
        self, protocol: ChatProtocol, tokenizer: Any, document: MakeDocument
    ) -> None:
        text = "a xTUTELAGEx0x {text} {} %s {{ messages }} ${seed} b"
        assert tokenizer.decode(protocol.prompt([], document(text))).count(text) == 1

    def test_bos_comes_once_and_from_the_template(
        self, make: Callable[..., ChatProtocol], make_tokenizer: Callable[..., str], document: MakeDocument
    ) -> None:
        template = (
            "{{ bos_token }}{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }} {% endfor %}[answer]"
        )
        for adds_bos in (False, True):
            tokenizer = load_tokenizer(make_tokenizer(template, adds_bos=adds_bos))
            ids = make(tokenizer).prompt([], document("<s> A cell.")).tolist()
            assert ids.count(0) == 1 and ids[0] == 0
            assert tokenizer.decode(ids).startswith("<s>[system] Ask. [user] Text: Water")

    @pytest.mark.parametrize(
        "system",
        [
            "{{ raise_exception('System role not supported') }}",
            "",  # omits the system message without an error
        ],
    )
    def test_the_task_opens_the_first_turn_where_a_template_has_no_system_turn(
        self,
        make: Callable[..., ChatProtocol],
        make_tokenizer: Callable[..., str],
        document: MakeDocument,
        system: str,
    ) -> None:
        template = (
            "{% for m in messages %}{% if m['role'] == 'system' %}" + system + "{% else %}"
            "[{{ m['role'] }}] {{ m['content'] }} {% endif %}{% endfor %}[assistant] "
        )
        tokenizer = load_tokenizer(make_tokenizer(template))
        ids = make(tokenizer).prompt([], document("The cell."))
        assert tokenizer.decode(ids) == (
            "[user] Ask.\n\nText: Water is wet. Ask about it. "
            '[assistant] {"question": "What is wet?", "answer": "Water."} '
            '[user] Text: The cell. Ask about it. [assistant] {"question": "'
        )

    def test_a_template_that_takes_no_turns_is_refused(
        self, make: Callable[..., ChatProtocol], make_tokenizer: Callable[..., str]
    ) -> None:
        with pytest.raises(ConfigError, match="has a chat template that refuses turns of user and assistant"):
            make(load_tokenizer(make_tokenizer("{{ raise_exception('no') }}")))

    def test_a_model_without_a_template_is_refused(
        self, make: Callable[..., ChatProtocol], make_tokenizer: Callable[..., str]
    ) -> None:
        with pytest.raises(ConfigError) as caught:
            make(load_tokenizer(make_tokenizer(None)))
        assert str(caught.value) == (
            "synthesis.model 'some/model' has no chat template, which protocol 'chat' needs. "
            "Choose an instruct model, or set synthesis.protocol: instruction_synthesizer for the tag format."
        )


class TestPromptFile:
    def test_the_built_in_prompt_asks_for_json_lines(self, tokenizer: Any, document: MakeDocument) -> None:
        protocol = ChatProtocol(tokenizer, SynthesisConfig(model="m"))
        asked = tokenizer.decode(protocol.prompt([], document("The cell.")))
        assert "Text:\nThe cell.\n\nQuestions and short answers:<|im_end|>" in asked
        assert asked.count('{"question": "') == 4
        assert asked.endswith('<|im_start|>assistant\n{"question": "')

    def test_system_example_and_prefill_may_be_left_out(
        self, make: Callable[..., ChatProtocol], tokenizer: Any, document: MakeDocument
    ) -> None:
        protocol = make(system=None, example=None, prefill="")
        assert tokenizer.decode(protocol.prompt([], document("The cell."))) == (
            "<|im_start|>user\nText: The cell. Ask about it.<|im_end|>\n<|im_start|>assistant\n"
        )
        assert protocol.parse('{"question": "q", "answer": "a"}').pairs == (pair("q", "a"),)

    @pytest.mark.parametrize(("request_", "times"), [("Ask.", 0), ("{text} {text}", 2)])
    def test_a_request_must_hold_the_text_once(
        self, make: Callable[..., ChatProtocol], tmp_path: Path, request_: str, times: int
    ) -> None:
        with pytest.raises(ConfigError) as caught:
            make(request=request_)
        assert str(caught.value) == (
            f"{tmp_path}/prompt.yaml: request: request must hold {{text}} exactly once, found {times} times"
        )

    def test_an_unknown_key_gets_a_suggestion(self, make: Callable[..., ChatProtocol]) -> None:
        with pytest.raises(ConfigError, match=r"key 'sytem' is unknown\. Did you mean 'system'\?"):
            make(sytem="Ask.")

    def test_a_missing_file_is_named(self, tokenizer: Any, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match=r"none\.yaml: no such file"):
            ChatProtocol(tokenizer, SynthesisConfig(prompt_file=str(tmp_path / "none.yaml")))


Q1, Q2 = pair("q1", "a1"), pair("q2", "a2")
ONE, TWO = '{"question": "q1", "answer": "a1"}', '{"question": "q2", "answer": "a2"}'


class TestParse:
    """Answers that continue the prefill `{"question": "`."""

    @pytest.fixture
    def bare(self, make: Callable[..., ChatProtocol]) -> ChatProtocol:
        """A protocol without a prefill: the text is the whole answer."""
        return make(prefill="")

    @pytest.mark.parametrize(
        ("text", "expected", "num_bad"),
        [
            ('q1", "answer": "a1"}\n' + TWO, (Q1, Q2), 0),
            ('q1", "answer": "a1"}', (Q1,), 0),
            ('q1", "answer": "a1"}\n{"question": "cut off', (Q1,), 1),
            ("", (), 1),
            (ONE, (Q1,), 0),  # a model that ignores the prefill
            (f"\n```json\n{ONE}\n{TWO}\n```", (Q1, Q2), 0),
            (f"[{ONE},\n{TWO}]", (Q1, Q2), 0),
            ('{x} is?", "answer": "a"}', (pair("{x} is?", "a"),), 0),
        ],
    )
    def test_after_the_prefill(
        self, protocol: ChatProtocol, text: str, expected: tuple[InstructionPair, ...], num_bad: int
    ) -> None:
        parsed = protocol.parse(text)
        assert (parsed.pairs, parsed.num_bad_pieces) == (expected, num_bad)

    @pytest.mark.parametrize(
        ("text", "expected", "num_bad"),
        [
            ("", (), 0),
            ("I cannot do that.", (), 0),
            (f"{ONE}\n{TWO}", (Q1, Q2), 0),
            (f"```json\n{ONE}\n{TWO}\n```\nDone!", (Q1, Q2), 0),
            (f"[{ONE}, {TWO}]", (Q1, Q2), 0),
            (f'{{"pairs": [{ONE}, {TWO}]}}', (Q1, Q2), 0),
            (f'{{"n": 2, "pairs": [{ONE}, {TWO}], "more": []}}', (Q1, Q2), 0),
            (f'{{"pairs": [{ONE}, {TWO}, {{"question": "cut', (Q1, Q2), 1),
            (f'{{"pairs": [{ONE}, {{"question": "q2", "answer": "a2"}}', (Q1, Q2), 0),
            (
                '{"pairs": [{"question": "q", "options": ["a", "b"], "answer": "b"}, {"question": "cu',
                (pair("q", "b", options=("a", "b")),),
                1,
            ),
            (f"1. {ONE}\n2. {TWO}", (Q1, Q2), 0),
            ('{"instruction": "q1", "response": "a1"} {"prompt": "q2", "output": "a2"}', (Q1, Q2), 0),
            ('{"question": " q1\\n", "answer": "\\ta1 "}', (Q1,), 0),
            ('{"question": "q\nraw", "answer": "a\traw"}', (pair("q\nraw", "a\traw"),), 0),
            (f"{{broken}} {ONE}", (Q1,), 0),
            (f"{{broken}}\n{ONE}", (Q1,), 0),
            ('{"question": "q1", "answer": "a1", "question": "q2", "answer": "a2"}', (Q1, Q2), 0),
            ('{"question": "q1", "answer": "a1", "question": "q2", "answer": "a2", "qu', (Q1, Q2), 0),
            ('{"question": "q1"} ' + TWO, (Q2,), 1),
            ('{"question": "", "answer": "a"} ' + TWO, (Q2,), 1),
            ('{"question": ["q"], "answer": {"a": 1}} ' + TWO, (Q2,), 2),
            ('{"pairs": ["q", 3, null]} ' + TWO, (Q2,), 3),
            (ONE + '{"question": "Q1 ", "answer": "other"}' + TWO, (Q1, Q2), 0),
            ('{"question": "{x} and }{?", "answer": "a"}', (pair("{x} and }{?", "a"),), 0),
        ],
    )
    def test_whatever_stands_around_the_objects(
        self, bare: ChatProtocol, text: str, expected: tuple[InstructionPair, ...], num_bad: int
    ) -> None:
        parsed = bare.parse(text)
        assert (parsed.pairs, parsed.num_bad_pieces) == (expected, num_bad)

    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            (
                {"question": "q", "options": ["a", " b "], "answer": "b"},
                pair("q", "b", options=("a", "b")),
            ),
            ({"question": "q", "options": [1, 2], "answer": "2"}, pair("q", "2", options=("1", "2"))),
            ({"question": "q", "options": ["a", "b"], "answer": "A."}, pair("q", "a", options=("a", "b"))),
            (
                {"question": "q", "options": {"A": "x", "B": "y"}, "answer": "B"},
                pair("q", "y", options=("x", "y")),
            ),
            ({"question": "q", "choices": ["x", "y"], "answer": "(b)"}, pair("q", "y", options=("x", "y"))),
            ({"question": "q", "options": ["x", "y"], "answer": "B. y"}, pair("q", "y", options=("x", "y"))),
            ({"question": "q", "reasoning": " r ", "answer": "a"}, pair("q", "a", rationale="r")),
            ({"question": "q", "rationale": "r", "answer": "a"}, pair("q", "a", rationale="r")),
            ({"question": "q", "reasoning": ["r"], "answer": "a"}, pair("q", "a")),
        ],
    )
    def test_options_and_reasoning(
        self, bare: ChatProtocol, value: dict[str, Any], expected: InstructionPair
    ) -> None:
        assert bare.parse(json.dumps(value)).pairs == (expected,)

    @pytest.mark.parametrize("options", [["a", "b"], ["c", None], "a or c", {"A": "x", "B": "y"}])
    def test_an_answer_that_is_none_of_its_options_drops_its_pair(
        self, bare: ChatProtocol, options: list[Any]
    ) -> None:
        parsed = bare.parse(json.dumps({"question": "q", "options": options, "answer": "c"}))
        assert (parsed.pairs, parsed.num_bad_pieces) == ((), 1)

    def test_half_an_emoji_becomes_a_replacement_character(
        self, bare: ChatProtocol, tokenizer: Any, document: MakeDocument
    ) -> None:
        values = '{"question": "q \\ud83d", "options": ["a \\udc00"], "reasoning": "r \\ud83d", '
        (found,) = bare.parse(values + '"answer": "a \\udc00"}').pairs
        assert found == pair("q \ufffd", "a \ufffd", options=("a \ufffd",), rationale="r \ufffd")
        prompt = bare.prompt([Example(document=document("One."), pairs=(found,))], document("Two."))
        assert "\ufffd" in bare.tokenizer.decode(prompt)

    def test_what_is_written_is_read_back(self, bare: ChatProtocol) -> None:
        pairs = (Q1, pair('say "x"\n{y}', "b", options=("a", "b"), rationale="since é"))
        assert bare.parse(write_lines(pairs)).pairs == pairs

    @pytest.mark.parametrize("text", ['{"a":' * 700, '{"a": ' + "[" * 700, "{" * 3_000, "[" * 90_000])
    def test_endless_nesting_is_no_error(self, bare: ChatProtocol, text: str) -> None:
        assert bare.parse(f"{text}\n{ONE}").pairs == (Q1,)
        assert bare.parse('{"a": ' + "[" * 200_000).pairs == ()

    def test_deep_nesting_is_searched(self, bare: ChatProtocol) -> None:
        assert bare.parse('{"a": ' + "[" * 200 + ONE + "]" * 200 + "}").pairs == (Q1,)


class TestRepair:
    def test_what_cannot_be_read_is_asked_for_again_in_the_same_conversation(
        self, make: Callable[..., ChatProtocol], tokenizer: Any, document: MakeDocument
    ) -> None:
        protocol = make(repair="Again, as JSON.")
        first = protocol.prompt([], document("The cell."))
        again = protocol.repair([], document("The cell."), "I cannot.")
        assert again is not None and again[: len(first)].tolist() == first.tolist()
        assert tokenizer.decode(again[len(first) :]) == (
            "I cannot.<|im_end|>\n<|im_start|>user\nAgain, as JSON.<|im_end|>\n"
            '<|im_start|>assistant\n{"question": "'
        )

    @pytest.mark.parametrize(
        ("text", "unreadable"),
        [
            ("I cannot.", True),
            ('q1", "answer": ', True),
            ('{"pairs": [{"question": "cut', True),
            ('q1", "answer": "a1"}', False),
            ("[]", False),
            ('{"pairs": []}', False),
            ("{}", False),
            ("```json\n[]\n```", False),
            ("", False),
            ("<think>[]</think>", True),
            ("<think>[]", True),
            ("<think>None?</think> []", False),
        ],
    )
    def test_an_answer_without_pairs_is_unreadable_unless_it_says_that_there_are_none(
        self, protocol: ChatProtocol, text: str, unreadable: bool
    ) -> None:
        assert protocol.read(text).unreadable is unreadable

    def test_a_prompt_file_without_the_words_for_it_asks_once_only(
        self, protocol: ChatProtocol, document: MakeDocument
    ) -> None:
        assert protocol.repair([], document("The cell."), "I cannot.") is None


class TestThoughts:
    """Blocks of thought in answers, also those that the template opened and ChatTemplate did not close."""

    @pytest.fixture
    def opened(self, make_tokenizer: Callable[..., str]) -> Any:
        template = (
            "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }} {% endfor %}[assistant][THINK]\n"
        )
        return load_tokenizer(make_tokenizer(template))

    def test_what_a_model_thinks_becomes_no_pair(self, protocol: ChatProtocol) -> None:
        parsed = protocol.read(f"<think>\n{ONE}\n</think>\n{TWO}")
        assert (parsed.pairs, parsed.num_bad_pieces, parsed.unreadable) == ((Q2,), 0, False)

    def test_of_a_block_that_was_cut_off_nothing_is_read(self, protocol: ChatProtocol) -> None:
        parsed = protocol.read(f"<think>\n{ONE}\nLet me")
        assert (parsed.pairs, parsed.unreadable) == ((), True)

    def test_a_block_that_the_template_opened_ends_at_the_closing_tag(
        self, make: Callable[..., ChatProtocol], opened: Any
    ) -> None:
        assert make(opened).read(f"{ONE}[/THINK]{TWO}").pairs == (Q2,)
        assert make(opened).read(f"Perhaps {ONE}").pairs == ()
        assert make(opened).read(f"Perhaps {ONE}").unreadable

    def test_such_a_template_gets_no_opening_of_the_answer(
        self, make: Callable[..., ChatProtocol], opened: Any, document: MakeDocument
    ) -> None:
        prompt = opened.decode(make(opened).prompt([], document("The cell.")))
        assert prompt.endswith("[user] Text: The cell. Ask about it. [assistant][THINK]")

    def test_an_answer_that_a_schema_held_from_its_beginning_is_no_thought(
        self, make: Callable[..., ChatProtocol], opened: Any
    ) -> None:
        held = make(opened, constrain_json=True)
        assert held.read(write_object((Q1,))).pairs == (Q1,)
        assert held.read(f"Perhaps {ONE}[/THINK]{write_object((Q2,))}").pairs == (Q2,)

    def test_it_is_not_shown_when_the_answer_is_asked_for_again(
        self, make: Callable[..., ChatProtocol], tokenizer: Any, document: MakeDocument
    ) -> None:
        protocol = make(repair="Again.", prefill="")
        again = protocol.repair([], document("The cell."), "<think>Hm.</think>I cannot.")
        assert again is not None
        assert "<|im_start|>assistant\nI cannot.<|im_end|>" in tokenizer.decode(again)


class TestConstrainedToASchema:
    @pytest.fixture
    def constrained(self, make: Callable[..., ChatProtocol]) -> ChatProtocol:
        return make(constrain_json=True, max_pairs=4, repair="Again.")

    def test_the_schema_asks_for_question_options_reasoning_and_answer_in_this_order(
        self, constrained: ChatProtocol
    ) -> None:
        pairs = json.loads(constrained.json_schema)["properties"]["pairs"]
        assert (pairs["minItems"], pairs["maxItems"]) == (1, 4)
        assert list(pairs["items"]["properties"]) == ["question", "options", "reasoning", "answer"]
        assert pairs["items"]["required"] == ["question", "answer"]

    def test_free_answers_have_no_schema(self, protocol: ChatProtocol) -> None:
        assert protocol.json_schema == ""

    def test_answers_are_not_opened_and_earlier_ones_are_shown_as_the_schema_has_them(
        self, constrained: ChatProtocol, tokenizer: Any, document: MakeDocument
    ) -> None:
        example = Example(document=document("One."), pairs=(pair("q1", "a1"),))
        text = tokenizer.decode(constrained.prompt([example], document("Two.")))
        assert text.endswith(
            '<|im_start|>assistant\n{"pairs": [{"question": "q1", "answer": "a1"}]}<|im_end|>\n'
            "<|im_start|>user\nText: Two. Ask about it.<|im_end|>\n<|im_start|>assistant\n"
        )

    def test_what_is_shown_is_what_the_schema_allows_and_is_read_back(
        self, constrained: ChatProtocol
    ) -> None:
        pairs = (pair("q1", "b", options=("a", "b"), rationale="since"), pair("q2", "a2"))
        assert constrained.parse(write_object(pairs)).pairs == pairs

    def test_nothing_is_asked_for_again(self, constrained: ChatProtocol, document: MakeDocument) -> None:
        assert constrained.repair([], document("The cell."), '{"pairs": [') is None

    def test_the_task_names_the_format_that_is_in_force(
        self, make: Callable[..., ChatProtocol], tokenizer: Any, document: MakeDocument
    ) -> None:
        words = {"system": "Ask. {format}", "format": {"lines": "One a line.", "object": "One object."}}
        for constrain, expected in ((False, "Ask. One a line."), (True, "Ask. One object.")):
            protocol = make(constrain_json=constrain, **words)
            assert expected in tokenizer.decode(protocol.prompt([], document("The cell.")))
