"""Two real ranks on gloo: `torchrun -m`, as a user does on many GPUs."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.ranks import recorded, result, run_ranks, run_torchrun, said
from trainer.export import main as export


def by_torchrun(config: str, folder: Path) -> dict[str, Any]:
    done = run_torchrun(folder, config)
    assert done.returncode == 0, done.stderr[-4000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


def by_fork(config: str, folder: Path) -> dict[str, Any]:
    assert run_ranks(folder, [("run", 2, config)]) == {"run": 0}, said(folder, "run")[-4000:]
    return result(folder, "run")


@pytest.mark.slow
@pytest.mark.timeout(260)
@pytest.mark.parametrize(
    ("parallelism", "run"),
    [
        pytest.param(None, by_torchrun, id="ddp, torchrun"),
        pytest.param({"fsdp": {"state_dict_type": "sharded"}}, by_fork, id="fsdp2"),
    ],
)
def test_two_ranks_train_on_disjoint_rows_and_export_one_model(
    write_config: Callable[..., str], tmp_path: Path, tiny_model: str, corpus: str, parallelism: Any, run: Any
) -> None:
    import torch
    from safetensors.torch import load_file

    export = tmp_path / "export"
    streams = {"domain": {"corpus": corpus}, "general": {"corpus": corpus}}  # every row once an epoch
    config = write_config(
        train_loader={"dataset": {"streams": streams}},
        callbacks={
            "recorder": {"path": str(tmp_path / "seen")},
            "hf_export": {"folder": str(export), "dtype": "float32"},
        },
        max_duration="5ba",
        parallelism_config=parallelism,
        model={
            "pretrained_model_name_or_path": tiny_model,
            "init_device": "mixed" if parallelism else "cpu",
        },
    )
    ended = run(config, tmp_path)
    assert ended["steps"] == 5
    assert ended["tokens"] == 5 * 4 * 32
    assert math.isfinite(ended["loss"]) and ended["loss"] < 8.0

    first, second = ([rows for _, rows, _ in recorded(tmp_path / "seen", rank)] for rank in (0, 1))
    seen = [{row for batch in rows for row in batch} for rows in (first, second)]
    assert [len(batch) for batch in first + second] == [2] * 10
    assert len(seen[0]) == len(seen[1]) == 10
    assert not seen[0] & seen[1]

    before, after = load_file(f"{tiny_model}/model.safetensors"), load_file(f"{export}/model.safetensors")
    assert {name: w.shape for name, w in before.items()} == {name: w.shape for name, w in after.items()}
    moved = [name for name in before if not torch.equal(before[name], after[name])]
    assert moved == list(before)
    assert json.loads((export / "config.json").read_text())["architectures"] == ["LlamaForCausalLM"]


@pytest.mark.slow
@pytest.mark.timeout(500)
def test_sharded_checkpoints_are_found_whole_and_resumed_as_data(
    write_config: Callable[..., str], tmp_path: Path, tiny_model: str
) -> None:
    folder = tmp_path / "checkpoints"
    config = write_config(
        callbacks={
            "recorder": {"path": str(tmp_path / "seen")},
            "hf_export": {"folder": str(tmp_path / "export"), "dtype": "float32"},
        },
        scheduler={"name": "constant_with_warmup", "t_warmup": "2ba"},
        parallelism_config={"fsdp": {"state_dict_type": "sharded"}},
        model={"pretrained_model_name_or_path": tiny_model, "init_device": "mixed"},
        save_folder=str(folder),
        save_interval="2ba",
        save_num_checkpoints_to_keep=3,
        autoresume=True,
    )
    unbroken = by_fork(config, tmp_path)
    rows = [recorded(tmp_path / "seen", rank) for rank in (0, 1)]
    assert sorted(path.name for path in folder.glob("ep*")) == ["ep0-ba2", "ep0-ba4", "ep0-ba6"]
    assert export([config, "--output", str(tmp_path / "by-command"), "--dtype", "float32"]) == 0
    exports = [tmp_path / name / "model.safetensors" for name in ("export", "by-command")]
    assert exports[0].read_bytes() == exports[1].read_bytes()
    assert "| tokens seen | 768 |" in (tmp_path / "by-command" / "README.md").read_text()
    (folder / "ep0-ba6" / "__1_0.distcp").unlink()
    data = bytearray((folder / "ep0-ba4" / "__0_0.distcp").read_bytes())
    data[-len(data) // 2] ^= 1
    (folder / "ep0-ba4" / "__0_0.distcp").write_bytes(data)

    resumed = by_fork(config, tmp_path)
    assert (resumed["steps"], resumed["loss"]) == (6, unbroken["loss"])
    for rank in (0, 1):
        assert recorded(tmp_path / "seen", rank) == [*rows[rank], *rows[rank][2:]]
    assert sorted(path.name for path in folder.glob("ep*")) == [
        *("ep0-ba2", "ep0-ba4", "ep0-ba4.damaged", "ep0-ba6", "ep0-ba6.damaged"),
    ]
