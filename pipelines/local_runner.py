"""Beam's runner for one machine, without some habits that cost much.

FnApiRunner encodes a worker's share of a shuffle into a single string of bytes and sends that whole: of a
corpus of 1 GB, half of it to each of two workers, which then hold it several times over. Here a share is
encoded and sent in pieces. A worker takes as many ahead as its queue has places for, five, so its memory does
not depend on the size of the corpus; and what is encoded is let go of in its decoded form at once. The
runner's own memory still grows with what is shuffled.

And for each transform Beam makes a new parser of command lines, and asks Python for the signature of each
method of its DoFn several times: 400 and 20,000 for a build, near half of the time that a small one takes.
Here each is made once.

These are internals of Beam 2.71, replaced for this process.
"""

from __future__ import annotations

import types
import weakref
from typing import Any

from apache_beam.coders.coder_impl import create_OutputStream
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability.fn_api_runner.execution import GroupingBuffer
from apache_beam.runners.portability.fn_api_runner.fn_runner import BundleManager, FnApiRunner
from apache_beam.transforms import core
from apache_beam.transforms.environments import Environment
from apache_beam.transforms.window import GlobalWindow, GlobalWindows
from apache_beam.utils.windowed_value import PaneInfo, PaneInfoTiming

_PIECE_BYTES = 4 << 20

_in_one_piece = GroupingBuffer.partition
_make_view = PipelineOptions.view_as
_views: weakref.WeakKeyDictionary[Any, dict[type, Any]] = weakref.WeakKeyDictionary()
_ask_for_parameters = core.get_function_args_defaults
_parameters: weakref.WeakKeyDictionary[Any, tuple[list[str], list[Any]]] = weakref.WeakKeyDictionary()


def local_runner(default_environment: Environment | None = None) -> FnApiRunner:
    """A runner for this machine.

    Args:
        default_environment: Where its workers run; None is in this process.
    """
    GroupingBuffer.partition = _partition
    BundleManager._send_input_to_worker = _send_input_to_worker
    PipelineOptions.view_as = _view_as
    core.get_function_args_defaults = _parameters_of
    return FnApiRunner(default_environment=default_environment)


def _view_as(self: Any, cls: type) -> Any:
    """Options as another class shows them; all views of the same options share their values."""
    views = _views.setdefault(self, {})
    if cls not in views:
        views[cls] = _make_view(self, cls)
    return views[cls]


def _parameters_of(function: Any) -> tuple[list[str], list[Any]]:
    """Names and defaults of parameters, as Beam wants them; bound methods of one function have the same."""
    if not isinstance(function, types.MethodType) or not isinstance(function.__func__, types.FunctionType):
        asked: tuple[list[str], list[Any]] = _ask_for_parameters(function)
        return asked
    if function.__func__ not in _parameters:
        _parameters[function.__func__] = _ask_for_parameters(function)
    names, defaults = _parameters[function.__func__]
    return list(names), list(defaults)


def _partition(self: Any, n: int) -> list[list[bytes]]:
    """Keys and their values, dealt out to n workers, each one's in pieces."""
    if self._grouped_output or not self._windowing.is_default():
        grouped: list[list[bytes]] = _in_one_piece(self, n)
        return grouped
    pane = PaneInfo(
        is_first=True, is_last=True, timing=PaneInfoTiming.ON_TIME, index=0, nonspeculative_index=0
    )
    windowed = GlobalWindows.windowed_value(
        None, timestamp=GlobalWindow().max_timestamp(), pane_info=pane
    ).with_value
    coder, key_coder = self._post_grouped_coder.get_impl(), self._key_coder.get_impl()
    shares: list[list[bytes]] = [[] for _ in range(n)]
    streams = [create_OutputStream() for _ in range(n)]
    for number, encoded_key in enumerate(list(self._table)):
        worker = number % n
        values = self._table.pop(encoded_key)
        coder.encode_to_stream(windowed((key_coder.decode(encoded_key), values)), streams[worker], True)
        if streams[worker].size() >= _PIECE_BYTES:
            shares[worker].append(streams[worker].get())
            streams[worker] = create_OutputStream()
    for share, stream in zip(shares, streams, strict=True):
        share.append(stream.get())
    self._grouped_output = shares
    return shares


def _send_input_to_worker(
    self: Any, process_bundle_id: str, read_transform_id: str, byte_streams: list[bytes] | None
) -> None:
    """Send each piece once it is large enough, rather than all at the end."""
    data_out = self._worker_handler.data_conn.output_stream(process_bundle_id, read_transform_id)
    for byte_stream in byte_streams or []:
        data_out.write(byte_stream)
        data_out.maybe_flush()
    data_out.close()
