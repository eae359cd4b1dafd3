"""Tutelage from its wheel, in an environment that takes all other packages from that of the tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]

PACKAGES = ("schemas", "plugins", "pipelines", "trainer")
FOREIGN = "raise SystemExit('foreign ' + __name__)\n"
"""A module that ends each process that imports it."""

_BUILT_FROM = (*PACKAGES, "examples", "tutelage.py", "setup.py", "pyproject.toml", "LICENSE")

_BACKEND = "import sys; from setuptools import build_meta; getattr(build_meta, sys.argv[1])(sys.argv[2])"


class Installed(NamedTuple):
    """An installation, and what it was made from."""

    sdist: Path
    wheel: Path  # made from the sdist
    python: Path
    site: Path  # site-packages

    def environment(self, **more: str) -> dict[str, str]:
        """Return the environment of a process that sees nothing of the checkout."""
        kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "USE_TORCH")}
        return {**kept, "OMP_NUM_THREADS": "1", "COLUMNS": "120", **more}

    def run(
        self, *command: str, cwd: Path, timeout: float = 120, **more: str
    ) -> subprocess.CompletedProcess[str]:
        """Run `tutelage …`, or with `-m` or `-c` first its Python; `more` is environment."""
        first = [str(self.python)] if command[0] in ("-m", "-c") else [str(self.python.with_name("tutelage"))]
        return subprocess.run(
            [*first, *command],
            cwd=cwd,
            env=self.environment(**more),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )


def copy_tree(folder: Path) -> Path:
    """Copy what a wheel is built from; a build leaves files in its tree."""
    for name in _BUILT_FROM:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder / name)
    return folder


def build(kind: str, tree: Path, folder: Path) -> Path:
    """Build the `sdist` or the `wheel` of a tree into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    before = set(folder.iterdir())
    command = [sys.executable, "-c", _BACKEND, f"build_{kind}", str(folder)]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (made,) = set(folder.iterdir()) - before
    return made


def install(folder: Path) -> Installed:
    """Build the sdist, the wheel from it, and an environment with the wheel."""
    (folder / "tree").mkdir(parents=True)
    sdist = build("sdist", copy_tree(folder / "tree"), folder / "dist")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked")
    (unpacked,) = (folder / "unpacked").iterdir()
    wheel = build("wheel", unpacked, folder / "dist")
    return install_wheel(sdist, wheel, folder / "venv")


def install_wheel(sdist: Path, wheel: Path, venv: Path) -> Installed:
    """Make an environment with a wheel."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True, timeout=60)
    add(wheel, venv / "bin/python")
    (site,) = (venv / "lib").glob("python*/site-packages")
    (site / "others.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return Installed(sdist, wheel, venv / "bin/python", site)


def add(wheel: Path, python: Path) -> None:
    """Install a wheel, without what it needs."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python)]
    done = subprocess.run(
        [*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def foreign_packages(folder: Path) -> None:
    """Make packages that have the names of ours."""
    for name in PACKAGES:
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(FOREIGN)
