"""Choose Beam's runner, run a pipeline to its end, and raise its failures as our own errors.

This machine's runner is always FnApiRunner, because Beam's DirectRunner first tries to download another one.
With `--direct_running_mode=multi_processing` its workers are processes of this program.
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

from pipelines.runners.local.local_runner import LocalRunner, lost_worker
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
"""Threads of Beam that raise when a worker is lost."""


def parse_options(arguments: Sequence[str]) -> PipelineOptions:
    """Parse Beam's options.

    Raises:
        ConfigError: Beam does not know an option, or refuses its value.
    """
    known = PipelineOptions([]).get_all_options().keys()
    stderr = io.StringIO()
    try:
        with contextlib.redirect_stderr(stderr):
            options = PipelineOptions(list(arguments))
            unknown = options.get_all_options(retain_unknown_options=True).keys() - known
    except SystemExit:
        lines = stderr.getvalue().strip().splitlines() or ["Beam refuses them"]
        raise ConfigError(
            f"options for Beam after --: {lines[-1].partition('error: ')[2] or lines[-1]}"
        ) from None
    for name in sorted(unknown):
        raise ConfigError(unknown_name("Beam option", name, known).partition(" Available:")[0])
    return options


def runs_here(options: PipelineOptions) -> bool:
    """True if the options choose a runner on this machine."""
    return options.view_as(StandardOptions).runner in _THIS_MACHINE


def make_pipeline(options: PipelineOptions) -> beam.Pipeline:
    """Make an empty pipeline for the runner that the options name.

    Raises:
        ConfigError: Beam refuses the options.
    """
    try:
        if not runs_here(options):
            pipeline = beam.Pipeline(options=options)
        else:
            pipeline = beam.Pipeline(runner=LocalRunner(_workers(options)), options=options)
    except ValueError as error:
        raise ConfigError(f"options for Beam after --: {error}") from error
    os.rmdir(pipeline.local_tempdir)  # only transforms in other languages use it, and a kill would leave it
    return pipeline


def _workers(options: PipelineOptions) -> environments.Environment | None:
    """Return the environment of worker processes; None if the steps run in this process."""
    direct = options.view_as(DirectOptions)
    if direct.direct_running_mode != "multi_processing":
        return None
    direct.direct_running_mode = "in_memory"  # otherwise Beam starts its own worker command
    return environments.SubprocessSDKEnvironment.from_command_string(
        shlex.join(python_command("pipelines.runners.local.worker_process"))
    )


def run_to_end(pipeline: beam.Pipeline, say: Callable[[str], None]) -> MetricResults | None:
    """Run a pipeline and wait for its end. An interrupt cancels a job on other machines.

    Returns:
        Metrics of the run; None if Dataflow's runner only built the job (`--dry_run`).

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
    """Run a pipeline as `run_to_end` does, and refuse a job that is only built.

    Raises:
        ConfigError: The options have `--dry_run`.
    """
    metrics = run_to_end(pipeline, say)
    if metrics is None:
        raise ConfigError(
            "--dry_run builds a job and does not run it. Only `corpus build` takes it; leave it out here."
        )
    return metrics


@contextlib.contextmanager
def our_errors() -> Iterator[None]:
    """Raise the TutelageError or interrupt that Beam wraps, and keep Beam from logging it.

    An error of the machine or of a store, such as a full disk, becomes a MachineError.
    """
    logger = logging.getLogger("apache_beam")
    level, excepthook = logger.level, threading.excepthook
    logger.setLevel(logging.CRITICAL)
    threading.excepthook = lambda raised: _reads_from_lost_worker(raised) or excepthook(raised)
    try:
        yield
    except Exception as error:
        if str(error).startswith(KeyboardInterrupt.__name__):  # Beam turns it into a RuntimeError
            raise KeyboardInterrupt from error
        ours = find_our_error(error) or lost_worker(error) or machines_fault(error)
        if ours is None:
            raise
        raise ours from error
    finally:
        logger.setLevel(level)
        threading.excepthook = excepthook


def _reads_from_lost_worker(raised: threading.ExceptHookArgs) -> bool:
    """True for Beam's reader threads, whose worker is lost: the run itself reports the worker."""
    return raised.thread is not None and raised.thread.name in _READERS


def find_our_error(error: BaseException) -> TutelageError | None:
    """Find the TutelageError behind an error of Beam: a cause, or a worker process's traceback as text."""
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
