"""Documents too long for a prompt, or for a row with their pairs, cut into parts.

A part keeps to all limits at once: that of the prompt, in tokens of the model that is asked, and that of the
row, in tokens of the model that is trained. A document is cut between paragraphs where that gives parts that
fit, else between sentences, else between words, else between characters; what stands at a cut is white space
and nothing else is lost. Parts are made about equally long. Each carries the name of its document and says
which part it is.

Cost: a document with more bytes than the room of a limit is tokenised once more; one that is cut about ten
times, in prompts if it is asked about: about 0.5 s for 100,000 characters.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from plugins.protocols.base import SynthesisProtocol
from schemas.corpus_config import SynthesisConfig
from schemas.errors import ConfigError
from schemas.records import Document, content_hash

LEAST_ROOM = 16
"""Tokens of a document, below which it is no use to ask about it."""


class Limit(NamedTuple):
    """How long a part may be.

    Attributes:
        room: Most tokens.
        size: Gives the tokens of a text.
    """

    room: int
    size: Callable[[str], int]


def prompt_limit(document: Document, *, protocol: SynthesisProtocol, config: SynthesisConfig) -> Limit:
    """The limit of a document that is asked about: its prompt fits beside the generation.

    Args:
        document: The document.
        protocol: Builds the prompts.
        config: `context_tokens`, `max_new_tokens` and `max_document_tokens` say what fits.

    Raises:
        ConfigError: Not even an empty document leaves room for `LEAST_ROOM` tokens.
    """
    budget = config.context_tokens - config.max_new_tokens
    around = len(protocol.prompt((), dataclasses.replace(document, text="")))
    room = min(budget - around, config.max_document_tokens or budget)
    if room < LEAST_ROOM:
        raise ConfigError(
            f"synthesis.context_tokens {config.context_tokens} leaves {room} tokens for a document, after "
            f"max_new_tokens {config.max_new_tokens} and the {around} tokens of the prompt around it; raise "
            "the first or lower the second."
        )
    return Limit(
        room, lambda text: len(protocol.prompt((), dataclasses.replace(document, text=text))) - around
    )


def split_document(document: Document, limits: Sequence[Limit]) -> list[Document]:
    """Cut a document into parts that keep to all limits.

    Args:
        document: Any document.
        limits: At least one. Parts are made equally long in tokens of the first.

    Returns:
        The document itself where it fits; else its parts in order, `part` set to `k/n`.
    """
    num_bytes = len(document.text.encode())  # a token has at least one byte
    if all(num_bytes <= limit.room or limit.size(document.text) <= limit.room for limit in limits):
        return [document]
    room = limits[0].room

    def size(text: str) -> int:
        """Tokens of the limit that the text uses most of, converted to tokens of the first."""
        return max(-(-limit.size(text) * room // limit.room) for limit in limits)

    from semantic_text_splitter import TextSplitter

    num_tokens = size(document.text)
    equal = num_tokens // math.ceil(num_tokens / room)
    texts = TextSplitter.from_callback(size, (equal, room)).chunks(document.text)  # full from `equal` on
    return [
        dataclasses.replace(
            document,
            text=text,
            content_hash=content_hash(text),
            source=f"{document.source} part {number}/{len(texts)}",
            part=f"{number}/{len(texts)}",
            whole_hash=document.content_hash,
        )
        for number, text in enumerate(texts, 1)
    ]
