from __future__ import annotations

import pickle
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.runners.runner import PipelineResult, PipelineState

from pipelines.runners.run import find_our_error, make_pipeline, parse_options, run_to_end, runs_here
from schemas.errors import ConfigError, InputError, SynthesisError


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ["--direct_num_wokers=2"],
            "Beam option 'direct_num_wokers' is unknown. Did you mean 'direct_num_workers'?",
        ),
        (
            ["--direct_num_workers=two"],
            "options for Beam after --: argument --direct_num_workers: invalid int value: 'two'",
        ),
    ],
)
def test_options_that_beam_does_not_know_are_refused(options: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_options(options)
    assert str(caught.value) == message


def test_options_of_other_runners_are_let_through() -> None:
    options = parse_options(
        [
            "--runner=DataflowRunner",
            "--project=p",
            "--region=r",
            "--temp_location=gs://bucket/tmp",
            "--setup_file=pyproject.toml",
            "--experiments=use_runner_v2",
            "--experiments=shuffle_mode=service",
            "--no_use_public_ips",
            "--dataflow_service_options=enable_prime",
        ]
    ).get_all_options()
    assert options["experiments"] == ["use_runner_v2", "shuffle_mode=service"]
    assert (options["setup_file"], options["use_public_ips"]) == ("pyproject.toml", False)


def test_an_unknown_runner_is_refused_with_those_there_are() -> None:
    with pytest.raises(
        ConfigError, match=r"^options for Beam after --: Unexpected pipeline runner: Fool\. Valid"
    ):
        make_pipeline(parse_options(["--runner=Fool"]))


@pytest.mark.parametrize(
    ("options", "here"),
    [
        ([], True),
        (["--runner=DirectRunner"], True),
        (["--runner=FnApiRunner", "--direct_num_workers=2"], True),
        (["--runner=DataflowRunner"], False),
    ],
)
def test_no_runner_and_the_direct_ones_mean_this_machine(options: list[str], here: bool) -> None:
    assert runs_here(parse_options(options)) == here


def test_our_error_is_found_behind_what_was_raised_from_it() -> None:
    try:
        try:
            raise InputError("a.txt: cannot be read. [while running 'domain/Read-ptransform-12']")
        except InputError as error:
            raise RuntimeError("bundle 3 failed") from error
    except RuntimeError as error:
        found = find_our_error(error)
    assert type(found) is InputError
    assert str(found) == "a.txt: cannot be read."


def test_our_error_is_read_out_of_a_worker_processs_traceback() -> None:
    text = (
        "Traceback (most recent call last):\n"
        '  File "/tutelage/plugins/tokenizers.py", line 31, in load_tokenizer\n'
        "    raise ConfigError(\n"
        "schemas.errors.ConfigError: tokenizer 'x' cannot be loaded.\n\n"
        "During handling of the above exception, another exception occurred:\n\n"
        "Traceback (most recent call last):\n"
        '  File "apache_beam/runners/common.py", line 602, in invoke_setup\n'
        "schemas.errors.SynthesisError: line one\nline two [while running 'domain/Synthesize']\n\n"
    )
    found = find_our_error(RuntimeError(text))
    assert type(found) is SynthesisError
    assert str(found) == "line one\nline two"


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no error of ours"),
        RuntimeError("schemas.errors.Nonsense: not one that exists"),
        RuntimeError("schemas.errors.unknown_name: not an error"),
    ],
)
def test_an_error_that_is_not_ours_is_not_taken_for_one(error: Exception) -> None:
    assert find_our_error(error) is None


def test_our_errors_survive_pickling() -> None:
    error = pickle.loads(pickle.dumps(ConfigError("a message")))
    assert (type(error), str(error)) == (ConfigError, "a message")


class JobOfDataflow(PipelineResult):
    """The used part of DataflowRunner's result; waiting for it raises `ending`."""

    def __init__(self, ending: BaseException | None):
        super().__init__(PipelineState.RUNNING)
        self.ending = ending
        self.cancelled = False

    def job_id(self) -> str:
        return "2026-11-22_01"

    def wait_until_finish(self, duration: int | None = None) -> None:
        if self.ending is not None:
            raise self.ending

    def cancel(self) -> None:
        self.cancelled = True

    def metrics(self) -> Any:
        return "metrics"


def pipeline_of(result: PipelineResult, monkeypatch: pytest.MonkeyPatch) -> beam.Pipeline:
    pipeline = beam.Pipeline()
    monkeypatch.setattr(pipeline, "run", lambda: result)
    return pipeline


def test_a_job_elsewhere_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    assert run_to_end(pipeline_of(JobOfDataflow(None), monkeypatch), said.append) == "metrics"
    assert said == ["Dataflow runs it as job 2026-11-22_01; Ctrl-C cancels it."]


def test_an_interrupt_cancels_a_job_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    job = JobOfDataflow(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        run_to_end(pipeline_of(job, monkeypatch), lambda line: None)
    assert job.cancelled


def test_a_failed_job_is_our_error_and_is_not_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    job = JobOfDataflow(RuntimeError("Workflow failed.\nschemas.errors.ConfigError: tokenizer 'x'.\n"))
    with pytest.raises(ConfigError, match=r"^tokenizer 'x'\.$"):
        run_to_end(pipeline_of(job, monkeypatch), lambda line: None)
    assert not job.cancelled


def test_a_dry_run_has_no_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    result = PipelineResult(PipelineState.DONE)
    monkeypatch.setattr(result, "wait_until_finish", lambda: None, raising=False)
    assert run_to_end(pipeline_of(result, monkeypatch), lambda line: None) is None
