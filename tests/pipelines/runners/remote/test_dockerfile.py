"""Inputs of the workers' image: they must agree, because these tests cannot build the image."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[4]
DOCKERFILE = (ROOT / "pipelines/runners/remote/Dockerfile").read_text(encoding="utf-8")
IGNORED = (ROOT / "pipelines/runners/remote/Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")

STEPS = [
    line.split()
    for line in DOCKERFILE.replace("\\\n", " ").splitlines()
    if line and not line.lstrip().startswith("#")
]
COPIED = [
    source
    for step in STEPS
    if step[0] == "COPY" and not step[1].startswith("--from")
    for source in step[1:-1]
]


def argument(name: str) -> str:
    (value,) = re.findall(rf"(?m)^ARG {name}=(\S+)$", DOCKERFILE)
    return str(value)


def test_every_instruction_is_one_that_docker_knows() -> None:
    assert {step[0] for step in STEPS} == {"ARG", "FROM", "WORKDIR", "COPY", "RUN", "ENV", "ENTRYPOINT"}


@pytest.mark.parametrize("source", COPIED)
def test_what_is_copied_is_there_and_is_sent_to_the_builder(source: str) -> None:
    assert (ROOT / source).exists()
    assert f"!{source}" in IGNORED


def test_nothing_is_sent_to_the_builder_that_is_not_copied() -> None:
    assert IGNORED[1] == "*"
    assert sorted(line[1:] for line in IGNORED if line.startswith("!")) == sorted(COPIED)


def test_all_of_our_packages_are_in_the_image() -> None:
    (packages,) = re.findall(r"(?m)^include = \[(.+)\]$", PROJECT)
    assert {name.strip(' "*') for name in packages.split(",")} <= set(COPIED)


def test_beam_is_the_version_of_the_lock() -> None:
    lock = (ROOT / ".ci/requirements/pipelines.txt").read_text(encoding="utf-8")
    (pin,) = re.findall(r"(?m)^apache-beam(?:\[gcp\])?==(\S+)", lock)
    assert argument("BEAM_VERSION") == pin


def test_python_is_one_that_we_take() -> None:
    low, high = re.findall(r'(?m)^requires-python = ">=3\.(\d+),<3\.(\d+)"$', PROJECT)[0]
    major, minor = map(int, argument("PYTHON_VERSION").split("."))
    assert major == 3 == sys.version_info.major
    assert int(low) <= minor < int(high)


def test_sglang_is_the_version_that_the_tests_run() -> None:
    pins = (ROOT / ".ci/requirements/sglang-cpu.txt").read_text(encoding="utf-8")
    (pin,) = re.findall(r"(?m)^sglang==(\S+)$", pins)
    assert argument("SGLANG_VERSION") == pin


def test_each_stage_is_made_from_an_image_or_an_earlier_stage() -> None:
    stages: list[str] = []
    for step in STEPS:
        if step[0] == "FROM":
            base, _as, name = step[1:]
            assert base in stages or base.startswith("apache/beam_python${PYTHON_VERSION}_sdk:")
            stages.append(name)
    assert stages == ["workers", "gpu-workers"]


def test_beam_starts_the_container() -> None:
    entry = [" ".join(step) for step in STEPS if step[0] == "ENTRYPOINT"]
    assert entry == ['ENTRYPOINT ["/opt/apache/beam/boot"]']
