"""The report of runs: their files side by side; what a run lacks is said."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from plugins.report.blocks import Chart, Note, Part, Table
from plugins.report.page import render
from schemas.errors import CorpusError
from tests.attacks.mutations import mutate_json, mutate_lines
from trainer.reporting import run_part as run_parts
from trainer.reporting.run_folder import read_run
from trainer.reporting.run_part import run_part

Q = "Question: which nerve?"


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def write_run(folder: Path, answers: list[list[int]], *, described: bool = True, loss: float = 3.0) -> str:
    """A run of two steps, evaluated once for each list of answers; option 1 of four is right."""
    write_lines(
        folder / "metrics.jsonl",
        [
            {"step": at, "time/batch": at + 1, "time/token": 100 * (at + 1), "loss/train/total": loss - at}
            | {"train/tokens_per_sec": 50.0, "train/learning_rate": 0.01, "loss/nan": None}
            for at in range(2)
        ],
    )
    write_lines(folder / "tasks/nerves.jsonl", [{"input": Q, "options": [" a", " b", " c", " d"]}] * 4)
    evaluations = []
    for at, chosen in enumerate(answers):
        share = sum(answer == 1 for answer in chosen) / len(chosen)
        scores = {"nerves/accuracy": share, "texts/bits_per_byte": 2.0 - at, "anatomy/average": share}
        evaluations.append({"batch": at, "tokens": 100 * at, "scores": scores})
        rows = [
            {"position": f"{folder}/tasks/nerves.jsonl:{line}", "answer": answer, "gold": [1]}
            | {"option_scores": [0.0] * 4}
            for line, answer in enumerate(chosen, start=1)
        ]
        write_lines(folder / f"answers/eval/{at}/nerves.jsonl", rows)
        texts = [{"position": str(line), "bits": 8.0 * (2 - at), "bytes": 8} for line in range(2)]
        write_lines(folder / f"answers/eval/{at}/texts.jsonl", texts)
    if answers:
        write_lines(folder / "answers/scores.jsonl", evaluations)
    description = {
        "run_name": folder.name,
        "evaluations": "answers",
        "seconds": {"training steps": 30.0, "evaluations": 10.0},
        "streams": [
            {"name": "domain", "corpus": "gs://bucket/corpus", "manifest": 3, "rows_per_epoch": 75},
            {"name": "general", "corpus": "gs://bucket/corpus", "manifest": 3, "rows_per_epoch": 25},
        ],
        "versions": {"torch": "2.7.0", "device": "CPU"},
        "config": {"seed": 17, "optimizer": {"lr": loss}},
    }
    if described:
        (folder / "description.json").write_text(json.dumps(description))
    return str(folder)


def tables(part: Part, title: str) -> list[Table]:
    return [each for each in blocks(part, title) if isinstance(each, Table)]


def notes(part: Part, title: str) -> list[str]:
    return [each.text for each in blocks(part, title) if isinstance(each, Note)]


def blocks(part: Part, title: str) -> list[Any]:
    return [block for section in part.sections if section.title == title for block in section.blocks]


def test_two_runs_are_shown_side_by_side(tmp_path: Path) -> None:
    part = run_part(
        [
            write_run(tmp_path / "plain", [[0, 0, 1, 2], [0, 1, 3, 1]]),
            write_run(tmp_path / "pairs", [[0, 0, 1, 2], [1, 1, 1, 1]], loss=4.0),
        ]
    )
    assert part.title == "Runs plain, pairs"
    (overview,) = tables(part, "At a glance")
    assert overview.rows == [("plain", 2, 200, 2.0, 50.0, None, 2), ("pairs", 2, 200, 3.0, 50.0, None, 2)]
    charts = [each for each in blocks(part, "Training") if isinstance(each, Chart)]
    assert [(each.title, each.legend) for each in charts] == [
        ("Loss", ["plain", "pairs"]),
        ("Learning rate", ["plain", "pairs"]),
        ("Speed", ["plain", "pairs"]),
    ]
    assert notes(part, "Training") == [
        "MFU: share of the GPUs' peak: none logged by plain, pairs.",
    ]
    trends = [each for each in blocks(part, "Scores") if isinstance(each, Chart)]
    assert [each.title for each in trends] == [
        "anatomy/average",
        "nerves/accuracy",
        "texts/bits_per_byte (lower is better)",
    ]
    (scores,) = tables(part, "Scores")
    assert scores.rows == [
        ("anatomy/average", "plain", "0.250", "0.500", "+0.250"),
        ("anatomy/average", "pairs", "0.250", "1.000", "+0.750"),
        ("nerves/accuracy", "plain", "0.250 [0.000, 0.750]", "0.500 [0.000, 1.000]", "+0.250"),
        ("nerves/accuracy", "pairs", "0.250 [0.000, 0.750]", "1.000 [1.000, 1.000]", "+0.750"),
        (
            "texts/bits_per_byte (lower is better)",
            "plain",
            "2.000 [2.000, 2.000]",
            "1.000 [1.000, 1.000]",
            "-1.000",
        ),
        (
            "texts/bits_per_byte (lower is better)",
            "pairs",
            "2.000 [2.000, 2.000]",
            "1.000 [1.000, 1.000]",
            "-1.000",
        ),
    ]
    counts, rows = tables(part, "Rows that changed")
    assert counts.rows == [("nerves", "plain", 4, 2, 1), ("nerves", "pairs", 4, 3, 0)]
    assert rows.rows == [
        ("wrong to right", "nerves", "plain", Q, "a", "b", "b"),
        ("wrong to right", "nerves", "plain", Q, "c", "b", "b"),
        ("right to wrong", "nerves", "plain", Q, "b", "d", "b"),
        ("wrong to right", "nerves", "pairs", Q, "a", "b", "b"),
        ("wrong to right", "nerves", "pairs", Q, "a", "b", "b"),
        ("wrong to right", "nerves", "pairs", Q, "c", "b", "b"),
    ]
    (mix,) = tables(part, "Mix of streams")
    assert mix.rows[:2] == [
        ("plain", "domain", "gs://bucket/corpus", 3, 75, "75.0%"),
        ("plain", "general", "gs://bucket/corpus", 3, 25, "25.0%"),
    ]
    (spent,) = tables(part, "Where the time went")
    assert spent.rows[:2] == [
        ("plain", "training steps", 30.0, "75.0%"),
        ("plain", "evaluations", 10.0, "25.0%"),
    ]
    versions, different, settings = tables(part, "Configuration and versions")
    assert versions.rows == [("torch", "2.7.0", "2.7.0"), ("device", "CPU", "CPU")]
    assert different.rows == [("optimizer.lr", "3.0", "4.0")]
    assert settings.rows == [("seed", "17", "17"), ("optimizer.lr", "3.0", "4.0")]


def test_what_a_run_lacks_is_said(tmp_path: Path) -> None:
    part = run_part([write_run(tmp_path / "old", [], described=False)])
    assert notes(part, "Scores") == ["old: no evaluation yet."]
    assert notes(part, "Rows that changed") == ["No two evaluations with answers to the same questions."]
    unknown = "old: its folder holds no description.json, so this is unknown."
    for title in ("Mix of streams", "Where the time went", "Configuration and versions"):
        assert notes(part, title) == [unknown]
        assert tables(part, title) == []


def test_an_interval_is_shown_only_if_the_answers_give_the_score(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", [[1, 1, 0, 0]])
    (evaluation,) = read_run(folder).evaluations
    assert evaluation.interval("nerves/accuracy") == (0.0, 1.0)
    evaluation.scores["nerves/accuracy"] = 0.75  # other rows were scored
    assert evaluation.interval("nerves/accuracy") is None
    assert evaluation.interval("anatomy/average") is None


def test_scores_without_answers_and_one_evaluation_are_shown(tmp_path: Path) -> None:
    write_lines(
        tmp_path / "run/scores.jsonl", [{"batch": 0, "tokens": 0, "scores": {"a/of_no_package": 0.5}}]
    )
    part = run_part([str(tmp_path / "run")])
    (table,) = tables(part, "Scores")
    assert table.rows == [("a/of_no_package", "run", "0.500", "0.500", "one evaluation only")]


def test_the_cut_last_line_of_a_stopped_run_is_left_out_and_damage_is_named(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", [])
    path = tmp_path / "run/metrics.jsonl"
    path.write_text(path.read_text() + '{"step": 2, "lo')
    assert len(read_run(folder).metrics) == 2
    path.write_text('{"step": 2, "lo\n{"step": 3}\n')
    with pytest.raises(CorpusError, match=r"metrics\.jsonl: line 1: .* Restore the file, or remove it\."):
        read_run(folder)


def test_damaged_files_of_a_run_are_named_or_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Drawing takes most of the time.
    monkeypatch.setattr(run_parts, "lines", lambda title, series, **_: Note(text=f"{title}: {series}"))
    folder = write_run(tmp_path / "run", [[0, 0, 1, 2], [0, 1, 3, 1]])
    rng, refused = random.Random(17), 0
    paths = [path for path in sorted((tmp_path / "run").rglob("*.json*")) if path.parent.name != "tasks"]
    for at in range(120):
        path = paths[at % len(paths)]
        whole = path.read_bytes()
        path.write_bytes((mutate_json if path.suffix == ".json" else mutate_lines)(rng, whole))
        try:
            assert render("A", [run_part([folder])])
        except CorpusError as error:
            assert str(path) in str(error)
            refused += 1
        path.write_bytes(whole)
    assert 30 < refused < 120
