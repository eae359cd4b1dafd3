"""Beam's runner for one machine, without some habits that cost much.

FnApiRunner keeps what goes from stage to stage in memory, and queues all that a worker will read before that
starts. Here it stands in temporary files (`spill_file.py`, `shuffle_buffer.py`) and is read and sent as the
workers take it (`backpressure.py`, `worker_process.py`), so that neither the runner's memory nor a worker's
grows with the corpus, but for the runner's index of it.

For each transform Beam makes a new parser of command lines, and asks Python for the signature of each
method of its DoFn several times: 400 and 20,000 for a build, near half of the time that a small one takes.
Here each is made once.

Worker processes are forked from one that has imported everything (`fork_server.py`), and reach the runner
through sockets that are this user's (`unix_sockets.py`); they send no logs, which nobody reads. Beam waits
for ever for one that has died, before it registered or later; here its end ends the run.

These are internals of Beam 2.71, replaced for this process.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import threading
import types
import weakref
from collections.abc import Iterable
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.portability.api import beam_fn_api_pb2
from apache_beam.runners.portability.fn_api_runner import execution, fn_runner
from apache_beam.runners.portability.fn_api_runner.fn_runner import BundleManager, FnApiRunner
from apache_beam.runners.portability.fn_api_runner.worker_handlers import (
    BeamFnControlServicer,
    ControlFuture,
    SubprocessSdkWorkerHandler,
)
from apache_beam.runners.worker.data_plane import _GrpcDataChannel
from apache_beam.transforms import core
from apache_beam.transforms.environments import Environment
from google.protobuf import json_format, text_format

from pipelines.runners.local import fork_server
from pipelines.runners.local.backpressure import PullQueue, messages
from pipelines.runners.local.fork_server import ForkedWorker, StartedWorker
from pipelines.runners.local.shuffle_buffer import SpillingBuffer
from pipelines.runners.local.spill_file import SpillingListBuffer
from pipelines.runners.local.unix_sockets import use_private_sockets
from schemas.errors import WorkerError
from schemas.process import allocate_from_one_heap

_SHELL_SIGNAL = 128
_HUNG_UP = "Channel closed prematurely"
_NEWS_SEC = 5.0
_lost: queue.SimpleQueue[str] = queue.SimpleQueue()
"""What is said of workers that ended badly."""

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
    while not _lost.empty():  # of an earlier run
        _lost.get()
    execution.GroupingBuffer = SpillingBuffer
    execution.ListBuffer = fn_runner.ListBuffer = SpillingListBuffer
    _GrpcDataChannel.__init__ = _channel_that_pulls
    BundleManager._send_input_to_worker = _send_input_to_worker
    PipelineOptions.view_as = _view_as
    core.get_function_args_defaults = _parameters_of
    use_private_sockets()
    SubprocessSdkWorkerHandler.start_worker = _start_worker
    return FnApiRunner(default_environment=default_environment)


def _start_worker(self: Any) -> None:
    """Start a worker process that fails the runner's requests once it has ended."""
    self.worker_thread = threading.Thread(name="run_worker", target=_run_worker, args=(self,))
    self.worker_thread.start()


def _run_worker(handler: Any) -> None:
    environment = {
        **os.environ,
        "CONTROL_API_SERVICE_DESCRIPTOR": text_format.MessageToString(
            handler.control_api_service_descriptor()
        ),
        "PIPELINE_OPTIONS": json_format.MessageToJson(handler.provision_info.provision_info.pipeline_options),
        "WORKER_ID": handler.worker_id,
    }
    try:
        worker = fork_server.popen(handler._worker_command_line.decode(), shell=True, env=environment)
        worker.wait()
        said = _end_of(worker)
        if worker.returncode:
            _lost.put(said)
    except OSError as error:
        said = f"a worker process cannot be started: {error}."
    _fail_requests(handler.control_conn, f"{WorkerError.__module__}.{WorkerError.__name__}: {said}")


def lost_worker(error: BaseException) -> WorkerError | None:
    """The end of a worker that Beam noticed by its silence alone; None where the error is another."""
    if _HUNG_UP not in str(error):
        return None
    with contextlib.suppress(queue.Empty):
        return WorkerError(_lost.get(timeout=_NEWS_SEC))
    return WorkerError("a worker process hung up before its work was done. Run again.")


def _end_of(worker: ForkedWorker | StartedWorker) -> str:
    status = worker.returncode or 0
    if status > _SHELL_SIGNAL:  # a shell started it
        status = _SHELL_SIGNAL - status
    ended = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
    cure = " Was there too little memory? Try fewer workers." if status == -signal.SIGKILL else ""
    words = worker.last_words()
    lines = "\n".join(line for line in words.splitlines() if line.strip())
    return f"a worker process {ended} before its work was done.{cure}" + (
        f" Its last words:\n{lines}" if lines else ""
    )


def _fail_requests(connection: Any, error: str) -> None:
    """Answer what the runner asked of a worker, and what it still asks, with an error."""
    push = connection.push

    def refuse(request: Any) -> ControlFuture | None:
        if request is BeamFnControlServicer._DONE_MARKER:
            push(request)
            return None
        return ControlFuture(request.instruction_id, beam_fn_api_pb2.InstructionResponse(error=error))

    connection.push = refuse
    for future in list(connection._futures_by_id.values()):
        future.set(beam_fn_api_pb2.InstructionResponse(instruction_id=future.instruction_id, error=error))


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
