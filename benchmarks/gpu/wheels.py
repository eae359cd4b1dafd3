"""An environment for the measurements: wheels from a folder, beside the packages of this interpreter."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
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
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            raise Unusable(f"{sys.executable} has no {name}; expected {wanted}.") from None
        if tuple(map(int, re.findall(r"\d+", found)[:2])) < least:
            raise Unusable(f"{sys.executable} has {name} {found}; expected {wanted}.")


def requirements() -> Iterator[tuple[str, str]]:
    """Yield name and requirement of each wheel."""
    for line in REQUIREMENTS.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            yield re.split(r"[=<>]", line)[0], line


def install(wheels: Path, output: Path) -> str:
    """Make the environment in the output folder; return its interpreter.

    Raises:
        Unusable: Wheels are missing, or pip fails.
    """
    files = sorted(wheels.glob("*.whl"))
    names = {_plain(file.name.split("-")[0]) for file in files}
    missing = [line for name, line in requirements() if _plain(name) not in names and not _is_installed(name)]
    if missing:
        raise Unusable(
            f"--wheels {wheels} lacks {len(missing)} of the wheels that this machine needs: "
            f"{', '.join(missing)}. On a machine with a network, of the same Python and platform: "
            f"pip wheel --no-deps --wheel-dir DIR -r {REQUIREMENTS}"
        )
    folder = output / "venv"
    # A new environment sees the packages of the Python below this one, not those of this one.
    in_environment = sys.prefix != sys.base_prefix
    venv.create(folder, system_site_packages=not in_environment, with_pip=True, clear=True)
    python = str(folder / "bin/python")
    if in_environment:
        inside = sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)})
        outer = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
        Path(inside, "outer.pth").write_text("".join(f"{path}\n" for path in outer), encoding="utf-8")
    command = [python, "-m", "pip", "install", "--no-index", "--find-links", str(wheels), "--no-deps"]
    command += ["--quiet", "--disable-pip-version-check", "--requirement", str(REQUIREMENTS)]
    print(shlex.join(command), flush=True)
    if subprocess.run(command, check=False).returncode:
        raise Unusable("pip has failed; its message stands above.")
    return python


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
