"""Beam's runner for this machine. It replaces internals of Beam while a pipeline runs (docs/internals.md).

Differences from FnApiRunner:

    spilled_buffers   collections and shuffles are on disk, and only their offsets in memory
    data_channel      backpressure: a message is made when a worker takes it
    unix_sockets      workers reach the runner through sockets of this user alone
    start_worker      workers are processes of this program and send no logs; the end of a worker fails the
                      run, where Beam would wait for ever
"""

from __future__ import annotations

import collections
import contextlib
import os
import queue
import shlex
import signal
import subprocess
import sys
import threading
from typing import IO, Any

from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pipeline import Pipeline
from apache_beam.portability.api import beam_fn_api_pb2
from apache_beam.runners.portability.fn_api_runner import execution, fn_runner
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner, RunnerResult
from apache_beam.runners.portability.fn_api_runner.worker_handlers import (
    BeamFnControlServicer,
    ControlFuture,
    SubprocessSdkWorkerHandler,
)
from google.protobuf import json_format, text_format

from pipelines.runners.local.data_channel import runner_internals
from pipelines.runners.local.spilled_buffers import SpillingBuffer, SpillingListBuffer
from pipelines.runners.local.unix_sockets import socket_internals
from schemas.errors import WorkerError
from schemas.process import allocate_from_one_heap
from schemas.replaced_internals import Internal, replaced

_CHANNEL_CLOSED = "Channel closed prematurely"
_LAST_LINES = 20
_LAST_LINES_SEC = 1.0
_REPORT_SEC = 5.0

_lost_workers: queue.SimpleQueue[str] = queue.SimpleQueue()
"""One sentence for each worker that ended with an error."""


class LocalRunner(FnApiRunner):
    """FnApiRunner with internals of Beam replaced until the pipeline ends."""

    def run_pipeline(self, pipeline: Pipeline, options: PipelineOptions) -> RunnerResult:
        """Run a pipeline to its end."""
        allocate_from_one_heap()
        while not _lost_workers.empty():  # of an earlier run
            _lost_workers.get()
        with replaced(*internals()):
            return super().run_pipeline(pipeline, options)


def internals() -> list[Internal]:
    """Internals of Beam that a local run replaces."""
    return [
        Internal(execution, "GroupingBuffer", SpillingBuffer),
        Internal(execution, "ListBuffer", SpillingListBuffer),
        Internal(fn_runner, "ListBuffer", SpillingListBuffer),
        Internal(SubprocessSdkWorkerHandler, "start_worker", _start_worker),
        Internal(SubprocessSdkWorkerHandler, "stop_worker", _stop_worker),
        *runner_internals(),
        *socket_internals(),
    ]


def lost_worker(error: BaseException) -> WorkerError | None:
    """Return how a worker ended if Beam noticed only its silence; None if the error is another one."""
    if _CHANNEL_CLOSED not in str(error):
        return None
    with contextlib.suppress(queue.Empty):
        return WorkerError(_lost_workers.get(timeout=_REPORT_SEC))
    return WorkerError("a worker process hung up before its work was done. Run again.")


def _start_worker(self: Any) -> None:
    """Start a worker process. Its end fails all later requests of the runner."""
    self.worker_thread = threading.Thread(name="run_worker", target=_run_worker, args=(self,))
    self.worker_thread.start()


def _stop_worker(self: Any) -> None:
    """End a worker, also one that connects later: Beam would leave that one waiting for ever."""
    self.control_conn.push(BeamFnControlServicer._DONE_MARKER)
    self.worker_thread.join()


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
        worker = subprocess.Popen(
            shlex.split(handler._worker_command_line.decode()),
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
    except OSError as error:
        ended = f"a worker process cannot be started: {error}."
    else:
        last_lines: collections.deque[str] = collections.deque(maxlen=_LAST_LINES)
        reader = threading.Thread(target=_pass_on, args=(worker.stderr, last_lines), daemon=True)
        reader.start()
        status = worker.wait()
        reader.join(_LAST_LINES_SEC)  # a process that the worker left behind may hold the pipe open
        ended = _how_it_ended(status, last_lines)
        if status:
            _lost_workers.put(ended)
    _fail_requests(handler.control_conn, f"{WorkerError.__module__}.{WorkerError.__name__}: {ended}")


def _pass_on(stderr: IO[str], last_lines: collections.deque[str]) -> None:
    with stderr:
        for line in stderr:
            if line.strip():
                last_lines.append(line.rstrip())
            sys.stderr.write(line)


def _how_it_ended(status: int, last_lines: collections.deque[str]) -> str:
    ended = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
    cure = " Was there too little memory? Try fewer workers." if status == -signal.SIGKILL else ""
    lines = "\n".join(["", *last_lines])
    return f"a worker process {ended} before its work was done.{cure}" + (
        f" Its last lines:{lines}" if last_lines else ""
    )


def _fail_requests(connection: Any, error: str) -> None:
    """Answer the runner's requests to a worker with an error: those under way, and all later ones."""
    push = connection.push

    def refuse(request: Any) -> ControlFuture | None:
        if request is BeamFnControlServicer._DONE_MARKER:
            push(request)
            return None
        return ControlFuture(request.instruction_id, beam_fn_api_pb2.InstructionResponse(error=error))

    connection.push = refuse
    for future in list(connection._futures_by_id.values()):
        future.set(beam_fn_api_pb2.InstructionResponse(instruction_id=future.instruction_id, error=error))
