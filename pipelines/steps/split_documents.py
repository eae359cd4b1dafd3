"""Splitting of documents that are too long for one prompt, or for a row with their pairs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from pipelines.steps.base import StepFn, guarded
from pipelines.steps.tokenize import ends
from plugins.plain_token_ids import plain_ids
from plugins.synthesizers import SYNTHESIZERS
from plugins.synthesizers.base import Synthesizer
from plugins.synthesizers.document_parts import LEAST_ROOM, Limit
from plugins.templates import TEMPLATES
from plugins.tokenizers import load_tokenizer
from schemas.corpus_config import CorpusConfig
from schemas.errors import ConfigError
from schemas.records import Document


@dataclasses.dataclass(eq=False)
class SplitDocuments(StepFn):
    """Cut each document into parts that fit the synthesizer and a row; most documents stay whole."""

    step = "split"
    config: CorpusConfig

    def setup(self) -> None:
        super().setup()
        synthesis = self.config.synthesis
        self._synthesizer: Synthesizer = SYNTHESIZERS.load(synthesis.backend)(
            synthesis, seed=self.config.seed
        )
        self._row = row_limit(self.config, self._synthesizer.pair_tokens)

    @guarded
    def process(self, document: Document) -> Iterator[Document]:
        parts = self._synthesizer.split(document, self._row)
        if len(parts) > 1:
            self.counters.add("documents")
            self.counters.add("parts", len(parts))
        yield from parts


def row_limit(config: CorpusConfig, pair_tokens: int) -> Limit:
    """Return the room of a row for a document, beside BOS, EOS and the tokens reserved for its pairs.

    At most half of the row is reserved for pairs, and nothing where the template family keeps them apart.

    Raises:
        ConfigError: Less than `LEAST_ROOM` tokens are left.
    """
    tokenizer = load_tokenizer(config.tokenizer.name)
    seq_len, num_ends = config.pack.seq_len, sum(map(len, ends(tokenizer, config.tokenizer)))
    is_apart = TEMPLATES.load(config.templates).is_apart
    room = seq_len - num_ends - (0 if is_apart else min(pair_tokens, seq_len // 2))
    if room < LEAST_ROOM:
        raise ConfigError(
            f"pack.seq_len {seq_len} leaves {room} tokens of a row for a document, beside {num_ends} of BOS "
            f"and EOS and half a row for its pairs; at least {LEAST_ROOM} are needed. Raise pack.seq_len."
        )
    return Limit(room, lambda text: len(plain_ids(tokenizer, text)))
