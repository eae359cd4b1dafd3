"""Tokenizers and models, small enough to make for each test run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from schemas.config import Section
from tests.published import name_of


def save_bpe(
    folder: str | Path,
    texts: Sequence[str],
    *,
    vocab_size: int,
    special_tokens: Sequence[str],
    pre_tokenizer: Any = None,
    post_processor: Any = None,
    chat_template: str | None = None,
    **tokens: Any,
) -> str:
    """Train a byte-level BPE tokenizer, save it in the format of transformers, and return the folder.

    Args:
        folder: Folder of the tokenizer.
        texts: Training texts for merges.
        vocab_size: Maximum number of tokens; 256 of them are bytes.
        special_tokens: Special tokens, with the ids 0, 1, 2, …
        pre_tokenizer: Replacement for GPT-2's split into words.
        post_processor: Processor that puts special tokens around a text; none by default.
        chat_template: Chat template in Jinja.
        **tokens: `bos_token` and others of PreTrainedTokenizerFast.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizer or pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(special_tokens),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator(texts, trainer)
    if post_processor is not None:
        backend.post_processor = post_processor
    return _save(backend, folder, chat_template=chat_template, **tokens)


def save_bytes(folder: str | Path, special_tokens: Sequence[str], **tokens: Any) -> str:
    """Save a tokenizer of special tokens and one token a byte, in this order, and return the folder."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    names = [*special_tokens, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    backend = Tokenizer(models.BPE(vocab={name: index for index, name in enumerate(names)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return _save(backend, folder, **tokens)


def save_llama(folder: str | Path, *, vocab_size: int, seed: int, **options: Any) -> str:
    """Save a random Llama (by default two layers, hidden size 64) and return the folder."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "bos_token_id": 0,
        "eos_token_id": 1,
    }
    torch.manual_seed(seed)
    LlamaForCausalLM(LlamaConfig(vocab_size=vocab_size, **{**sizes, **options})).save_pretrained(folder)
    return str(folder)


def _save(backend: Any, folder: str | Path, *, chat_template: str | None = None, **tokens: Any) -> str:
    from tokenizers import decoders
    from transformers import PreTrainedTokenizerFast

    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **tokens)
    tokenizer.chat_template = chat_template
    tokenizer.save_pretrained(folder)
    return str(folder)


def located(corpus: str | Path, path: str) -> Path:
    """Find a path in a built corpus; the argument lacks the random part of the increment's name."""
    folder, name, *rest = path.split("/")
    number, dot, stream = name.partition(".")
    return Path(corpus, folder, f"{name_of(str(corpus), int(number))}{dot}{stream}", *rest)


def revealed_json(config: Section) -> str:
    """Dump a configuration as JSON with its secrets, for a subprocess."""
    return json.dumps(config.model_dump(), default=lambda secret: secret.get_secret_value())
