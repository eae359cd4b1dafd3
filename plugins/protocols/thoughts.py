"""Removal of a model's thoughts from its answers.

    <think>A first try: {"question": …}</think>{"question": "Which?", "answer": "This."}
    └──────────── thought ────────────┘└─────────────────── answer ────────────────────┘

A block ends at the first closing tag of any spelling. A closing tag without an opening tag ends a block that
the chat template has opened, so all text before it is thought. A block truncated by the token limit reaches
to the end of the text.

Spellings: those of DeepSeek and Qwen (`<think>`), of models tuned to imitate them (`<thinking>`, `<thought>`,
`<reasoning>`, `<reflection>`, `<scratchpad>`, `<|begin_of_thought|>`), of Seed (`<seed:think>`), Magistral
(`[THINK]`), Kimi (`◁think▷`), Command (`<|START_THINKING|>`), MedGemma (`<unused94>`) and gpt-oss
(`<|channel|>analysis`, also without its special tokens).
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
    """Remove thoughts from a generated text; return the rest, and True if the last block has no end.

    If the prompt ends inside a block (`is_open`), the text begins in it.
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
    """True if a text holds a tag that opens or closes a block."""
    return _TAG.search(text) is not None
