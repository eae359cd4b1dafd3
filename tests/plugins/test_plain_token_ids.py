"""Token ids of plain text: fastokens only if it gives the ids of the tokenizer's own backend."""

from __future__ import annotations

import logging
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fastokens
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from plugins.plain_token_ids import plain_ids, plain_ids_of
from plugins.tokenizers import load_tokenizer

SPECIAL = ("<|begin_of_text|>", "<|end_of_text|>")
WORDS = "the cell's protein binds 12 doses in a trial of 345 patients; they don't know, ½ é 漢字 👩‍👩‍👧 "
# Llama 3's splits: contractions, words with one character before, up to three digits, blanks.
LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
    r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def _llama_3() -> tuple[Tokenizer, Any]:
    backend = Tokenizer(models.BPE(ignore_merges=True))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(LLAMA_3), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    backend.post_processor = processors.TemplateProcessing(
        single=f"{SPECIAL[0]} $A", special_tokens=[(SPECIAL[0], 0)]
    )
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return backend, trainers.BpeTrainer(
        vocab_size=400, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False
    )


def _llama_2() -> tuple[Tokenizer, Any]:
    backend = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    return backend, trainers.BpeTrainer(
        vocab_size=500, special_tokens=[*SPECIAL, "<unk>", *byte_tokens], show_progress=False
    )


def _smollm2() -> tuple[Tokenizer, Any]:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    return backend, trainers.BpeTrainer(
        vocab_size=400, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False
    )


def _unigram() -> tuple[Tokenizer, Any]:
    backend = Tokenizer(models.Unigram())
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    return backend, trainers.UnigramTrainer(
        vocab_size=120, special_tokens=[*SPECIAL, "<unk>"], unk_token="<unk>", show_progress=False
    )


KINDS = {"llama-3": _llama_3, "llama-2": _llama_2, "smollm2": _smollm2, "unigram": _unigram}


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Any]]:
    """A tokenizer of one kind, trained on a few words and loaded as Tutelage loads one."""
    from transformers import PreTrainedTokenizerFast

    def make(kind: str) -> Any:
        backend, trainer = KINDS[kind]()
        backend.train_from_iterator([WORDS] * 4, trainer)
        backend.add_tokens(["<CON>"])  # a token that is not special also matches in text
        folder = str(tmp_path_factory.mktemp(kind))
        PreTrainedTokenizerFast(
            tokenizer_object=backend, bos_token=SPECIAL[0], eos_token=SPECIAL[1]
        ).save_pretrained(folder)
        return load_tokenizer(folder)

    yield make


def expected(tokenizer: Any, text: str) -> list[int]:
    """The ids of the tokenizer's own backend."""
    return tokenizer.backend_tokenizer.encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize(("kind", "fast"), [("llama-3", True), ("smollm2", True), ("unigram", False)])
def test_the_fast_way_is_taken_where_it_gives_the_same(
    load: Callable[[str], Any], caplog: pytest.LogCaptureFixture, kind: str, fast: bool
) -> None:
    with caplog.at_level(logging.INFO, "plugins.plain_token_ids"):
        plain_ids(load(kind), "a")
    assert ("fastokens is not used" not in caplog.text) is fast


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(KINDS))
def test_any_text_gives_what_the_tokenizers_own_backend_gives(load: Callable[[str], Any], kind: str) -> None:
    tokenizer = load(kind)
    pieces = st.sampled_from([*SPECIAL, "<CON>", "<unk>", *WORDS, " ", "\n", "'S", "\u0301", "\u200d", "0"])
    texts = st.lists(st.one_of(st.text(), st.lists(pieces).map("".join)), max_size=4)

    @settings(max_examples=150, deadline=None)
    @given(texts)
    def check(given_texts: list[str]) -> None:
        found = plain_ids_of(tokenizer, given_texts)
        assert [ids.dtype for ids in found] == [np.int32] * len(given_texts)
        assert [ids.tolist() for ids in found] == [expected(tokenizer, text) for text in given_texts]

    check()


def test_special_token_strings_stay_plain_text(load: Callable[[str], Any]) -> None:
    tokenizer = load("llama-3")
    ids = plain_ids(tokenizer, f"{SPECIAL[0]}a{SPECIAL[1]}")
    assert not {0, 1} & set(ids.tolist())
    assert tokenizer.decode(ids) == f"{SPECIAL[0]}a{SPECIAL[1]}"


def test_a_fast_way_that_differs_is_not_taken(
    load: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    tokenizer, other = load("smollm2"), load("llama-3")
    wrong = fastokens.Tokenizer.from_json_str(other.backend_tokenizer.to_str())

    class Wrong:
        from_json_str = staticmethod(lambda text: wrong)

    monkeypatch.setattr(fastokens, "Tokenizer", Wrong)
    with caplog.at_level(logging.INFO):
        assert plain_ids(tokenizer, WORDS).tolist() == expected(tokenizer, WORDS)
    assert "fastokens is not used: it gives other ids for" in caplog.text


def test_several_threads_get_the_same(load: Callable[[str], Any]) -> None:
    tokenizer = load("llama-3")
    shuffled = random.Random(1)
    texts = ["".join(shuffled.sample(WORDS, len(WORDS))) for _ in range(200)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda text: plain_ids(tokenizer, text).tolist(), texts))
    assert found == [expected(tokenizer, text) for text in texts]


def test_real_text_gives_the_same_as_a_call_of_the_tokenizer(load: Callable[[str], Any]) -> None:
    tokenizer = load("smollm2")
    for file in sorted(Path(__file__).parents[2].glob("docs/*.md")):
        text = file.read_text("utf-8")
        assert plain_ids(tokenizer, text).tolist() == tokenizer(text, add_special_tokens=False).input_ids


@pytest.mark.slow
def test_the_trainer_takes_the_types_without_fastokens() -> None:
    """`tutelage[trainer]` does not install fastokens."""
    code = (
        "import sys; sys.modules['fastokens'] = None\n"
        "import plugins.plain_token_ids, plugins.protocols.chat_template, plugins.synthesizers.generator"
    )
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=True)
