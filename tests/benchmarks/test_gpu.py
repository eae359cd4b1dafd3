"""The measurements for a GPU: in small on this CPU, their limits, and what is missing on a machine."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu import wheels
from benchmarks.gpu.__main__ import main
from benchmarks.gpu.report import Report
from benchmarks.gpu.steps import STEPS, Result, Step
from benchmarks.gpu.workers import run_steps

ROOT = Path(__file__).resolve().parents[2]


def figures(value: Any) -> Iterator[float]:
    """All numbers in a value that are no counts of something that may be 0."""
    if isinstance(value, dict):
        for name, each in value.items():
            if name not in ("largest_difference", "same_predictions", "gathered"):
                yield from figures(each)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value


@pytest.mark.slow
def test_all_steps_run_in_small_on_a_cpu(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"OMP_NUM_THREADS": "1", "TMPDIR": str(tmp_path), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.gpu", "--small"),
            *("--budget-sec", "800", "--output", str(tmp_path / "out")),
        ],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=850,
        check=False,
    )
    log = (tmp_path / "out/worker.log").read_text()
    assert done.returncode == 0, done.stdout + done.stderr + log
    values = json.loads((tmp_path / "out/gpu.json").read_text())
    assert (values["version"], values["small"], values["machine"]["device"]) == (1, True, "CPU")
    assert [step["name"] for step in values["steps"]] == [step.name for step in STEPS if step.in_small]
    found = {step["name"]: step["found"] for step in values["steps"] if step["status"] == "done"}
    assert [*found] == [step["name"] for step in values["steps"]]
    for name, of_step in found.items():
        numbers = list(figures(of_step))
        assert numbers, name
        assert all(math.isfinite(number) and number > 0 for number in numbers), (name, of_step)
    losses = [of_step["first_loss"] for name, of_step in found.items() if name.startswith("mfu")]
    assert losses == pytest.approx([math.log(1024)] * 4, rel=0.05)
    assert {name: of_step.get("compiled_graphs") for name, of_step in found.items() if "mfu" in name} == {
        "mfu: sdpa": None,
        "mfu: sdpa, chunked loss": None,
        "mfu: sdpa, compiled": 1,
        "mfu: sdpa, compiled, chunked loss": 1,
    }
    training, evaluation, resumption = (found[name] for name in ("training", "evaluation", "resumption"))
    assert (
        training["trainer_over_bare"] == training["trainer_tokens_per_sec"] / training["bare_tokens_per_sec"]
    )
    assert evaluation["same_predictions"] == evaluation["rows"] == 4
    assert evaluation["no_shared_passes"] == ""
    assert evaluation["tokens"] * 5 < evaluation["tokens_by_option"]  # 13 options share a prompt
    assert (resumption["repeats"], resumption["bit_equal"], resumption["steps"]) == (True, True, 6)
    assert [target["reached"] for target in values["targets"]] == [None, None, None]
    table = (tmp_path / "out/gpu.md").read_text()
    assert "no figure means anything" in table
    assert all(f"| {step['name']} | {step['status']} |" in table for step in values["steps"])


def a_step(name: str, *, group: str = "all", limit_sec: float = 30, **arguments: Any) -> Step:
    function = f"tests.benchmarks.gpu_steps:{name.partition(' ')[0]}"
    return Step(name=name, function=function, arguments=arguments, group=group, limit_sec=limit_sec)


@pytest.mark.slow
def test_a_step_that_fails_crashes_or_hangs_is_recorded_and_the_others_go_on(tmp_path: Path) -> None:
    steps = [
        a_step("works 1", number=1),
        a_step("fails"),
        a_step("works 2", number=2),
        a_step("crashes"),
        a_step("is_not_here"),
        a_step("works 3", number=3),
        a_step("sleeps", limit_sec=1),
        a_step("works 4", number=4, group="other"),
    ]
    end = time.monotonic() + 60
    found = list(run_steps(steps, folder=tmp_path, small=False, end=end, environment=os.environ))
    assert [(each.name, each.status, each.error) for each in found] == [
        ("works 1", "done", None),
        ("fails", "failed", "ValueError: no kernel"),
        ("works 2", "done", None),
        ("crashes", "failed", "its process ended with status 9: last words"),
        ("is_not_here", "skipped", "flash_attn is not installed"),
        ("works 3", "done", None),
        ("sleeps", "failed", "stopped after its limit of 1 s"),
        ("works 4", "done", None),
    ]
    assert [each.found["number"] for each in found if each.found] == [1, 2, 3, 4]
    report = Report(tmp_path, small=False)
    for result in found:
        report.add(result)
    assert "| sleeps | failed | 1 | stopped after its limit of 1 s |" in (tmp_path / "gpu.md").read_text()


@pytest.mark.slow
def test_steps_for_which_no_time_is_left_are_skipped(tmp_path: Path) -> None:
    steps = [a_step("sleeps"), a_step("works", number=1)]
    end = time.monotonic() + 1
    found = list(run_steps(steps, folder=tmp_path, small=False, end=end, environment=os.environ))
    assert [(each.status, each.error) for each in found] == [
        ("skipped", "no time left to finish it"),
        ("skipped", "no time left"),
    ]


def test_shares_and_targets_follow_from_the_figures(tmp_path: Path) -> None:
    report = Report(tmp_path, small=False)
    machine: dict[str, Any] = {"device": "NVIDIA H100", "data_sheet_flops_per_sec": 989.4e12}
    rates: dict[str, Any] = {"best_flops_per_sec": 800e12, "machine": machine}
    speed = {
        "model_flops_per_sec": 440e12,
        "tokens_per_sec": 5e4,
        "rows": 2,
        "peak_bytes": {"tensors": 2**35},
    }
    report.add(Result(name="mfu: sdpa", status="done", found=speed))
    assert report.values()["targets"][0] == {
        "what": "best MFU",
        "wanted": "at least 0.5",
        "found": None,
        "reached": None,
    }
    report.add(Result(name="matrix", status="done", found=rates))
    training = {
        "rows": 2,
        "trainer_tokens_per_sec": 9.0,
        "bare_tokens_per_sec": 10.0,
        "trainer_over_bare": 0.9,
    }
    memory = {"estimated_bytes": 1.25 * 2**35, "estimated_over_peak": 1.25, "peak_bytes": {"device": 2**35}}
    report.add(Result(name="training", status="done", found={**training, **memory}))
    report.add(Result(name="resumption", status="failed", error="OutOfMemoryError: no memory"))
    assert [(each["found"], each["reached"]) for each in report.values()["targets"]] == [
        (0.55, True),
        (1.25, False),
        (None, None),
    ]
    table = (tmp_path / "gpu.md").read_text()
    assert "MFU 0.550, 50,000 tokens/s, 2 rows, peak 32.0 GiB of tensors" in table
    assert "800 TFLOP/s, 81% of the data sheet's" in table
    assert "| resumption | failed | 0 | OutOfMemoryError: no memory |" in table


def test_missing_wheels_are_named_with_the_command_that_makes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    versions = {"torch": "2.11.0+cu130", "transformers": "5.17.0"}
    monkeypatch.setattr(wheels, "_version", versions.get)
    wanted = wheels.missing()
    assert "torchvision==0.26.*" in wanted
    for line in wanted:
        name = line.partition("==")[0]
        if name not in ("mosaicml", "torchvision"):
            (tmp_path / f"{name.replace('-', '_')}-1-py3-none-any.whl").touch()
    assert main(["--wheels", str(tmp_path), "--output", str(tmp_path / "out")]) == 2
    message = capsys.readouterr().err
    assert "lacks 2 of the wheels that this machine needs: mosaicml==0.32.1, torchvision==0.26.*." in message
    assert "pip wheel --no-deps --wheel-dir DIR -r " in message


@pytest.mark.slow
def test_wheels_of_packages_that_the_machine_lacks_are_installed_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("mosaicml", "requests"):
        with zipfile.ZipFile(tmp_path / f"{name}-0.32.1-py3-none-any.whl", "w") as file:
            file.writestr(f"made_up_{name}.py", "")
            info = f"{name}-0.32.1.dist-info"
            file.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.32.1\n")
            file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            file.writestr(f"{info}/RECORD", "")
    monkeypatch.setattr(wheels, "missing", lambda: ["mosaicml==0.32.1"])
    wheels.install(tmp_path, tmp_path / "packages")
    installed = {path.name for path in (tmp_path / "packages").iterdir()} - {"__pycache__"}
    assert installed == {"made_up_mosaicml.py", "mosaicml-0.32.1.dist-info"}


@pytest.mark.parametrize(
    ("found", "message"),
    [({}, "has no torch; expected torch 2.7"), ({"torch": "2.6.0+cu124"}, "has torch 2.6.0+cu124; expected")],
)
def test_an_old_or_missing_torch_is_refused(
    found: dict[str, str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(wheels, "_version", found.get)
    assert main(["--output", str(tmp_path)]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_a_machine_without_a_gpu_is_refused_but_for_the_small_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["--output", str(tmp_path)]) == 2
    assert "sees no NVIDIA GPU; expected one. On a CPU, give --small" in capsys.readouterr().err


@pytest.mark.slow
def test_batches_grow_until_the_memory_does_not_suffice() -> None:
    import torch

    from benchmarks.gpu.evaluation import fastest

    def score(size: int) -> tuple[list[float], int]:
        if size > 16:
            raise torch.OutOfMemoryError("no memory")
        return [0.5], size

    assert fastest(score, (16, 64))["batch"] == 16
    with pytest.raises(torch.OutOfMemoryError):
        fastest(score, (32, 64))
