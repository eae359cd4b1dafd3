"""The instruction trial: inputs of the two arms, and figures from their answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.instruction import (
    ARMS,
    KINDS,
    SEQ_LEN,
    Size,
    as_markdown,
    compare_arms,
    corpus_config,
    exposure,
    installed,
    right_answers,
    steps_for,
    summarize,
    train_config,
    write_domain,
)
from benchmarks.pharmacopoeia import ATTRIBUTES
from schemas import storage
from schemas.config import validate
from schemas.corpus_config import CorpusConfig
from schemas.manifest import Increment, Manifest, ShardSet, publish_manifest, read_manifest
from schemas.records import AugmentedText, from_json
from schemas.train_config import TrainConfig

SIZE = Size(seeds=(1, 2), drugs=6, tokens=1500, learning_rate=1e-4)


@pytest.fixture
def corpora(tmp_path: Path, smollm2: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[AugmentedText]]:
    """Texts of both arms' corpora, built as in the trial."""
    from pipelines.increments.build import build_increment

    monkeypatch.syspath_prepend(str(installed(tmp_path)))
    write_domain(tmp_path, drugs=SIZE.drugs, seed=1)
    texts = {}
    for arm in ARMS:
        config = corpus_config(arm, tmp_path, model=str(smollm2), seed=1)
        build_increment(validate(CorpusConfig, config, name="corpus.yaml"), quiet=True)
        fs, path = storage.filesystem(config["corpus"])
        texts[arm] = [
            from_json(AugmentedText, line)
            for file in sorted(fs.glob(f"{path}/increments/*/texts/*.jsonl.zst"))
            for line in storage.read_lines_zst(file)
        ]
    return texts


@pytest.mark.slow
def test_both_arms_hold_every_text_and_only_one_holds_the_pairs(
    corpora: dict[str, list[AugmentedText]], tmp_path: Path
) -> None:
    raw = [json.loads(line) for line in (tmp_path / "texts.jsonl").read_text().splitlines()]
    for arm, texts in corpora.items():
        whole = "\n".join(text.text for text in texts)
        assert all(whole.count(row["text"]) == 1 for row in raw), arm
        for about in ATTRIBUTES.values():
            for held_out in about.held_out:
                assert not any(held_out.format(drug=row["id"]) in whole for row in raw), arm
    assert sum(text.num_pairs for text in corpora["vanilla"]) == 0
    assert sum(text.num_pairs for text in corpora["instruction"]) == 3 * SIZE.drugs
    manifests = [read_manifest(str(tmp_path / arm / "corpus")) for arm in ARMS]
    assert [manifest.seq_len for manifest in manifests] == [SEQ_LEN, SEQ_LEN]


def test_the_questions_are_divided_by_what_the_pairs_ask(tmp_path: Path) -> None:
    write_domain(tmp_path, drugs=SIZE.drugs, seed=1)
    rows = {
        kind: [
            json.loads(line)["id"]
            for line in (tmp_path / "tasks" / f"{kind}.jsonl").read_text().split("\n")[:-1]
        ]
        for kind in KINDS
    }
    assert {kind: len(ids) for kind, ids in rows.items()} == {"asked": 18, "unasked": 18}
    assert len({*rows["asked"], *rows["unasked"]}) == 36


def test_the_arms_are_trained_alike_but_for_their_folders(tmp_path: Path) -> None:
    vanilla, instruction = (
        train_config(arm, tmp_path, model="m", seed=1, steps=4, learning_rate=1e-4) for arm in ARMS
    )
    validate(TrainConfig, instruction, name="train.yaml")
    assert instruction["train_loader"]["dataset"]["streams"]["domain"]["corpus"].endswith(
        "instruction/corpus"
    )
    assert json.loads(json.dumps(instruction).replace("instruction", "vanilla")) == vanilla


def write_answers(folder: Path, *, asked: dict[str, int], unasked: dict[str, int]) -> None:
    """Write files as `domain_eval` does, with a number of right answers for each drug and kind."""
    folder.mkdir(parents=True)
    for kind, of_drugs in (("asked", asked), ("unasked", unasked)):
        lines = [
            json.dumps({"id": f"{drug}:{n}", "answer": 2 if n < right else 0, "gold": [2]})
            for drug, right in of_drugs.items()
            for n in range(3)
        ]
        (folder / f"{kind}.jsonl").write_text("\n".join(lines) + "\n")


def test_answers_are_gathered_by_drug(tmp_path: Path) -> None:
    write_answers(tmp_path / "4", asked={"Velomide": 2, "Zoraxan": 0}, unasked={"Zoraxan": 1, "Velomide": 3})
    assert right_answers(tmp_path / "4") == {
        "all": {"Velomide": [1.0, 1.0, 0.0, 1.0, 1.0, 1.0], "Zoraxan": [0.0, 0.0, 0.0, 1.0, 0.0, 0.0]},
        "asked": {"Velomide": [1.0, 1.0, 0.0], "Zoraxan": [0.0, 0.0, 0.0]},
        "unasked": {"Velomide": [1.0, 1.0, 1.0], "Zoraxan": [1.0, 0.0, 0.0]},
    }


