"""Functions of pipelines/store that held-out documents and made tasks come with."""

from __future__ import annotations

import importlib
from typing import Any


def _of_store(module: str, name: str) -> Any:
    return getattr(importlib.import_module(f"pipelines.store.{module}"), name)


def read_held_out(*arguments: Any, **named: Any) -> Any:
    return _of_store("held_out", "read_held_out")(*arguments, **named)


def training_overlaps(*arguments: Any, **named: Any) -> Any:
    return _of_store("question_overlap", "training_overlaps")(*arguments, **named)


def register(*arguments: Any, **named: Any) -> None:
    _of_store("made_tasks", "register")(*arguments, **named)
