"""Reference pages of the YAML keys and of the commands, made from the Pydantic models and the parsers.

Sphinx runs this before it reads the pages (`conf.py`), so that the pages cannot go stale.
"""

from __future__ import annotations

import argparse
import inspect
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pydantic

from plugins.commands import COMMANDS
from plugins.commands.parser import Parser
from schemas.config import Section
from schemas.corpus_config import CorpusConfig
from schemas.train_config import TrainConfig


def models_in(annotation: object) -> Iterator[type[Section]]:
    """Yield the models in the type of a field."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    for part in typing.get_args(annotation):
        yield from models_in(part)


def descriptions(model: type[Section]) -> dict[str, str]:
    """Return the descriptions of a model's fields from its docstring and those of its bases."""
    found: dict[str, str] = {}
    for kind in reversed(model.__mro__):
        text = inspect.getdoc(kind) or ""
        _, _, listed = text.partition("Attributes:\n")
        for name, described in re.findall(r"(?ms)^    (\w+): (.*?)(?=^    \w+: |^\S|\Z)", listed):
            found[name] = " ".join(described.split())
    return found


def type_name(annotation: object) -> str:
    """Write a type as a reader of YAML thinks of it."""
    if annotation is type(None):
        return "null"
    arguments = typing.get_args(annotation)
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return type_name(arguments[0])
    if origin is typing.Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin in (tuple, list, frozenset):
        return f"list of {type_name(arguments[0])}"
    if origin is dict:
        return f"mapping of {type_name(arguments[0])} to {type_name(arguments[1])}"
    if arguments:
        return ", or ".join(dict.fromkeys(type_name(each) for each in arguments))
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})"
    names = {
        "str": "text",
        "int": "whole number",
        "float": "number",
        "bool": "true or false",
        "SecretStr": "text",
    }
    name = getattr(annotation, "__name__", str(annotation))
    return names.get(name, name)


def default_of(field: pydantic.fields.FieldInfo) -> str:
    """Write a field's default as YAML has it."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, Section):
        return "its defaults"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, tuple | list | dict) and not value:
        return "empty"
    return f"`{list(value) if isinstance(value, tuple) else value}`"


def yaml_page(title: str, root: type[Section]) -> str:
    """Write a page on a configuration: a section for each model, in the order in which keys lead to it."""
    seen: dict[str, type[Section]] = {}

    def visit(model: type[Section]) -> None:
        if model.__name__ not in seen:
            seen[model.__name__] = model
            for field in model.model_fields.values():
                for inner in models_in(field.annotation):
                    visit(inner)

    visit(root)
    lines = [f"# {title}", ""]
    for name, model in seen.items():
        first = (inspect.getdoc(model) or "").partition("Attributes:")[0].strip()
        lines += [
            f"## {name}",
            "",
            " ".join(first.split()),
            "",
            "| key | type | default | meaning |",
            "|---|---|---|---|",
        ]
        described = descriptions(model)
        for key, field in model.model_fields.items():
            cells = (f"`{key}`", type_name(field.annotation), default_of(field), described[key])
            lines.append(
                "| " + " | ".join(cell.replace("|", "\\|").replace("<", "&lt;") for cell in cells) + " |"
            )
        lines.append("")
    return "\n".join(lines)


class _Found(Exception):
    """Carries the parser of a command, which is about to parse."""


def parser_of(command: str) -> Parser:
    """Return the parser of a command."""

    def stop(parser: Parser, *_: object, **__: object) -> typing.NoReturn:
        raise _Found(parser)

    with mock.patch.object(Parser, "parse_known_args", stop):
        try:
            COMMANDS.load(command)([])
        except _Found as found:
            return typing.cast(Parser, found.args[0])
    raise AssertionError(f"tutelage {command} parses nothing")


def commands_page() -> str:
    """Write a page on all commands: what `--help` says of each."""
    lines = ["# Commands", "", "Exit status: 0 done, 1 failed, 2 wrong use or configuration.", ""]

    def add(parser: argparse.ArgumentParser) -> None:
        lines.extend([f"## {parser.prog}", "", "```text", parser.format_help().rstrip(), "```", ""])
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for each in action.choices.values():
                    add(each)

    with mock.patch.dict("os.environ", {"COLUMNS": "100"}):
        for name in COMMANDS.names():
            add(parser_of(name))
    return "\n".join(lines)


def generate(folder: Path) -> None:
    """Write all pages into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "corpus_yaml.md").write_text(
        yaml_page("The YAML of `tutelage corpus`", CorpusConfig), encoding="utf-8"
    )
    (folder / "train_yaml.md").write_text(
        yaml_page("The YAML of `tutelage train`", TrainConfig), encoding="utf-8"
    )
    (folder / "commands.md").write_text(commands_page(), encoding="utf-8")
