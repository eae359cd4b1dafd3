"""Removal of thoughts, in all spellings of their tags."""

from __future__ import annotations

import pytest

from plugins.protocols.thoughts import holds_thought_tag, without_thoughts


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("said", "said"),
        ("<think>thought</think>said", "said"),
        ("<think>one</think>said <think>two</think>more", "said more"),
        ("<think>one <think>two</think>three</think>said", "said"),
        ("thought</think>said", "said"),
        ("<THINKING>thought</Thinking>said", "said"),
        ("<thought>thought</thought>said", "said"),
        ("<reasoning>thought</reasoning>said", "said"),
        ("<reflection>thought</reflection>said", "said"),
        ("<scratchpad>thought</scratchpad>said", "said"),
        ("<seed:think>thought</seed:think>said", "said"),
        ("[THINK]thought[/THINK]said", "said"),
        ("◁think▷thought◁/think▷said", "said"),
        ("<|begin_of_thought|>thought<|end_of_thought|>said", "said"),
        ("<|START_THINKING|>thought<|END_THINKING|>said", "said"),
        ("<think >thought</think >said", "said"),
        ("<|think|>thought</|think|>said", "said"),
        ("<analysis>thought</analysis>said", "said"),
        ("<mm:think>thought</mm:think>said", "said"),
        ("<antThinking>thought</antThinking>said", "said"),
        ("<thinking_process>thought</thinking_process>said", "said"),
        ("[THINKING]thought[/THINKING]said", "said"),
        ("<|start_of_thinking|>thought<|end_of_thinking|>said", "said"),
        ("<unused94>thought\nthought<unused95>said", "said"),
        (
            "<|channel|>analysis<|message|>thought<|end|><|start|>assistant<|channel|>final<|message|>said",
            "said",
        ),
        ("analysisWe need pairs.assistantfinalsaid", "said"),
        ("analysis of said", "analysis of said"),
        ("a <b> c </b>", "a <b> c </b>"),
    ],
)
def test_what_was_said_is_what_stands_outside_of_blocks(text: str, said: str) -> None:
    assert without_thoughts(text) == (said, False)


@pytest.mark.parametrize("text", ["<think>thought", "analysisWe need", "<think>a</think><think>thought"])
def test_a_block_that_was_cut_off_is_thought_to_the_end(text: str) -> None:
    assert without_thoughts(text) == ("", True)


def test_what_was_said_before_a_block_that_was_cut_off_stays() -> None:
    assert without_thoughts("said<think>thought") == ("said", True)


def test_a_text_may_begin_inside_a_block() -> None:
    assert without_thoughts("thought</think>said", is_open=True) == ("said", False)
    assert without_thoughts("thought", is_open=True) == ("", True)
    assert without_thoughts("<think>thought</think>said", is_open=True) == ("said", False)


def test_a_tag_is_known_wherever_it_stands() -> None:
    assert holds_thought_tag("a </think> b") and holds_thought_tag("a <reasoning> b")
    assert not holds_thought_tag("a thought of <b>")
