"""The common parser of rows for `tutelage eval` and `decontaminate`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from plugins.tasks.decontamination_rows import read_tasks
from plugins.tasks.lookup import load_tasks
from plugins.tasks.rows import ChoiceRow, Row
from plugins.tasks.task import read_rows
from schemas.errors import InputError

Write = Callable[..., Path]

OPTIONS = {"input": "Which?", "options": ["left", "right"], "gold_index": 1}
INPUTS = {"input_options": ["One. It holds", "Two. It holds"], "output": " so.", "gold_index": 0}


def content(row: Row) -> Any:
    assert isinstance(row, ChoiceRow)
    return row.inputs, row.options, row.gold, row.separator


AS_OPTIONS = (("Which?", "Which?"), ("left", "right"), (1,), " ")
AS_INPUTS = (("One. It holds", "Two. It holds"), (" so.", " so."), (0,), "")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (OPTIONS, AS_OPTIONS),
        (INPUTS, AS_INPUTS),
        (OPTIONS | INPUTS, AS_INPUTS),
        (INPUTS | {"options": ["A", "B"]}, AS_INPUTS),
        (OPTIONS | {"input_options": ["x", "y"]}, AS_OPTIONS),
        (OPTIONS | {"input_options": None, "output": None}, AS_OPTIONS),
        (INPUTS | {"input": None, "options": None}, AS_INPUTS),
    ],
    ids=["options", "inputs", "both", "labels", "no-output", "null-inputs", "null-options"],
)
def test_rows_with_options_and_input_options_are_one_row_for_evaluation_and_decontamination(
    values: dict[str, Any], expected: Any, tmp_path: Path, write_rows: Write
) -> None:
    path = str(write_rows(tmp_path / "cases.jsonl", values))
    ((scored,), _) = read_rows(load_tasks([path])[0])
    ((kept_out,),) = (task.rows for task in read_tasks([path]))
    assert content(scored) == content(kept_out) == expected


def test_a_table_of_both_shapes_gives_both_kinds_of_rows(tmp_path: Path) -> None:
    path = str(tmp_path / "cases.parquet")
    table = pyarrow.Table.from_pylist(
        [{**dict.fromkeys(OPTIONS), **INPUTS}, {**dict.fromkeys(INPUTS), **OPTIONS}]
    )
    pyarrow.parquet.write_table(table, path)
    rows, refused = read_rows(load_tasks([path])[0])
    assert [content(row) for row in rows] == [AS_INPUTS, AS_OPTIONS] and refused == []
    assert [content(row) for task in read_tasks([path]) for row in task.rows] == [AS_INPUTS, AS_OPTIONS]


def test_only_decontamination_accepts_inputs_of_which_none_is_said_to_be_right(
    tmp_path: Path, write_rows: Write
) -> None:
    values = {name: value for name, value in INPUTS.items() if name != "gold_index"}
    path = str(write_rows(tmp_path / "cases.jsonl", values))
    ((row,),) = (task.rows for task in read_tasks([path]))
    assert content(row) == (AS_INPUTS[0], AS_INPUTS[1], (), "")
    with pytest.raises(InputError, match="gold_index missing; found input_options, output"):
        load_tasks([path])


def test_a_label_beside_options_is_an_answer_only_where_the_task_is_declared_so(
    tmp_path: Path, write_rows: Write
) -> None:
    values = OPTIONS | {"label": "right"}
    path = write_rows(tmp_path / "cases.jsonl", values)
    (tmp_path / "said.yaml").write_text(
        "{name: said, domain: d, kind: generate, metrics: [exact_match], rows: cases.jsonl}"
    )
    assert [task.kind for task in load_tasks([str(path)])] == ["choice"]
    (declared,) = load_tasks([str(tmp_path / "said.yaml")])
    assert json.loads(json.dumps(read_rows(declared)[0][0].fields)) == values
    assert declared.kind == "generate"
