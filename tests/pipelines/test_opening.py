"""Tokenizers that open a text with two tokens, and close it with a token other than EOS."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.steps.loss_spans import ends_of_examples, tokenize_examples
from pipelines.steps.tokenize import ends
from plugins.plain_token_ids import plain_ids
from plugins.tasks.rows import ChoiceRow, GenerateRow
from plugins.tokenizers import load_tokenizer
from schemas.corpus_config import CorpusConfig, TokenizerConfig
from schemas.errors import CorpusError
from schemas.manifest import read_manifest
from tests.tiny import save_bpe
from trainer.evaluation.scoring.encoding import EncodedRow, encode_row
from trainer.evaluation.scoring.generation import Prompt, encode_prompts

EOS, GMASK, SOP, SEP = 0, 1, 2, 3


@pytest.fixture(scope="module")
def opening_two(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tokenizer that opens with `[gMASK]<sop>` and closes with `[SEP]`; it has no BOS."""
    from tokenizers import processors

    special = ["<|endoftext|>", "[gMASK]", "<sop>", "[SEP]"]
    return save_bpe(
        tmp_path_factory.mktemp("two"),
        ["the cell protein binds a dose in the trial of a patient gene"] * 4,
        vocab_size=400,
        special_tokens=special,
        post_processor=processors.TemplateProcessing(
            single="[gMASK] <sop> $A [SEP]",
            pair="[gMASK] <sop> $A $B [SEP]",
            special_tokens=[(name, number) for number, name in enumerate(special)],
        ),
        eos_token="<|endoftext|>",
    )


@pytest.mark.parametrize(("add_bos", "before"), [(None, [1, 2]), (True, [1, 2]), (False, [])])
def test_a_text_opens_with_both_tokens_and_ends_in_eos_alone(
    opening_two: str, add_bos: bool | None, before: list[int]
) -> None:
    config = TokenizerConfig(name=opening_two, add_bos=add_bos)
    assert ends(load_tokenizer(opening_two), config) == (before, [EOS])


def test_a_tuning_example_opens_with_both_and_neither_carries_loss(opening_two: str) -> None:
    tokenizer = load_tokenizer(opening_two)
    assert ends_of_examples(tokenizer, TokenizerConfig(name=opening_two)) == ([GMASK, SOP], EOS)
    ((tokens, without_loss),) = tokenize_examples(tokenizer, [("the cell", " binds")])
    assert tokens.tolist() == [GMASK, SOP, *plain_ids(tokenizer, "the cell binds").tolist(), EOS]
    assert without_loss == 2 + len(plain_ids(tokenizer, "the cell"))


def test_a_scored_row_and_a_prompt_open_with_both_and_are_not_closed(opening_two: str) -> None:
    tokenizer = load_tokenizer(opening_two)
    cell, binds = (plain_ids(tokenizer, text).tolist() for text in ("the cell", " binds"))
    row = ChoiceRow(row_id="1", position="f:1", inputs=("the cell",) * 2, options=("binds", "a"), gold=(0,))
    encoded = encode_row(0, row, tokenizer, add_bos=True, context_tokens=64)
    assert isinstance(encoded, EncodedRow)
    assert encoded.sequences[0] == [GMASK, SOP, *cell, *binds]
    assert encoded.starts == [2 + len(cell)] * 2
    cut = encode_row(0, row, tokenizer, add_bos=True, context_tokens=3 + len(binds))
    assert isinstance(cut, EncodedRow)
    assert cut.sequences[0] == [GMASK, SOP, cell[-1], *binds]
    (prompt,) = encode_prompts(
        [GenerateRow(row_id="1", position="f:1", input="the cell", labels=("x",))],
        tokenizer,
        add_bos=True,
        context_tokens=9,
        max_new_tokens=6,
    )
    assert prompt == Prompt(token_ids=[GMASK, SOP, cell[-1]], is_truncated=True)


def rows(uri: str | Path) -> list[list[int]]:
    StreamingDataset = pytest.importorskip("streaming").StreamingDataset

    (shards,) = read_manifest(str(uri)).shard_sets("domain")
    found = StreamingDataset(local=str(Path(uri) / shards.path), shuffle=False, batch_size=1)
    return [np.asarray(found[number]["tokens"]).tolist() for number in range(shards.num_samples)]


@pytest.mark.slow
def test_a_corpus_of_such_a_tokenizer_is_opened_and_not_mixed_with_texts_that_are_not(
    opening_two: str,
    tmp_path: Path,
    corpus_config: Callable[..., CorpusConfig],
    build: Callable[..., Any],
    passages: Callable[[int], list[dict[str, str]]],
    write_jsonl: Callable[[Path, Sequence[Any]], str],
) -> None:
    source = write_jsonl(tmp_path / "in" / "a.jsonl", passages(4))

    def config(**options: Any) -> CorpusConfig:
        named = {"name": opening_two, **options}
        return corpus_config(tmp_path / "corpus", str(Path(source).parent / "*.jsonl"), tokenizer=named)

    build(config())
    manifest = read_manifest(str(tmp_path / "corpus"))
    assert (manifest.opening, manifest.closing) == ((GMASK, SOP), (EOS,))
    (shards,) = manifest.shard_sets("domain")
    for row in rows(tmp_path / "corpus"):
        ends_at = [at for at, token in enumerate(row) if token == EOS and row[at - 1] != EOS]
        starts = [0, *(end + 1 for end in ends_at[:-1])]
        assert {tuple(row[start : start + 2]) for start in starts} == {(GMASK, SOP)}
        assert row.count(GMASK) == row.count(SOP) == len(starts) and SEP not in row
        assert len(starts) == shards.num_texts

    write_jsonl(tmp_path / "in" / "b.jsonl", [{"id": "later", "text": passages(9)[8]["text"]}])
    with pytest.raises(CorpusError, match="new ones would end with nothing"):
        build(config(add_eos=False))
    with pytest.raises(CorpusError, match="add_bos to what it was, or build"):
        build(config(add_bos=False))

    # The form of older versions, in which only BOS opened a text.
    path = tmp_path / "corpus" / "manifest" / "000001.json"
    before = json.loads(path.read_text())
    del before["opening"], before["closing"]
    path.write_text(json.dumps(before))
    with pytest.raises(CorpusError) as caught:
        build(config())
    assert str(caught.value) == (
        f"{tmp_path / 'corpus'}: its texts begin with nothing, and new ones would begin with [gMASK]<sop>: "
        "the corpus would mix rows of both kinds. Set tokenizer.add_bos to false, or build a new corpus."
    )
    build(config(add_bos=False))
    assert read_manifest(str(tmp_path / "corpus")).opening == ()
