"""What a model thinks before it answers, left out of what it says.

    <think>A first try: {"question": …}</think>{"question": "Which?", "answer": "This."}
    └──────────── thought ────────────┘└──────────────────── said ─────────────────────┘

A block ends at the first closing tag of any spelling. A closing tag without an opening one ends a block that
the chat template has opened, so that all before it is thought. A block without an end, cut off by the token
limit, is thought to the end of the text.

Spellings: those of DeepSeek and Qwen (`<think>`), of models tuned to imitate them (`<thinking>`, `<thought>`,
`<reasoning>`, `<reflection>`, `<scratchpad>`, `<|begin_of_thought|>`), of Seed (`<seed:think>`), Magistral
(`[THINK]`), Kimi (`◁think▷`), Command (`<|START_THINKING|>`), MedGemma (`<unused94>`) and gpt-oss
(`<|channel|>analysis`, also after its special tokens were left out).
"""

from __future__ import annotations

import re

_WORDS = (
    r"\|?(?:\w+:)?(?:ant)?(?:start_of_|begin_of_)?"
    r"(?:think|thinking|thinking_process|thoughts?|reason|reasoning|reflection|analysis|scratchpad)\s*\|?"
)
_TAG = re.compile(
    rf"(?P<opening><{_WORDS}>|\[THINK(?:ING)?\]|◁think▷|<\|begin_of_thought\|>|<\|START_THINKING\|>|<unused94>"
    r"|<\|channel\|?>(?:analysis|commentary|thought)|(?-i:\Aanalysis(?=[A-Z])))"
    rf"|</{_WORDS}>|<\|end_of_(?:thought|think|thinking)\|>|\[/THINK(?:ING)?\]|◁/think▷|<unused95>"
    r"|<\|END_THINKING\|>"
    r"|<\|?channel\|>(?:final(?:<\|message\|>)?)?|(?-i:assistantfinal)",
    re.IGNORECASE,
)


def without_thoughts(text: str, *, is_open: bool = False) -> tuple[str, bool]:
    """Leave out of a generated text what the model thought.

    Args:
        text: The text.
        is_open: Whether the prompt ends inside a block, so that the text begins in it.

    Returns:
        What is left, and whether the last block has no end.
    """
    said: list[str] = []
    at = 0
    for tag in _TAG.finditer(text):
        if tag["opening"] is None:
            if not is_open:
                said.clear()
            is_open, at = False, tag.end()
        elif not is_open:
            said.append(text[at : tag.start()])
            is_open = True
    if not is_open:
        said.append(text[at:])
    return "".join(said), is_open


def holds_thought_tag(text: str) -> bool:
    """Whether a text holds a tag that opens or closes a block."""
    return _TAG.search(text) is not None
