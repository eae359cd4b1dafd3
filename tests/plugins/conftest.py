"""A tiny tokenizer and a tiny model on disk, and documents to try things on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from schemas.records import Document

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
    """Save a byte-level BPE tokenizer of about 300 tokens; gives its directory."""

    def make(
        chat_template: str | None = CHAT_TEMPLATE, *, adds_bos: bool = False, **tokens: str | None
    ) -> str:
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
        from transformers import PreTrainedTokenizerFast

        backend = Tokenizer(models.BPE())
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=300,
            special_tokens=list(SPECIAL_TOKENS),
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        backend.train_from_iterator([WORDS] * 4, trainer)
        if adds_bos:
            backend.post_processor = processors.TemplateProcessing(
                single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 0)]
            )
        tokens = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>", **tokens}
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=backend,
            clean_up_tokenization_spaces=False,
            **{name: token for name, token in tokens.items() if token is not None},
        )
        tokenizer.chat_template = chat_template
        folder = str(tmp_path_factory.mktemp("tokenizer"))
        tokenizer.save_pretrained(folder)
        return folder

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
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = make_tokenizer()
    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=300,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        initializer_range=0.3,  # wide enough that greedy answers differ from prompt to prompt
        bos_token_id=0,
        eos_token_id=1,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def document() -> Callable[[str], Document]:
    """Make a document of a text; its id is the text's first word."""

    def make(text: str) -> Document:
        return Document.of(text.split()[0] if text.split() else "empty", text, source="test:1")

    return make
