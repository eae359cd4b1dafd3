"""Intervals and schedules that do not fit a run's duration are refused or reported."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from schemas.config import load_config
from schemas.errors import ConfigError
from schemas.train_config import TrainConfig
from trainer import train
from trainer.startup.config_checks import check_schedule
from trainer.startup.run_length import Pace, parse_duration

PACE = Pace(batch_rows=4, seq_len=32, epoch_steps=(27,))


def scheduler(**arguments: str) -> dict[str, Any]:
    return {"scheduler": {"name": "cosine_with_warmup", "t_warmup": "0ba", **arguments}}


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("6ba", 6),
        ("24sp", 6),
        ("768tok", 6),
        ("2ep", 54),
        ("0.25dur", 25),
        ("200tok", 1.5625),
        ("9sec", None),
    ],
)
def test_times_are_converted_to_steps(text: str, steps: float | None) -> None:
    assert PACE.steps(parse_duration("key", text), run=parse_duration("key", "100ba")) == steps


def test_epochs_are_not_converted_without_a_corpus() -> None:
    pace = Pace(batch_rows=4, seq_len=32, epoch_steps=())
    assert pace.steps(parse_duration("key", "1ep")) is None
    assert pace.steps(parse_duration("key", "0.5dur"), run=parse_duration("key", "1ep")) is None


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            scheduler(t_warmup="1000ba"),
            "scheduler.t_warmup is 1000ba, longer than max_duration, 6ba: training would end before the "
            "learning rate is reached. Lower it, or give a share of the run (0.1dur).",
        ),
        (scheduler(t_warmup="1ep"), "scheduler.t_warmup is 1ep, longer than max_duration, 6ba:"),
        ({"max_duration": "2ep", **scheduler(t_warmup="55ba")}, "is 55ba, longer than max_duration, 2ep:"),
        ({"max_duration": "768tok", **scheduler(t_warmup="769tok")}, "is 769tok, longer than max_duration"),
        (
            scheduler(t_max="5ba"),
            "scheduler.t_max ends the schedule at 5ba, before max_duration, 6ba. Raise it, or leave it out: "
            "the default is max_duration.",
        ),
        (scheduler(t_max="767tok"), "scheduler.t_max ends the schedule at 767tok, before max_duration, 6ba."),
    ],
)
def test_a_schedule_that_does_not_fit_the_run_is_refused(
    write_config: Callable[..., str], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        check_schedule(load_config(TrainConfig, write_config(**changes)), PACE)
    assert message in str(raised.value)


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        (scheduler(t_warmup="6ba", t_max="768tok"), []),
        (
            scheduler(t_max="12ba"),
            [
                "scheduler.t_max is 12ba, longer than max_duration, 6ba: the run ends before the schedule "
                "does."
            ],
        ),
        ({"save_interval": "7ba"}, []),  # nothing is saved
        (
            {
                "save_folder": "x",
                "save_interval": "25sp",
                "callbacks": {
                    "hf_export": {"folder": "x", "interval": "1ep"},
                    "domain_eval": {"tasks": "x", "interval": "6ba"},
                },
            },
            [
                "save_interval is 25sp, longer than max_duration, 6ba: it comes due at the end only.",
                "callbacks.hf_export.interval is 1ep, longer than max_duration, 6ba: it comes due at the end "
                "only.",
            ],
        ),
        ({"save_folder": "x", "save_interval": "500ba", "max_duration": "99sec"}, []),  # cannot be converted
    ],
)
def test_what_never_happens_within_the_run_is_told(
    write_config: Callable[..., str],
    changes: dict[str, Any],
    lines: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    check_schedule(load_config(TrainConfig, write_config(**changes)), PACE)
    assert capsys.readouterr().err.splitlines() == lines


@pytest.mark.parametrize(
    ("max_duration", "is_read"), [("1ep", False), ("2ep", True), ("27ba", False), ("28ba", True)]
)
def test_a_later_manifest_after_the_end_is_told(
    write_config: Callable[..., str],
    corpus: str,
    max_duration: str,
    is_read: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:
    streams = {"domain": {"corpus": corpus, "manifest": 1, "later": [{"at": "1ep", "manifest": 2}]}}
    config = write_config(train_loader={"dataset": {"streams": streams}}, max_duration=max_duration)
    check_schedule(load_config(TrainConfig, config), PACE)
    assert capsys.readouterr().err.splitlines() == (
        []
        if is_read
        else [
            "train_loader.dataset.streams.domain.later: manifest 2 at 1ep is not read, since the run ends "
            f"before, at {max_duration}."
        ]
    )


def test_training_and_a_dry_run_look_at_the_schedule(
    write_config: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    for more in ([], ["--dry-run", "--gpus", "1"]):
        assert train.main([write_config(**scheduler(t_warmup="1ep")), *more]) == 2
        assert "scheduler.t_warmup is 1ep, longer than max_duration, 6ba" in capsys.readouterr().err
    nowhere = {"domain": {"corpus": "/nowhere"}}
    config = write_config(train_loader={"dataset": {"streams": nowhere}}, **scheduler(t_warmup="7ba"))
    assert train.main([config, "--dry-run", "--gpus", "1", "--seq-len", "32"]) == 2
    assert "scheduler.t_warmup is 7ba, longer than max_duration, 6ba" in capsys.readouterr().err
