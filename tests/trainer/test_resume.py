"""A run that is killed at once, and its resumption."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from plugins.callbacks import CALLBACKS
from tests.trainer.ranks import RECORDER, recorded, run_ranks, said
from trainer import train


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_killed_run_goes_on_as_if_it_had_not_been(
    write_config: Callable[..., str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch

    monkeypatch.setitem(CALLBACKS._targets, "recorder", RECORDER)

    def settings(name: str, **recorder: Any) -> str:
        return write_config(
            autoresume=True,
            save_folder=str(tmp_path / name),
            save_interval="2ba",
            save_num_checkpoints_to_keep=2,
            max_duration="30ba",  # the epoch ends after 27
            callbacks={"recorder": {"path": str(tmp_path / name), **recorder}},
        )

    assert train.main([settings("unbroken")]) == 0
    unbroken = recorded(tmp_path / "unbroken")
    assert [step for step, *_ in unbroken] == list(range(1, 31))

    run = ("broken", 1, settings("broken", kill_at=7))
    killed = run_ranks(tmp_path, [run], env={"OMP_NUM_THREADS": str(torch.get_num_threads())})
    assert killed == {"broken": -signal.SIGKILL}, said(tmp_path, "broken")[-3000:]
    names = sorted(path.name for path in (tmp_path / "broken").glob("ep*"))
    assert names == ["ep0-ba4-rank0.pt", "ep0-ba6-rank0.pt"]
    # As if the run had been killed while the next checkpoint was written, and the newest had rotted on disk.
    shutil.copytree(tmp_path / "broken", tmp_path / "rotten", symlinks=True)
    shutil.copy(tmp_path / "broken-rank0.jsonl", tmp_path / "rotten-rank0.jsonl")
    newest = tmp_path / "broken" / "ep0-ba6-rank0.pt"
    (tmp_path / "rotten" / "ep0-ba8-rank0.pt").write_bytes(newest.read_bytes()[:5000])
    (tmp_path / "rotten" / newest.name).write_bytes(newest.read_bytes()[:-1000])
    capsys.readouterr()

    for name, first in (("broken", 6), ("rotten", 4)):
        assert train.main([settings(name)]) == 0
        err = capsys.readouterr().err
        assert f"going on after step {first}" in err
        seen = recorded(tmp_path / name)
        assert seen[:7] == unbroken[:7]
        assert seen[7:] == unbroken[first:]
        kept = sorted(path.name for path in (tmp_path / name).glob("ep*-rank0.pt"))
        assert kept == ["ep1-ba28-rank0.pt", "ep1-ba30-rank0.pt"]
        logged = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        losses = [line for line in map(json.loads, logged) if "loss/train/total" in line]
        assert [line["step"] for line in losses] == list(range(30))
    assert "ep0-ba8-rank0.pt is damaged" in err and "ep0-ba6-rank0.pt is damaged" in err
