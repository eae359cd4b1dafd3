"""Dataflow jobs, run by two local workers that have only the staged artifacts.

    corpus build … -- --runner=DataflowRunner --dry_run=True
        │ Beam builds the job and stops before it uploads anything: no account, no network
        ▼
    its proto ─► environments: Docker image ► a worker process of a clean environment
        │            with the staged files installed as on a worker: the pins, the wheel
        ▼
    two workers run it ─► the increment's bytes are those of an ordinary build

These tests do not cover Dataflow's own containers, shuffle and storage.
"""

from __future__ import annotations

import base64
import bz2
import contextlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.portability import python_urns
from apache_beam.portability.api import beam_runner_api_pb2
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.runners.portability.stager import Stager

from pipelines.increments import build as build_module
from pipelines.runners.run import make_pipeline
from schemas.corpus_config import CorpusConfig

pytestmark = pytest.mark.slow

Pipeline = beam_runner_api_pb2.Pipeline

CANARY = "sk-canary-5f0e6c2a91"

ROOT = Path(__file__).resolve().parents[4]
DRY_RUN = (
    "--runner=DataflowRunner",
    "--dry_run=True",
    "--project=some-project",
    "--region=europe-west4",
    "--temp_location=gs://some-bucket/tmp",
)
ACCELERATOR = "type:nvidia-l4;count:1;install-nvidia-driver"
ACCELERATOR_URN = "beam:resources:accelerator:v1"

INSTALL = r"""
set -euo pipefail
cd "$1"; python=$2; venv=$3; shift 3
uv=$(.ci/find-uv "$python") || uv=""
. .ci/environment
use_pips_index
if [ -n "${PIP_FIND_LINKS:-}" ] && [ -z "${UV_FIND_LINKS:-}" ]; then
    links=(${PIP_FIND_LINKS}); export UV_FIND_LINKS=$(IFS=,; echo "${links[*]}")
fi
unset VIRTUAL_ENV CONDA_PREFIX
if [ -n "$uv" ]; then
    if [ ! -e "$venv" ]; then "$uv" venv --quiet --no-project --python "$python" "$venv"; fi
    "$uv" pip install --quiet --python "$venv/bin/python" --reinstall-package tutelage "$@"
else
    if [ ! -e "$venv" ]; then "$python" -m venv "$venv"; fi
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@"
fi
"""
UNREACHABLE = ("Failed to fetch", "error sending request", "dns error", "Connection refused", "timed out")
"""Messages of installers without a reachable index."""

IMPORT_ALL = """
import importlib, pkgutil

names = ["pipelines", "schemas", "plugins.filters", "plugins.protocols", "plugins.readers", "plugins.sglang",
         "plugins.servers", "plugins.synthesizers", "plugins.templates", "plugins.verifiers"]
of_extras = ("docutils", "fastwarc", "lxml", "mammoth", "markdown_it", "mwparserfromhell", "pypdfium2",
             "trafilatura")
count = 0
for name in names:
    for found in pkgutil.walk_packages(importlib.import_module(name).__path__, name + "."):
        try:
            importlib.import_module(found.name)
        except ModuleNotFoundError as error:  # of a reader that this corpus does not need
            if error.name.partition(".")[0] not in of_extras:
                raise
        count += 1
print(count)
"""


def staged_files(job: Pipeline) -> dict[str, Path]:
    """Local paths of the artifacts of a job, by staged name."""
    return {
        name: Path(path)
        for environment in job.components.environments.values()
        for path, name, _ in Stager.extract_staging_tuple_iter(environment.dependencies)
    }