def test_the_difference_is_that_of_the_means_and_its_interval_that_of_drugs() -> None:
    same = compare_arms([[1, 0], [0, 0]], [[1, 0], [0, 0]])
    assert same == {"difference": 0.0, "interval": [0.0, 0.0]}
    better = compare_arms([[0, 0], [0, 0], [1, 0], [1, 0]], [[1, 1], [0, 0], [1, 0], [1, 1]])
    assert better["difference"] == pytest.approx(0.375)
    low, high = better["interval"]  # type: ignore[misc]
    assert 0.0 <= low < 0.375 < high <= 1.0


def write_manifest(corpus: Path) -> None:
    """Manifest of a corpus of three rows, with 120 repeated tokens and 52 of padding."""
    shards = ShardSet(path="shards", num_samples=3, num_tokens=1100, num_texts=12, num_repeated_tokens=120)
    increment = Increment(number=1, streams={"domain": shards}, num_documents=12)
    manifest = Manifest(
        number=1,
        created="2026-01-01T00:00:00Z",
        seq_len=SEQ_LEN,
        tokenizer="0",
        tokenizer_name="tiny",
        pad_token_id=0,
        config_hash="0",
        increments=(increment,),
    )
    publish_manifest(str(corpus), manifest)


def test_a_training_takes_more_steps_where_rows_hold_padding(tmp_path: Path) -> None:
    write_manifest(tmp_path)
    assert steps_for(11_000, str(tmp_path)) == 30  # without padding, 29 rows hold as many tokens


def test_what_is_repeated_to_fill_a_row_counts_as_seen_again(tmp_path: Path) -> None:
    write_manifest(tmp_path)
    assert exposure(str(tmp_path), steps=6) == {"text_tokens": 2200, "times_seen": pytest.approx(2200 / 980)}


def test_the_report_has_means_over_seeds_and_pools_the_drugs(tmp_path: Path) -> None:
    training = {"steps": 4, "tokens": 1536, "seconds": 20.0, "loss": 1.25}
    asked_right = {"vanilla": {0: 0, 10: 0, 19: 1}, "instruction": {0: 0, 11: 2, 21: 3}}
    for seed in SIZE.seeds:
        drugs = [f"Velo{seed}", f"Zora{seed}"]
        for arm, of_batches in asked_right.items():
            for batch, right in of_batches.items():
                write_answers(
                    tmp_path / f"seed-{seed}" / arm / "eval" / str(batch),
                    asked=dict.fromkeys(drugs, min(3, right + seed - 1)),
                    unasked=dict.fromkeys(drugs, 1),
                )
            write_manifest(tmp_path / f"seed-{seed}" / arm / "corpus")
            (tmp_path / f"seed-{seed}" / arm / "train.json").write_text(json.dumps(training))
    report = summarize(tmp_path, SIZE)
    assert report["accuracy"]["asked"] == {
        "base": [0.0, pytest.approx(1 / 3)],
        "vanilla": [pytest.approx(1 / 3), pytest.approx(2 / 3)],
        "instruction": [1.0, 1.0],
    }
    assert report["instruction_less_vanilla"]["asked"]["difference"] == pytest.approx(0.5)
    assert report["instruction_less_vanilla"]["unasked"]["difference"] == 0.0
    assert as_markdown(report).splitlines() == [
        "| facts | base | vanilla | instruction | instruction - vanilla, 95 % |",
        "|---|---|---|---|---|",
        "| all | 25.0 ± 11.8 | 41.7 ± 11.8 | 66.7 ± 0.0 | +25.0 [+16.7, +33.3] |",
        "| asked | 16.7 ± 23.6 | 50.0 ± 23.6 | 100.0 ± 0.0 | +50.0 [+33.3, +66.7] |",
        "| unasked | 33.3 ± 0.0 | 33.3 ± 0.0 | 33.3 ± 0.0 | +0.0 [+0.0, +0.0] |",
        "",
        "| all facts, after | vanilla | instruction |",
        "|---|---|---|",
        "| 0% of it | 25.0 ± 11.8 | 25.0 ± 11.8 |",
        "| 50% of it | 25.0 ± 11.8 | 58.3 ± 11.8 |",
        "| 100% of it | 41.7 ± 11.8 | 66.7 ± 0.0 |",
        "",
        "| arm | tokens learned from | padding | each text seen | last loss | tokens/s |",
        "|---|---|---|---|---|---|",
        "| vanilla | 1,467 | 4% | 1.5 times | 1.25 | 77 |",
        "| instruction | 1,467 | 4% | 1.5 times | 1.25 | 77 |",
    ]
