"""YAML files, or mappings of the same keys, to validated configurations.

OmegaConf reads a file safely: `${…}` interpolation and `key=value` overrides work, duplicate keys are
errors, `1e-5` is a number and a date stays text. Pydantic models then validate the values and refuse unknown
keys. Every message names the file, the dotted key, the value, and the nearest known key or the allowed
values.
"""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar, Union, get_args, get_origin

import pydantic
import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from schemas.errors import ConfigError, unknown_name
from schemas.secrets import find_secrets, masked


class Section(pydantic.BaseModel):
    """A part of a configuration: frozen, without unknown keys."""

    added_later: ClassVar[frozenset[str]] = frozenset()
    """Keys that a later version added. At its default, such a key is not part of the hash of a configuration,
    so that the hash is that of earlier versions."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


SectionT = TypeVar("SectionT", bound=Section)

OneOrMore = Annotated[
    tuple[str, ...],
    pydantic.BeforeValidator(lambda value: (value,) if isinstance(value, str) else value),
    pydantic.WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]
"""A list of strings; one string is a list of one."""


def unset_additions(section: Section) -> dict[str, Any]:
    """Keys of `added_later` at their defaults, here and in inner sections, as pydantic's `exclude`."""
    found: dict[str, Any] = {}
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if name in section.added_later and value == field.get_default(call_default_factory=True):
            found[name] = True
        elif inner := _unset_inside(value):
            found[name] = inner
    return found


def _unset_inside(value: Any) -> dict[Any, Any]:
    """`unset_additions` of a section, or of those in a mapping or sequence."""
    if isinstance(value, Section):
        return unset_additions(value)
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, tuple) else ()
    return {key: inner for key, each in items if (inner := _unset_inside(each))}


