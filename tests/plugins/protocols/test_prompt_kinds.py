"""Kinds of tasks in prompt files, and the built-in prompt for strong models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from plugins.protocols.chat_json import ChatProtocol
from plugins.tokenizers import load_tokenizer
from schemas.errors import ConfigError
from schemas.records import Document
from schemas.synthesis_config import SynthesisConfig

KINDS = ["a fact", "a summary", "a comparison", "a number", "a cause"]
PROMPT = {"request": "Text: {text}\nTasks:\n{kinds}", "kinds": KINDS, "kinds_per_document": 2}


@pytest.fixture(scope="module")
def tokenizer(make_tokenizer: Callable[..., str]) -> Any:
    return load_tokenizer(make_tokenizer())


@pytest.fixture
def make(tmp_path: Path, tokenizer: Any) -> Callable[..., ChatProtocol]:
    def make_protocol(**changes: Any) -> ChatProtocol:
        path = tmp_path / "prompt.yaml"
        path.write_text(yaml.safe_dump({**PROMPT, **changes}))
        return ChatProtocol(tokenizer, SynthesisConfig(model="m", prompt_file=str(path)), as_messages=True)

    return make_protocol


def document(number: int) -> Document:
    return Document.of(str(number), f"Text number {number} says {{kinds}}.", source="t")


def kinds_asked(protocol: ChatProtocol, number: int) -> list[str]:
    request = protocol.messages([], document(number))[-1][1]
    head, _, listed = request.partition("\nTasks:\n")
    assert head == f"Text: Text number {number} says {{kinds}}."
    return [line.removeprefix("- ") for line in listed.splitlines()]


def test_a_document_gets_its_own_kinds_and_a_corpus_all_of_them(make: Callable[..., ChatProtocol]) -> None:
    protocol = make()
    asked = [kinds_asked(protocol, number) for number in range(200)]
    assert all(len(kinds) == 2 for kinds in asked)
    assert asked == [kinds_asked(protocol, number) for number in range(200)]
    shares = Counter(kind for kinds in asked for kind in kinds)
    assert set(shares) == set(KINDS)
    assert min(shares.values()) > 50  # 80 on average


def test_further_samples_ask_for_the_next_kinds(make: Callable[..., ChatProtocol]) -> None:
    protocol = make()
    of_samples = [kinds_asked(protocol.for_sample(sample), 1) for sample in range(3)]
    assert of_samples[0] == kinds_asked(protocol, 1)
    assert set(of_samples[0] + of_samples[1] + of_samples[2]) == set(KINDS)
    assert not set(of_samples[0]) & set(of_samples[1])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"request": "{text}"}, "request holds {kinds} 0 times; expected once, for its kinds"),
        ({"kinds": []}, "request holds {kinds} 1 times; expected never, because `kinds` is empty"),
        ({"kinds_per_document": 6}, "kinds_per_document 6 is more than the 5 kinds"),
    ],
)
def test_kinds_without_a_place_are_refused(
    make: Callable[..., ChatProtocol], changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        make(**changes)
    assert said in str(caught.value)


@pytest.mark.parametrize("constrain", [False, True])
def test_the_strong_prompt_is_chosen_by_its_name(tokenizer: Any, constrain: bool) -> None:
    config = SynthesisConfig(model="m", prompt_file="strong")
    protocol = ChatProtocol(tokenizer, config, constrain_json=constrain)
    shown = tokenizer.decode(protocol.prompt([], document(1)))
    assert shown.count("\n- ") == 4
    assert ("Answer as JSON." in shown, "one JSON object a line" in shown) == (constrain, not constrain)
    assert "{format}" not in shown


def test_messages_are_the_turns_of_the_prompt_and_counted(tokenizer: Any) -> None:
    protocol = ChatProtocol(tokenizer, SynthesisConfig(model="m"), as_messages=True)
    messages = protocol.messages([], document(1))
    assert [role for role, _ in messages] == ["system", "user", "assistant", "user"]
    content = sum(len(protocol.plain_ids(text)) for _, text in messages)
    assert len(protocol.prompt([], document(1))) == content + 8 * len(messages)
    again = protocol.messages([], document(1), unreadable="<think>Hm.</think>No.")
    assert again[:4] == messages and again[4] == ("assistant", "No.")


def test_variables_reach_the_template_and_thoughts_may_stay_open(make_tokenizer: Callable[..., str]) -> None:
    template = (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "<|im_start|>assistant\n{% if enable_thinking %}<think>\n{% endif %}"
    )
    tokenizer = load_tokenizer(make_tokenizer(template))

    def end_of_prompt(**changes: Any) -> str:
        protocol = ChatProtocol(tokenizer, SynthesisConfig(model="m", **changes))
        return str(tokenizer.decode(protocol.prompt([], document(1)))).rpartition("assistant\n")[2]

    thinks = {"enable_thinking": True}
    assert end_of_prompt() == '{"question": "'
    assert end_of_prompt(thinking_tokens=9) == ""  # the model may open a block itself
    assert end_of_prompt(chat_template_kwargs=thinks).startswith("<think>\n\n</think>")
    assert end_of_prompt(chat_template_kwargs=thinks, thinking_tokens=9) == "<think>\n"
