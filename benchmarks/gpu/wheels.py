"""Packages of the measurements: those of the machine, and wheels from a folder for those that it lacks."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path

REQUIREMENTS = Path(__file__).with_name("wheels.txt")
LEAST = {"torch": (2, 7), "transformers": (4, 53)}


class Unusable(Exception):
    """This machine, or the folder of wheels, lacks something; the message names it."""


def check_libraries() -> None:
    """Check that torch and transformers are there, and new enough."""
    for name, least in LEAST.items():
        wanted = f"{name} {'.'.join(map(str, least))} or newer"
        found = _version(name)
        if found is None:
            raise Unusable(f"{sys.executable} has no {name}; expected {wanted}.")
        if tuple(map(int, re.findall(r"\d+", found)[:2])) < least:
            raise Unusable(f"{sys.executable} has {name} {found}; expected {wanted}.")


def check_gpu() -> None:
    """Check that torch sees a GPU."""
    import torch

    if not torch.cuda.is_available():
        raise Unusable(
            f"torch {torch.__version__} sees no NVIDIA GPU; expected one. On a CPU, give --small; otherwise "
            "look at what `nvidia-smi` says, and whether this torch is a build for CUDA."
        )


def missing() -> list[str]:
    """The requirements whose packages the machine lacks, in whatever version."""
    lines = [line for line in REQUIREMENTS.read_text(encoding="utf-8").splitlines() if line[:1].isalpha()]
    minor = (_version("torch") or "").split(".")[1]
    lines.append(f"torchvision==0.{int(minor) + 15}.*")  # the release for each torch 2
    return [line for line in lines if _version(line.split("==")[0]) is None]


def install(wheels: Path, folder: Path) -> None:
    """Install what the machine lacks into a folder of its own, for PYTHONPATH.

    Raises:
        Unusable: Wheels are missing, or pip fails.
    """
    wanted = missing()
    names = {_plain(file.name.split("-")[0]) for file in wheels.glob("*.whl")}
    lacks = [line for line in wanted if _plain(line.split("==")[0]) not in names]
    if lacks:
        raise Unusable(
            f"--wheels {wheels} lacks {len(lacks)} of the wheels that this machine needs: "
            f"{', '.join(lacks)}. On a machine with a network, of the same Python and platform: "
            f"pip wheel --no-deps --wheel-dir DIR -r {REQUIREMENTS}"
        )
    command = [sys.executable, "-m", "pip", "install", "--no-index", "--find-links", str(wheels), "--no-deps"]
    command += ["--quiet", "--disable-pip-version-check", "--upgrade", "--target", str(folder), *wanted]
    print(shlex.join(command), flush=True)
    if wanted and subprocess.run(command, check=False).returncode:
        raise Unusable("pip has failed; its message stands above.")


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
