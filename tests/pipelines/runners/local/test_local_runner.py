from __future__ import annotations

from collections.abc import Iterable

import apache_beam as beam
import pytest
from apache_beam.testing.util import assert_that, equal_to

from pipelines.runners.local import spilled_buffers
from pipelines.runners.local.spilled_buffers import SpillFile
from pipelines.runners.run import make_pipeline, parse_options

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
        assert size in read  # otherwise Beam's own buffer grouped them: it makes other coders now


def _sorted(key: str, values: Iterable[str]) -> tuple[str, list[str]]:
    return key, sorted(values)
