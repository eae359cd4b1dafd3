"""Synthesizer tuning: training on a corpus of questions, with loss on the pair tokens only."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from schemas.errors import ConfigError
from schemas.train_config import DatasetConfig, TrainStreamConfig
from trainer import train
from trainer.data.batches import IGNORE_INDEX, RowRules, stack_rows, to_batch
from trainer.data.resolve_streams import resolve_streams

ROOT = Path(__file__).resolve().parents[3]
SEQ_LEN = 128


def labels_of(rows: list[tuple[list[int], list[int], list[int]]], **changes: Any) -> list[list[int]]:
    """Labels of rows of tokens, text lengths and loss spans."""
    stored = [
        {
            name: np.array(values, np.int32)
            for name, values in zip(("tokens", "segment_lengths", "loss_spans"), row, strict=True)
        }
        | {"row": number}
        for number, row in enumerate(rows)
    ]
    given = {"seq_len": 8, "vocab_size": 64, "attention_boundaries": True, "loss_on": "pairs", **changes}
    rules = RowRules(**given)
    stacked = stack_rows(stored, rules)
    batch = to_batch(stacked["tokens"], stacked["segment_lengths"], rules, stacked["loss_spans"])
    labels: list[list[int]] = batch["labels"].tolist()
    return labels


TOKENS = [10, 11, 12, 13, 14, 15, 16, 17]
_ = IGNORE_INDEX


def test_labels_are_the_tokens_of_the_spans_of_each_row() -> None:
    assert labels_of([(TOKENS, [8], [2, 4, 6, 7]), (TOKENS, [3, 4], [1, 3, 4, 7])]) == [
        [_, _, 12, 13, _, _, 16, _],
        [_, 11, 12, _, 14, 15, 16, _],
    ]


def test_spans_that_meet_and_rows_that_begin_and_end_with_loss() -> None:
    rows = [(TOKENS, [8], [0, 3, 3, 8]), (TOKENS, [8], [7, 8]), (TOKENS, [8], [0, 1])]
    assert labels_of(rows) == [TOKENS, [_] * 7 + [17], [10, *[_] * 7]]


def test_spans_give_no_loss_to_padding_or_to_the_first_token_of_a_text() -> None:
    row = (TOKENS, [3, 3], [0, 6])
    assert labels_of([row]) == [[10, 11, 12, _, 14, 15, _, _]]
    assert labels_of([row], attention_boundaries=False) == [[10, 11, 12, 13, 14, 15, _, _]]


def test_with_loss_on_all_tokens_spans_are_left_alone() -> None:
    assert labels_of([(TOKENS, [8], [2, 4])], loss_on="all") == [TOKENS]


@pytest.fixture
def tuning_corpus(tmp_path: Path, tiny_model: str) -> str:
    """Twelve contexts of one set with a question or two each, as SQuAD's JSON, in rows of 128 tokens."""
    from pipelines.increments.build import build_increment
    from schemas.config import validate
    from schemas.corpus_config import CorpusConfig

    paragraphs = [
        {
            "context": f"the cell {number} binds a dose of protein",
            "qas": [
                {"question": f"which gene {at}?", "answers": [{"text": f"gene {number}"}]}
                for at in range(1 + number % 2)
            ],
        }
        for number in range(12)
    ]
    path = tmp_path / "questions.json"
    path.write_text(json.dumps({"data": [{"title": "Cells", "paragraphs": paragraphs}]}))
    values = {
        "corpus": str(tmp_path / "tuning"),
        "streams": {"tuning": {"tuning": {}, "sources": [{"preset": "squad", "uri": str(path)}]}},
        "dedup": {"near": None},
        "tokenizer": {"name": tiny_model},
        "pack": {"seq_len": SEQ_LEN},
    }
    manifest = build_increment(validate(CorpusConfig, values, name="test"), quiet=True)
    assert manifest is not None
    return str(tmp_path / "tuning")