class WorkerEnvironment:
    """A clean environment, and jobs that run in it."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.python = folder / "bin" / "python"
        self._command = (
            f"touch {folder}/worker-$$ && exec {self.python} -I -m apache_beam.runners.worker.sdk_worker_main"
        )

    def num_workers(self) -> int:
        """Number of started worker processes."""
        return len(list(self.folder.glob("worker-*")))

    def install(self, staged: dict[str, Path]) -> None:
        """Install the requirements, then the extra packages, as a worker's container does at its start."""
        wheels = [str(staged[name]) for name in _packages(staged)]
        arguments = [
            str(ROOT),
            sys.executable,
            str(self.folder),
            "-r",
            str(staged["requirements.txt"]),
            *wheels,
        ]
        done = subprocess.run(["bash", "-c", INSTALL, "install", *arguments], capture_output=True, text=True)
        if done.returncode and any(said in done.stderr for said in UNREACHABLE):
            pytest.skip(f"no package index can be reached: {done.stderr.strip()[-300:]}")
        assert done.returncode == 0, done.stderr

    def run(self, job: Pipeline) -> Any:
        """Run a job with two worker processes, which see nothing of this checkout (`-I`)."""
        for environment in job.components.environments.values():
            environment.urn = python_urns.SUBPROCESS_SDK
            environment.payload = self._command.encode()
            del environment.dependencies[:]
        runner = FnApiRunner()
        runner._num_workers = 2  # direct_num_workers sets this number, but not for a proto
        return runner.run_via_runner_api(job, beam.options.pipeline_options.PipelineOptions([]))


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerEnvironment]:
    environment = WorkerEnvironment(tmp_path_factory.mktemp("workers") / "venv")
    yield environment
    shutil.rmtree(environment.folder, ignore_errors=True)  # pytest would keep 0.7 GB for three runs


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Pipeline], Any]], None]:
    """Run a function on the job of each build after its dry run; the build uses the result."""

    def take(run_job: Callable[[Pipeline], Any]) -> None:
        def make(options: Any) -> beam.Pipeline:
            pipeline = make_pipeline(options)
            dry_run = pipeline.run

            def run(*args: Any, **kwargs: Any) -> Any:
                result = dry_run(*args, **kwargs)
                return run_job(result.job.proto_pipeline) or result

            monkeypatch.setattr(pipeline, "run", run)
            return pipeline

        monkeypatch.setattr(build_module, "make_pipeline", make)

    return take


@pytest.fixture
def config(
    tmp_path: Path,
    passages: Callable[[int], Any],
    write_jsonl: Callable[..., str],
    corpus_config: Callable[..., CorpusConfig],
) -> Callable[..., CorpusConfig]:
    """A corpus of two streams with most of the steps; keywords replace keys."""
    domain = write_jsonl(tmp_path / "domain.jsonl", passages(40))
    general = write_jsonl(tmp_path / "general.jsonl", passages(109)[100:])
    tasks = write_jsonl(tmp_path / "tasks" / "quiz.jsonl", [{"input": passages(3)[2]["text"], "label": "x"}])

    def make(corpus: str, **changes: Any) -> CorpusConfig:
        streams = {
            "domain": {
                "synthesize": True,
                "sources": [{"reader": "jsonl", "uri": domain, "id_field": "id"}],
            },
            "general": {"sources": [{"reader": "jsonl", "uri": general, "id_field": "id"}]},
        }
        clean = {"mask_personal_data": {"phone": True, "email": True}}
        filters = {"language": {"min_probability": 0.0}}
        defaults = {"streams": streams, "clean": clean, "filters": filters, "decontaminate": {"tasks": tasks}}
        return corpus_config(tmp_path / corpus, **{**defaults, **changes})

    return make


def test_a_dry_run_builds_the_job_and_publishes_nothing(
    config: Callable[..., CorpusConfig], build: Any, taken: Any, files_of: Any
) -> None:
    jobs: list[Pipeline] = []
    taken(jobs.append)
    assert build(config("corpus"), *DRY_RUN) is None
    assert files_of(config("corpus").corpus) == []
    (job,) = jobs
    labels = {transform.unique_name for transform in job.components.transforms.values()}
    assert any(label.startswith("domain/Synthesize") for label in labels)


def test_the_job_stages_our_package_and_pins(
    config: Callable[..., CorpusConfig], build: Any, taken: Any
) -> None:
    staged: dict[str, bytes] = {}

    def look(job: Pipeline) -> None:
        staged.update({name: path.read_bytes() for name, path in staged_files(job).items()})

    taken(look)
    build(config("corpus"), *DRY_RUN)
    packages = staged["extra_packages.txt"].decode().split()
    assert [name for name in packages if name.startswith("tutelage-")]
    assert b"apache-beam==" in staged["requirements.txt"]
    assert staged.keys() - {"submission_environment_dependencies.txt"} == {
        *packages,
        "extra_packages.txt",
        "requirements.txt",
    }


