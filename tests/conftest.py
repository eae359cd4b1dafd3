"""What tests of several packages share."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def own_temporary_directory(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Streaming leaves lock files and a cache in the temporary directory.

    Not under `tmp_path`: that is too long for the sockets by which reader processes hand over tensors.
    """
    tmp_path_factory.getbasetemp()  # chosen now: pytest's own folder must outlast this test
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setattr(tempfile, "tempdir", None)
        yield
    tempfile.tempdir = None


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The small real model, fetched once into models/ of the checkout and kept there."""
    from plugins.models import smollm2

    return smollm2.fetch(ROOT / "models" / smollm2.NAME, say=print).path
