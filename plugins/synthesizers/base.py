"""Base class of synthesizers."""

from __future__ import annotations

from abc import ABC, abstractmethod

from plugins.synthesizers.document_parts import Limit, split_document
from schemas.records import Chain, Document, Generation, SynthesizedDocument
from schemas.synthesis_config import SynthesisConfig


class Synthesizer(ABC):
    """Writes pairs about the documents of a chain.

    A worker process constructs one instance, opens it once, and then calls it for many chains at a time on
    one event loop. Construction is cheap and checks the configuration.
    """

    def __init__(self, config: SynthesisConfig, *, seed: int):
        self.config = config
        self.seed = seed

    @classmethod
    def with_tokenizer(cls, config: SynthesisConfig, corpus_tokenizer: str) -> SynthesisConfig:
        """Return the section with the corpus's tokenizer, if that is to count the tokens of prompts."""
        return config

    def open(self) -> None:  # noqa: B027 - optional
        """Load the model or connect to servers; called once, before the first chain."""

    async def close(self) -> None:  # noqa: B027 - optional
        """Release the resources of `open`; called on the event loop."""

    def count(self, generation: Generation) -> None:  # noqa: B027 - optional
        """Hook that is called with each received generation; the pipeline replaces it to count tokens."""

    @property
    def pair_tokens(self) -> int:
        """Tokens that a row reserves for the pairs about a document; the caller caps them at half a row."""
        return self.config.max_new_tokens * self.config.samples

    def split(self, document: Document, row: Limit) -> list[Document]:
        """Cut a document that is too long for one prompt or row; most documents stay whole. Needs no `open`.

        Args:
            document: Any document.
            row: Room for a document in a row, in tokens of the model that is trained. Pairs about a longer
                part would not fit into the row, and be lost.
        """
        room = min(row.room, self.config.max_document_tokens or row.room)
        return split_document(document, [row._replace(room=room)])

    def prepare(self, chain: Chain) -> None:  # noqa: B027 - optional
        """Do work that needs no answer, such as tokenizing; called before `synthesize`, on another thread."""

    @abstractmethod
    async def synthesize(self, chain: Chain) -> tuple[SynthesizedDocument, ...]:
        """Write pairs for each document of the chain, in order.

        A failure is a value: its documents are returned with `failure` set and without pairs.
        """
