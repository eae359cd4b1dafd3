from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import zstandard

from pipelines.task_rows import TaskRow, read_tasks
from schemas.errors import ConfigError

CHOICE = {"id": "mc-1", "input": "Which?", "options": ["left", "right"], "gold_index": 1}
GENERATION = {"input": "What?", "label": ["this", "that"]}
CONTEXTS = {"input_options": ["One. It holds", "Two. It holds"], "output": "so."}

ROWS = (
    TaskRow(number=1, row_id="mc-1", inputs=("Which?",), answers=("right",)),
    TaskRow(number=2, row_id="", inputs=("What?",), answers=("this", "that")),
    TaskRow(number=3, row_id="", inputs=("One. It holds", "Two. It holds"), answers=("so.",)),
)


def lines_of(*rows: object) -> bytes:
    return "".join(f"{json.dumps(row)}\n" for row in rows).encode()


def test_a_row_is_its_inputs_and_its_right_answers(tmp_path: Path) -> None:
    (tmp_path / "quiz.jsonl").write_bytes(lines_of(CHOICE, GENERATION, CONTEXTS))
    (task,) = read_tasks([f"{tmp_path}/quiz.jsonl"])
    assert (task.name, task.uri, task.rows, task.refused) == ("quiz", f"{tmp_path}/quiz.jsonl", ROWS, ())


def test_json_lines_arrays_and_parquet_are_read_compressed_or_not(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines_of(CHOICE)))
    (tmp_path / "b.jsonl.zst").write_bytes(zstandard.compress(lines_of(CHOICE)))
    (tmp_path / "c.json").write_text(json.dumps([CHOICE]))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([CHOICE]), tmp_path / "d.parquet")
    (tmp_path / "README.md").write_text("Not a task.")
    tasks = read_tasks([str(tmp_path)])
    assert [task.name for task in tasks] == ["a", "b", "c", "d"]
    assert {task.rows for task in tasks} == {ROWS[:1]}


def test_a_file_named_twice_counts_once_and_files_of_one_stem_keep_their_whole_names(tmp_path: Path) -> None:
    for folder in ("law", "medicine"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "test.jsonl").write_bytes(lines_of(CHOICE))
    tasks = read_tasks([f"{tmp_path}/law/test.jsonl", f"{tmp_path}/*/test.jsonl"])
    assert [task.name for task in tasks] == [f"{tmp_path}/law/test.jsonl", f"{tmp_path}/medicine/test.jsonl"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("[1]", "found list, expected an object"),
        ('{"input": 3, "label": "x"}', "input is int, expected a string or a list of strings"),
        ('{"question": "Why?"}', "input is missing, expected a string or a list of strings"),
        ('{"input": "Why?"}', "label is missing, expected a string or a list of strings"),
        ('{"input": "Why?", "options": ["a", "b"], "gold_index": 2}', "gold_index is 2, expected 0 to 1"),
        ('{"input": "Why?", "options": ["a", "b"]}', "gold_index is None, expected 0 to 1"),
        ('{"input_options": ["a", "b"]}', "output is missing, expected a string or a list of strings"),
        ("{", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
    ],
)
def test_what_is_no_row_is_refused_with_its_number_and_reason(line: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "quiz.jsonl").write_text(f"{json.dumps(CHOICE)}\n{line}\n\n{json.dumps(GENERATION)}\n")
    (task,) = read_tasks([f"{tmp_path}/quiz.jsonl"])
    assert [row.number for row in task.rows] == [1, 4]
    assert task.refused == (f"2: {reason}",)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            "{folder}/none.jsonl",
            "decontaminate.tasks: '{folder}/none.jsonl': no such file. Give files of task rows, globs, or "
            "directories of them.",
        ),
        (
            "nowhere://quiz.jsonl",
            "decontaminate.tasks: 'nowhere://quiz.jsonl': Protocol not known: nowhere. Give files of task "
            "rows, globs, or directories of them.",
        ),
        (
            "{folder}/notes",
            "decontaminate.tasks: '{folder}/notes': found no .jsonl, .json or .parquet file, plain or .gz, "
            ".zst, .bz2.",
        ),
        (
            "{folder}/empty.jsonl",
            "decontaminate.tasks: {folder}/empty.jsonl: has no row that can be used. A row is input, options "
            "and gold_index; input and label; or input_options and output.",
        ),
        (
            "{folder}/odd.jsonl",
            "decontaminate.tasks: {folder}/odd.jsonl: has no row that can be used. The first of 2: 1: label "
            "is missing, expected a string or a list of strings. A row is input, options and gold_index; "
            "input and label; or input_options and output.",
        ),
        (
            "{folder}/cut.jsonl.gz",
            "decontaminate.tasks: {folder}/cut.jsonl.gz: cannot be read: Compressed file ended before the "
            "end-of-stream marker was reached. Restore the file.",
        ),
    ],
)
def test_tasks_that_cannot_be_kept_out_are_refused_by_name(given: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/README.md").write_text("Not a task.")
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "odd.jsonl").write_bytes(lines_of({"input": "Why?"}, {"text": "because"}))
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(lines_of(*[CHOICE] * 9))[:-12])
    expected = re.escape(message.format(folder=tmp_path))
    with pytest.raises(ConfigError, match=rf"^{expected}$"):
        read_tasks([given.format(folder=tmp_path)])


def test_task_files_that_would_be_left_out_are_refused(tmp_path: Path) -> None:
    (tmp_path / "quiz.jsonl").write_bytes(lines_of(CHOICE))
    (tmp_path / "more").mkdir()
    with pytest.raises(ConfigError) as caught:
        read_tasks([str(tmp_path)])
    assert str(caught.value) == (
        f"decontaminate.tasks: '{tmp_path}': {tmp_path}/more is a subfolder; {tmp_path}/** also means its "
        "files. A row that is not read would not be kept out."
    )


def test_a_task_file_that_exists_is_taken_as_it_stands(tmp_path: Path) -> None:
    (tmp_path / "quiz[1].jsonl").write_bytes(lines_of(CHOICE))
    (tmp_path / "quiz1.jsonl").write_bytes(lines_of(GENERATION))
    (task,) = read_tasks([f"{tmp_path}/quiz[1].jsonl"])
    assert (task.name, task.rows) == ("quiz[1]", ROWS[:1])
