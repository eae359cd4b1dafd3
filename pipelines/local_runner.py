"""Beam's runner for one machine, without some habits that cost much.

FnApiRunner keeps what goes from stage to stage in memory, and queues all that a worker will read before that
starts. Here it stands in temporary files (`spill.py`, `shuffle.py`) and is read and sent as the workers take
it (`sending.py`, `worker.py`), so that neither the runner's memory nor a worker's grows with the corpus, but
for the runner's index of it.

For each transform Beam makes a new parser of command lines, and asks Python for the signature of each
method of its DoFn several times: 400 and 20,000 for a build, near half of the time that a small one takes.
Here each is made once.

Worker processes are forked from one that has imported everything (`fork_server.py`).

These are internals of Beam 2.71, replaced for this process.
"""

from __future__ import annotations

import types
import weakref
from collections.abc import Iterable
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.runners.portability import local_job_service
from apache_beam.runners.portability.fn_api_runner import execution, fn_runner
from apache_beam.runners.portability.fn_api_runner.fn_runner import BundleManager, FnApiRunner
from apache_beam.runners.worker.data_plane import _GrpcDataChannel
from apache_beam.transforms import core
from apache_beam.transforms.environments import Environment

from pipelines import fork_server
from pipelines.sending import PullQueue, messages
from pipelines.shuffle import SpillingBuffer
from pipelines.spill import SpillingListBuffer
from schemas.process import allocate_from_one_heap

_make_channel = _GrpcDataChannel.__init__
_make_view = PipelineOptions.view_as
_views: weakref.WeakKeyDictionary[Any, dict[type, Any]] = weakref.WeakKeyDictionary()
_ask_for_parameters = core.get_function_args_defaults
_parameters: weakref.WeakKeyDictionary[Any, tuple[list[str], list[Any]]] = weakref.WeakKeyDictionary()


def local_runner(default_environment: Environment | None = None) -> FnApiRunner:
    """A runner for this machine.

    Args:
        default_environment: Where its workers run; None is in this process.
    """
    allocate_from_one_heap()
    execution.GroupingBuffer = SpillingBuffer
    execution.ListBuffer = fn_runner.ListBuffer = SpillingListBuffer
    _GrpcDataChannel.__init__ = _channel_that_pulls
    BundleManager._send_input_to_worker = _send_input_to_worker
    PipelineOptions.view_as = _view_as
    core.get_function_args_defaults = _parameters_of
    local_job_service.subprocess = types.SimpleNamespace(Popen=fork_server.popen)
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


def _channel_that_pulls(self: Any, data_buffer_time_limit_ms: int = 0) -> None:
    """A channel whose messages may be made as they are sent."""
    _make_channel(self, data_buffer_time_limit_ms)
    self._to_send = PullQueue()


def _send_input_to_worker(
    self: Any, process_bundle_id: str, read_transform_id: str, byte_streams: Iterable[bytes] | None
) -> None:
    """Send the pieces of a bundle's input: over a network once the worker asks for them."""
    channel = self._worker_handler.data_conn
    if isinstance(channel, _GrpcDataChannel):
        channel._to_send.put(
            messages(byte_streams or [], bundle_id=process_bundle_id, transform_id=read_transform_id)
        )
        return
    data_out = channel.output_stream(process_bundle_id, read_transform_id)
    for byte_stream in byte_streams or []:
        data_out.write(byte_stream)
    data_out.close()
