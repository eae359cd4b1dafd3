"""YAML in, validated configuration out.

A file is read safely with OmegaConf, so `${…}` interpolation and `key=value` overrides work, then
validated by Pydantic models that refuse unknown keys. Every message names the file, the dotted key,
what was found, and the nearest known key or the values that are allowed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import pydantic
import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from schemas.errors import ConfigError, unknown_name


class Section(pydantic.BaseModel):
    """A part of a configuration: frozen, strict about its keys."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


SectionT = TypeVar("SectionT", bound=Section)


def load_config(kind: type[SectionT], path: str | Path, overrides: Sequence[str] = ()) -> SectionT:
    """Read and validate a YAML file.

    Args:
        kind: The configuration's model.
        path: The file.
        overrides: `dotted.key=value` strings, values parsed as YAML; they win over the file.

    Raises:
        ConfigError: The file is missing or not YAML, or a key or value is refused.
    """
    path = Path(path)
    try:
        loaded = OmegaConf.create(yaml.safe_load(path.read_text(encoding="utf-8")) or {})
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file. Give the path of a YAML configuration.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}.") from error
    except (yaml.YAMLError, OmegaConfBaseException) as error:
        raise ConfigError(f"{path}: is not valid YAML: {error}") from error
    if not OmegaConf.is_dict(loaded):
        raise ConfigError(f"{path}: holds a list or a bare value; expected a mapping of keys.")
    for override in overrides:
        if "=" not in override:
            raise ConfigError(f"{override!r} is no override; expected key=value, such as seed=3.")
    try:
        merged = OmegaConf.merge(loaded, OmegaConf.from_dotlist(list(overrides)))
        plain = OmegaConf.to_container(merged, resolve=True)
    except (OmegaConfBaseException, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: {error}") from error
    if isinstance(plain, dict):
        plain.pop("variables", None)  # a place for values that only `${variables.…}` refers to
    return validate(kind, plain, name=str(path))


def validate(kind: type[SectionT], values: Any, *, name: str) -> SectionT:
    """Validate plain values; `name` opens each message.

    Raises:
        ConfigError: Lists every refused key, one a line.
    """
    try:
        return kind.model_validate(values)
    except pydantic.ValidationError as error:
        found = error.errors()
        raise ConfigError(
            "\n".join(
                f"{name}: {_explain(kind, problem)}"
                for problem in found
                # A list is said to be too short when it is one of its items that failed.
                if not any(_is_inside(other["loc"], problem["loc"]) for other in found)
            )
        ) from None


def _is_inside(inner: tuple[int | str, ...], outer: tuple[int | str, ...]) -> bool:
    return len(inner) > len(outer) > 0 and inner[: len(outer)] == outer


def _explain(kind: type[pydantic.BaseModel], problem: Any) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        section = _section_at(kind, problem["loc"][:-1])
        known = list(section.model_fields) if section else []
        return unknown_name("key", str(problem["loc"][-1]), known, shown=key)
    if problem["type"] == "missing":
        return f"key {key!r} is missing."
    if problem["type"] == "value_error":
        return f"{key + ': ' if key else ''}{problem['ctx']['error']}"
    found = problem["input"]
    return f"{key} is {found!r}: {problem['msg'][0].lower()}{problem['msg'][1:]}."


def _section_at(kind: type[pydantic.BaseModel], loc: Sequence[int | str]) -> type[pydantic.BaseModel] | None:
    """The section that a location inside a configuration points to, through dicts and lists."""
    section: type[pydantic.BaseModel] | None = kind
    for part in loc:
        if section is None:
            return None
        field = section.model_fields.get(str(part))
        if field is not None:
            section = _section_in(field.annotation)
        # else: a dict's key or a list's index, whose values are of the section already found
    return section


def _section_in(annotation: Any) -> type[pydantic.BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        return annotation
    return next(filter(None, map(_section_in, get_args(annotation))), None)
