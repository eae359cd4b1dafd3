from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions
from apache_beam.runners.portability.fn_api_runner import execution, fn_runner
from apache_beam.runners.portability.fn_api_runner.fn_runner import BundleManager
from apache_beam.runners.worker.data_plane import _GrpcDataChannel
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.transforms import core

from pipelines.runners.local import local_runner
from pipelines.runners.local import shuffle_buffer as shuffle
from pipelines.runners.local.spill_file import SpillFile
from pipelines.runners.run import make_pipeline, parse_options

PROCESSES = ["--direct_running_mode=multi_processing"]
ROWS = [(f"key-{number % 37}", f"{number}-{'x' * 997}") for number in range(400)]


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is replaced, and pieces that 400 rows fill several of."""
    monkeypatch.setattr(shuffle, "PIECE_BYTES", 1 << 14)
    monkeypatch.setattr(execution, "GroupingBuffer", execution.GroupingBuffer)
    monkeypatch.setattr(execution, "ListBuffer", execution.ListBuffer)
    monkeypatch.setattr(fn_runner, "ListBuffer", fn_runner.ListBuffer)
    monkeypatch.setattr(_GrpcDataChannel, "__init__", _GrpcDataChannel.__init__)
    monkeypatch.setattr(BundleManager, "_send_input_to_worker", BundleManager._send_input_to_worker)
    monkeypatch.setattr(PipelineOptions, "view_as", PipelineOptions.view_as)
    monkeypatch.setattr(core, "get_function_args_defaults", core.get_function_args_defaults)
    local_runner.local_runner()


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
    expected: dict[str, list[str]] = {}
    for key, value in rows:
        expected.setdefault(key, []).append(value)
    read = []
    at = SpillFile.at
    monkeypatch.setattr(
        SpillFile, "at", lambda self, places: read.append(len(places) // 2) or at(self, places)
    )
    with make_pipeline(parse_options(more)) as pipeline:
        groups = pipeline | beam.Create(rows, reshuffle=False) | beam.GroupByKey() | beam.MapTuple(_sorted)
        assert_that(groups, equal_to([(key, sorted(values)) for key, values in expected.items()]))
    for size in map(len, expected.values()):
        assert size in read  # else Beam's own buffer grouped them: it makes other coders now


class Step(beam.DoFn):
    """Has parameters of all kinds that Beam looks for."""

    def process(self, element: str, extra: int = 3, window: Any = beam.DoFn.WindowParam) -> Iterable[str]:
        yield element * extra


def test_signatures_are_those_that_beam_finds_and_are_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    ask = local_runner._ask_for_parameters
    monkeypatch.setattr(local_runner, "_ask_for_parameters", lambda f: asked.append(f) or ask(f))
    for _ in range(3):
        names, defaults = core.get_function_arguments(Step(), "process")
        assert names == ["element", "extra", "window"]
        assert defaults == [3, beam.DoFn.WindowParam]
        names.append("what a caller adds is its own")
    assert len(asked) == 1
    for function in (Step.process, _sorted, len):  # none of them bound to one of ours
        assert core.get_function_args_defaults(function) == ask(function)


def test_all_views_of_options_share_their_values() -> None:
    options, others = PipelineOptions(["--streaming"]), PipelineOptions([])
    assert options.view_as(StandardOptions) is options.view_as(StandardOptions)
    assert options.view_as(StandardOptions).streaming
    assert not others.view_as(StandardOptions).streaming
    options.view_as(DirectOptions).direct_num_workers = 5
    assert options.view_as(StandardOptions).view_as(DirectOptions).direct_num_workers == 5
    assert others.view_as(DirectOptions).direct_num_workers == 1


def _sorted(key: str, values: Iterable[str]) -> tuple[str, list[str]]:
    return key, sorted(values)
