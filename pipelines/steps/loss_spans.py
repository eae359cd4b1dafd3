"""Tokens of tuning examples, and the spans of them that carry loss.

    BOS  <CON> … </CON>⏎⏎  <QUE> … <ANS> … </END>⏎⏎<QUE> … </END>  EOS
    └───── no loss ──────┘ └───────────────── loss ─────────────────┘

Prompt and answer are tokenized together, as the rounds of a chain tokenize earlier examples. A token that
reaches from the prompt into the answer belongs to the answer and carries loss.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from pipelines.steps.pack import Tokens
from plugins.plain_token_ids import TokenIds, plain_ids_of
from plugins.tokenizers import opening_ids
from schemas.corpus_config import TokenizerConfig
from schemas.errors import ConfigError


def ends_of_examples(tokenizer: Any, config: TokenizerConfig) -> tuple[list[int], int]:
    """Return the tokens that open an example (BOS for most tokenizers), and EOS, which ends it.

    Raises:
        ConfigError: The tokenizer lacks one.
    """
    opening = opening_ids(tokenizer, add_bos=True)
    if not opening or tokenizer.eos_token_id is None:
        raise ConfigError(
            f"tokenizer {config.name!r} has no BOS or no EOS token; each example of a stream with `tuning` "
            "needs both. Choose the tokenizer of the model that becomes the synthesizer."
        )
    return opening, tokenizer.eos_token_id


def tokenize_examples(tokenizer: Any, examples: Sequence[tuple[str, str]]) -> list[tuple[Tokens, int]]:
    """Tokenize examples, each a prompt and an answer, with BOS and EOS.

    Returns:
        For each the tokens, int32 of shape (num_tokens,), and the number of first tokens without loss.
    """
    opening, eos = opening_ids(tokenizer, add_bos=True), [tokenizer.eos_token_id]
    prompts = plain_ids_of(tokenizer, [prompt for prompt, _ in examples])
    wholes = plain_ids_of(tokenizer, [prompt + answer for prompt, answer in examples])
    return [
        (
            np.concatenate((opening, whole, eos), dtype=np.int32, casting="unsafe"),
            len(opening) + num_common(prompt, whole),
        )
        for prompt, whole in zip(prompts, wholes, strict=True)
    ]


def num_common(one: TokenIds, other: TokenIds) -> int:
    """Return the length of the prefix that two texts share, in tokens."""
    size = min(len(one), len(other))
    differ = np.not_equal(one[:size], other[:size])
    return int(differ.argmax()) if differ.any() else size


def join_examples(examples: Sequence[tuple[Tokens, int]]) -> tuple[Tokens, Tokens]:
    """Lay the examples of a text end to end.

    Returns:
        Token ids, int32 of shape (num_tokens,), and int32 of shape (2 * num_examples,): for each example the
        offsets in the text of its first token with loss and of its end.
    """
    ends = list(itertools.accumulate(len(tokens) for tokens, _ in examples))
    starts = [end - len(tokens) + without for end, (tokens, without) in zip(ends, examples, strict=True)]
    spans = np.array([at for span in zip(starts, ends, strict=True) for at in span], dtype=np.int32)
    return np.concatenate([tokens for tokens, _ in examples]), spans


def spans_within(spans: Tokens, start: int, end: int) -> Tokens:
    """Return the parts of a text's spans between two of its tokens, as offsets from the first."""
    inside = np.clip(spans.reshape(-1, 2), start, end) - start
    return inside[inside[:, 0] < inside[:, 1]].reshape(-1)
