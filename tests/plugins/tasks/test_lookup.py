"""Lookup of tasks by name, and validation of rows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

import plugins.tasks.lookup as lookup_module
from plugins.registry import Registry
from plugins.tasks.lookup import load_tasks
from plugins.tasks.rows import ChoiceRow, GenerateRow, TextRow
from plugins.tasks.task import Task, read_rows
from schemas.errors import ConfigError, InputError

Write = Callable[..., Path]
GOOD_CHOICE = {"id": "q1", "input": "Is it?", "options": ["yes", "no"], "gold_index": 1}
HELD_OUT = {"id": "d7", "text": "A text that no model has read."}
GOOD_TEXT = {"input": "Who?", "label": ["she", "her"]}
REGISTERED = Task(name="mqp", domain="biomedicine", kind="choice", metrics=("accuracy",), source=lambda: [])


def test_each_file_of_a_directory_is_a_task_of_the_kind_its_rows_have(
    tmp_path: Path, write_rows: Write
) -> None:
    write_rows(tmp_path / "law" / "cases.jsonl", GOOD_CHOICE)
    (tmp_path / "law" / "names.json").write_text(json.dumps([GOOD_TEXT]))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([GOOD_CHOICE]), tmp_path / "law" / "tables.parquet")
    (tmp_path / "law" / "README.md").write_text("no task")

    tasks = load_tasks([str(tmp_path / "law")])

    assert [(task.name, task.domain, task.kind, task.metrics) for task in tasks] == [
        ("cases", "law", "choice", ("accuracy",)),
        ("names", "law", "generate", ("exact_match", "token_f1")),
        ("tables", "law", "choice", ("accuracy",)),
    ]
    assert [len(read_rows(task)[0]) for task in tasks] == [1, 1, 1]


def test_rows_keep_what_they_were_read_from(tmp_path: Path, write_rows: Write) -> None:
    choice, text = (
        load_tasks([str(write_rows(tmp_path / name, row))])[0]
        for name, row in {"a.jsonl": GOOD_CHOICE, "b.jsonl": GOOD_TEXT}.items()
    )

    assert read_rows(choice)[0] == [
        ChoiceRow(
            row_id="q1",
            position=f"{tmp_path}/a.jsonl:1",
            inputs=("Is it?", "Is it?"),
            options=("yes", "no"),
            gold=(1,),
            fields=GOOD_CHOICE,
        )
    ]
    assert read_rows(text)[0] == [
        GenerateRow(
            row_id=f"{tmp_path}/b.jsonl:1",
            position=f"{tmp_path}/b.jsonl:1",
            input="Who?",
            labels=("she", "her"),
            fields=GOOD_TEXT,
        )
    ]


BAD_CHOICES: list[tuple[Any, str]] = [
    (
        '{"input": "x",',
        "bad JSON: Expecting property name enclosed in double quotes: line 1 column 15 (char 14)",
    ),
    ("[1, 2]", "found [1, 2], expected a JSON object"),
    ({"input": "x", "options": ["a", "b"]}, "gold_index missing; found input, options"),
    ({"text": "x"}, "is a perplexity row (it has text) in a choice task; put it in a file of its own"),
    ({**GOOD_CHOICE, "input": 3}, "input is 3, expected a string"),
    ({**GOOD_CHOICE, "input": " "}, "input is empty"),
    ({**GOOD_CHOICE, "options": ["a"]}, "options is ['a'], expected a list of at least 2 strings"),
    ({**GOOD_CHOICE, "options": "ab"}, "options is 'ab', expected a list of at least 2 strings"),
    ({**GOOD_CHOICE, "options": ["a", ""]}, "options[1] is empty"),
    ({**GOOD_CHOICE, "options": ["a", None]}, "options[1] is None, expected a string"),
    ({**GOOD_CHOICE, "gold_index": 2}, "gold_index is 2, expected 0 to 1"),
    ({**GOOD_CHOICE, "gold_index": -1}, "gold_index is -1, expected 0 to 1"),
    ({**GOOD_CHOICE, "gold_index": "0"}, "gold_index is '0', expected 0 to 1"),
    ({**GOOD_CHOICE, "gold_index": True}, "gold_index is True, expected 0 to 1"),
    ({**GOOD_CHOICE, "gold_index": []}, "gold_index is [], expected 0 to 1"),
    (GOOD_TEXT, "is a generate row (it has label) in a choice task; put it in a file of its own"),
]


@pytest.mark.parametrize(("row", "reason"), BAD_CHOICES)
def test_a_bad_choice_row_is_refused_by_line_and_reason(
    tmp_path: Path, write_rows: Write, row: Any, reason: str
) -> None:
    path = write_rows(tmp_path / "cases.jsonl", GOOD_CHOICE, "", row)

    good, refused = read_rows(load_tasks([str(path)])[0])

    assert len(good) == 1
    assert [str(each) for each in refused] == [f"{path}:3: {reason}"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"input": "x"}, "label missing; found input"),
        ({"input": "x", "label": []}, "label is [], expected a string or a list of strings"),
        ({"input": "x", "label": ["a", 1]}, "label is 1, expected a string"),
        (GOOD_CHOICE, "is a choice row (it has options) in a generate task; put it in a file of its own"),
    ],
)
def test_a_bad_generate_row_is_refused_by_line_and_reason(
    tmp_path: Path, write_rows: Write, row: Any, reason: str
) -> None:
    path = write_rows(tmp_path / "names.jsonl", GOOD_TEXT, row)

    assert [str(each) for each in read_rows(load_tasks([str(path)])[0])[1]] == [f"{path}:2: {reason}"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"text": " \n"}, "text is empty"),
        ({"text": ["a"]}, "text is ['a'], expected a string"),
        ('{"text": "a\\ud800"}', "text has half of a surrogate pair at character 1"),
        ({"title": "a"}, "text missing; found title"),
        (GOOD_CHOICE, "is a choice row (it has options) in a perplexity task; put it in a file of its own"),
        (GOOD_TEXT, "is a generate row (it has label) in a perplexity task; put it in a file of its own"),
    ],
)
def test_a_file_of_texts_is_a_perplexity_task_and_refuses_rows_of_other_kinds(
    tmp_path: Path, write_rows: Write, row: Any, reason: str
) -> None:
    path = write_rows(tmp_path / "held-out" / "general.jsonl", HELD_OUT, row)
    (task,) = load_tasks([str(path)])
    assert (task.kind, task.metrics, task.domain) == ("perplexity", ("bits_per_byte",), "held-out")
    rows, refused = read_rows(task)
    assert rows == [TextRow(row_id="d7", position=f"{path}:1", text=HELD_OUT["text"], fields=HELD_OUT)]
    assert [str(each) for each in refused] == [f"{path}:2: {reason}"]


def test_a_yaml_file_declares_the_windows_of_held_out_texts(tmp_path: Path, write_rows: Write) -> None:
    write_rows(tmp_path / "rows.jsonl", HELD_OUT | {"label": "of a classifier"})
    declared = tmp_path / "held.yaml"
    common = "{name: held, domain: medicine, rows: rows.jsonl, "
    declared.write_text(common + "kind: perplexity, window_tokens: 512, stride_tokens: 128}")
    (task,) = load_tasks([str(declared)])
    assert (task.metrics, task.window_tokens, task.stride_tokens) == (("bits_per_byte",), 512, 128)
    assert len(read_rows(task)[0]) == 1
    for keys, message in {
        "kind: perplexity, window_tokens: 1": "window_tokens",
        "kind: perplexity, context_tokens: 9": "context_tokens does not apply to kind perplexity; remove it",
        "kind: generate, stride_tokens: 9": "stride_tokens does not apply to kind generate; remove it",
        "kind: perplexity, metrics: [accuracy]": "kind perplexity has the metrics accuracy; perplexity has",
        "kind: choice, metrics: [bits_per_byte]": "kind choice has the metrics bits_per_byte; perplexity has",
    }.items():
        declared.write_text(f"{common}{keys}}}")
        with pytest.raises(ConfigError) as error:
            load_tasks([str(declared)])
        assert message in str(error.value)


def test_a_file_without_a_good_row_is_an_error(tmp_path: Path, write_rows: Write) -> None:
    path = write_rows(tmp_path / "cases.jsonl", {**GOOD_CHOICE, "gold_index": 5}, "{")
    (tmp_path / "void.jsonl").write_text("")

    with pytest.raises(InputError) as error:
        load_tasks([str(path)])
    assert str(error.value) == (
        f"evaluation task cases: none of its 2 rows can be used. The first: {path}:1: gold_index is 5, "
        "expected 0 to 1. A row has input, options and gold_index; input_options, output and gold_index; "
        "input and label; or text."
    )
    with pytest.raises(InputError, match=r"evaluation task void: has no rows\."):
        load_tasks([str(tmp_path / "void.jsonl")])


def test_a_damaged_parquet_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "t.parquet").write_bytes(b"PAR1 this is none")

    with pytest.raises(InputError, match=r"t\.parquet:1: the file cannot be read from here on: "):
        load_tasks([str(tmp_path / "t.parquet")])


def test_names_that_mean_no_task_are_wrong_use(
    tmp_path: Path, write_rows: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    targets = {"mqp": "tests_registered:TASK"}
    monkeypatch.setattr(lookup_module, "TASKS", Registry("evaluation task", "tutelage.test-tasks", targets))
    write_rows(tmp_path / "a" / "cases.jsonl", GOOD_CHOICE)
    write_rows(tmp_path / "b" / "cases.jsonl", GOOD_CHOICE)
    (tmp_path / "empty").mkdir()
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked/cases.jsonl").symlink_to("gone.jsonl")

    for names, message in {
        (f"{tmp_path}/nowhere",): "no such file or directory",
        (f"{tmp_path}/empty",): "found no .jsonl, .json, .parquet or .yaml file there",
        (f"{tmp_path}/linked",): f"{tmp_path}/linked/cases.jsonl is a broken link",
        (f"{tmp_path}",): "is a subfolder",
        ("mqpp",): "'mqpp' is unknown. Did you mean 'mqp'? Available: biomedicine, finance, law, mqp.",
        (f"{tmp_path}/a", f"{tmp_path}/b"): "two evaluation tasks are named 'cases'",
        (): "no evaluation task is named",
    }.items():
        with pytest.raises(ConfigError) as error:
            load_tasks(names)
        assert message in str(error.value)


def test_a_registered_name_gives_its_declaration(monkeypatch: pytest.MonkeyPatch) -> None:
    registry = Registry("evaluation task", "tutelage.test-tasks", {"mqp": "somewhere:MQP"})
    monkeypatch.setattr(registry, "load", lambda name: REGISTERED)
    monkeypatch.setattr(lookup_module, "TASKS", registry)

    assert load_tasks(["mqp"]) == [REGISTERED]


def test_a_task_names_known_metrics() -> None:
    with pytest.raises(ConfigError, match="task t: metric 'acuracy' is unknown"):
        Task(name="t", domain="d", kind="choice", metrics=("acuracy",), source=lambda: [])


DECLARED = """
name: cardiology
domain: medicine
kind: choice
metrics: [macro_f1, accuracy]
rows: rows.jsonl
num_options: 2
"""


def test_a_yaml_file_declares_a_task_and_owns_its_rows(tmp_path: Path, write_rows: Write) -> None:
    row = GOOD_CHOICE
    write_rows(tmp_path / "rows.jsonl", row, row | {"options": ["a", "b", "c"]})
    write_rows(tmp_path / "other.jsonl", row)
    (tmp_path / "cardiology.yaml").write_text(DECLARED)

    declared, other = load_tasks([str(tmp_path)])

    assert (declared.name, declared.domain, declared.metrics) == (
        "cardiology",
        "medicine",
        ("macro_f1", "accuracy"),
    )
    assert other.name == "other"
    good, refused = read_rows(declared)
    assert len(good) == 1 and "has 3 options, expected 2" in str(refused[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("metrics: [macro_f1, accuracy]", "metrics: [macro]"), "task cardiology: metric 'macro' is unknown"),
        (("metrics:", "metric:"), "key 'metric' is unknown. Did you mean 'metrics'"),
        (
            ("rows: rows.jsonl", "rows: gone.jsonl"),
            "gone.jsonl. A relative path starts in the YAML",
        ),
        (("rows: rows.jsonl", "rows: rows.csv"), "rows is 'rows.csv', expected a .jsonl, .json or .parquet"),
        (("kind: choice", "kind: choise"), "kind is 'choise'"),
    ],
)
def test_a_wrong_yaml_task_is_wrong_use(
    tmp_path: Path, write_rows: Write, change: tuple[str, str], message: str
) -> None:
    write_rows(tmp_path / "rows.jsonl", GOOD_CHOICE)
    path = tmp_path / "cardiology.yaml"
    path.write_text(DECLARED.replace(*change))

    with pytest.raises(ConfigError) as error:
        load_tasks([str(path)])
    assert message in str(error.value)