def load_config(
    kind: type[SectionT], given: SectionT | Mapping[str, Any] | str | Path, overrides: Sequence[str] = ()
) -> SectionT:
    """Read and validate a configuration.

    Args:
        kind: Model of the whole configuration.
        given: A YAML file, a mapping of the same keys, or a configuration that is validated already.
        overrides: `dotted.key=value` strings, values parsed as YAML. Each replaces the given value of that
            key; `options={}` replaces a whole section. A number in the key is a list index:
            `streams.domain.sources.0.uri=…`.

    Raises:
        ConfigError: The file is missing or is not YAML, a key or value is wrong, or a value is a secret.
    """
    if isinstance(given, kind) and not overrides:
        return given
    if isinstance(given, (str, Path)):
        name, loaded = str(given), read_yaml(given)
    else:
        name = kind.__name__
        if isinstance(given, Section):
            given = given.model_dump(mode="json", exclude_unset=True)
        try:
            loaded = OmegaConf.create(dict(given))
        except OmegaConfBaseException as error:
            raise ConfigError(f"{name}: {_first_line(error)}.") from error
    for override in overrides:
        key, is_override, value = override.partition("=")
        if not key or not is_override:
            raise ConfigError(f"{masked(override)!r} is not an override; expected key=value, such as seed=3.")
        try:
            parsed = OmegaConf.to_container(OmegaConf.from_dotlist([f"value={value}"]))
            assert isinstance(parsed, dict)
            OmegaConf.update(loaded, key, parsed["value"], merge=False)
        except (OmegaConfBaseException, yaml.YAMLError, TypeError, ValueError, RecursionError) as error:
            raise ConfigError(f"{key}=… cannot be applied: {masked(_first_line(error))}.") from error
    try:
        plain = OmegaConf.to_container(loaded, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{name}: {error.full_key}: {_first_line(error)}.") from error
    if isinstance(plain, dict):
        plain.pop("variables", None)  # values that only `${variables.…}` refers to
    secrets = [f"{name}: {key} holds a key or a password; {cure}." for key, cure in find_secrets(plain)]
    if secrets:
        raise ConfigError("\n".join(secrets))
    return validate(kind, plain, name=name)


def read_yaml(path: str | Path) -> Any:
    """Read a YAML file as OmegaConf's mapping."""
    try:
        text = Path(path).read_text(encoding="utf-8")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if root is not None and not isinstance(root, yaml.MappingNode):
            raise ConfigError(f"{path}: holds a list or a bare value; expected a mapping of keys.")
        return OmegaConf.create(text) if root is not None else OmegaConf.create({})
    except FileNotFoundError:
        order = ", before key=value" if "=" in str(path) else ""
        raise ConfigError(f"{path}: no such file. Name a YAML configuration{order}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}.") from error
    except (yaml.YAMLError, OmegaConfBaseException) as error:
        raise ConfigError(f"{path}: is not valid YAML: {error}") from error
    except RecursionError:
        raise ConfigError(f"{path}: is nested too deeply for a configuration.") from None


def validate(kind: type[SectionT], values: Any, *, name: str) -> SectionT:
    """Validate plain values; each message begins with `name`.

    Raises:
        ConfigError: Lists every wrong key, one a line.
    """
    try:
        return kind.model_validate(values)
    except pydantic.ValidationError as error:
        found = error.errors()
        raise ConfigError(
            "\n".join(
                f"{name}: {_explain(kind, problem)}"
                for problem in found
                # Pydantic also reports a list as too short if one of its items is wrong.
                if not any(_is_inside(other["loc"], problem["loc"]) for other in found)
            )
        ) from None


_IN_YAML = {"a valid dictionary": "a mapping of keys", "a valid tuple": "a list", "a valid list": "a list"}
"""Words of pydantic and what a YAML file calls it."""


def _is_inside(inner: tuple[int | str, ...], outer: tuple[int | str, ...]) -> bool:
    return len(inner) > len(outer) > 0 and inner[: len(outer)] == outer


def _explain(kind: type[pydantic.BaseModel], problem: Any) -> str:
    keys, section = _locate(kind, problem["loc"])
    key = ".".join(keys)
    if problem["type"] == "extra_forbidden":
        known = list(section.model_fields) if section else []
        return unknown_name("key", str(problem["loc"][-1]), known, shown=key)
    if problem["type"] == "missing":
        return f"key {key!r} is missing."
    if problem["type"] == "value_error":
        return f"{key + ': ' if key else ''}{problem['ctx']['error']}"
    message = f"{problem['msg'][0].lower()}{problem['msg'][1:]}."
    for of_python, of_yaml in _IN_YAML.items():
        message = message.replace(of_python, of_yaml)
    found = masked(repr(problem["input"]))
    return f"{key} is {found}: {message}" if key else f"is {found}: {message}"


def _locate(
    kind: type[pydantic.BaseModel], loc: Sequence[int | str]
) -> tuple[list[str], type[pydantic.BaseModel] | None]:
    """Keys of a location, without pydantic's type names for a union, and the section of the last key."""
    annotation: Any = kind
    section, keys = None, []
    for part in loc:
        annotation = _not_null(annotation)
        section = _section_in(annotation)
        if get_origin(annotation) in (Union, types.UnionType) and section is None:
            break
        keys.append(str(part))
        annotation = _inside(annotation, part)
    return keys, section


def _inside(annotation: Any, part: int | str) -> Any:
    """Type of the field, dict value or list item that `part` names in a value of type `annotation`."""
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        field = annotation.model_fields.get(str(part))
        return field.annotation if field else None
    arguments = get_args(annotation)
    if get_origin(annotation) in (Union, types.UnionType):  # of ours, `Section | None`
        return _inside(_section_in(annotation), part)
    if get_origin(annotation) is dict:
        return arguments[1]
    return arguments[0] if arguments else None


def _not_null(annotation: Any) -> Any:
    """The type beside null, without what only pydantic reads; a union of several types as it is."""
    if get_origin(annotation) is Annotated:
        return _not_null(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        kinds = [each for each in get_args(annotation) if each is not type(None)]
        return _not_null(kinds[0]) if len(kinds) == 1 else annotation
    return annotation


def _section_in(annotation: Any) -> type[pydantic.BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        return annotation
    return next(filter(None, map(_section_in, get_args(annotation))), None)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0].rstrip(".")
