"""A random Llama of two layers with a tokenizer of its own, small enough to make for each session."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import save_bpe, save_llama

WORDS = (
    "the patient has a fever and the doctor gives aspirin because pain goes away when the drug works "
    "question answer which nerve moves the wrist radial median ulnar axillary yes no maybe heart lung "
    "liver kidney blood pressure rises falls after exercise in most adults who sleep well every night"
)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Use one thread: on a model this small, more threads only wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny_model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face directory: Llama, 2 layers, hidden size 64, context of 128 tokens, BPE."""
    from tokenizers import Regex, pre_tokenizers

    folder = tmp_path_factory.mktemp("tiny-llama")
    save_bpe(
        folder,
        [WORDS, WORDS.replace(" ", "\n"), WORDS.replace(" ", "  ")] * 3,
        vocab_size=2000,
        special_tokens=["<s>", "</s>"],
        # A word takes the space after it, so that the last token of a prompt changes when an option follows.
        pre_tokenizer=pre_tokenizers.Sequence(
            [
                pre_tokenizers.Split(Regex(r"\w+ ?|\W"), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        ),
        bos_token="<s>",
        eos_token="</s>",
        pad_token="</s>",
    )
    save_llama(
        folder,
        vocab_size=2000,
        seed=0,
        max_position_embeddings=128,
        initializer_range=0.2,  # large enough for scores to differ clearly
        pad_token_id=1,
    )
    return folder


@pytest.fixture(scope="session")
def tokenizer(tiny_model_dir: Path) -> Any:
    from plugins.tokenizers import load_tokenizer

    return load_tokenizer(str(tiny_model_dir))


@pytest.fixture
def model(tiny_model_dir: Path) -> Iterator[Any]:
    from transformers import AutoModelForCausalLM

    yield AutoModelForCausalLM.from_pretrained(tiny_model_dir)


@pytest.fixture
def task_dir(tmp_path: Path, write_rows: Callable[..., Path]) -> Path:
    """A directory of two tasks: `mcq` of 7 questions and `qa` of 5."""
    words = WORDS.split()
    folder = tmp_path / "medicine"
    write_rows(
        folder / "mcq.jsonl",
        *(
            {
                "input": f"question {' '.join(words[at : at + 6 + at])}\nanswer",
                "options": words[at : at + 3],
                "gold_index": at % 3,
            }
            for at in range(7)
        ),
    )
    write_rows(
        folder / "qa.jsonl",
        *({"input": " ".join(words[at : at + 4]), "label": words[at]} for at in range(5)),
    )
    return folder
