"""Cutting documents that are too long for a prompt, or for a row with their pairs, into parts.

A part keeps all limits at once: that of the prompt, in tokens of the model that writes the pairs, and that of
the row, in tokens of the model that is trained. Cuts are between paragraphs if the parts then fit, else
between sentences, words or characters; a cut loses white space only. Parts have about the same length. Each
part has the id of its document and its own number.

Cost: a document with more bytes than a limit's tokens is tokenised once more, and about ten times if it is
cut: about 0.5 s for 100,000 characters.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from plugins.protocols.base import SynthesisProtocol
from schemas.content_hash import content_hash
from schemas.errors import ConfigError
from schemas.page_starts import starts_within
from schemas.records import Document
from schemas.synthesis_config import SynthesisConfig

LEAST_ROOM = 16
"""Minimum tokens of a document in a prompt."""


class Limit(NamedTuple):
    """Maximum length of a part."""

    room: int  # maximum tokens
    size: Callable[[str], int]  # counts the tokens of a text


def prompt_limit(document: Document, *, protocol: SynthesisProtocol, config: SynthesisConfig) -> Limit:
    """Limit of a document by its prompt: prompt and generation fit into the context.

    Raises:
        ConfigError: The prompt around a document leaves less than `LEAST_ROOM` tokens.
    """
    budget = config.context_tokens - config.answer_tokens
    around = len(protocol.prompt((), dataclasses.replace(document, text="")))
    room = min(budget - around, config.max_document_tokens or budget)
    if room < LEAST_ROOM:
        thoughts = f", thinking_tokens {config.thinking_tokens}" if config.thinking_tokens else ""
        raise ConfigError(
            f"synthesis.context_tokens {config.context_tokens} leaves {room} tokens for a document, after "
            f"max_new_tokens {config.max_new_tokens}{thoughts} and the {around} tokens of the prompt around "
            "it; raise context_tokens or lower max_new_tokens."
        )
    return Limit(
        room, lambda text: len(protocol.prompt((), dataclasses.replace(document, text=text))) - around
    )


def split_document(document: Document, limits: Sequence[Limit]) -> list[Document]:
    """Return the document itself if it keeps all limits; else its parts in order, with `part` set to `k/n`.

    Parts have about equal length in tokens of the first limit.
    """
    num_bytes = len(document.text.encode())  # a token has at least one byte
    if all(num_bytes <= limit.room or limit.size(document.text) <= limit.room for limit in limits):
        return [document]
    room = limits[0].room

    def size(text: str) -> int:
        """Tokens by the limit that the text exhausts most, converted to tokens of the first limit."""
        return max(-(-limit.size(text) * room // limit.room) for limit in limits)

    from semantic_text_splitter import TextSplitter

    num_tokens = size(document.text)
    equal = num_tokens // math.ceil(num_tokens / room)
    splitter = TextSplitter.from_callback(size, (equal, room))  # `equal` to `room` tokens
    parts = splitter.chunk_indices(document.text)
    spans = [(start, start + len(text)) for start, text in parts]
    pages = starts_within(document.pages, document.text, spans)
    return [
        dataclasses.replace(
            document,
            text=text,
            content_hash=content_hash(text),
            source=f"{document.source} part {number}/{len(parts)}",
            part=f"{number}/{len(parts)}",
            whole_hash=document.content_hash,
            pages=starts,
        )
        for number, ((_, text), starts) in enumerate(zip(parts, pages, strict=True), 1)
    ]
