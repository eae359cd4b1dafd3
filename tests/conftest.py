"""What tests of several packages share."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """The small real model, fetched once into models/ of the checkout and kept there."""
    from plugins.models import smollm2

    return smollm2.fetch(ROOT / "models" / smollm2.NAME, say=print).path
