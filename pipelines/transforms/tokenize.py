"""Training texts to token ids, in batches.

BOS and EOS are put around each text by id; special-token strings inside a text stay plain text.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from pipelines.transforms.base import StepFn
from pipelines.transforms.pack import Tokens
from plugins.plain_ids import plain_ids_of
from plugins.tokenizers import adds_bos, load_tokenizer
from schemas.corpus_config import TokenizerConfig
from schemas.errors import ConfigError
from schemas.records import AugmentedText


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TokenizedText:
    """A training text with its token ids, int32 of shape (num_tokens,), BOS and EOS included."""

    text: AugmentedText
    tokens: Tokens


class TokenizeTexts(StepFn):
    """Tokenize batches (lists) of AugmentedTexts."""

    def __init__(self, config: TokenizerConfig, progress_dir: str | None):
        super().__init__("tokenize", progress_dir)
        self.config = config

    def setup(self) -> None:
        super().setup()
        self._tokenizer = load_tokenizer(self.config.name)
        self._before, self._after = ends(self._tokenizer, self.config)
        plain_ids_of(self._tokenizer, [])  # what the first call makes is made before the work begins

    def process(self, texts: Sequence[AugmentedText]) -> Iterator[Any]:
        encoded = plain_ids_of(self._tokenizer, [text.text for text in texts])
        for text, ids in zip(texts, encoded, strict=True):
            if not len(ids):
                for passage in text.passages:
                    yield self.reject("no_tokens", document_id=passage.document_id, source=passage.source)
                continue
            tokens = np.concatenate((self._before, ids, self._after), dtype=np.int32, casting="unsafe")
            self.counters.add("tokens", len(tokens))
            yield TokenizedText(text=text, tokens=tokens)


def ends(tokenizer: Any, config: TokenizerConfig) -> tuple[list[int], list[int]]:
    """Token ids that go before and after each text.

    Raises:
        ConfigError: BOS or EOS is wanted and the tokenizer has none.
    """
    wants_bos = adds_bos(tokenizer) if config.add_bos is None else config.add_bos
    for wanted, token_id, key in (
        (wants_bos, tokenizer.bos_token_id, "add_bos"),
        (config.add_eos, tokenizer.eos_token_id, "add_eos"),
    ):
        if wanted and token_id is None:
            name = key[-3:].upper()
            raise ConfigError(
                f"tokenizer.{key} is true, but tokenizer {config.name!r} has no {name} token; "
                "set it to false or choose another tokenizer."
            )
    return (
        [tokenizer.bos_token_id] if wants_bos else [],
        [tokenizer.eos_token_id] if config.add_eos else [],
    )
