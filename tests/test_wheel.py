"""The sdist and the wheel: what is in them, and that one is enough to build the other."""

from __future__ import annotations

import zipfile
from pathlib import Path

import packaging.metadata
import pytest

from tests.installed import PACKAGES, ROOT, Installed, build, copy_tree

pytestmark = pytest.mark.slow

NOT_INSTALLED = {
    "pipelines/runners/remote/Dockerfile",
    "pipelines/runners/remote/Dockerfile.dockerignore",
    "trainer/startup/Dockerfile",
    "trainer/startup/Dockerfile.dockerignore",
}


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_sdist_holds_all_that_the_wheel_is_built_from(installed: Installed, tmp_path: Path) -> None:
    assert contents(installed.wheel) == contents(build("wheel", copy_tree(tmp_path), tmp_path / "dist"))


def test_every_file_of_our_packages_and_examples_is_in_the_wheel(installed: Installed) -> None:
    found = set(contents(installed.wheel))
    data = f"{installed.wheel.name.removesuffix('-py3-none-any.whl')}.data/data/share/tutelage/"
    ours = {
        path.relative_to(ROOT).as_posix()
        for name in (*PACKAGES, "examples")
        for path in (ROOT / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {
        name for name in ours if (data + name if name.startswith("examples/") else name) not in found
    } == NOT_INSTALLED
    at_the_top = {name for name in found if "/" not in name}
    assert at_the_top == {"tutelage.py", "tutelage.pth"}


def test_the_metadata_is_what_an_index_accepts(installed: Installed) -> None:
    (raw,) = (
        data for name, data in contents(installed.wheel).items() if name.endswith(".dist-info/METADATA")
    )
    found = packaging.metadata.Metadata.from_email(raw, validate=True)
    assert (found.name, found.license_expression) == ("tutelage", "Apache-2.0")
    extras = {"all", "pipelines", "trainer", "documents"}
    assert extras <= {*(found.provides_extra or ())}
    needed = {requirement.name for requirement in found.requires_dist or () if requirement.marker is None}
    assert needed == {"fsspec", "numpy", "omegaconf", "pydantic", "rich", "shtab", "zstandard"}


def test_the_commands_start_from_an_empty_folder(installed: Installed, tmp_path: Path) -> None:
    version = f"{installed.wheel.name.split('-')[1]}\n"
    for command in (["--version"], ["-m", "tutelage", "--version"]):
        done = installed.run(*command, cwd=tmp_path)
        assert (done.returncode, done.stdout, done.stderr) == (0, version, "")
