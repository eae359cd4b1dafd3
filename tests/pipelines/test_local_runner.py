from __future__ import annotations

import types
from collections.abc import Iterable
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.coders.coder_impl import create_InputStream, create_OutputStream
from apache_beam.coders.coders import FastPrimitivesCoder, GlobalWindowCoder, TupleCoder, WindowedValueCoder
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions
from apache_beam.runners.portability.fn_api_runner.execution import GroupingBuffer
from apache_beam.runners.portability.fn_api_runner.fn_runner import BundleManager
from apache_beam.runners.worker.data_plane import SizeBasedBufferingClosableOutputStream
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.transforms import core
from apache_beam.transforms.core import Windowing
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue

from pipelines import local_runner

PIECE = 1 << 14
ROWS = [(f"key-{number % 37}", f"{number}-{'x' * 997}") for number in range(400)]


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """The replaced methods, and pieces that 400 rows fill several of."""
    monkeypatch.setattr(local_runner, "_PIECE_BYTES", PIECE)
    monkeypatch.setattr(GroupingBuffer, "partition", GroupingBuffer.partition)
    monkeypatch.setattr(BundleManager, "_send_input_to_worker", BundleManager._send_input_to_worker)
    monkeypatch.setattr(PipelineOptions, "view_as", PipelineOptions.view_as)
    monkeypatch.setattr(core, "get_function_args_defaults", core.get_function_args_defaults)
    local_runner.local_runner()


def shuffled(rows: Iterable[tuple[str, str]]) -> tuple[GroupingBuffer, Any]:
    """A shuffle's buffer that holds rows, and the coder of what it gives."""
    before = WindowedValueCoder(TupleCoder([FastPrimitivesCoder()] * 2), GlobalWindowCoder())
    after = WindowedValueCoder(TupleCoder([FastPrimitivesCoder()] * 2), GlobalWindowCoder())
    buffer = GroupingBuffer(before, after, Windowing(GlobalWindows()))
    stream = create_OutputStream()
    for row in rows:
        before.get_impl().encode_to_stream(GlobalWindows.windowed_value(row), stream, True)
    buffer.append(stream.get())
    return buffer, after


def decoded(pieces: Iterable[bytes], coder: Any) -> list[WindowedValue]:
    stream = create_InputStream(b"".join(pieces))
    found = []
    while stream.size():
        found.append(coder.get_impl().decode_from_stream(stream, True))
    return found


def test_a_share_comes_in_pieces_and_holds_what_it_would_in_one(monkeypatch: pytest.MonkeyPatch) -> None:
    buffer, coder = shuffled(ROWS)
    shares = buffer.partition(2)
    with monkeypatch.context() as context:
        context.setattr(GroupingBuffer, "partition", local_runner._in_one_piece)
        whole, _ = shuffled(ROWS)
        expected = whole.partition(2)
    assert [len(share) for share in expected] == [1, 1]
    for share, one in zip(shares, expected, strict=True):
        assert len(share) > 5
        assert max(map(len, share)) < PIECE + 12_000  # a piece ends with the key that fills it
        assert decoded(share, coder) == decoded(one, coder)
    assert buffer.partition(2) is shares


def test_pieces_are_sent_as_they_fill_a_message() -> None:
    sent: list[bytes] = []
    stream = SizeBasedBufferingClosableOutputStream(sent.append, sent.append, size_flush_threshold=PIECE)
    connection = types.SimpleNamespace(output_stream=lambda *_: stream)
    manager = types.SimpleNamespace(_worker_handler=types.SimpleNamespace(data_conn=connection))
    pieces = [bytes([number]) * 6_000 for number in range(9)]
    BundleManager._send_input_to_worker(manager, "bundle", "transform", pieces)
    assert b"".join(sent) == b"".join(pieces)
    assert [len(message) for message in sent] == [18_000, 18_000, 18_000, 0]


@pytest.mark.parametrize("rows", [[], ROWS[:1], ROWS])
def test_a_pipeline_shuffles_through_it(rows: list[tuple[str, str]]) -> None:
    expected: dict[str, list[str]] = {}
    for key, value in rows:
        expected.setdefault(key, []).append(value)
    with beam.Pipeline(runner=local_runner.local_runner()) as pipeline:
        groups = pipeline | beam.Create(rows) | beam.GroupByKey() | beam.MapTuple(_sorted)
        assert_that(groups, equal_to([(key, sorted(values)) for key, values in expected.items()]))


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
