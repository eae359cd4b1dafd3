"""`tutelage eval` on the tiny model."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from plugins.tasks.task import Task
from trainer.evaluation import processes
from trainer.evaluation.command import main
from trainer.evaluation.evaluator import Evaluator

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
def test_it_prints_a_plain_table(
    tiny_model_dir: Path, task_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "found.json"
    arguments = ["--model", str(tiny_model_dir), "--tasks", str(task_dir), "--max-new-tokens", "5"]

    assert main([*arguments, "--output", str(output), "--add-bos-token", "true", "--device", "cpu"]) == 0

    found = json.loads(output.read_text())["models"][str(tiny_model_dir)]["tasks"]
    mcq = found[0]
    low, high = mcq["intervals"]["accuracy"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["task", "kind", "rows", "metric", tiny_model_dir.name]
    assert lines[1].split(maxsplit=4) == [
        "mcq", "choice", "7", "accuracy", f"{mcq['scores']['accuracy']:.3f} [{low:.3f}, {high:.3f}]",
    ]  # fmt: skip
    assert [line.split()[3] for line in lines[2:4]] == ["exact_match", "token_f1"]
    assert len(mcq["answers"]) == 7 and len(found[1]["answers"]) == 5


@pytest.mark.slow
def test_models_stand_side_by_side_and_refused_rows_below(
    tiny_model_dir: Path,
    task_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    write_rows: Callable[..., Path],
) -> None:
    other = tmp_path / "other"
    other.symlink_to(tiny_model_dir)
    good = json.loads((task_dir / "mcq.jsonl").read_text().splitlines()[0])
    path = write_rows(tmp_path / "few.jsonl", good, {**good, "gold_index": 7})

    assert main(["--model", str(tiny_model_dir), str(other), "--tasks", str(path)]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[-2:] == [tiny_model_dir.name, "other"]
    assert lines[2].rstrip() == f"{tiny_model_dir.name}: few: 1 rows are not scored"
    assert lines[3].rstrip() == f"{tiny_model_dir.name}:   {path}:2: gold_index is 7, expected 0 to 2"


def test_json_is_one_object(tiny_model_dir: Path, task_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tasks = f"{task_dir}/mcq.jsonl,{task_dir}/qa.jsonl"
    arguments = ["--model", str(tiny_model_dir), "--tasks", tasks, "--max-rows", "3", "--max-new-tokens", "5"]

    assert main([*arguments, "--json"]) == 0

    found = json.loads(capsys.readouterr().out)
    (results,) = found["models"].values()
    assert found["comparisons"] == []
    assert [(result["task"], result["rows"]) for result in results] == [("mcq", 3), ("qa", 3)]


@pytest.fixture
def other_model_dir(tiny_model_dir: Path, tmp_path: Path) -> Path:
    """The tiny model with other weights."""
    import torch
    from transformers import AutoModelForCausalLM

    folder = tmp_path / "other"
    shutil.copytree(tiny_model_dir, folder)
    torch.manual_seed(5)
    model = AutoModelForCausalLM.from_pretrained(tiny_model_dir)
    for parameter in model.parameters():
        parameter.data += 0.2 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_bits_a_byte_of_held_out_texts_stand_in_the_table_and_the_comparison(
    tiny_model_dir: Path,
    other_model_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    write_rows: Callable[..., Path],
) -> None:
    path = write_rows(
        tmp_path / "held.jsonl", {"text": "the patient has a fever"}, {"text": "pain goes away"}
    )
    output = tmp_path / "found.json"
    models = [str(tiny_model_dir), str(other_model_dir)]
    arguments = ["--model", *models, "--tasks", str(path), "--output", str(output)]

    assert main(arguments) == 0

    whole = json.loads(output.read_text())
    (first,), (second,) = (whole["models"][name]["tasks"] for name in models)
    score = sum(each["bits"] for each in first["answers"]) / sum(each["bytes"] for each in first["answers"])
    assert first["scores"] == {"bits_per_byte": pytest.approx(score)} and first["window"] == 128
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines[1].split()[:6] == ["held", "perplexity", "2", "bits_per_byte", "↓", f"{score:.3f}"]
    assert lines[2] == f"{tiny_model_dir.name}: held: windows of 128 tokens, stride 64"
    change = second["scores"]["bits_per_byte"] - score
    (comparison,) = (line for line in lines if line.startswith("held bits_per_byte"))
    assert comparison.startswith(f"held bits_per_byte {change:+.3f} [")
    fewer = [a["bits"] > b["bits"] for a, b in zip(first["answers"], second["answers"], strict=True)]
    assert f"better on {sum(fewer)} rows, worse on {2 - sum(fewer)}, " in comparison
    a, b = (each["answers"][0]["bits"] / each["answers"][0]["bytes"] for each in (first, second))
    assert f"  {path}:1: {a:.3f} → {b:.3f}" in lines
    # The same command takes all results from the file.
    assert main(arguments) == 0
    assert "1 of 1 results of" in capsys.readouterr().err
    assert json.loads(output.read_text()) == whole


@pytest.mark.slow
def test_two_models_are_compared_row_by_row(
    tiny_model_dir: Path,
    other_model_dir: Path,
    task_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = tmp_path / "found.json"
    models = [str(tiny_model_dir), str(other_model_dir)]

    assert main(["--model", *models, "--tasks", str(task_dir / "mcq.jsonl"), "--output", str(output)]) == 0

    whole = json.loads(output.read_text())
    (first,), (second,) = (whole["models"][name]["tasks"] for name in models)
    (found,) = whole["comparisons"]
    pairs = list(zip(first["answers"], second["answers"], strict=True))
    differing = [[a["position"], [a["answer"], b["answer"]]] for a, b in pairs if a["answer"] != b["answer"]]
    assert differing and [[row["position"], row["answers"]] for row in found["differing"]] == differing
    gains = [(b["answer"] in b["gold"]) - (a["answer"] in a["gold"]) for a, b in pairs]
    assert (found["better"], found["worse"]) == (gains.count(1), gains.count(-1))
    assert found["difference"] == pytest.approx(sum(gains) / 7)
    low, high = found["interval"]
    assert low <= found["difference"] <= high
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert f"other against {tiny_model_dir.name}:" in lines
    assert any(
        line.startswith(f"mcq accuracy {found['difference']:+.3f} [{low:+.3f}, {high:+.3f}]")
        for line in lines
    )
    position, answers = differing[0]
    assert any(line.startswith(f"  {position}: {answers[0]} → {answers[1]}, right is ") for line in lines)


@pytest.mark.slow
def test_a_run_goes_on_where_its_output_ends(
    tiny_model_dir: Path,
    task_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    output, unbroken = tmp_path / "found.json", tmp_path / "unbroken.json"
    arguments = ["--model", str(tiny_model_dir), "--tasks", str(task_dir), "--max-new-tokens", "5"]
    assert main([*arguments, "--output", str(unbroken)]) == 0
    table = capsys.readouterr().out

    run = Evaluator._run_task

    def stopped(self: Evaluator, task: Task, *others: Any) -> Any:
        if task.name == "qa":
            raise KeyboardInterrupt
        return run(self, task, *others)

    with monkeypatch.context() as patch:
        patch.setattr(Evaluator, "_run_task", stopped)
        with pytest.raises(KeyboardInterrupt):
            main([*arguments, "--output", str(output)])
    ran: list[str] = []

    def counted(self: Evaluator, task: Task, *others: Any) -> Any:
        ran.append(task.name)
        return run(self, task, *others)

    monkeypatch.setattr(Evaluator, "_run_task", counted)
    capsys.readouterr()

    assert main([*arguments, "--output", str(output)]) == 0
    assert ran == ["qa"]
    captured = capsys.readouterr()
    assert captured.out == table
    assert f"1 of 2 results of {tiny_model_dir} come from {output}." in captured.err
    assert _timeless(output) == _timeless(unbroken)

    # All results are saved: no task runs. The task runs again with other rows.
    assert main([*arguments, "--output", str(output)]) == 0
    assert ran == ["qa"]
    rows = (task_dir / "qa.jsonl").read_text().splitlines()
    (task_dir / "qa.jsonl").write_text("\n".join(rows[:-1]))
    assert main([*arguments, "--output", str(output)]) == 0
    assert ran == ["qa", "qa"]


def _timeless(path: Path) -> Any:
    found = json.loads(path.read_text())
    for model in found["models"].values():
        for task in model["tasks"]:
            del task["seconds"]
    return found


@pytest.mark.slow
def test_a_model_that_changed_is_evaluated_anew(
    other_model_dir: Path, task_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--model", str(other_model_dir), "--tasks", str(task_dir / "mcq.jsonl")]
    output = str(tmp_path / "found.json")
    assert main([*arguments, "--output", output]) == 0
    (other_model_dir / "config.json").touch()

    assert main([*arguments, "--output", output]) == 0

    assert "results of" not in capsys.readouterr().err


def test_an_output_of_other_settings_or_of_something_else_is_left_alone(
    tiny_model_dir: Path, task_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "found.json"
    arguments = ["--model", str(tiny_model_dir), "--tasks", str(task_dir / "mcq.jsonl")]
    arguments += ["--output", str(output)]
    assert main([*arguments, "--max-rows", "3"]) == 0
    before = output.read_bytes()

    assert main([*arguments, "--max-rows", "4"]) == 2
    assert (
        "holds results with --max-rows 3, and this command has --max-rows 4. Name" in capsys.readouterr().err
    )
    assert output.read_bytes() == before
    output.write_text("[1, 2]")
    assert main(arguments) == 2
    assert "holds no evaluation to continue" in capsys.readouterr().err


def test_named_tasks_come_from_a_directory(
    tiny_model_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], write_rows: Callable[..., Path]
) -> None:
    row = {"input": "which nerve moves the wrist", "options": ["radial", "ulnar"], "gold_index": 0}
    write_rows(tmp_path / "MQP.jsonl", row, row)

    assert main(["--model", str(tiny_model_dir), "--tasks", "MQP", "--tasks-root", str(tmp_path)]) == 0

    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines[1].split()[:4] == ["MQP", "choice", "2", "accuracy"]
    assert lines[2:] == [
        "MQP: 1 rows repeat others",
        f"  {tmp_path}/MQP.jsonl:2 repeats {tmp_path}/MQP.jsonl:1",
    ]


@pytest.mark.parametrize(
    ("changes", "status", "message"),
    [
        ({"--model": "./nowhere"}, 2, "ConfigError: --model './nowhere': no such directory."),
        ({"--tasks": "nowhere/"}, 2, "ConfigError: evaluation tasks 'nowhere/': no such file or directory."),
        ({"--tasks": "biomedicin"}, 2, "ConfigError: evaluation task 'biomedicin' is unknown. Did you mean"),
        ({"--tasks": "law", "--tasks-root": "."}, 2, "ConfigError: task SCOTUS: found neither SCOTUS.jsonl"),
        ({"--max-rows": "0"}, 2, "ConfigError: --max-rows is 0, expected at least 1."),
        ({"--device": "abacus"}, 2, "ConfigError: --device 'abacus' cannot be used: "),
        ({"--tasks": "bad.jsonl"}, 1, "InputError: evaluation task bad: none of its 1 rows can be used."),
    ],
)
def test_exit_status_tells_wrong_use_from_failure(
    tiny_model_dir: Path,
    task_dir: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, str],
    status: int,
    message: str,
) -> None:
    monkeypatch.chdir(task_dir)
    (task_dir / "bad.jsonl").write_text("{}\n")
    options = {"--model": str(tiny_model_dir), "--tasks": "mcq.jsonl,qa.jsonl", **changes}

    assert main([part for option in options.items() for part in option]) == status
    assert capsys.readouterr().err.startswith(message)


def test_scores_that_cannot_be_written_are_printed_and_the_status_is_that_of_a_failure(
    tiny_model_dir: Path, task_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    output = str(tmp_path / "file/scores.json")
    arguments = ["--model", str(tiny_model_dir), "--tasks", str(task_dir / "mcq.jsonl"), "--json"]
    assert main([*arguments, "--output", output]) == 1
    said = capsys.readouterr()
    [scores] = json.loads(said.out)["models"][str(tiny_model_dir)]
    assert scores["task"] == "mcq" and scores["scores"]
    assert said.err.count(f"Warning: --output {output!r} cannot be written: ") == 1
    assert said.err.endswith(f"TutelageError: --output {output!r} could not be written; see above.\n")


def test_an_empty_directory_is_no_model(
    tmp_path: Path, task_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--model", str(tmp_path), "--tasks", str(task_dir)]) == 2
    assert "is a directory without config.json" in capsys.readouterr().err


@pytest.mark.slow
def test_wrong_use_is_told_before_torch_is_imported() -> None:
    script = (
        "import sys; from trainer.evaluation.command import main; "
        "status = main(['--model', 'm', '--tasks', '/nowhere/']); "
        "print(status, 'torch' in sys.modules, 'transformers' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True, cwd=ROOT
    )
    assert done.stdout.split() == ["2", "False", "False"]


def scores_of(path: Path) -> list[Any]:
    (of_model,) = json.loads(path.read_text())["models"].values()
    return [
        (
            task["task"],
            task["scores"],
            task["intervals"],
            [(each["id"], each["answer"]) for each in task["answers"]],
        )
        for task in of_model["tasks"]
    ]


@pytest.mark.slow
def test_a_model_spread_by_accelerate_answers_alike(
    tiny_model_dir: Path, task_dir: Path, tmp_path: Path
) -> None:
    arguments = ["--model", str(tiny_model_dir), "--tasks", str(task_dir), "--max-new-tokens", "5"]
    spread, plain = tmp_path / "spread.json", tmp_path / "plain.json"
    assert main([*arguments, "--device-map", "auto", "--output", str(spread)]) == 0
    assert main([*arguments, "--output", str(plain)]) == 0
    assert scores_of(spread) == scores_of(plain)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--processes", "0"], "--processes is 0, expected at least 1."),
        (["--processes", "2", "--device-map", "auto"], "--device-map does not apply with --processes"),
        (
            ["--processes", "2", "--device", "cuda:1"],
            "--device is 'cuda:1', but --processes 2 use one GPU each",
        ),
        (["--device-map", "auto", "--device", "cpu"], "--device does not apply with --device-map"),
    ],
    ids=["none", "spread", "one-device", "device"],
)
def test_devices_that_do_not_go_together_are_refused(
    options: list[str],
    said: str,
    tiny_model_dir: Path,
    task_dir: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["--model", str(tiny_model_dir), "--tasks", str(task_dir), *options]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.slow
def test_two_processes_answer_what_one_answers_and_go_on(
    tiny_model_dir: Path, task_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--model", str(tiny_model_dir), "--tasks", str(task_dir), "--max-new-tokens", "5"]
    arguments += ["--device", "cpu"]
    one, two = tmp_path / "one.json", tmp_path / "two.json"
    assert main([*arguments, "--output", str(one)]) == 0
    printed = capfd.readouterr().out
    both = [*arguments, "--output", str(two), "--processes", "2"]

    assert main(both) == 0
    assert scores_of(two) == scores_of(one)
    assert capfd.readouterr().out == printed

    whole = json.loads(two.read_text())
    whole["models"][str(tiny_model_dir)]["tasks"].pop()
    two.write_text(json.dumps(whole))
    assert main(both) == 0
    assert "1 of 2 results" in capfd.readouterr().err
    assert scores_of(two) == scores_of(one)


@pytest.mark.slow
def test_what_all_processes_meet_is_told_once(
    tiny_model_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--model", str(tiny_model_dir), "--tasks", str(tmp_path / "nowhere"), "--processes", "2"]
    assert processes.run_each(arguments, 2) == 2
    assert capfd.readouterr().err.count("nowhere") == 1


def test_a_task_that_fails_is_shown_beside_the_scores_of_the_others(
    tiny_model_dir: Path, task_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--model", str(tiny_model_dir), "--tasks", str(task_dir), "--max-new-tokens", "500"]

    assert main(arguments) == 1

    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[:4] == ["mcq", "choice", "7", "accuracy"] and "[" in lines[1]
    assert lines[2].split() == ["qa", "generate", "0", "exact_match", "failed"]
    assert lines[4].startswith(
        "qa failed: max_new_tokens is 500, which leaves no prompt in the model's context"
    )


def test_an_output_of_another_way_of_scoring_is_not_gone_on_with(
    tiny_model_dir: Path, task_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "found.json"
    arguments = [
        "--model",
        str(tiny_model_dir),
        "--tasks",
        str(task_dir / "mcq.jsonl"),
        "--output",
        str(output),
    ]
    assert main(arguments) == 0
    saved = json.loads(output.read_text())
    del saved["settings"]["scoring"]  # as an earlier version wrote it
    output.write_text(json.dumps(saved))

    assert main(arguments) == 2
    assert (
        "holds results of an earlier version, which scores otherwise. Name another file"
        in capsys.readouterr().err
    )
