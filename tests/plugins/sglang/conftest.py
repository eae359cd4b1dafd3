"""Fixtures for tests of the clients."""

from __future__ import annotations

import pytest


@pytest.fixture(params=["sglang", "openai"])
def api(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a test with each API."""
    monkeypatch.setattr("tests.plugins.sglang.fake_server.API", request.param)
    return str(request.param)
