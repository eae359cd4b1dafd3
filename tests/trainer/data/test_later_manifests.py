"""A run with later manifests, stopped at any step and resumed, reads the rows of an unbroken run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from plugins.callbacks import CALLBACKS
from schemas.config import validate
from schemas.errors import ConfigError
from schemas.train_config import TrainStreamConfig
from trainer import train

RECORDER = """
import json
from composer.core import Callback

class Recorder(Callback):
    def __init__(self, file):
        self.file, self.rows = file, []
    def after_dataloader(self, state, logger):
        rows = state.batch["input_ids"][:, 0].tolist()
        self.rows.append([int(state.timestamp.epoch), rows])
    def fit_end(self, state, logger):
        with open(self.file, "w") as file:
            json.dump(self.rows, file)
"""

FROM_SECOND_EPOCH = {"later": [{"at": "1ep", "manifest": 2}]}

Batches = list[tuple[int, list[int]]]
"""Epoch and rows of each batch that was trained on."""


@pytest.fixture
def run(
    write_config: Callable[..., str],
    tmp_path: Path,
    corpus: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., tuple[Batches, dict[str, Any]]]:
    """Function that trains in a named folder for a duration and returns the batches and the result.

    An epoch has the 30 rows of domain's first increment and 10 others: 10 batches. With
    `FROM_SECOND_EPOCH` each later epoch has 18 rows more: 14 batches, 2 rows left over.
    """
    (tmp_path / "recorder_of_a_test.py").write_text(RECORDER)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(
        CALLBACKS, "_targets", {**CALLBACKS.targets(), "recorder": "recorder_of_a_test:Recorder"}
    )
    seen = tmp_path / "seen.json"

    def train_for(
        duration: str, *, folder: str, save_interval: str = "1ba", num_workers: int = 0, **domain: Any
    ) -> tuple[Batches, dict[str, Any]]:
        config = write_config(
            train_loader={
                "dataset": {
                    "streams": {
                        "domain": {"corpus": corpus, "manifest": 1, **domain},
                        "general": {"corpus": corpus, "choose": 10},
                    },
                    "cache_dir": str(tmp_path / "cache"),
                },
                "num_workers": num_workers,
            },
            scheduler={"name": "constant_with_warmup", "t_warmup": "0ba"},
            callbacks={"recorder": {"file": str(seen)}},
            max_duration=duration,
            save_folder=str(tmp_path / folder),
            save_interval=save_interval,
            autoresume=True,
        )
        capsys.readouterr()
        status = train.main([config, "--json"])
        out, err = capsys.readouterr()
        assert status == 0, err
        # The duration stands in for a signal that ends a run early. A resumed run must keep its unit.
        (tmp_path / folder / "run.json").unlink()
        return [(epoch, rows) for epoch, rows in json.loads(seen.read_text())], json.loads(
            out.splitlines()[-1]
        )

    return train_for


def domain_rows(batches: Batches, epoch: int) -> list[int]:
    return sorted(row for at, rows in batches if at == epoch for row in rows if row < 200)


@pytest.mark.slow
def test_a_later_manifest_is_read_from_its_epoch_on(run: Any) -> None:
    batches, _ = run("3ep", folder="unbroken", **FROM_SECOND_EPOCH)
    assert [epoch for epoch, _ in batches] == [0] * 10 + [1] * 14 + [2] * 14
    assert domain_rows(batches, 0) == list(range(100, 130))
    for epoch in (1, 2):
        rows = [row for at, rows in batches if at == epoch for row in rows]
        assert len(set(rows)) == len(rows) == 56
        assert len(set(range(130, 148)) & set(rows)) >= 16


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stop", "save_interval", "num_workers"),
    [
        pytest.param("4ba", "1ba", 0, id="in the first epoch"),
        pytest.param("10ba", "1ba", 0, id="after its last batch"),
        pytest.param("1ep", "1ep", 0, id="after its end"),
        pytest.param("12ba", "1ba", 0, id="in the second epoch"),
        pytest.param("1ep", "1ep", 2, id="after the end, two readers"),
        pytest.param("12ba", "1ba", 2, id="in the second, two readers"),
    ],
)
def test_a_stopped_run_goes_on_with_the_rows_of_an_unbroken_one(
    run: Any, stop: str, save_interval: str, num_workers: int
) -> None:
    options = {"num_workers": num_workers, **FROM_SECOND_EPOCH}
    unbroken, expected = run("3ep", folder="unbroken", **options)
    first, _ = run(stop, folder="broken", save_interval=save_interval, **options)
    second, result = run("3ep", folder="broken", save_interval=save_interval, **options)
    assert first + second == unbroken
    assert result["loss"] == expected["loss"]


@pytest.mark.slow
def test_a_later_manifest_may_be_given_to_a_run_that_was_stopped(run: Any) -> None:
    unbroken, expected = run("2ep", folder="unbroken", **FROM_SECOND_EPOCH)
    first, _ = run("4ba", folder="broken")
    second, result = run("2ep", folder="broken", **FROM_SECOND_EPOCH)
    assert first + second == unbroken
    assert result["loss"] == expected["loss"]


@pytest.mark.slow
def test_epochs_before_a_later_manifest_are_those_of_a_run_without(run: Any) -> None:
    without, _ = run("2ep", folder="without")
    with_later, _ = run("2ep", folder="with", later=[{"at": "2ep", "manifest": 2}])
    assert with_later == without


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"later": [{"at": "10ba", "manifest": 2}]},
            "later.0.at: '10ba' is not a number of epochs, such as 1e",
        ),
        (
            {"manifest": 2, "later": [{"at": "1ep", "manifest": 2}]},
            r"later: each manifest must be greater than the one before it, found \[2, 2\]",
        ),
        (
            {"later": [{"at": "2ep", "manifest": 2}, {"at": "1ep", "manifest": 3}]},
            r"later: each at must be greater than the one before it, found \[0, 2, 1\]",
        ),
        ({"later": [{"at": "1ep"}]}, "key 'later.0.manifest' is missing"),
    ],
)
def test_what_is_no_later_manifest_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        validate(TrainStreamConfig, {"corpus": "somewhere", **changes}, name="train.yaml")


@pytest.mark.parametrize(
    ("domain", "status", "message"),
    [
        ({"later": [{"at": "1ep", "manifest": 9}]}, 1, "has no manifest 9; the newest is 2"),
        (
            {"manifest": None, "later": [{"at": "1ep", "manifest": 1}]},
            2,
            "streams.domain.later: manifest 1 at 1ep is not later than 2, which the run reads before it",
        ),
    ],
)
def test_a_later_manifest_is_looked_up_before_the_run_starts(
    write_config: Callable[..., str],
    corpus: str,
    capsys: pytest.CaptureFixture[str],
    domain: dict[str, Any],
    status: int,
    message: str,
) -> None:
    streams = {"domain": {"corpus": corpus, "manifest": 1, **domain}}
    assert train.main([write_config(train_loader={"dataset": {"streams": streams}})]) == status
    assert message in capsys.readouterr().err


def test_shards_of_a_later_manifest_are_verified_before_the_run_starts(
    write_config: Callable[..., str], corpus: str, capsys: pytest.CaptureFixture[str]
) -> None:
    victim = sorted(Path(corpus).glob("increments/000002/shards/domain/*/*.mds*"))[0]
    victim.unlink()
    streams = {"domain": {"corpus": corpus, "manifest": 1, **FROM_SECOND_EPOCH}}
    assert train.main([write_config(train_loader={"dataset": {"streams": streams}})]) == 1
    assert f"000002/shards/domain/00000/{victim.name}: shard is missing" in capsys.readouterr().err
