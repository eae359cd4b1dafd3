"""Descriptions of YAML keys in the docstrings of sections, the source of the reference page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, get_args

import pydantic
import pytest

from plugins.protocols.chat_json import ChatPrompt
from plugins.synthesizers.sglang import SGLangOptions
from plugins.synthesizers.transformers import TransformersOptions
from schemas.config import Section
from schemas.corpus_config import CorpusConfig
from schemas.train_config import TrainConfig

Model = type[pydantic.BaseModel]
ROOTS: tuple[Model, ...] = (CorpusConfig, TrainConfig, SGLangOptions, TransformersOptions, ChatPrompt)


def models(annotation: Any) -> Iterator[Model]:
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        yield annotation
        for field in annotation.model_fields.values():
            yield from models(field.annotation)
    for inside in get_args(annotation):
        yield from models(inside)


def described(model: Model) -> dict[str, str]:
    """Descriptions by field, from the class and its base classes."""
    found: dict[str, str] = {}
    for kind in reversed([kind for kind in model.__mro__ if issubclass(kind, Section)]):
        attributes = (kind.__doc__ or "").partition("\n    Attributes:\n")[2]
        found.update(re.findall(r"^ {8}(\w+): (\S.*)$", attributes, re.MULTILINE))
    return found


ALL = sorted({model for root in ROOTS for model in models(root)}, key=lambda model: model.__name__)


@pytest.mark.parametrize("model", ALL, ids=lambda model: model.__name__)
def test_every_field_is_described_and_no_other(model: Model) -> None:
    assert set(described(model)) == set(model.model_fields)
