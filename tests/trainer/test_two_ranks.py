"""Two real ranks on gloo: `torchrun -m`, as it is done by hand on many GPUs."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trainer.export import main as export

ROOT = Path(__file__).resolve().parents[2]

# The command itself, with one more callback that notes the rows each rank trains on.
RUN = """
import json, os, sys
from plugins.callbacks import CALLBACKS
from trainer.train import main

CALLBACKS._targets["recorder"] = "recorder:Recorder"
if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
"""

RECORDER = """
import json, os
from composer.core import Callback

class Recorder(Callback):
    def __init__(self, folder):
        self.folder, self.rows = folder, []
    def after_dataloader(self, state, logger):
        self.rows.append(state.batch["input_ids"][:, 0].tolist())
    def fit_end(self, state, logger):
        with open(os.path.join(self.folder, f"rank{os.environ['RANK']}.json"), "w") as file:
            json.dump(self.rows, file)
"""


def run_two_ranks(config: str, tmp_path: Path, *overrides: str) -> dict[str, Any]:
    (tmp_path / "run.py").write_text(RUN)
    (tmp_path / "recorder.py").write_text(RECORDER)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"),
            *("-m", "run", config, *overrides, "--json"),
        ],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{ROOT}", "OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.slow
@pytest.mark.timeout(260)
@pytest.mark.parametrize(
    "parallelism", [None, {"fsdp": {"state_dict_type": "sharded"}}], ids=["ddp", "fsdp2"]
)
def test_two_ranks_train_on_disjoint_rows_and_export_one_model(
    write_config: Callable[..., str], tmp_path: Path, tiny_model: str, corpus: str, parallelism: Any
) -> None:
    import torch
    from safetensors.torch import load_file

    export = tmp_path / "export"
    streams = {"domain": {"corpus": corpus}, "general": {"corpus": corpus}}  # every row once an epoch
    config = write_config(
        train_loader={"dataset": {"streams": streams}},
        callbacks={
            "recorder": {"folder": str(tmp_path)},
            "hf_export": {"folder": str(export), "dtype": "float32"},
        },
        max_duration="5ba",
        parallelism_config=parallelism,
        model={
            "pretrained_model_name_or_path": tiny_model,
            "init_device": "mixed" if parallelism else "cpu",
        },
    )
    result = run_two_ranks(config, tmp_path)
    assert result["steps"] == 5
    assert result["tokens"] == 5 * 4 * 32
    assert math.isfinite(result["loss"]) and result["loss"] < 8.0

    first, second = (json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1))
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
            "recorder": {"folder": str(tmp_path)},
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
    unbroken = run_two_ranks(config, tmp_path)
    rows = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1)]
    assert sorted(path.name for path in folder.glob("ep*")) == ["ep0-ba2", "ep0-ba4", "ep0-ba6"]
    assert export([config, "--output", str(tmp_path / "by-command"), "--dtype", "float32"]) == 0
    exports = [tmp_path / name / "model.safetensors" for name in ("export", "by-command")]
    assert exports[0].read_bytes() == exports[1].read_bytes()
    assert "| tokens seen | 768 |" in (tmp_path / "by-command" / "README.md").read_text()
    (folder / "ep0-ba6" / "__1_0.distcp").unlink()
    data = bytearray((folder / "ep0-ba4" / "__0_0.distcp").read_bytes())
    data[-len(data) // 2] ^= 1
    (folder / "ep0-ba4" / "__0_0.distcp").write_bytes(data)

    resumed = run_two_ranks(config, tmp_path)
    assert (resumed["steps"], resumed["loss"]) == (6, unbroken["loss"])
    after = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1)]
    assert after == [seen[2:] for seen in rows]
    assert sorted(path.name for path in folder.glob("ep*")) == [
        *("ep0-ba2", "ep0-ba4", "ep0-ba4.damaged", "ep0-ba6", "ep0-ba6.damaged"),
    ]
