"""Which Beam runner runs a build, and what went wrong in it, said as one of our own errors.

This machine's runner is FnApiRunner, named outright: Beam's DirectRunner would first try to download
another one. With `--direct_running_mode=multi_processing` its workers are processes of ours.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import shlex
import threading
from collections.abc import Callable, Iterator, Sequence

import apache_beam as beam
from apache_beam.metrics.metric import MetricResults
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions
from apache_beam.runners.runner import PipelineResult
from apache_beam.transforms import environments

from pipelines.runners.local import fork_server
from pipelines.runners.local.local_runner import local_runner, lost_worker
from schemas import errors
from schemas.crash_messages import machines_fault
from schemas.errors import ConfigError, TutelageError, unknown_name
from schemas.process import python_command

_THIS_MACHINE = {None, "FnApiRunner", "DirectRunner", "SwitchingDirectRunner"}
_WHILE_RUNNING = re.compile(r" \[while running '[^']*'\]")
_OURS_IN_A_TRACEBACK = re.compile(
    r"^schemas\.errors\.(\w+): (.*?)(?= \[while running '|^\s*$|\Z)", re.MULTILINE | re.DOTALL
)
_MOST_CAUSES = 20

_READERS = ("beam_control_read", "read_grpc_client_inputs")
"""Beam's threads that end with an exception when a worker is lost."""


def parse_options(arguments: Sequence[str]) -> PipelineOptions:
    """Read Beam's options.

    Raises:
        ConfigError: One of them is unknown to Beam, or has a value that Beam refuses.
    """
    known = PipelineOptions([]).get_all_options().keys()
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            options = PipelineOptions(list(arguments))
            unknown = options.get_all_options(retain_unknown_options=True).keys() - known
    except SystemExit:
        lines = said.getvalue().strip().splitlines() or ["Beam refuses them"]
        raise ConfigError(
            f"options for Beam after --: {lines[-1].partition('error: ')[2] or lines[-1]}"
        ) from None
    for name in sorted(unknown):
        raise ConfigError(unknown_name("Beam option", name, known).partition(" Available:")[0])
    return options


def runs_here(options: PipelineOptions) -> bool:
    """Whether the options mean this machine."""
    return options.view_as(StandardOptions).runner in _THIS_MACHINE


def expect_workers(options: PipelineOptions) -> None:
    """Let worker processes get ready, if the options want any on this machine."""
    if runs_here(options) and options.view_as(DirectOptions).direct_running_mode == "multi_processing":
        fork_server.begin()


def make_pipeline(options: PipelineOptions) -> beam.Pipeline:
    """An empty pipeline for the runner that the options name.

    Raises:
        ConfigError: Beam refuses the options.
    """
    try:
        if not runs_here(options):
            return _without_folder(beam.Pipeline(options=options))
        direct = options.view_as(DirectOptions)
        if direct.direct_running_mode != "multi_processing":
            return _without_folder(beam.Pipeline(runner=local_runner(), options=options))
        direct.direct_running_mode = "in_memory"  # else Beam takes its own worker command
        workers = environments.SubprocessSDKEnvironment.from_command_string(
            shlex.join(python_command("pipelines.runners.local.worker_process"))
        )
        return _without_folder(beam.Pipeline(runner=local_runner(workers), options=options))
    except ValueError as error:
        raise ConfigError(f"options for Beam after --: {error}") from error


def _without_folder(pipeline: beam.Pipeline) -> beam.Pipeline:
    """Remove its folder in TMPDIR: only transforms in other languages use it, and a kill would leave it."""
    os.rmdir(pipeline.local_tempdir)
    return pipeline


def run_to_end(pipeline: beam.Pipeline, say: Callable[[str], None]) -> MetricResults | None:
    """Run a pipeline and wait for it; a job on other machines is named, and cancelled on an interrupt.

    Returns:
        What it measured; None when Dataflow's runner was told to build the job only (`--dry_run`).

    Raises:
        TutelageError: A worker raised it.
    """
    with our_errors():
        result = pipeline.run()
        try:
            if hasattr(result, "job_id"):  # only Dataflow's
                say(f"Dataflow runs it as job {result.job_id()}; Ctrl-C cancels it.")
            result.wait_until_finish()
        except KeyboardInterrupt:
            with contextlib.suppress(NotImplementedError):
                result.cancel()
            raise
    return None if type(result) is PipelineResult else result.metrics()


def run_for_metrics(pipeline: beam.Pipeline, say: Callable[[str], None]) -> MetricResults:
    """`run_to_end` where a job that is only built is of no use.

    Raises:
        ConfigError: The options say `--dry_run`.
    """
    metrics = run_to_end(pipeline, say)
    if metrics is None:
        raise ConfigError(
            "--dry_run builds a job without running it, which is of use to `corpus build` only."
        )
    return metrics


@contextlib.contextmanager
def our_errors() -> Iterator[None]:
    """Raise as itself the TutelageError or interrupt that Beam wraps, and keep Beam from logging it.

    What the machine or a store refused a worker is a MachineError.
    """
    logger = logging.getLogger("apache_beam")
    level, excepthook = logger.level, threading.excepthook
    logger.setLevel(logging.CRITICAL)
    threading.excepthook = lambda found: _is_of_a_lost_worker(found) or excepthook(found)
    try:
        yield
    except Exception as error:
        if str(error).startswith(KeyboardInterrupt.__name__):  # Beam makes a RuntimeError of it
            raise KeyboardInterrupt from error
        ours = find_our_error(error) or lost_worker(error) or machines_fault(error)
        if ours is None:
            raise
        raise ours from error
    finally:
        logger.setLevel(level)
        threading.excepthook = excepthook


def _is_of_a_lost_worker(found: threading.ExceptHookArgs) -> bool:
    """Whether it is Beam's thread that reads from a worker which was lost: the run says so itself."""
    return found.thread is not None and found.thread.name in _READERS


def find_our_error(error: BaseException) -> TutelageError | None:
    """The TutelageError behind what Beam raised, as an exception or, from a worker process, as text."""
    cause: BaseException | None = error
    for _ in range(_MOST_CAUSES):
        if cause is None:
            break
        if isinstance(cause, TutelageError):
            return type(cause)(_WHILE_RUNNING.sub("", str(cause)))
        cause = cause.__cause__ or cause.__context__
    *_, last = [None, *_OURS_IN_A_TRACEBACK.finditer(str(error))]
    kind = getattr(errors, last[1], None) if last else None
    if last is None or not (isinstance(kind, type) and issubclass(kind, TutelageError)):
        return None
    return kind(last[2].strip())
