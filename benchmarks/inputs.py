"""Inputs of the synthesis benchmarks."""

from __future__ import annotations

import json

import zstandard

from schemas.records import Chain, Document
from tests.tiny import save_bpe

NUM_ROUNDS = 3
_TEXT = "the cell protein binds dose in trial of a patient question answer text which what after"
_WORDS = _TEXT.split()


def make_chains(
    count: int, num_words: int = 60, *, first: int = 0, num_rounds: int = NUM_ROUNDS
) -> list[Chain]:
    """Chains of made-up documents, all different."""
    return [
        Chain(
            chain_id=f"chain-{number}",
            documents=tuple(_made_up(number, position, num_words) for position in range(num_rounds)),
        )
        for number in range(first, first + count)
    ]


def _made_up(number: int, position: int, num_words: int) -> Document:
    words = (_WORDS[(number * 7 + position * 5 + at * at) % len(_WORDS)] for at in range(num_words))
    text = f"Case {number} {position}. {' '.join(words)}"
    return Document.of(f"{number}-{position}", text, source="benchmark")


def passages_as_chains(num_documents: int, *, documents_each: int, num_words: int = 70) -> list[Chain]:
    """Chains of real text: the first words of the bundled passages, then later words of the same passages."""
    with open("examples/biomedicine/articles.jsonl.zst", "rb") as file:
        lines = zstandard.ZstdDecompressor().stream_reader(file).read().decode().splitlines()
    words = [json.loads(line)["text"].split() for line in lines]
    texts = [
        " ".join(passage[start : start + num_words])
        for start in range(0, 2 * num_words + 1, num_words)
        for passage in words
        if len(passage) >= start + num_words
    ]
    if num_documents > len(texts):
        raise SystemExit(f"{num_documents} documents wanted, the examples give {len(texts)}")
    documents = [
        Document.of(f"d{at}", text, source="examples") for at, text in enumerate(texts[:num_documents])
    ]
    return [
        Chain(chain_id=f"chain-{at}", documents=tuple(documents[at : at + documents_each]))
        for at in range(0, num_documents, documents_each)
    ]


def tiny_tokenizer(folder: str) -> str:
    """Save a byte-level BPE tokenizer with BOS and EOS; return its directory."""
    return save_bpe(
        folder,
        [_TEXT] * 4,
        vocab_size=600,
        special_tokens=["<s>", "</s>"],
        bos_token="<s>",
        eos_token="</s>",
    )
