"""Presets of well-known sets: `preset: openorca` in a source stands for its fields in presets.yaml.

Fields that the source sets itself win; of `options` each wins by itself. A source with its own `text_field`
or `format` gets neither from its preset, nor `text_fallbacks`, because one replaces the others.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from schemas.config import Section, validate
from schemas.corpus_config import SourceConfig
from schemas.errors import ConfigError, unknown_name

_FILE = Path(__file__).with_name("presets.yaml")
_TEXT = frozenset({"text_field", "format", "text_fallbacks"})
_TEXT_ITSELF = frozenset({"text_field", "format"})
_RECOGNISED_BY = ("reader", "id_field", "text_field", "format")
"""Fields of a source that are together those of one well-known set only."""


class Preset(Section):
    """One well-known set.

    Attributes:
        about: A sentence on it.
        uri: An example of a source's `uri`.
        license: License of its texts, as its publisher says; null is unknown.
        has_number_ids: True if its ids are plain numbers, which mean other documents in other sets.
        fields: Fields of a SourceConfig.
    """

    about: str
    uri: str
    license: str | None = None
    has_number_ids: bool = False
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


def check_ids(stream: str, sources: Sequence[SourceConfig]) -> None:
    """Refuse sources of one stream whose equal ids are different documents.

    Args:
        stream: Name of the stream.
        sources: Its sources, with the fields of their presets.

    Raises:
        ConfigError: Two well-known sets have plain numbers as ids.
    """
    named = dict.fromkeys(filter(None, map(_set_with_number_ids, sources)))
    if len(named) > 1:
        one, other = list(named)[:2]
        field = presets()[other].fields["id_field"]
        raise ConfigError(
            f"streams.{stream}: the ids of {one} and {other} are plain numbers, so a document of {other} "
            f"would take the place of another one of {one} with the same number. Put them into streams of "
            f"their own, or set another id_field than {field!r} on one of them."
        )


def _set_with_number_ids(source: SourceConfig) -> str | None:
    """Return the name of the set whose plain numbers are the ids of a source, with its preset or without."""
    for name, preset in presets().items():
        of_set = SourceConfig.model_validate({**preset.fields, "uri": preset.uri})
        if preset.has_number_ids and all(
            getattr(source, field) == getattr(of_set, field) for field in _RECOGNISED_BY
        ):
            return name
    return None
