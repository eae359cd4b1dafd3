"""Documents longer than a prompt may be, cut into parts that are prompted one by one.

A document is cut between paragraphs where that gives parts that fit, else between sentences, else between
words, else between characters; what stands at a cut is white space and nothing else is lost. Parts are made
about equally long. Each carries the name of its document and says which part it is.

Cost: every candidate is tokenised in its prompt; about 0.5 s for a document of 100,000 characters.
"""

from __future__ import annotations

import dataclasses
import math

from plugins.protocols.base import SynthesisProtocol
from schemas.corpus_config import SynthesisConfig
from schemas.errors import ConfigError
from schemas.records import Document, content_hash

_LEAST_ROOM = 16


def split_document(
    document: Document, *, protocol: SynthesisProtocol, config: SynthesisConfig
) -> list[Document]:
    """Cut a document into parts whose prompts fit beside the generation.

    Args:
        document: Any document.
        protocol: Builds the prompts.
        config: `context_tokens`, `max_new_tokens` and `max_document_tokens` say what fits.

    Returns:
        The document itself where it fits; else its parts in order, `part` set to `k/n`.

    Raises:
        ConfigError: Not even an empty document leaves room for `_LEAST_ROOM` tokens.
    """
    budget = config.context_tokens - config.max_new_tokens
    around = len(protocol.prompt((), dataclasses.replace(document, text="")))
    room = min(budget - around, config.max_document_tokens or budget)
    if room < _LEAST_ROOM:
        raise ConfigError(
            f"synthesis.context_tokens {config.context_tokens} leaves {room} tokens for a document, after "
            f"max_new_tokens {config.max_new_tokens} and the {around} tokens of the prompt around it; raise "
            "the first or lower the second."
        )
    if len(document.text.encode()) <= room:  # a token has at least one byte
        return [document]

    def size(text: str) -> int:
        return len(protocol.prompt((), dataclasses.replace(document, text=text))) - around

    num_tokens = size(document.text)
    if num_tokens <= room:
        return [document]

    from semantic_text_splitter import TextSplitter

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
