"""`tutelage tokenizer extend`: added and omitted tokens of a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from plugins.commands.main import main
from plugins.plain_token_ids import _encoder_of, _own_encoder, plain_ids
from plugins.tokenizers import load_tokenizer


@pytest.fixture
def extend(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, dict[str, list[str]], str]]:
    """Run the command on some lines; return its status, its JSON and its standard error."""

    def run(base: str, lines: str) -> tuple[int, dict[str, list[str]], str]:
        (tmp_path / "tokens.txt").write_text(lines, encoding="utf-8")
        output = str(tmp_path / "extended")
        capsys.readouterr()
        named = {"--tokenizer": base, "--tokens": str(tmp_path / "tokens.txt"), "--output": output}
        status = main(["tokenizer", "extend", "--json", *(word for pair in named.items() for word in pair)])
        said = capsys.readouterr()
        return status, json.loads(said.out or "{}"), said.err

    return run


def test_new_tokens_are_ordinary_ones_and_each_line_is_accounted_for(
    tokenizer_dir: str, extend: Callable[..., tuple[int, dict[str, list[str]], str]], tmp_path: Path
) -> None:
    status, found, said = extend(tokenizer_dir, "cytokine\n\nthe\ncytokine\n<s>\n TNF-α\n<s>x\n")
    assert status == 0
    assert {what: tokens for what, tokens in found.items() if tokens} == {
        "added": ["cytokine", " TNF-α", "<s>x"],
        "empty": [""],
        "repeated in the file": ["cytokine"],
        "that the tokenizer has already": ["the", "<s>"],
    }
    assert "left out: 2 that the tokenizer has already: 'the', '<s>'\n" in said
    assert said.endswith(f"{tokenizer_dir} and 3 new tokens: 'cytokine', ' TNF-α', '<s>x'\n")

    base, extended = load_tokenizer(tokenizer_dir), load_tokenizer(str(tmp_path / "extended"))
    size = len(base)
    text = "a cytokine, TNF-α <s>"
    ids = plain_ids(extended, text).tolist()
    assert ids == extended(text, add_special_tokens=False).input_ids
    assert ids == [
        *plain_ids(base, "a ").tolist(),
        size,
        *plain_ids(base, ",").tolist(),
        size + 1,
        *plain_ids(base, " <s>").tolist(),
    ]
    assert extended.decode(ids) == text
    assert plain_ids(extended, "the cell").tolist() == plain_ids(base, "the cell").tolist()
    # fastokens gives the same ids, so it replaces the backend's encoder, which is six times slower.
    assert _encoder_of(extended).__qualname__ != _own_encoder(extended.backend_tokenizer).__qualname__


def test_tokens_around_which_other_text_would_be_read_are_left_out(
    extend: Callable[..., tuple[int, dict[str, list[str]], str]], tmp_path: Path
) -> None:
    from tokenizers import Tokenizer, decoders, models, normalizers
    from transformers import PreTrainedTokenizerFast

    letters = {name: number for number, name in enumerate("▁abcdefghijklmnopqrstuvwxyz()")}
    backend = Tokenizer(models.BPE(letters, []))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    PreTrainedTokenizerFast(tokenizer_object=backend).save_pretrained(tmp_path / "llama")
    status, _, said = extend(str(tmp_path / "llama"), "cytokine\n")
    assert status == 2
    assert "has no token to add (1 around which it would read other text: 'cytokine')." in said


def test_what_is_too_long_or_read_as_bytes_is_left_out_by_name_at_once(
    tokenizer_dir: str, extend: Callable[..., tuple[int, dict[str, list[str]], str]]
) -> None:
    composed, decomposed = "Sj\u00f6gren", "Sjo\u0308gren"
    lines = ["x" * 40_000, "y" * 256, composed, f" {composed}", decomposed, "the", "α-Ménière"]
    status, found, said = extend(tokenizer_dir, "\n".join(lines))
    assert status == 0
    assert {what: tokens for what, tokens in found.items() if tokens} == {
        "added": ["y" * 256, f" {composed}", decomposed, "α-Ménière"],
        "longer than 256 characters": ["x" * 40_000],
        "that the tokenizer has already": ["the"],
        "that its byte-level decoder would read as bytes": [composed],
    }
    assert f"left out: 1 longer than 256 characters: '{'x' * 60}'… of 40,000 characters\n" in said
    assert (
        f"left out: 1 that its byte-level decoder would read as bytes: '{composed}'; with a blank before it "
        f"it can be added: ' {composed}'\n"
    ) in said
    assert "' Sj\u00f6gren', 'Sjo\\u0308gren', 'α-Ménière'\n" in said


def test_a_folder_that_is_not_empty_and_a_missing_file_are_refused(
    tokenizer_dir: str, extend: Callable[..., tuple[int, dict[str, list[str]], str]], tmp_path: Path
) -> None:
    assert extend(tokenizer_dir, "")[2].endswith("has no token to add (it is empty).\n")
    (tmp_path / "extended").mkdir()
    (tmp_path / "extended/notes").write_text("mine")
    status, _, said = extend(tokenizer_dir, "cytokine")
    assert (status, "exists and is not empty" in said) == (2, True)
    assert main(["tokenizer", "extend", "--tokenizer", "x", "--tokens", "no", "--output", "y"]) == 2


def test_a_word_that_is_one_unknown_token_is_new(
    extend: Callable[..., tuple[int, dict[str, list[str]], str]], tmp_path: Path
) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.WordLevel({"[UNK]": 0, "the": 1}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]").save_pretrained(tmp_path / "words")
    status, found, _ = extend(str(tmp_path / "words"), "fever\nthe\n")
    assert (status, found["added"], found["that the tokenizer has already"]) == (0, ["fever"], ["the"])
    assert plain_ids(load_tokenizer(str(tmp_path / "extended")), "the fever").tolist() == [1, 2]
