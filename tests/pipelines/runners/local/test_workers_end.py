"""Worker processes that end too early, or start beside foreign packages with our names."""

from __future__ import annotations

import os
import queue
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import apache_beam as beam
import pytest
import yaml
from apache_beam.transforms.environments import SubprocessSDKEnvironment

from pipelines.runners.local import local_runner
from pipelines.runners.local.local_runner import LocalRunner
from pipelines.runners.run import make_pipeline, our_errors, parse_options, run_to_end
from schemas.corpus_config import CorpusConfig
from schemas.errors import WorkerError
from schemas.manifest import read_manifest
from schemas.process import python_command

pytestmark = pytest.mark.slow

TWO_PROCESSES = ["--direct_running_mode=multi_processing", "--direct_num_workers=2"]


def nothing(said: str) -> None:
    pass


def test_a_worker_that_dies_before_it_registers_ends_the_build_with_its_last_lines(
    capfd: pytest.CaptureFixture[str],
) -> None:
    workers = SubprocessSDKEnvironment.from_command_string(
        "sh -c 'echo No module named pipelines >&2; exit 3'"
    )
    pipeline = beam.Pipeline(runner=LocalRunner(workers))
    pipeline | beam.Create([1]) | beam.Map(str)
    with pytest.raises(WorkerError) as raised:
        run_to_end(pipeline, nothing)
    assert str(raised.value) == (
        "a worker process ended with status 3 before its work was done. Its last lines:\n"
        "No module named pipelines"
    )
    assert "No module named pipelines" in capfd.readouterr().err


def test_a_worker_that_connects_after_the_run_has_failed_is_ended(tmp_path: Path) -> None:
    worker = shlex.join(python_command("pipelines.runners.local.worker_process"))
    first_dies = f"mkdir {tmp_path}/first && exit 3; sleep 2; exec {worker}"
    workers = SubprocessSDKEnvironment.from_command_string(shlex.join(["sh", "-c", first_dies]))
    pipeline = beam.Pipeline(runner=LocalRunner(workers), options=parse_options(["--direct_num_workers=2"]))
    pipeline | beam.Create([1, 2, 3]) | beam.Reshuffle() | beam.Map(str)
    with pytest.raises(WorkerError, match="ended with status 3 before its work was done"):
        run_to_end(pipeline, nothing)


def _die(number: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_a_worker_that_is_killed_at_work_ends_the_build() -> None:
    pipeline = make_pipeline(parse_options(TWO_PROCESSES))
    pipeline | beam.Create([1, 2, 3]) | beam.Reshuffle() | beam.Map(_die)
    with pytest.raises(WorkerError) as raised:
        run_to_end(pipeline, nothing)
    assert str(raised.value).startswith(
        "a worker process was killed by SIGKILL before its work was done. Was there too little memory? "
        "Try fewer workers."
    )


def test_a_worker_that_beam_misses_by_its_silence_is_named_with_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipelines.runners.local.local_runner._REPORT_SEC", 0.1)
    monkeypatch.setattr("pipelines.runners.local.local_runner._lost_workers", queue.SimpleQueue())
    silence = RuntimeError("Traceback …\nRuntimeError: Channel closed prematurely.\n")
    assert said_of(silence) == "a worker process hung up before its work was done. Run again."
    local_runner._lost_workers.put("a worker process was killed by SIGKILL.")
    assert said_of(silence) == "a worker process was killed by SIGKILL."
    assert local_runner.lost_worker(ValueError("another")) is None


def said_of(error: Exception) -> str:
    with pytest.raises(WorkerError) as raised, our_errors():
        raise error
    return str(raised.value)


@pytest.fixture
def strangers(tmp_path: Path) -> Path:
    """A folder of packages with our names; they end any process that imports them."""
    for name in ("pipelines", "plugins", "schemas", "trainer"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(
            f"raise SystemExit('the stranger {name} was imported')\n"
        )
    return tmp_path


def test_two_workers_build_beside_packages_named_like_ours(
    strangers: Path,
    corpus_config: Callable[..., CorpusConfig],
    passages: Callable[[int], list[dict[str, str]]],
    write_jsonl: Callable[..., str],
) -> None:
    source = write_jsonl(strangers / "raw.jsonl", passages(6))
    config = corpus_config(strangers / "corpus", source).model_dump(mode="json")
    (strangers / "corpus.yaml").write_text(yaml.safe_dump(config))
    command = python_command("plugins.commands.main", "corpus", "build", "corpus.yaml", "--", *TWO_PROCESSES)
    done = subprocess.run(command, cwd=strangers, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert read_manifest(str(strangers / "corpus")).increments[0].num_documents == 6


def test_python_m_trainer_train_takes_no_folder_plugins_for_ours(strangers: Path) -> None:
    (strangers / "trainer" / "__init__.py").unlink()
    (strangers / "trainer").rmdir()
    done = subprocess.run(
        [sys.executable, "-m", "trainer.train", "missing.yaml"], cwd=strangers, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("ConfigError: missing.yaml: ")
