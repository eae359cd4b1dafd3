"""Reference pages of YAML keys, options of plugins, and commands, from models, docstrings and parsers.

Sphinx runs this before it reads the pages (`conf.py`), so that the pages cannot go stale.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pydantic

from plugins.callbacks import CALLBACKS
from plugins.commands import COMMANDS
from plugins.commands.parser import parser_of
from plugins.filters import FILTERS
from plugins.protocols import PROTOCOLS
from plugins.readers import READERS
from plugins.readers.folder import FolderReader
from plugins.registry import Registry
from plugins.synthesizers import SYNTHESIZERS
from plugins.verifiers import VERIFIERS
from schemas.config import Section
from schemas.corpus_config import CorpusConfig
from schemas.train_config import TrainConfig


def models_in(annotation: object) -> Iterator[type[Section]]:
    """Yield the models in the type of a field."""
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    for part in typing.get_args(annotation):
        yield from models_in(part)


def descriptions(model: type, listed_as: str = "Attributes") -> dict[str, str]:
    """Return the descriptions of a class's fields, or `Args`, from its docstring and those of its bases."""
    found: dict[str, str] = {}
    for kind in reversed(model.__mro__):
        text = inspect.getdoc(kind) or ""
        listed = re.split(r"(?m)^\S", text.partition(f"{listed_as}:\n")[2])[0]  # to the next section
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
    if value == "":
        return "empty"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, tuple | list | dict) and not value:
        return "empty"
    return f"`{list(value) if isinstance(value, tuple) else value}`"


def with_inner_models(root: type[Section]) -> dict[str, type[Section]]:
    """Return a model and the models of its keys by name, in the order in which keys lead to them."""
    seen: dict[str, type[Section]] = {}

    def visit(model: type[Section]) -> None:
        if model.__name__ not in seen:
            seen[model.__name__] = model
            for field in model.model_fields.values():
                for inner in models_in(field.annotation):
                    visit(inner)

    visit(root)
    return seen


def table(rows: Iterator[tuple[str, str, str, str]]) -> Iterator[str]:
    """Yield the lines of a table of keys: name, type, default, meaning."""
    yield from ("| key | type | default | meaning |", "|---|---|---|---|")
    for name, *cells in rows:
        shown = (cell.replace("|", "\\|").replace("<", "&lt;") for cell in (f"`{name}`", *cells))
        yield f"| {' | '.join(shown)} |"
    yield ""


def table_of(model: type[Section]) -> Iterator[str]:
    """Yield the lines of the table of a model's keys."""
    described = descriptions(model)
    yield from table(
        (key, type_name(field.annotation), default_of(field), described[key])
        for key, field in model.model_fields.items()
    )


def yaml_page(title: str, root: type[Section]) -> str:
    """Write a page on a configuration: a section for each model."""
    lines = [f"# {title}", ""]
    for name, model in with_inner_models(root).items():
        first = (inspect.getdoc(model) or "").partition("Attributes:")[0].strip()
        lines += [f"## {name}", "", " ".join(first.split()), "", *table_of(model)]
    return "\n".join(lines)


def options_of(plugin: type) -> type[Section] | None:
    """Return the options of a plugin: its `Options`, or those that its module declares; None without any."""
    module = importlib.import_module(plugin.__module__)
    declared = [
        each
        for each in vars(module).values()
        if isinstance(each, type) and issubclass(each, Section) and each.__module__ == plugin.__module__
    ]
    named = [each for each in declared if each.__name__.endswith(("Options", "Prompt"))]
    own = getattr(plugin, "Options", next(iter(named), None))
    return own if own is not Section else None


_PLUGINS: tuple[tuple[str, Registry, str], ...] = (
    ("Readers", READERS, "`options` of a source in the corpus YAML"),
    ("Filters", FILTERS, "`filters.NAME` of the corpus YAML"),
    ("Synthesizers", SYNTHESIZERS, "`synthesis.options` of the corpus YAML"),
    ("Protocols", PROTOCOLS, "the file of `synthesis.prompt_file`"),
    ("Verifiers", VERIFIERS, "`verify.NAME` of the corpus YAML"),
)

_NO_OPTIONS = {
    FolderReader: "Its options are those of the readers of its files, by their names, such as "
    "`options: {pdf: {pages_per_document: 1}}`."
}


def plugins_page() -> str:
    """Write a page on the options of all plugins."""
    lines = ["# Options of plugins", ""]
    for title, registry, where in _PLUGINS:
        lines += [f"## {title}", "", f"Keys of {where}.", ""]
        for name in registry.names():
            plugin = registry.load(name)
            root = options_of(plugin)
            lines += [
                f"### {name}",
                "",
                *([] if root else [_NO_OPTIONS.get(plugin, "It has no options."), ""]),
            ]
            for inner, model in with_inner_models(root).items() if root else ():
                lines += [*([] if model is root else [f"#### {inner}", ""]), *table_of(model)]
    lines += [
        "## Callbacks",
        "",
        "Keys of `callbacks.NAME` of the training YAML.",
        "",
    ]
    for name, target in CALLBACKS.targets().items():
        if not target.startswith("composer."):
            callback = CALLBACKS.load(name)
            described = descriptions(callback, "Args")
            parameters = inspect.signature(callback).parameters
            rows = ((key, *_type_and_default(parameters[key]), text) for key, text in described.items())
            lines += [f"### {name}", "", *table(rows)]
    return "\n".join(lines)


def _type_and_default(parameter: inspect.Parameter) -> tuple[str, str]:
    is_required = parameter.default is inspect.Parameter.empty
    return str(parameter.annotation), "required" if is_required else f"`{parameter.default}`"


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
            add(parser_of(COMMANDS.load(name)))
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
    (folder / "plugins.md").write_text(plugins_page(), encoding="utf-8")
    (folder / "commands.md").write_text(commands_page(), encoding="utf-8")
