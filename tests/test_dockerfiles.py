"""Inputs of the images of workers and of trainings: they must agree, since no test can build an image."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.installed import PACKAGES

ROOT = Path(__file__).resolve().parents[1]
WORKERS, TRAINER = "pipelines/runners/remote/Dockerfile", "trainer/startup/Dockerfile"
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
BASES = {
    WORKERS: "apache/beam_python${PYTHON_VERSION}_sdk:${BEAM_VERSION}",
    TRAINER: "python:${PYTHON_VERSION}-slim-bookworm",
}
LOCKS = {WORKERS: "pipelines.txt", TRAINER: "trainer.txt"}

both = pytest.mark.parametrize("dockerfile", [WORKERS, TRAINER])


def steps(dockerfile: str) -> list[list[str]]:
    text = (ROOT / dockerfile).read_text(encoding="utf-8").replace("\\\n", " ")
    return [line.split() for line in text.splitlines() if line and not line.lstrip().startswith("#")]


def copied(dockerfile: str) -> list[str]:
    return [source for step in steps(dockerfile) if step[0] == "COPY" for source in step[1:-1]]


def argument(dockerfile: str, name: str) -> str:
    (value,) = re.findall(rf"(?m)^ARG {name}=(\S+)$", (ROOT / dockerfile).read_text(encoding="utf-8"))
    return str(value)


@both
def test_every_instruction_is_one_that_docker_knows(dockerfile: str) -> None:
    known = {"ARG", "FROM", "WORKDIR", "COPY", "RUN", "ENV", "ENTRYPOINT", "CMD"}
    assert {step[0] for step in steps(dockerfile)} <= known


@both
def test_what_is_copied_is_there_and_alone_is_sent_to_the_builder(dockerfile: str) -> None:
    assert all((ROOT / source).exists() for source in copied(dockerfile))
    ignored = (ROOT / f"{dockerfile}.dockerignore").read_text(encoding="utf-8").splitlines()
    assert ignored[1] == "*"
    assert sorted(line[1:] for line in ignored if line.startswith("!")) == sorted(copied(dockerfile))


@both
def test_all_that_the_wheel_is_built_from_is_in_the_image(dockerfile: str) -> None:
    needed = {"pyproject.toml", "setup.py", "tutelage.py", "LICENSE", "examples", *PACKAGES}
    assert {*copied(dockerfile)} == needed | {f".ci/requirements/{LOCKS[dockerfile]}"}


@both
def test_python_is_one_that_we_take(dockerfile: str) -> None:
    low, high = re.findall(r'(?m)^requires-python = ">=3\.(\d+),<3\.(\d+)"$', PROJECT)[0]
    major, minor = map(int, argument(dockerfile, "PYTHON_VERSION").split("."))
    assert major == 3 == sys.version_info.major
    assert int(low) <= minor < int(high)


@both
def test_each_stage_is_made_from_an_image_or_an_earlier_stage(dockerfile: str) -> None:
    stages: list[str] = []
    for step in steps(dockerfile):
        if step[0] == "FROM":
            base, _as, name = step[1:]
            assert base in stages or base == BASES[dockerfile]
            stages.append(name)
    assert stages == {WORKERS: ["workers", "gpu-workers"], TRAINER: ["trainer"]}[dockerfile]


@both
def test_the_pins_are_installed_with_their_hashes_before_tutelage_alone(dockerfile: str) -> None:
    installs = [" ".join(step) for step in steps(dockerfile) if step[:3] == ["RUN", "pip", "install"]]
    assert installs == [
        f"RUN pip install --no-cache-dir --require-hashes --requirement {LOCKS[dockerfile]}",
        "RUN pip install --no-cache-dir --no-deps . && tutelage --version",
    ]


def test_beam_is_the_version_of_the_lock() -> None:
    lock = (ROOT / ".ci/requirements/pipelines.txt").read_text(encoding="utf-8")
    (pin,) = re.findall(r"(?m)^apache-beam(?:\[gcp\])?==(\S+)", lock)
    assert argument(WORKERS, "BEAM_VERSION") == pin


def test_sglang_is_the_version_that_the_tests_run() -> None:
    pins = (ROOT / ".ci/requirements/sglang-cpu.txt").read_text(encoding="utf-8")
    (pin,) = re.findall(r"(?m)^sglang==(\S+)$", pins)
    assert argument(WORKERS, "SGLANG_VERSION") == pin


def test_beam_starts_the_container() -> None:
    entry = [" ".join(step) for step in steps(WORKERS) if step[0] == "ENTRYPOINT"]
    assert entry == ['ENTRYPOINT ["/opt/apache/beam/boot"]']
