"""JSON Schemas for editors: current, and no stricter than the configurations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from schemas.config import Section, load_config
from schemas.corpus_config import CorpusConfig
from schemas.json_schema import FOLDER, SCHEMAS, first_line, json_schema, written
from schemas.train_config import TrainConfig

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = [
    *((path, CorpusConfig, "corpus") for path in sorted(ROOT.glob("pipelines/yamls/*.yaml"))),
    *((path, TrainConfig, "train") for path in sorted(ROOT.glob("trainer/yamls/*.yaml"))),
]


def faults(kind: type[Section], text: str) -> list[str]:
    validator = jsonschema.Draft202012Validator(json_schema(kind))
    found = map(deepest, validator.iter_errors(yaml.safe_load(text)))
    return [f"{error.json_path}: {error.message}" for error in found]


def deepest(error: jsonschema.ValidationError) -> jsonschema.ValidationError:
    inner = [error, *map(deepest, error.context or ())]
    return max(inner, key=lambda each: len(each.absolute_path))


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_written_schemas_are_current(name: str) -> None:
    assert (FOLDER / name).read_text(encoding="utf-8") == written(SCHEMAS[name]), (
        "run `python -m schemas.json_schema`"
    )
    jsonschema.Draft202012Validator.check_schema(json_schema(SCHEMAS[name]))


@pytest.mark.parametrize(("path", "kind", "name"), EXAMPLES, ids=lambda value: getattr(value, "name", ""))
def test_an_example_names_its_schema_and_fits_it(path: Path, kind: type[Section], name: str) -> None:
    text = path.read_text(encoding="utf-8")
    schema = f"../../schemas/editor/{name}.schema.json"
    assert text.startswith(first_line(schema))
    assert (path.parent / schema).resolve() == FOLDER / f"{name}.schema.json"
    assert faults(kind, text) == []


@pytest.mark.parametrize("path", sorted(ROOT.glob("examples/reproduce/*.yaml")), ids=lambda path: path.name)
def test_a_published_corpus_fits_the_schema(path: Path) -> None:
    assert faults(CorpusConfig, path.read_text(encoding="utf-8")) == []


BASE = "corpus: c\nstreams: {domain: {sources: [{uri: x}]}}\ntokenizer: {name: t}\n"


@pytest.mark.parametrize(
    "more",
    [
        "seed: ${variables.seed}\nvariables: {seed: 3, list: [1]}",
        "holdout: 1%",
        "holdout: 0.01",
        "holdout: ${variables.share}\nvariables: {share: 1%}",
        "synthesis: {endpoints: http://127.0.0.1:1, backend: sglang, model: m}",
        "synthesis: {endpoints: ['http://127.0.0.1:1'], temperature: 1}",
        "dedup: {near: null}",
        "filters: {gopher_quality: null}",
        "decontaminate: {tasks: tasks}",
        "shards: ${variables.shards}\nvariables: {shards: {compression: null}}",
    ],
)
def test_what_is_accepted_fits_the_schema(more: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(BASE + more)
    load_config(CorpusConfig, tmp_path / "c.yaml")
    assert faults(CorpusConfig, BASE + more) == []


@pytest.mark.parametrize(
    ("more", "at"), [("sed: 3", "$"), ("seed: three", "$.seed"), ("pack: {method: best}", "$.pack.method")]
)
def test_an_editor_marks_a_mistake(more: str, at: str) -> None:
    assert [fault.partition(": ")[0] for fault in faults(CorpusConfig, BASE + more)] == [at]


def test_every_key_is_described() -> None:
    def undescribed(schema: Any, at: str) -> list[str]:
        here = [
            f"{at}.{key}" for key, each in schema.get("properties", {}).items() if not each.get("description")
        ]
        inner = schema.get("$defs", {}).items()
        return [*here, *(name for key, each in inner for name in undescribed(each, key))]

    assert [name for kind in SCHEMAS.values() for name in undescribed(json_schema(kind), kind.__name__)] == []
    seed = json_schema(CorpusConfig)["properties"]["seed"]
    assert (seed["description"], seed["default"]) == ("Seed of every random choice.", 17)
