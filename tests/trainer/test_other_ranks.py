"""A run, killed and resumed with another number of ranks, reads the batches of an unbroken run.

It reads a later manifest after its first epoch.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.ranks import recorded, run_ranks, said


def global_batches(folder: Path, part: str) -> dict[int, list[int]]:
    """Rows of each step of one part of a run, over all its ranks."""
    batches: dict[int, list[int]] = {}
    for rank, _ in enumerate(folder.glob(f"{part}-rank*.jsonl")):
        for step, rows, _ in recorded(folder / part, rank):
            batches[step] = sorted(batches.get(step, []) + rows)
    return batches


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ranks_may_come_and_go_with_whole_checkpoints_and_with_shards(
    write_config: Callable[..., str], tmp_path: Path, tiny_model: str, corpus: str
) -> None:
    later = [{"at": "1ep", "manifest": 2}]

    def config(part: str, folder: str, *, sharded: bool = False, **recorder: Any) -> str:
        written = write_config(
            # 37 rows, and 55 from the second epoch on. Then three rows are left over: on two ranks a rank's
            # share of them is as long as its batch, on one rank it is not.
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
    statuses = run_ranks(tmp_path, runs)
    logs = {part: said(tmp_path, part) for part in statuses}
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
        # If one rank dies first, the other may not have recorded the step.
        assert {step: first[step] for step in range(1, 5)} == {step: unbroken[step] for step in range(1, 5)}
        assert second == {step: unbroken[step] for step in range(5, 12)}
        assert third == {step: unbroken[step] for step in range(11, 29)}
