"""`tutelage eval` on the tiny model."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from trainer.evaluation.evaluate import main

ROOT = Path(__file__).parents[3]


def test_it_prints_a_plain_table(
    tiny_model_dir: Path, task_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "found.json"
    arguments = ["--model", str(tiny_model_dir), "--tasks", str(task_dir), "--max-new-tokens", "5"]

    assert main([*arguments, "--output", str(output), "--add-bos-token", "true", "--device", "cpu"]) == 0

    found = json.loads(output.read_text())["models"][str(tiny_model_dir)]
    mcq = found[0]
    low, high = mcq["intervals"]["accuracy"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["task", "kind", "rows", "metric", tiny_model_dir.name]
    assert lines[1].split(maxsplit=4) == [
        "mcq", "choice", "7", "accuracy", f"{mcq['scores']['accuracy']:.3f} [{low:.3f}, {high:.3f}]",
    ]  # fmt: skip
    assert [line.split()[3] for line in lines[2:4]] == ["exact_match", "token_f1"]
    assert len(mcq["answers"]) == 7 and len(found[1]["answers"]) == 5


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

    (results,) = json.loads(capsys.readouterr().out)["models"].values()
    assert [(result["task"], result["rows"]) for result in results] == [("mcq", 3), ("qa", 3)]


@pytest.mark.parametrize(
    ("changes", "status", "message"),
    [
        ({"--model": "./nowhere"}, 2, "ConfigError: --model './nowhere': no such directory."),
        ({"--tasks": "nowhere/"}, 2, "ConfigError: evaluation tasks 'nowhere/': no such file or directory."),
        ({"--max-rows": "0"}, 2, "ConfigError: --max-rows is 0, expected at least 1."),
        ({"--device": "abacus"}, 2, "ConfigError: --device 'abacus' cannot be used: "),
        ({"--max-new-tokens": "500"}, 2, "ConfigError: max_new_tokens is 500, which leaves no prompt"),
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


def test_an_empty_directory_is_no_model(
    tmp_path: Path, task_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--model", str(tmp_path), "--tasks", str(task_dir)]) == 2
    assert "is a directory without config.json" in capsys.readouterr().err


def test_wrong_use_is_told_before_torch_is_imported() -> None:
    script = (
        "import sys; from trainer.evaluation.evaluate import main; "
        "status = main(['--model', 'm', '--tasks', '/nowhere/']); "
        "print(status, 'torch' in sys.modules, 'transformers' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True, cwd=ROOT
    )
    assert done.stdout.split() == ["2", "False", "False"]
