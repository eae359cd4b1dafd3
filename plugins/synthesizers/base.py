"""What a synthesizer is."""

from __future__ import annotations

from abc import ABC, abstractmethod

from plugins.synthesizers.document_parts import Limit, split_document
from schemas.corpus_config import SynthesisConfig
from schemas.records import Chain, Document, Generation, SynthesizedDocument


class Synthesizer(ABC):
    """Writes pairs about the documents of a chain.

    One instance serves a worker process: constructed there, opened once, then called for many
    chains at a time on one event loop. Construction is cheap and checks the configuration.

    """

    def __init__(self, config: SynthesisConfig, *, seed: int):
        self.config = config
        self.seed = seed

    def open(self) -> None:  # noqa: B027 - optional
        """Load what is heavy or connect; called once, before the first chain."""

    async def close(self) -> None:  # noqa: B027 - optional
        """Let go of what `open` took; called on the event loop."""

    def count(self, generation: Generation) -> None:  # noqa: B027 - optional
        """Hear of each generation received; replaced by whoever counts."""

    @property
    def pair_tokens(self) -> int:
        """Tokens of a row that are kept free for the pairs about a document; at most half a row is."""
        return self.config.max_new_tokens

    def split(self, document: Document, row: Limit) -> list[Document]:
        """Cut a document that is too long to be asked about as a whole; most are their own only part.

        Needs no `open`.

        Args:
            document: Any document.
            row: What of a row is left for a document, in tokens of the model that is trained. Pairs that do
                not fit into the row with a longer part are lost.
        """
        room = min(row.room, self.config.max_document_tokens or row.room)
        return split_document(document, [row._replace(room=room)])

    def prepare(self, chain: Chain) -> None:  # noqa: B027 - optional
        """Do ahead what needs no answer; called on another thread than `synthesize`, before it."""

    @abstractmethod
    async def synthesize(self, chain: Chain) -> tuple[SynthesizedDocument, ...]:
        """Write pairs for each document of the chain, in order.

        A failure is a value: the documents it touches come back with `failure` set and no pairs.
        """
