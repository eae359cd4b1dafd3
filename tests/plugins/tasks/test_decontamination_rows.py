from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from plugins.tasks.decontamination_rows import read_tasks, tasks_hash
from plugins.tasks.rows import ChoiceRow, GenerateRow, TextRow
from schemas.errors import ConfigError
from tests.plugins.readers.reading import COMPRESS

CHOICE = {"id": "mc-1", "input": "Which?", "options": ["left", "right"], "gold_index": 1}
GENERATION = {"input": "What?", "label": ["this", "that"]}
CONTEXTS = {"input_options": ["One. It holds", "Two. It holds"], "output": "so."}
HELD_OUT = {"id": "d7", "text": "A text that no model has read."}


def lines_of(*rows: object) -> bytes:
    return "".join(f"{json.dumps(row)}\n" for row in rows).encode()


def test_rows_of_all_shapes_are_read(tmp_path: Path) -> None:
    uri = f"{tmp_path}/quiz.jsonl"
    Path(uri).write_bytes(lines_of(CHOICE, GENERATION, CONTEXTS, HELD_OUT))
    (task,) = read_tasks([uri])
    assert (task.name, task.uri, task.refused) == ("quiz", uri, ())
    assert task.rows == (
        ChoiceRow(
            row_id="mc-1",
            position=f"{uri}:1",
            inputs=("Which?", "Which?"),
            options=("left", "right"),
            gold=(1,),
            fields=CHOICE,
        ),
        GenerateRow(
            row_id=f"{uri}:2", position=f"{uri}:2", input="What?", labels=("this", "that"), fields=GENERATION
        ),
        ChoiceRow(
            row_id=f"{uri}:3",
            position=f"{uri}:3",
            inputs=("One. It holds", "Two. It holds"),
            options=("so.", "so."),
            gold=(),
            separator="",
            fields=CONTEXTS,
        ),
        TextRow(row_id="d7", position=f"{uri}:4", text="A text that no model has read.", fields=HELD_OUT),
    )


def test_the_hash_changes_with_anything_that_is_read(tmp_path: Path) -> None:
    path = tmp_path / "quiz.jsonl"
    hashes = {tasks_hash([])}
    for rows in ([CHOICE], [CHOICE | {"id": "mc-2"}], [CHOICE, CHOICE], [CHOICE, "{"], [CHOICE, "[]"]):
        path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
        hashes.add(tasks_hash([str(path)]))
    assert len(hashes) == 6 and "" in hashes


def test_json_lines_arrays_and_parquet_are_read_compressed_or_not(tmp_path: Path) -> None:
    for ending, compress in COMPRESS.items():
        (tmp_path / f"a{ending[1:]}.jsonl{ending}").write_bytes(compress(lines_of(CHOICE)))
    (tmp_path / "c.json").write_text(json.dumps([CHOICE]))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([CHOICE]), tmp_path / "d.parquet")
    (tmp_path / "README.md").write_text("Not a task.")
    tasks = read_tasks([str(tmp_path)])
    assert [task.name for task in tasks] == ["a", "abz2", "agz", "axz", "azst", "c", "d"]
    assert [[row.row_id for row in task.rows] for task in tasks] == [["mc-1"]] * 7


def test_a_file_named_twice_counts_once_and_files_of_one_stem_keep_their_whole_names(tmp_path: Path) -> None:
    for folder in ("law", "medicine"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "test.jsonl").write_bytes(lines_of(CHOICE))
    tasks = read_tasks([f"{tmp_path}/law/test.jsonl", f"{tmp_path}/*/test.jsonl"])
    assert [task.name for task in tasks] == [f"{tmp_path}/law/test.jsonl", f"{tmp_path}/medicine/test.jsonl"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("[1]", "found [1], expected a JSON object"),
        ('{"input": 3, "label": "x"}', "input is 3, expected a string"),
        ('{"question": "Why?"}', "has neither text, label, options nor input_options; found question"),
        ('{"input": "Why?"}', "has neither text, label, options nor input_options; found input"),
        ('{"input": "Why?", "options": ["a", "b"], "gold_index": 2}', "gold_index is 2, expected 0 to 1"),
        ('{"input": "Why?", "options": ["a", "b"]}', "gold_index missing; found input, options"),
        ('{"input_options": ["a", "b"]}', "output missing; found input_options"),
        ("{", "bad JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
    ],
)
def test_what_is_no_row_is_refused_with_its_number_and_reason(line: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "quiz.jsonl").write_text(f"{json.dumps(CHOICE)}\n{line}\n\n{json.dumps(GENERATION)}\n")
    (task,) = read_tasks([f"{tmp_path}/quiz.jsonl"])
    assert [row.position for row in task.rows] == [f"{tmp_path}/quiz.jsonl:{line}" for line in (1, 4)]
    assert [str(row) for row in task.refused] == [f"{tmp_path}/quiz.jsonl:2: {reason}"]


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
            "decontaminate.tasks: nowhere://quiz.jsonl: cannot be opened: Protocol not known: nowhere. "
            "Correct the URI, or install the package for it.",
        ),
        (
            "{folder}/notes",
            "decontaminate.tasks: '{folder}/notes': found no .jsonl, .json or .parquet file, plain or .gz, "
            ".bz2, .xz, .zst.",
        ),
        (
            "{folder}/empty.jsonl",
            "decontaminate.tasks: {folder}/empty.jsonl: has no row that can be used. A row has input, "
            "options and gold_index; input_options and output; input and label; or text.",
        ),
        (
            "{folder}/odd.jsonl",
            "decontaminate.tasks: {folder}/odd.jsonl: has no row that can be used. The first of 2: "
            "{folder}/odd.jsonl:1: has neither text, label, options nor input_options; found input. A row "
            "has input, options and gold_index; input_options and output; input and label; or text.",
        ),
        (
            "{folder}/cut.jsonl.gz",
            "decontaminate.tasks: {folder}/cut.jsonl.gz:LINE: the file cannot be read from here on: "
            "Compressed file ended before the end-of-stream marker was reached. Restore the file.",
        ),
    ],
)
def test_tasks_that_cannot_be_kept_out_are_refused_by_name(given: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/README.md").write_text("Not a task.")
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "odd.jsonl").write_bytes(lines_of({"input": "Why?"}, {"because": "text"}))
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(lines_of(*[CHOICE] * 9))[:-12])
    expected = re.escape(message.format(folder=tmp_path)).replace("LINE", r"\d+")
    with pytest.raises(ConfigError, match=rf"^{expected}$"):
        read_tasks([given.format(folder=tmp_path)])


def test_task_files_that_would_be_left_out_are_refused(tmp_path: Path) -> None:
    (tmp_path / "quiz.jsonl").write_bytes(lines_of(CHOICE))
    (tmp_path / "more").mkdir()
    with pytest.raises(ConfigError) as caught:
        read_tasks([str(tmp_path)])
    assert str(caught.value) == (
        f"decontaminate.tasks: '{tmp_path}': {tmp_path}/more is a subfolder; {tmp_path}/** also means its "
        "files. Rows that cannot be read would not be kept out."
    )


def test_a_task_file_that_exists_is_taken_as_it_stands(tmp_path: Path) -> None:
    (tmp_path / "quiz[1].jsonl").write_bytes(lines_of(CHOICE))
    (tmp_path / "quiz1.jsonl").write_bytes(lines_of(GENERATION))
    (task,) = read_tasks([f"{tmp_path}/quiz[1].jsonl"])
    assert (task.name, task.rows[0].row_id) == ("quiz[1]", "mc-1")