def test_a_key_is_in_no_part_of_the_job(
    config: Callable[..., CorpusConfig],
    build: Any,
    taken: Any,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("KEY_OF_A_TEST", CANARY)
    (tmp_path / "key").write_text(CANARY)
    parts: list[bytes] = []

    def look(job: Pipeline) -> None:
        parts.extend(_unpacked(job.SerializeToString()))
        for path in staged_files(job).values():
            parts.append(path.read_bytes())
            if zipfile.is_zipfile(path):
                archive = zipfile.ZipFile(path)
                parts.extend(archive.read(name) for name in archive.namelist())

    taken(look)
    for key in ({"api_key_env": "KEY_OF_A_TEST"}, {"api_key_file": str(tmp_path / "key")}):
        synthesis = {
            **{
                "backend": "sglang",
                "protocol": "instruction_synthesizer",
                "endpoints": ["http://models:30000"],
            },
            **{"model": config("corpus").tokenizer.name, "options": key},
        }
        build(config("corpus", synthesis=synthesis), *DRY_RUN)
    assert any(b"KEY_OF_A_TEST" in part for part in parts)  # the search covers steps: they name the variable
    assert not any(CANARY.encode() in part for part in parts)


@pytest.mark.parametrize("accelerator", [None, ACCELERATOR])
def test_an_accelerator_is_asked_for_by_the_synthesis_step_alone(
    accelerator: str | None, config: Callable[..., CorpusConfig], build: Any, taken: Any
) -> None:
    jobs: list[Pipeline] = []
    taken(jobs.append)
    build(config("corpus", synthesis={"accelerator": accelerator}), *DRY_RUN)
    (job,) = jobs
    hints = {
        transform.unique_name: environment.resource_hints[ACCELERATOR_URN].decode()
        for transform in job.components.transforms.values()
        if transform.environment_id
        for environment in [job.components.environments[transform.environment_id]]
        if ACCELERATOR_URN in environment.resource_hints
    }
    if accelerator is None:
        assert hints == {}
    else:
        assert hints
        assert all(name.startswith("domain/Synthesize") for name in hints), hints
        assert set(hints.values()) == {ACCELERATOR}


@pytest.mark.timeout(1800)
def test_two_workers_with_the_staged_artifacts_alone_build_the_same_bytes(
    config: Callable[..., CorpusConfig],
    build: Any,
    taken: Any,
    workers: WorkerEnvironment,
    digests_of: Any,
) -> None:
    here, there = config("here"), config("there", synthesis={"accelerator": ACCELERATOR})
    build(here)

    def run(job: Pipeline) -> Any:
        workers.install(staged_files(job))
        return workers.run(job)

    taken(run)
    manifest = build(there, *DRY_RUN)
    assert workers.num_workers() >= 2
    assert manifest.increments[0].num_documents == 48  # one passage is in the tasks
    assert set(manifest.increments[0].streams) == {"domain", "general"}
    assert len(digests_of(there.corpus)) > 5
    assert digests_of(there.corpus) == digests_of(here.corpus)

    # The workers can also import modules that such a small corpus does not use.
    done = subprocess.run([workers.python, "-I", "-c", IMPORT_ALL], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 80


@pytest.mark.timeout(1800)
def test_a_staged_package_that_lacks_modules_fails(
    config: Callable[..., CorpusConfig], build: Any, taken: Any, workers: WorkerEnvironment, tmp_path: Path
) -> None:
    def run(job: Pipeline) -> Any:
        staged = staged_files(job)
        (name,) = [each for each in _packages(staged) if each.startswith("tutelage-")]
        staged[name] = _without(staged[name], "plugins/filters/", tmp_path)
        workers.install(staged)
        return workers.run(job)

    taken(run)
    with pytest.raises(Exception, match=r"No module named 'plugins\.filters'"):
        build(config("corpus"), *DRY_RUN)
    assert not os.path.exists(os.path.join(config("corpus").corpus, "manifest"))


def _unpacked(job: bytes) -> Iterator[bytes]:
    """The bytes of a job, and all that Beam pickled into them: base64 of bz2 or zlib."""
    yield job
    for encoded in re.findall(rb"[A-Za-z0-9+/]{60,}={0,2}", job):
        for start in range(4):  # the letters before it may belong to a length
            for unpack in (bz2.decompress, zlib.decompress):
                with contextlib.suppress(ValueError, OSError, zlib.error):
                    data = encoded[start:]
                    yield unpack(base64.b64decode(data[: len(data) // 4 * 4]))


def _packages(staged: dict[str, Path]) -> list[str]:
    """Names of the extra packages, in the order of their installation."""
    return staged["extra_packages.txt"].read_text().split()


def _without(wheel: Path, folder: str, where: Path) -> Path:
    """Copy a wheel without a folder."""
    copy = where / wheel.name
    with zipfile.ZipFile(wheel) as whole, zipfile.ZipFile(copy, "w") as part:
        for name in whole.namelist():
            if name.endswith("/RECORD"):
                lines = whole.read(name).decode().splitlines(keepends=True)
                part.writestr(name, "".join(line for line in lines if not line.startswith(folder)))
            elif not name.startswith(folder):
                part.writestr(name, whole.read(name))
    return copy
