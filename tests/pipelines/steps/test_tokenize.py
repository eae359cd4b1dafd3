from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from pipelines.steps.tokenize import TokenizedText, TokenizeTexts, ends
from plugins.tokenizers import load_tokenizer
from schemas.corpus_config import TokenizerConfig
from schemas.errors import ConfigError
from schemas.records import AugmentedText, Passage, Reject

EOS, BOS = 0, 1


def text(body: str) -> AugmentedText:
    passages = tuple(
        Passage(document_id=name, content_hash="0", source=f"file:{name}", start=0, end=len(body))
        for name in ("a", "b")
    )
    return AugmentedText(
        text_id=f"id of {body}", text=body, passages=passages, num_pairs=0, template="raw", seed=0
    )


def tokenize(config: TokenizerConfig, *bodies: str) -> list[Any]:
    step: TokenizeTexts = pickle.loads(pickle.dumps(TokenizeTexts(config)))
    step.setup()
    return list(step.process([text(body) for body in bodies]))


@pytest.mark.parametrize(
    ("add_bos", "add_eos", "before", "after"),
    [
        (None, True, [], [EOS]),  # this tokenizer does not add a BOS
        (True, True, [BOS], [EOS]),
        (False, False, [], []),
    ],
)
def test_bos_and_eos_stand_around_each_text(
    tokenizer_dir: str, add_bos: bool | None, add_eos: bool, before: list[int], after: list[int]
) -> None:
    plain = load_tokenizer(tokenizer_dir)("the cell", add_special_tokens=False).input_ids
    config = TokenizerConfig(name=tokenizer_dir, add_bos=add_bos, add_eos=add_eos)
    (found,) = tokenize(config, "the cell")
    assert found.tokens.tolist() == before + plain + after
    assert found.tokens.dtype == "int32"


@pytest.mark.parametrize("special", ["<|endoftext|>", "<s>"])
def test_special_strings_in_a_text_stay_plain_text(tokenizer_dir: str, special: str) -> None:
    body = f"a {special} b</END>{special}"
    (found,) = tokenize(TokenizerConfig(name=tokenizer_dir), body)
    *inside, last = found.tokens.tolist()
    assert last == EOS
    assert EOS not in inside
    assert BOS not in inside
    assert load_tokenizer(tokenizer_dir).decode(inside) == body


def test_a_batch_keeps_each_text_with_its_own_tokens(tokenizer_dir: str) -> None:
    config = TokenizerConfig(name=tokenizer_dir)
    both = tokenize(config, "the cell", "a dose")
    alone = tokenize(config, "the cell") + tokenize(config, "a dose")
    assert [(each.text, each.tokens.tolist()) for each in both] == [
        (each.text, each.tokens.tolist()) for each in alone
    ]


def test_a_text_without_tokens_is_rejected_by_its_documents_and_costs_only_itself(tokenizer_dir: str) -> None:
    *empty, good = tokenize(TokenizerConfig(name=tokenizer_dir), "", "the cell")
    assert [each.value for each in empty] == [
        Reject(stage="tokenize", reason="no_tokens", document_id=name, source=f"file:{name}", detail="")
        for name in ("a", "b")
    ]
    assert isinstance(good, TokenizedText)


def test_a_text_longer_than_the_models_context_gives_no_warning(
    tokenizer_dir: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (tmp_path / name).write_bytes((Path(tokenizer_dir) / name).read_bytes())
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({**config, "model_max_length": 8}))
    (found,) = tokenize(TokenizerConfig(name=str(tmp_path)), "the cell " * 50)
    assert len(found.tokens) > 8
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"add_bos": True},
            "tokenizer.add_bos is true, but tokenizer 'x' has no BOS token; "
            "set it to false or choose another tokenizer.",
        ),
        (
            {"add_eos": True},
            "tokenizer.add_eos is true, but tokenizer 'x' has no EOS token; "
            "set it to false or choose another tokenizer.",
        ),
    ],
)
def test_an_end_that_the_tokenizer_lacks_is_refused(
    tokenizer_dir: str, values: dict[str, bool], message: str
) -> None:
    tokenizer = load_tokenizer(tokenizer_dir)
    tokenizer.bos_token = tokenizer.eos_token = None
    with pytest.raises(ConfigError) as caught:
        ends(tokenizer, TokenizerConfig(name="x", **{"add_eos": False, **values}))
    assert str(caught.value) == message
