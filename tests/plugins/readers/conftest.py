"""Fixtures of the readers' tests."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest

from schemas import storage


@pytest.fixture
def memory() -> Iterator[str]:
    """A directory on a file system in memory."""
    uri = f"memory://{uuid.uuid4().hex}"
    yield uri
    storage.remove_tree(uri)
