"""Tokenizers: special-token strings in a text stay text."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from plugins.tokenizers import fingerprint, load_tokenizer, opening_ids, pad_token_id
from schemas.errors import ConfigError

SPEAKS_OF_TOKENS = "a <|im_start|>user <s> b</s> <|endoftext|>"


def test_special_token_strings_are_plain_text(tokenizer: Any, special_tokens: tuple[str, ...]) -> None:
    for text in (*special_tokens, SPEAKS_OF_TOKENS):
        ids = tokenizer(text, add_special_tokens=False).input_ids
        assert min(ids) >= len(special_tokens)
        assert tokenizer.decode(ids) == text


def test_special_token_strings_stay_plain_text_in_every_later_call(
    tokenizer: Any, special_tokens: tuple[str, ...]
) -> None:
    expected = tokenizer("<|im_end|>", add_special_tokens=False).input_ids
    tokenizer("<|im_end|>", add_special_tokens=False, split_special_tokens=False)
    assert tokenizer(["<|im_end|>"] * 2, add_special_tokens=False).input_ids == [expected] * 2
    assert tokenizer.backend_tokenizer.encode("<|im_end|>", add_special_tokens=False).ids == expected
    assert tokenizer.encode("<|im_end|>", add_special_tokens=False) == expected
    assert min(expected) >= len(special_tokens)


def test_a_rendered_template_can_be_tokenized_with_its_special_tokens(tokenizer: Any) -> None:
    ids = tokenizer("<|im_start|>user", add_special_tokens=False, split_special_tokens=False).input_ids
    assert ids[0] == tokenizer.convert_tokens_to_ids("<|im_start|>") == 2


def test_a_saved_tokenizer_is_as_it_was(tokenizer: Any, tokenizer_dir: str, tmp_path: Path) -> None:
    """Exported models must not inherit our tokenizer settings."""
    from transformers import AutoTokenizer

    tokenizer.save_pretrained(tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path)("<s>", add_special_tokens=False).input_ids == [0]
    assert "split_special_tokens" not in json.loads((tmp_path / "tokenizer_config.json").read_text())


def test_a_text_opens_with_what_the_tokenizer_puts_before_it(
    tokenizer: Any, make_tokenizer: Callable[..., str]
) -> None:
    def opening(template: str, **tokens: str | None) -> list[list[int]]:
        from tokenizers import processors

        found = load_tokenizer(make_tokenizer(**tokens))
        special = [(token, found.convert_tokens_to_ids(token)) for token in ("<s>", "</s>", "<|im_start|>")]
        found.backend_tokenizer.post_processor = processors.Sequence(
            [
                processors.ByteLevel(trim_offsets=False),
                processors.TemplateProcessing(single=template, pair="$A $B", special_tokens=special),
            ]
        )
        return [opening_ids(found, add_bos) for add_bos in (None, True, False)]

    assert [opening_ids(tokenizer, add_bos) for add_bos in (None, True, False)] == [[], [0], []]
    assert opening("<s> $A") == [[0], [0], []]
    assert opening("<|im_start|> <s> $A", bos_token=None) == [[2, 0], [2, 0], []]  # [gMASK]<sop>
    assert opening("<|im_start|> <s> $A </s> <s>") == [[2, 0], [2, 0], []]  # with two closing tokens
    assert opening("$A </s>") == [[], [0], []]  # T5
    assert opening("<|im_start|> $A </s>") == [[2], [2], []]  # BERT
    assert opening("$A", bos_token=None) == [[], [], []]


def test_a_class_that_adds_bos_without_a_template_opens_with_it(tokenizer_dir: str) -> None:
    from transformers import LlamaTokenizerFast

    def opening(**options: bool) -> list[int]:
        return opening_ids(
            LlamaTokenizerFast(tokenizer_file=f"{tokenizer_dir}/tokenizer.json", unk_token="<s>", **options)
        )

    assert opening(add_bos_token=True, add_eos_token=True) == [0]
    assert opening(add_bos_token=False, add_eos_token=True) == []


def test_a_vocabulary_that_lacks_the_letter_a_says_what_opens_a_text() -> None:
    from tokenizers import Tokenizer, models, processors
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE({"[CLS]": 0, "[SEP]": 1, "f": 2}, merges=[]))
    backend.post_processor = processors.BertProcessing(("[SEP]", 1), ("[CLS]", 0))
    assert opening_ids(PreTrainedTokenizerFast(tokenizer_object=backend)) == [0]


def test_rows_are_filled_with_pad_or_eos_or_zero(make_tokenizer: Callable[..., str]) -> None:
    def pad(**tokens: str | None) -> int:
        return pad_token_id(load_tokenizer(make_tokenizer(**tokens)))

    assert pad(pad_token="<|endoftext|>") == 4
    assert pad(pad_token=None) == 1
    assert pad(pad_token=None, eos_token=None) == 0


def test_equal_tokenizers_have_equal_fingerprints(make_tokenizer: Callable[..., str]) -> None:
    one, other = load_tokenizer(make_tokenizer()), load_tokenizer(make_tokenizer(None))
    assert fingerprint(one) == fingerprint(other)
    assert len(fingerprint(one)) == 32


def test_a_fingerprint_does_not_change_with_use(tokenizer: Any) -> None:
    before = fingerprint(tokenizer)
    tokenizer(["a", "the cell"], padding=True, truncation=True, max_length=4)
    assert fingerprint(tokenizer) == before


def test_a_fingerprint_tells_vocabularies_and_special_tokens_apart(
    make_tokenizer: Callable[..., str],
) -> None:
    plain = load_tokenizer(make_tokenizer())
    more = load_tokenizer(make_tokenizer())
    more.add_tokens(["cytokine"])
    others = [load_tokenizer(make_tokenizer(eos_token="<|im_end|>")), more]
    others.append(load_tokenizer(make_tokenizer(adds_bos=True)))
    assert len({fingerprint(each) for each in (plain, *others)}) == 4


def test_a_directory_without_a_tokenizer_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_tokenizer(str(tmp_path))
    said = str(caught.value)
    assert said.startswith(f"tokenizer {str(tmp_path)!r} cannot be loaded: ")
    assert said.endswith(
        "Give a directory that holds tokenizer.json, or a hub name "
        "(`tutelage models fetch smollm2-135m` makes a small model)."
    )
    assert "\n" not in said


def test_a_damaged_tokenizer_is_told(tokenizer_dir: str, tmp_path: Path) -> None:
    for path in Path(tokenizer_dir).iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "tokenizer.json").write_text('{"version": "1.0"')
    with pytest.raises(ConfigError, match="cannot be loaded"):
        load_tokenizer(str(tmp_path))


@pytest.mark.parametrize(
    "named",
    [
        "PreTrainedTokenizerFast",
        "LlamaTokenizer",
        "GPT2Tokenizer",
        "Qwen2TokenizerFast",
        "NoSuchTokenizer",
        None,
    ],
)
def test_the_class_is_the_one_that_transformers_would_choose(
    tokenizer: Any, tmp_path: Path, named: str | None
) -> None:
    from transformers import AutoTokenizer

    tokenizer.save_pretrained(tmp_path)
    path = tmp_path / "tokenizer_config.json"
    config = {**json.loads(path.read_text()), "tokenizer_class": named}
    path.write_text(json.dumps({name: value for name, value in config.items() if value is not None}))
    try:
        expected = type(AutoTokenizer.from_pretrained(str(tmp_path)))
    except Exception:
        with pytest.raises(ConfigError, match="cannot be loaded"):
            load_tokenizer(str(tmp_path))
        return
    assert type(load_tokenizer(str(tmp_path))) is expected
