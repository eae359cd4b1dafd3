"""The study's domain, arms, units and command."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from benchmarks.instruction import __main__ as command
from benchmarks.instruction.arms import ARMS, Settings, corpus_config, train_config
from benchmarks.instruction.domain import asked_attributes, write_domain
from benchmarks.instruction.measures import MEASURES, is_best_of_few, read_measures
from benchmarks.instruction.unit import result_path
from benchmarks.pharmacopoeia import ATTRIBUTES, make_drugs
from plugins.tasks.lookup import load_tasks
from schemas.config import validate
from schemas.corpus_config import CorpusConfig
from schemas.train_config import TrainConfig


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_each_asked_fact_has_four_wordings_and_no_told_fact_has_a_pair(tmp_path: Path) -> None:
    write_domain(tmp_path, drugs=12, seed=3)
    pairs = {(pair["instruction"], pair["response"]) for pair in lines(tmp_path / "pairs-half.jsonl")}
    expected = {
        (wording.format(drug=drug.name), drug.facts[attribute])
        for drug in make_drugs(12, seed=3)
        for attribute in asked_attributes(drug, seed=3)
        for wording in ATTRIBUTES[attribute].asked
    }
    assert len(expected) == 12 * 3 * 4
    assert pairs == expected
    assert len(lines(tmp_path / "pairs-all.jsonl")) == 12 * 6 * 4
    assert len(lines(tmp_path / "texts.jsonl")) == 12 * 4


def test_half_of_a_drugs_facts_are_asked_and_the_tasks_say_which(tmp_path: Path) -> None:
    write_domain(tmp_path, drugs=12, seed=3)
    tasks = {task.name: task for task in load_tasks([str(tmp_path / "tasks")])}
    assert {name: task.kind for name, task in tasks.items()} == {
        "questions": "choice",
        "completions": "choice",
        "written": "generate",
        "letters": "perplexity",
        "general": "perplexity",
    }
    for name, count in (("questions", 72), ("completions", 36), ("written", 36)):
        groups = Counter(row["id"].split(":")[0] for row in lines(tmp_path / "tasks" / f"{name}.jsonl"))
        assert groups == {"asked": count, "told": count}
    of_drugs = {drug.name: asked_attributes(drug, seed=3) for drug in make_drugs(12, seed=3)}
    for row in lines(tmp_path / "tasks" / "questions.jsonl"):
        group, drug, attribute, _ = row["id"].split(":")
        assert (group == "asked") == (attribute in of_drugs[drug])
        assert len(row["options"]) == 12
    held_out = [row["id"] for row in lines(tmp_path / "tasks" / "general.jsonl")]
    kept = [row["id"] for row in lines(tmp_path / "general.jsonl")]
    assert (len(held_out), len(kept), set(held_out) & set(kept)) == (16, 144, set())


@pytest.mark.parametrize("name", ARMS)
def test_the_yamls_of_an_arm_are_valid_and_differ_from_plain_in_the_streams_alone(
    name: str, tmp_path: Path
) -> None:
    common: dict[str, Any] = {"domain": tmp_path / "domain", "settings": Settings(), "seed": 1}
    corpus = corpus_config(ARMS[name], tmp_path, **common)
    train = train_config(ARMS[name], tmp_path, steps=100, **common)
    validate(CorpusConfig, corpus, name="corpus.yaml")
    validate(TrainConfig, train, name="train.yaml")
    plain = train_config(ARMS["plain"], tmp_path, steps=100, **common)
    assert {key for key in train if train[key] != plain[key]} <= {"train_loader"}
    assert set(corpus["streams"]) == ({"domain", "general"} if ARMS[name].has_general else {"domain"})


def test_measures_are_read_by_drug_from_the_evaluators_answers(tmp_path: Path) -> None:
    scores = [-9.0] * 12
    files = {
        "questions": [
            {"id": "asked:Velomide:dose:0", "answer": 2, "gold": [2], "option_scores": [-9.0, -9.0, -1.0]},
            {"id": "asked:Velomide:dose:1", "answer": 0, "gold": [2], "option_scores": [-1.0, -9.0, -3.0]},
            {"id": "told:Velomide:city:0", "answer": 0, "gold": [1], "option_scores": [-1.0, -8.0, -9.0]},
        ],
        "completions": [{"id": "told:Velomide:city:0", "answer": 1, "gold": [1], "option_scores": []}],
        "written": [{"id": "asked:Velomide:dose:0", "answer": " 15 mg.", "gold": ["15 mg"]}],
        "letters": [{"id": "Velomide", "bits": 30.0, "bytes": 20}],
        "general": [{"id": "general-0001", "bits": 10.0, "bytes": 20}],
    }
    for row in files["questions"]:
        row["option_scores"] = [*row["option_scores"], *scores[3:]]
    for name, rows in files.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    found = read_measures(tmp_path)
    assert list(found) == list(MEASURES)
    assert found["asked, 12 options"] == {"Velomide": 0.5}
    assert found["told, 12 options"] == {"Velomide": 0.0}
    assert found["all, 12 options"] == {"Velomide": pytest.approx(1 / 3)}
    assert found["asked, log-probability"] == {"Velomide": -2.0}
    assert found["told, completion"] == {"Velomide": 1.0}
    assert found["asked, exact match"] == {"Velomide": 1.0}
    assert found["told, exact match"] == {}
    assert found["bits a byte, held out"] == {"Velomide": 1.5}
    assert found["bits a byte, general"] == {"general-0001": 0.5}


def test_four_options_are_the_right_one_and_three_that_the_rows_id_draws() -> None:
    ahead, behind, tied = [-1.0, *[-2.0] * 11], [-3.0, *[-2.0] * 11], [-2.0] * 12
    assert is_best_of_few("a", ahead, 0)
    assert not is_best_of_few("a", behind, 0)
    assert not is_best_of_few("a", tied, 0)
    one_better = [-2.0, -1.0, *[-3.0] * 10]  # 3 of 11 wrong options are drawn
    wins = sum(is_best_of_few(f"row {number}", one_better, 0) for number in range(1100))
    assert wins == pytest.approx(800, abs=60)


def write_result(output: Path, seed: int, arm: str, settings: Settings, *, seconds: float = 100) -> None:
    """Write a unit's result in which every measure rises from 0 to 1."""
    points = [
        {"share": share, "tokens": 100 * share, "measures": {name: {"Velomide": share} for name in MEASURES}}
        for share in (0.0, 1.0)
    ]
    result = {
        **{"arm": arm, "seed": seed, "settings": dataclasses.asdict(settings), "steps": 10, "loss": 1.0},
        **{"times_seen": {"domain": 2.0}, "build_seconds": 5, "seconds": seconds, "points": points},
    }
    path = result_path(output, seed, arm)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result))


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str]]:
    """Replace units by results that are written at once; return which ran."""
    done: list[tuple[int, str]] = []

    def run(output: Path, seed: int, arm: str, settings: Settings) -> None:
        done.append((seed, arm))
        write_result(output, seed, arm, settings)

    monkeypatch.setattr(command, "run_unit", run)
    return done


