"""Tokenization of training texts, in batches.

The step puts the opening tokens (BOS for most tokenizers) and EOS around a text by id, or around each part of
a text that keeps pairs apart. Special-token strings inside a text stay plain text. A text of a tuning stream
is tokenized example by example, and its result says which tokens carry loss (loss_spans.py).
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from pipelines.steps.base import StepFn
from pipelines.steps.loss_spans import join_examples, tokenize_examples
from pipelines.steps.pack import Tokens
from plugins.plain_token_ids import plain_ids_of
from plugins.tokenizers import load_tokenizer, opening_ids
from schemas.corpus_config import TokenizerConfig
from schemas.errors import ConfigError
from schemas.records import AugmentedText


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TokenizedText:
    """A training text with its token ids, int32 of shape (num_tokens,), BOS and EOS included.

    `part_sizes` are the numbers of tokens of its parts (`AugmentedText.parts`), which the model reads by
    themselves.
    `loss_spans`, int32 of shape (2 * num_spans,), are first token and end of each run of tokens that carry
    loss; None if all tokens do.
    """

    text: AugmentedText
    tokens: Tokens
    part_sizes: tuple[int, ...]
    loss_spans: Tokens | None = None


@dataclasses.dataclass(eq=False)
class TokenizeTexts(StepFn):
    """Tokenize batches (lists) of AugmentedTexts."""

    step = "tokenize"
    config: TokenizerConfig

    def setup(self) -> None:
        super().setup()
        self._tokenizer = load_tokenizer(self.config.name)
        self._before, self._after = ends(self._tokenizer, self.config)
        plain_ids_of(self._tokenizer, [])  # the first call makes tables

    def process(self, texts: Sequence[AugmentedText]) -> Iterator[Any]:
        yield from self.of_batch(texts, self._tokenized)

    def _tokenized(self, texts: Sequence[AugmentedText]) -> Iterator[Any]:
        plain = [text for text in texts if not text.is_tuning]
        for text, parts in zip(plain, self.encode(plain), strict=True):
            yield from self.finish(text, parts)
        yield from map(self._tuning_text, (text for text in texts if text.is_tuning))

    def encode(self, texts: Sequence[AugmentedText]) -> list[list[Tokens]]:
        """Return the token ids of the parts of texts, BOS and EOS of each part included."""
        parts = [text.parts for text in texts]
        tokens = (
            np.concatenate((self._before, ids, self._after), dtype=np.int32, casting="unsafe")
            for ids in plain_ids_of(self._tokenizer, [part for of_text in parts for part in of_text])
        )
        return [list(itertools.islice(tokens, len(of_text))) for of_text in parts]

    def finish(self, text: AugmentedText, parts: Sequence[Tokens]) -> Iterator[Any]:
        """Yield a text with its tokens, or rejects if it has only BOS and EOS; count its tokens."""
        if any(len(part) > len(self._before) + len(self._after) for part in parts):
            tokens = np.concatenate(parts) if len(parts) > 1 else parts[0]
            self.counters.add("tokens", len(tokens))
            yield TokenizedText(text=text, tokens=tokens, part_sizes=tuple(map(len, parts)))
            return
        for passage in text.passages:
            yield self.reject("no_tokens", passage)

    def _tuning_text(self, text: AugmentedText) -> TokenizedText:
        examples = [
            (
                text.text[each.start : each.start + each.prompt_length],
                text.text[each.start + each.prompt_length : each.end],
            )
            for each in text.passages
        ]
        tokens, loss_spans = join_examples(tokenize_examples(self._tokenizer, examples))
        self.counters.add("tokens", len(tokens))
        return TokenizedText(text=text, tokens=tokens, part_sizes=(len(tokens),), loss_spans=loss_spans)


def ends(tokenizer: Any, config: TokenizerConfig) -> tuple[list[int], list[int]]:
    """Return the token ids before and after each text.

    Raises:
        ConfigError: BOS or EOS is wanted and the tokenizer has none.
    """
    before = opening_ids(tokenizer, config.add_bos)
    after = [] if tokenizer.eos_token_id is None or not config.add_eos else [tokenizer.eos_token_id]
    for wanted, found, key in ((config.add_bos, before, "add_bos"), (config.add_eos, after, "add_eos")):
        if wanted and not found:
            name = key[-3:].upper()
            raise ConfigError(
                f"tokenizer.{key} is true, but tokenizer {config.name!r} has no {name} token; "
                "set it to false or choose another tokenizer."
            )
    return before, after
