"""Presets of well-known sets: `preset: openorca` in a source stands for its fields in presets.yaml.

Fields that the source sets itself win; of `options` each wins by itself. A source with its own `text_field`
or `format` gets neither from its preset, nor `text_fallbacks`, because one replaces the others.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import yaml

from schemas.config import Section, validate
from schemas.corpus_config import SourceConfig
from schemas.errors import ConfigError, unknown_name

_FILE = Path(__file__).with_name("presets.yaml")
_TEXT = frozenset({"text_field", "format", "text_fallbacks"})
_TEXT_ITSELF = frozenset({"text_field", "format"})


class Preset(Section):
    """One well-known set.

    Attributes:
        about: A sentence on it.
        uri: An example of a source's `uri`.
        license: License of its texts, as its publisher says; null is unknown.
        fields: Fields of a SourceConfig.
    """

    about: str
    uri: str
    license: str | None = None
    fields: dict[str, Any]


@functools.cache
def presets() -> dict[str, Preset]:
    """Return all presets by name."""
    loaded = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
    return {name: validate(Preset, values, name=f"{_FILE.name}: {name}") for name, values in loaded.items()}


def with_preset(source: SourceConfig) -> SourceConfig:
    """Return the source with the fields of its preset, or the source itself if it names none.

    Raises:
        ConfigError: There is no such preset.
    """
    if source.preset is None:
        return source
    if source.preset not in presets():
        raise ConfigError(unknown_name("preset", source.preset, presets()))
    own = source.model_dump(exclude_unset=True, exclude={"preset"})
    given = presets()[source.preset].fields
    taken = {
        name: value for name, value in given.items() if not (name in _TEXT and _TEXT_ITSELF & own.keys())
    }
    options = {**given.get("options", {}), **source.options}
    return SourceConfig.model_validate({**taken, **own, "options": options})