def test_a_rerun_skips_finished_units_and_says_so(
    tmp_path: Path, ran: list[tuple[int, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    write_result(tmp_path, 0, "plain", Settings())
    arguments = ["--output", str(tmp_path), "--arms", "instruction-half", "plain", "--seeds", "0", "1"]
    assert command.main(arguments) == 0
    assert ran == [(0, "instruction-half"), (1, "plain"), (1, "instruction-half")]
    assert "seed 0, plain: finished earlier, skipped" in capsys.readouterr().err
    assert command.main(arguments) == 0
    assert len(ran) == 3
    for name in ("results.json", "report.md", "curves.svg"):
        assert (tmp_path / name).stat().st_size > 100


def test_no_unit_starts_that_would_end_after_the_given_minutes(
    tmp_path: Path, ran: list[tuple[int, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    write_result(tmp_path, 1, "plain", Settings(), seconds=700)
    assert command.main(["--output", str(tmp_path), "--minutes", "11"]) == 0
    assert ran == []
    assert "a unit takes about 12; left: 47 units" in capsys.readouterr().err


def test_report_runs_nothing(tmp_path: Path, ran: list[tuple[int, str]]) -> None:
    assert command.main(["--output", str(tmp_path), "--report"]) == 1
    write_result(tmp_path, 1, "plain", Settings())
    assert command.main(["--output", str(tmp_path), "--report"]) == 0
    assert ran == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--arms", "instruction"], "arm 'instruction' is unknown. Did you mean 'instruction-"),
        (["--arms", "base"], "base needs no training; it is the first point of every arm"),
        (["--drugs", "10"], "--drugs is 10, expected a multiple of 12"),
    ],
)
def test_wrong_use_is_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], ran: list[tuple[int, str]]
) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
    assert ran == []


def test_results_of_other_settings_are_refused(
    tmp_path: Path, ran: list[tuple[int, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    write_result(tmp_path, 1, "plain", Settings(tokens=1000))
    assert command.main(["--output", str(tmp_path)]) == 1
    assert "plain.json: tokens is 1000, expected 38400" in capsys.readouterr().err
    assert ran == []


@pytest.mark.slow
def test_a_unit_builds_trains_and_scores_at_six_points(tmp_path: Path) -> None:
    from tests.tiny import save_bpe, save_llama

    words = [" ".join(about.asked) for about in ATTRIBUTES.values()]
    model = tmp_path / "model"
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>"}
    save_bpe(model, words * 4, vocab_size=600, special_tokens=["<s>", "</s>"], **special)
    save_llama(model, vocab_size=2048, seed=5, max_position_embeddings=512, tie_word_embeddings=True)
    output = tmp_path / "out"
    arguments = ["--output", str(output), "--model", str(model), "--tokens", "4000", "--seeds", "0"]
    assert command.main([*arguments, "--arms", "instruction-half"]) == 0
    result = json.loads(result_path(output, 0, "instruction-half").read_text("utf-8"))
    assert result["steps"] >= 10
    assert result["points"][-1]["tokens"] == pytest.approx(4000, abs=200)
    assert [round(point["share"], 1) for point in result["points"]] == [0, 0.2, 0.4, 0.6, 0.8, 1]
    for point in result["points"]:
        sizes = {name: len(of_entries) for name, of_entries in point["measures"].items()}
        assert sizes == dict.fromkeys(MEASURES, 12) | {"bits a byte, general": 16}
    assert not list((output / "seed-0").rglob("*.safetensors"))
