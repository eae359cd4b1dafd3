from __future__ import annotations

import gc
import logging
import sys
import threading
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.testing.util import assert_that, equal_to

from pipelines.increments.build import build_increment
from pipelines.runners.local import spilled_buffers
from pipelines.runners.local.local_runner import internals
from pipelines.runners.local.spilled_buffers import SpillFile
from pipelines.runners.run import make_pipeline, parse_options
from schemas.corpus_config import CorpusConfig

pytestmark = pytest.mark.slow

PROCESSES = ["--direct_running_mode=multi_processing"]
ROWS = [(f"key-{number % 37}", f"{number}-{'x' * 997}") for number in range(400)]


@pytest.mark.parametrize(
    ("rows", "more"),
    [
        pytest.param([], [], id="no rows"),
        pytest.param(ROWS[:1], ["--direct_num_workers=2"], id="one row, two workers"),
        pytest.param(ROWS, [], id="400 rows"),
        pytest.param(ROWS, [*PROCESSES, "--direct_num_workers=2"], id="400 rows, two processes"),
    ],
)
def test_a_pipeline_shuffles_through_files(
    rows: list[tuple[str, str]], more: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spilled_buffers, "PIECE_BYTES", 1 << 14)  # 400 rows fill several pieces
    expected: dict[str, list[str]] = {}
    for key, value in rows:
        expected.setdefault(key, []).append(value)
    read = []
    at = SpillFile.at
    monkeypatch.setattr(
        SpillFile, "at", lambda self, offsets: read.append(len(offsets) // 2) or at(self, offsets)
    )
    with make_pipeline(parse_options(more)) as pipeline:
        groups = pipeline | beam.Create(rows, reshuffle=False) | beam.GroupByKey() | beam.MapTuple(_sorted)
        assert_that(groups, equal_to([(key, sorted(values)) for key, values in expected.items()]))
    for size in map(len, expected.values()):
        assert size in read  # else Beam's own buffer grouped the values: its coders have changed


@pytest.mark.parametrize("more", [[], PROCESSES], ids=["in process", "worker process"])
def test_a_program_finds_all_as_it_was_after_a_build(
    more: list[str],
    corpus_config: Callable[..., CorpusConfig],
    passages: Callable[[int], list[dict[str, str]]],
    write_jsonl: Callable[..., str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before, during, read = state(), [], SpillFile.at
    monkeypatch.setattr(SpillFile, "at", lambda self, offsets: during.append(state()) or read(self, offsets))
    config = corpus_config(tmp_path / "corpus", write_jsonl(tmp_path / "raw.jsonl", passages(3)))
    assert build_increment(config, more, quiet=True) is not None
    assert state() == before
    as_before = {name for name in before if during[0][name] == before[name]}
    assert as_before <= {"logging.root.level", "warnings.filters", "interpreter"}


def state() -> dict[str, object]:
    """Return the state of the process that a build may change, outside our own modules."""
    return {
        **{f"{owner.__name__}.{name}": getattr(owner, name) for owner, name, _ in internals()},
        "logging.root.level": logging.getLogger().level,
        "apache_beam's log level": logging.getLogger("apache_beam").level,
        "threading.excepthook": threading.excepthook,
        "interpreter": (gc.get_threshold(), gc.get_freeze_count() > 0, sys.getswitchinterval()),
        "warnings.filters": list(warnings.filters),
    }


def _sorted(key: str, values: Iterable[str]) -> tuple[str, list[str]]:
    return key, sorted(values)
