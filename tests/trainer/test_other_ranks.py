"""A run that is killed and goes on with another number of ranks sees the batches of an unbroken one.

It takes a later manifest after its first epoch.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]

# Starts the ranks of one run after another, each a process, with what torchrun would tell them. They are
# forked from a process that has imported everything, which takes longer than all that they do.
LAUNCH = """
import json, os, signal, socket, sys
from composer.core import Callback
from plugins.callbacks import CALLBACKS
from trainer import build, train

class Recorder(Callback):
    def __init__(self, path, kill_at=None):
        self.path, self.kill_at = f"{path}-rank{os.environ['RANK']}.jsonl", kill_at
    def after_dataloader(self, state, logger):
        self.rows = state.batch["input_ids"][:, 0].tolist()
    def batch_end(self, state, logger):
        step = int(state.timestamp.batch)
        with open(self.path, "a") as file:
            file.write(json.dumps([step, self.rows]) + "\\n")
        if step == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

CALLBACKS._targets["recorder"] = "launch:Recorder"
sys.modules["launch"] = sys.modules["__main__"]

def start(rank, num_ranks, port, config, log):
    pid = os.fork()
    if pid == 0:
        os.environ.update(
            RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(num_ranks), LOCAL_WORLD_SIZE=str(num_ranks),
            GROUP_RANK="0", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port),
        )
        for stream in (1, 2):
            os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
        sys.exit(train.main([config]))
    return pid

statuses = []
for num_ranks, config, log in json.loads(sys.argv[1]):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    pids = {start(rank, num_ranks, port, config, log) for rank in range(num_ranks)}
    status = 0
    while pids:
        pid, ended = os.wait()
        pids.discard(pid)
        if ended:
            status = os.waitstatus_to_exitcode(ended)
            for other in pids:
                os.kill(other, signal.SIGKILL)
    statuses.append(status)
print(json.dumps(statuses))
"""


def global_batches(folder: Path, part: str) -> dict[int, list[int]]:
    """Rows of each step of one part of a run, over all its ranks."""
    batches: dict[int, list[int]] = {}
    for path in folder.glob(f"{part}-rank*.jsonl"):
        for step, rows in map(json.loads, path.read_text().splitlines()):
            batches[step] = sorted(batches.get(step, []) + rows)
    return batches


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ranks_may_come_and_go_with_whole_checkpoints_and_with_shards(
    write_config: Callable[..., str], tmp_path: Path, tiny_model: str, corpus: str
) -> None:
    (tmp_path / "launch.py").write_text(LAUNCH)

    later = [{"at": "1ep", "manifest": 2}]

    def config(part: str, folder: str, *, sharded: bool = False, **recorder: Any) -> str:
        written = write_config(
            # 37 rows, and 55 from the second epoch on: of the last three then, two ranks' share is as long
            # as a batch, one rank's is not.
            train_loader={
                "dataset": {
                    "streams": {
                        "domain": {"corpus": corpus, "manifest": 1, "later": later},
                        "general": {"corpus": corpus, "choose": 7},
                    }
                }
            },
            autoresume=True,
            save_folder=str(tmp_path / folder),
            save_interval="2ba",
            save_num_checkpoints_to_keep=2,
            max_duration="28ba",  # epochs end after 9 and 22
            scheduler={"name": "constant_with_warmup", "t_warmup": "2ba"},
            parallelism_config={"fsdp": {"state_dict_type": "sharded"}} if sharded else None,
            model={
                "pretrained_model_name_or_path": tiny_model,
                "init_device": "mixed" if sharded else "cpu",
            },
            callbacks={"recorder": {"path": str(tmp_path / part), **recorder}},
        )
        return str(Path(written).rename(tmp_path / f"{part}.yaml"))

    runs = [("unbroken", 1, config("unbroken", "unbroken"))]
    for kind, sharded in (("whole", False), ("sharded", True)):
        runs += [
            (f"{kind}-1", 2, config(f"{kind}-1", kind, sharded=sharded, kill_at=5)),
            (f"{kind}-2", 1, config(f"{kind}-2", kind, sharded=sharded, kill_at=11)),
            (f"{kind}-3", 2, config(f"{kind}-3", kind, sharded=sharded)),
        ]
    plan = [(num_ranks, path, str(tmp_path / f"{part}.log")) for part, num_ranks, path in runs]
    done = subprocess.run(
        [sys.executable, str(tmp_path / "launch.py"), json.dumps(plan)],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=560,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    logs = {part: (tmp_path / f"{part}.log").read_text() for part, *_ in runs}
    statuses = dict(zip(logs, json.loads(done.stdout), strict=True))
    for part, status in statuses.items():
        assert (status == 0) == (part == "unbroken" or part.endswith("-3")), logs[part][-4000:]

    unbroken = global_batches(tmp_path, "unbroken")
    assert list(unbroken) == list(range(1, 29))
    epochs = [{row for step in steps for row in unbroken[step]} for steps in (range(1, 10), range(10, 23))]
    assert [len(rows) for rows in epochs] == [36, 52]  # none twice
    assert epochs[1] & set(range(130, 148)) and not epochs[0] & set(range(130, 148))  # the later manifest's
    for kind in ("whole", "sharded"):
        first, second, third = (global_batches(tmp_path, f"{kind}-{part}") for part in (1, 2, 3))
        assert "going on after step 4" in logs[f"{kind}-2"], logs[f"{kind}-2"][-4000:]
        assert "going on after step 10" in logs[f"{kind}-3"], logs[f"{kind}-3"][-4000:]
        # Where one rank dies first, the other may not have noted the step.
        assert {step: first[step] for step in range(1, 5)} == {step: unbroken[step] for step in range(1, 5)}
        assert second == {step: unbroken[step] for step in range(5, 12)}
        assert third == {step: unbroken[step] for step in range(11, 29)}
