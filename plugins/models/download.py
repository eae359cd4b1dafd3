"""Download of a pinned wheel from the configured package index.

pip downloads it, with its configured index, mirror, proxy and certificates. An environment made by uv may
lack pip; then any other pip of this machine serves, because the wheel is never installed.
"""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

from schemas.errors import InputError


def download_wheel(
    requirement: str, *, filename: str, sha256: str, folder: Path, timeout_sec: int = 900
) -> Path:
    """Download the wheel of an exact requirement ("name==1.2.3"), check its hex digest, and return its path.

    A wheel that fails the check is deleted.

    Raises:
        InputError: There is no pip, the index is unreachable, or the file is not the expected one.
    """
    pip = find_pip()
    command = [*pip, "download", "--no-deps", "--only-binary", ":all:", "--quiet"]
    command += ["--disable-pip-version-check", "--no-input", "--dest", str(folder), requirement]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=timeout_sec, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(
            f"downloading {requirement} took more than {timeout_sec} s and was stopped. {_CURE}"
        ) from error
    wheel = folder / filename
    if done.returncode or not wheel.is_file():
        last = [line.strip() for line in done.stderr.splitlines() if line.strip().startswith("ERROR")]
        said = last[-1] if last else f"pip ended with status {done.returncode} and left no {filename}"
        raise InputError(f"{requirement} cannot be downloaded: {said}. {_CURE}")
    check_sha256(wheel, sha256)
    return wheel


def check_sha256(path: Path, expected: str) -> None:
    """Delete `path` and raise InputError unless its sha256 is `expected`."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    if digest.hexdigest() != expected:
        path.unlink()
        raise InputError(
            f"{path.name} has sha256 {digest.hexdigest()}, expected {expected}; it was deleted. "
            "The download is damaged, or the index serves another file: try again, or use another index."
        )


def find_pip() -> list[str]:
    """Beginning of a command line for pip: this environment's, uv's or another Python's."""
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip"]
    if uv := shutil.which("uv"):
        return [uv, "tool", "run", "--quiet", "pip"]
    for name in ("pip3", "pip"):
        if pip := shutil.which(name):
            return [pip]
    raise InputError(
        f"{sys.executable} has no pip, and PATH has neither uv nor pip. Install one (python -m ensurepip), "
        "or name a Hugging Face directory on disk in the YAML."
    )


_CURE = (
    "Set a package index that you can reach (PIP_INDEX_URL, or pip config set global.index-url …), or name a "
    "Hugging Face directory on disk in the YAML."
)
