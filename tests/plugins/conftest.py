"""A tiny tokenizer and a tiny model on disk, and documents for tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from schemas.records import Document
from tests.tiny import save_bpe, save_llama

SPECIAL_TOKENS = ("<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|endoftext|>")
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
WORDS = "the cell protein binds a dose in the trial of a patient question answer text which what"


@pytest.fixture(scope="session")
def special_tokens() -> tuple[str, ...]:
    """The special tokens of the tiny tokenizer; their ids are 0, 1, 2, …"""
    return SPECIAL_TOKENS


@pytest.fixture(scope="session")
def make_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Save a byte-level BPE tokenizer of about 300 tokens; return its directory."""

    def make(
        chat_template: str | None = CHAT_TEMPLATE, *, adds_bos: bool = False, **tokens: str | None
    ) -> str:
        from tokenizers import processors

        named = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>", **tokens}
        with_bos = processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 0)]
        )
        return save_bpe(
            tmp_path_factory.mktemp("tokenizer"),
            [WORDS] * 4,
            vocab_size=300,
            special_tokens=SPECIAL_TOKENS,
            post_processor=with_bos if adds_bos else None,
            chat_template=chat_template,
            clean_up_tokenization_spaces=False,
            **{name: token for name, token in named.items() if token is not None},
        )

    return make


@pytest.fixture(scope="session")
def tokenizer_dir(make_tokenizer: Callable[..., str]) -> str:
    """The tiny tokenizer, with a ChatML template."""
    return make_tokenizer()


@pytest.fixture
def tokenizer(tokenizer_dir: str) -> Any:
    """The tiny tokenizer, loaded as Tutelage loads one."""
    from plugins.tokenizers import load_tokenizer

    return load_tokenizer(tokenizer_dir)


@pytest.fixture(scope="session")
def tiny_model(make_tokenizer: Callable[..., str]) -> str:
    """A random Llama of two layers beside the tiny tokenizer."""
    return save_llama(
        make_tokenizer(),
        vocab_size=300,
        seed=7,
        max_position_embeddings=512,
        initializer_range=0.3,  # wide enough that greedy answers differ from prompt to prompt
    )


@pytest.fixture(scope="session")
def document() -> Callable[[str], Document]:
    """Document of a text; its id is the text's first word."""

    def make(text: str) -> Document:
        return Document.of(text.split()[0] if text.split() else "empty", text, source="test:1")

    return make
