"""A run that is killed outright, and what becomes of it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from plugins.callbacks import CALLBACKS
from trainer import train

ROOT = Path(__file__).resolve().parents[2]

# Notes each step's rows and its loss to the last bit; at `kill_at` the process is gone at once.
RECORDER = """
import json, os, signal
from composer.core import Callback

class Recorder(Callback):
    def __init__(self, path, kill_at=None):
        self.path, self.kill_at = path, kill_at
    def after_dataloader(self, state, logger):
        self.rows = state.batch["input_ids"][:, 0].tolist()
    def batch_end(self, state, logger):
        step = int(state.timestamp.batch)
        loss = float(state.total_loss_dict["loss/train/total"]).hex()
        with open(self.path, "a") as file:
            file.write(json.dumps([step, self.rows, loss]) + "\\n")
        if step == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
"""

RUN = """
import sys
from plugins.callbacks import CALLBACKS
from trainer.train import main

CALLBACKS._targets["recorder"] = "recorder:Recorder"
if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
"""


def steps(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_killed_run_goes_on_as_if_it_had_not_been(
    write_config: Callable[..., str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch

    (tmp_path / "recorder.py").write_text(RECORDER)
    (tmp_path / "run.py").write_text(RUN)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(CALLBACKS._targets, "recorder", "recorder:Recorder")

    def settings(name: str, **recorder: Any) -> str:
        return write_config(
            autoresume=True,
            save_folder=str(tmp_path / name),
            save_interval="2ba",
            save_num_checkpoints_to_keep=2,
            max_duration="30ba",  # the epoch ends after 27
            callbacks={"recorder": {"path": str(tmp_path / f"{name}.jsonl"), **recorder}},
        )

    assert train.main([settings("unbroken")]) == 0
    unbroken = steps(tmp_path / "unbroken.jsonl")
    assert [step for step, *_ in unbroken] == list(range(1, 31))

    killed = subprocess.run(
        [sys.executable, str(tmp_path / "run.py"), settings("broken", kill_at=7)],
        env={
            **os.environ,
            "PYTHONPATH": f"{tmp_path}:{ROOT}",
            "OMP_NUM_THREADS": str(torch.get_num_threads()),
        },
        cwd=tmp_path,
        capture_output=True,
        timeout=200,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()[-3000:]
    names = sorted(path.name for path in (tmp_path / "broken").glob("ep*"))
    assert names == ["ep0-ba4-rank0.pt", "ep0-ba6-rank0.pt"]
    # As if it had been killed while the next checkpoint was written, and the newest had rotted on disk.
    shutil.copytree(tmp_path / "broken", tmp_path / "rotten", symlinks=True)
    shutil.copy(tmp_path / "broken.jsonl", tmp_path / "rotten.jsonl")
    newest = tmp_path / "broken" / "ep0-ba6-rank0.pt"
    (tmp_path / "rotten" / "ep0-ba8-rank0.pt").write_bytes(newest.read_bytes()[:5000])
    (tmp_path / "rotten" / newest.name).write_bytes(newest.read_bytes()[:-1000])
    capsys.readouterr()

    for name, first in (("broken", 6), ("rotten", 4)):
        assert train.main([settings(name)]) == 0
        err = capsys.readouterr().err
        assert f"going on after step {first}" in err
        recorded = steps(tmp_path / f"{name}.jsonl")
        assert recorded[:7] == unbroken[:7]
        assert recorded[7:] == unbroken[first:]
        kept = sorted(path.name for path in (tmp_path / name).glob("ep*-rank0.pt"))
        assert kept == ["ep1-ba28-rank0.pt", "ep1-ba30-rank0.pt"]
        logged = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        losses = [line for line in map(json.loads, logged) if "loss/train/total" in line]
        assert [line["step"] for line in losses] == list(range(30))
    assert "ep0-ba8-rank0.pt is damaged" in err and "ep0-ba6-rank0.pt is damaged" in err
