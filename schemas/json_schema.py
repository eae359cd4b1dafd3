"""JSON Schemas of both YAMLs, with which editors complete keys, explain them and mark mistakes.

    python -m schemas.json_schema     # writes schemas/editor/ anew, after a change of a configuration

An editor with the YAML language server reads the schema that the first line of a file names. Descriptions
come from the docstrings of the models. Every value may be an interpolation such as `${variables.x}`, which
only `load_config` resolves; so a file that fits its schema may still be refused, and none that is accepted
fails it.
"""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any

from schemas.config import Section
from schemas.corpus_config import CorpusConfig
from schemas.train_config import TrainConfig

FOLDER = Path(__file__).parent / "editor"
"""Folder of the written schemas; the wheel carries them."""

SCHEMAS: dict[str, type[Section]] = {"corpus.schema.json": CorpusConfig, "train.schema.json": TrainConfig}
"""Configurations by the file of their schema."""

_INTERPOLATION = {"$ref": "#/$defs/interpolation"}


def first_line(schema: str) -> str:
    """The first line of a YAML whose schema is at a path relative to it."""
    return f"# yaml-language-server: $schema={schema}\n"


def descriptions(model: type, listed_as: str = "Attributes") -> dict[str, str]:
    """Return the descriptions of a class's fields, or `Args`, from its docstring and those of its bases."""
    found: dict[str, str] = {}
    for kind in reversed(model.__mro__):
        text = inspect.getdoc(kind) or ""
        listed = re.split(r"(?m)^\S", text.partition(f"{listed_as}:\n")[2])[0]  # to the next section
        for name, described in re.findall(r"(?ms)^    (\w+): (.*?)(?=^    \w+: |^\S|\Z)", listed):
            found[name] = " ".join(described.split())
    return found


def json_schema(kind: type[Section]) -> dict[str, Any]:
    """Return the JSON Schema of a configuration."""
    schema = kind.model_json_schema()
    models = {model.__name__: model for model in _subclasses(Section)}
    inner: dict[str, Any] = schema.get("$defs", {})
    for name, each in [(kind.__name__, schema), *inner.items()]:
        described = descriptions(models[name])
        each.pop("title", None)
        each["description"] = " ".join(each["description"].partition("Attributes:")[0].split())
        for key, value in each["properties"].items():
            each["properties"][key] = {"description": described[key], **_open(value)}
    schema["properties"]["variables"] = {
        "description": "Values that `${variables.NAME}` refers to.",
        "type": "object",
    }
    inner["interpolation"] = {"type": "string", "pattern": r"\$\{.+\}"}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "$defs": inner}


def _open(value: dict[str, Any]) -> dict[str, Any]:
    """Let a value and what it holds be interpolations; drop titles, which repeat the key."""
    value = {name: each for name, each in value.items() if name != "title"}
    default = {"default": value.pop("default")} if "default" in value else {}
    kinds = [_open_inside(each) for each in value.pop("anyOf", [value])]
    is_typed = all(each and each != {"type": "string"} for each in kinds)
    kinds += [_INTERPOLATION] if is_typed else []
    return {**(kinds[0] if len(kinds) == 1 else {"anyOf": kinds}), **default}


def _open_inside(kind: dict[str, Any]) -> dict[str, Any]:
    inner = ("items", "additionalProperties")
    return {name: _open(each) if name in inner and each is not True else each for name, each in kind.items()}


def _subclasses(kind: type[Section]) -> list[type[Section]]:
    return [each for child in kind.__subclasses__() for each in (child, *_subclasses(child))]


def written(kind: type[Section]) -> str:
    """Return a schema as its file holds it."""
    return json.dumps(json_schema(kind), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for name, configuration in SCHEMAS.items():
        (FOLDER / name).write_text(written(configuration), encoding="utf-8")