def pair_losses(corpus: str, tiny_model: str) -> tuple[list[float], list[float]]:
    """Cross entropy of each pair token, and of each other token but a text's first, text by text.

    It uses no code of the trainer: it finds pairs in the text, and each text passes the model alone.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from pipelines.store.packed_rows import read_rows
    from schemas.manifest import read_manifest

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    model = AutoModelForCausalLM.from_pretrained(tiny_model).eval()
    of_pairs: list[float] = []
    of_others: list[float] = []
    (shards,) = read_manifest(corpus).shard_sets("tuning")
    for row in read_rows(corpus, shards):
        tokens, at = row["tokens"].tolist(), 0
        for length in row["segment_lengths"].tolist():
            ids, at = tokens[at : at + length], at + length
            with torch.no_grad():
                logits = model(torch.tensor([ids])).logits[0]
            losses = torch.nn.functional.cross_entropy(
                logits[:-1], torch.tensor(ids[1:]), reduction="none"
            ).tolist()
            example: list[int] = []
            for token, loss in zip(ids, [None, *losses], strict=True):
                example = [token] if token == tokenizer.bos_token_id else [*example, token]
                is_pair = "</CON>\n\n" in tokenizer.decode(example[:-1])  # the text before it
                if loss is not None:
                    (of_pairs if is_pair else of_others).append(loss)
    return of_pairs, of_others


@pytest.mark.slow
def test_the_shipped_configuration_trains_on_pair_tokens_only(
    tuning_corpus: str, tiny_model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from schemas.manifest import read_manifest

    num_rows = read_manifest(tuning_corpus).shard_sets("tuning")[0].num_samples
    shipped = str(ROOT / "trainer" / "yamls" / "finetune-synthesizer.yaml")
    small = [
        f"variables.corpus={tuning_corpus}",
        f"model.pretrained_model_name_or_path={tiny_model}",
        f"global_train_batch_size={num_rows}",  # all rows are one batch
        "train_loader.num_workers=0",
        "max_duration=1ba",
        "scheduler.t_warmup=0ba",
        "save_interval=1ba",
        f"save_folder={tmp_path}/{{run_name}}",
        f"callbacks.hf_export.folder={tmp_path / 'export'}",
    ]
    assert train.main([shipped, *small, "--dry-run", "--gpu", "a100", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["streams"][0]["rows"] == num_rows

    here = ["model.init_device=cpu", "precision=fp32", "parallelism_config=null"]
    losses: dict[str, float] = {}
    for loss_on in ("pairs", "all"):
        of_run = [f"train_loader.dataset.loss_on={loss_on}", f"run_name={loss_on}"]
        assert train.main([shipped, *small, *here, *of_run, "--json"]) == 0
        losses[loss_on] = json.loads(capsys.readouterr().out.splitlines()[-1])["loss"]

    of_pairs, of_others = pair_losses(tuning_corpus, tiny_model)
    assert len(of_pairs) > 100 and len(of_others) > 100
    assert losses["pairs"] == pytest.approx(np.mean(of_pairs), abs=1e-5)
    assert losses["all"] == pytest.approx(np.mean(of_pairs + of_others), abs=1e-5)
    assert abs(losses["pairs"] - losses["all"]) > 1e-3


@pytest.mark.slow
def test_a_stream_that_does_not_name_its_pairs_is_refused(
    corpus: str, tuning_corpus: str, write_config: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    plain = TrainStreamConfig(corpus=corpus)
    with pytest.raises(ConfigError) as caught:
        resolve_streams(DatasetConfig(streams={"domain": plain}, loss_on="pairs"))
    assert str(caught.value).startswith(
        f"train_loader.dataset.loss_on is 'pairs', but rows of stream 'domain' in {corpus}/increments/000001/"
        "shards/domain do not say which of their tokens are pairs."
    )
    tuning = TrainStreamConfig(corpus=tuning_corpus)
    (found,) = resolve_streams(DatasetConfig(streams={"tuning": tuning}, loss_on="pairs"))
    assert found.num_samples > 0
    with pytest.raises(ConfigError, match="have rows of 128 and 32 tokens"):
        resolve_streams(DatasetConfig(streams={"tuning": tuning, "domain": plain}, loss_on="all"))
    assert train.main([write_config(), "train_loader.dataset.loss_on=pears"]) == 2
    assert "train_loader.dataset.loss_on" in capsys.readouterr().err
