"""Loggers by name: the values that they write equal those of `metrics.jsonl`."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trainer import train

LOGGED = ("loss/train/total", "lr-DecoupledAdamW/group0")


@pytest.fixture
def run(write_config: Callable[..., str], tmp_path: Path) -> Callable[..., dict[str, list[float]]]:
    """Train for three steps with a logger; return the values of `LOGGED` in metrics.jsonl."""

    def start(**loggers: Any) -> dict[str, list[float]]:
        config = write_config(
            loggers={"jsonl": {"path": str(tmp_path / "metrics.jsonl")}, **loggers},
            callbacks={"lr_monitor": {}},
            max_duration="3ba",
        )
        assert train.main([config]) == 0
        lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
        found = {name: [line[name] for line in lines if name in line] for name in LOGGED}
        assert all(len(values) >= 3 for values in found.values()), lines
        return found

    return start


@pytest.mark.slow
def test_tensorboard_has_the_metrics_of_every_step(
    run: Callable[..., dict[str, list[float]]], tmp_path: Path
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    expected = run(tensorboard={"log_dir": str(tmp_path / "tb"), "flush_interval": 1})
    events = EventAccumulator(str(tmp_path / "tb" / "tiny"))
    events.Reload()
    for name, values in expected.items():
        assert [event.value for event in events.Scalars(name)] == pytest.approx(values, rel=1e-6)


def test_weights_and_biases_writes_a_run_without_a_network(
    run: Callable[..., dict[str, list[float]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb", reason="W&B wants an older protobuf than Beam's; install the trainer alone")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    expected = run(wandb={"project": "tutelage"})
    (file,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    found: dict[str, list[float]] = {}
    for _ in range(60):  # a process of W&B's own writes the file, some time after the run
        with contextlib.suppress(AssertionError):  # W&B's file is not whole yet
            found = wandb_history(file)
            break
        time.sleep(0.5)
    for name, values in expected.items():
        assert found[name] == pytest.approx(values, rel=1e-6)


def wandb_history(file: Path) -> dict[str, list[float]]:
    """Values of `LOGGED` in a run's file.

    Raises:
        AssertionError: The file ends within a record, or before the last one.
    """
    from wandb.proto import wandb_internal_pb2
    from wandb.sdk.internal.datastore import DataStore

    store, found, is_whole = DataStore(), {name: [] for name in LOGGED}, False
    store.open_for_scan(str(file))
    while (data := store.scan_data()) is not None:
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        is_whole = is_whole or record.HasField("exit")
        for item in record.history.item:
            name = item.key or "/".join(item.nested_key)
            if name in found:
                found[name].append(json.loads(item.value_json))
    assert is_whole
    return found
