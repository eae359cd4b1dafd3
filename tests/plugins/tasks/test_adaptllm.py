"""The papers' tasks: every registered name on made-up rows in the format of its set."""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from plugins.tasks import DOMAINS, METRICS, TASKS
from plugins.tasks.lookup import load_tasks
from plugins.tasks.row_sources import HubRows
from plugins.tasks.rows import ChoiceRow, GenerateRow
from plugins.tasks.task import read_rows
from schemas.errors import ConfigError, InputError

Write = Callable[..., Path]

NUM_OPTIONS = {
    **{"MQP": 2, "PubMedQA": 3, "USMLE": 4, "RCT": 5, "ChemProt": 13, "FPB": 3, "FiQA_SA": 3, "Headline": 2},
    **{"SCOTUS": 13, "CaseHOLD": 5, "UNFAIR_ToS": 9},
}
METRICS_OF = {
    **dict.fromkeys(("MQP", "PubMedQA", "USMLE", "UNFAIR_ToS"), ("accuracy",)),
    **dict.fromkeys(("RCT", "ChemProt"), ("micro_f1",)),
    **dict.fromkeys(("FPB", "FiQA_SA"), ("weighted_f1",)),
    **dict.fromkeys(("SCOTUS", "CaseHOLD"), ("micro_f1", "macro_f1")),
    "Headline": ("headline_f1",),
    "NER": ("entity_f1",),
    "ConvFinQA": ("number_match",),
}
TEXT = "aspirin nerve heart liver kidney fever pain blood pressure exercise adults doctor patient"
WORDS = TEXT.split()


def made_up_row(name: str, number: int) -> dict[str, Any]:
    """A row in the set's format, ids and types of questions included."""
    common = {"id": number, "type": "completion", "class_id": number % 9}
    if name == "NER":
        return common | {
            "input": f"the doctor gives aspirin {number}",
            "label": "aspirin (MISC), Kim (PER)",
        }
    if name == "ConvFinQA":
        return common | {"input": f"blood pressure rises {number}", "label": [f"{number}.5%"]}
    common |= {"type": "mcq", "gold_index": number % NUM_OPTIONS[name]}
    if name == "CaseHOLD":
        inputs = [f"the patient {number} has a fever because {word}" for word in WORDS[:5]]
        return common | {"input_options": inputs, "output": " the drug works"}
    if name == "UNFAIR_ToS":
        common["gold_index"] = [number % 9, (number + 1) % 9]
    return common | {"input": f"question {number} which nerve", "options": WORDS[: NUM_OPTIONS[name]]}


@pytest.fixture
def tasks_root(tmp_path: Path, write_rows: Write) -> Path:
    """A directory with the rows of all tasks, in every supported layout."""
    root = tmp_path / "sets"
    for at, name in enumerate(TASKS.names()):
        rows = [made_up_row(name, number) for number in range(6)]
        if at % 3 == 0:
            write_rows(root / f"{name}.jsonl", *rows)
        elif at % 3 == 1:
            (root / name).mkdir(parents=True)
            (root / name / "test.json").write_text(json.dumps(rows))
            (root / name / "train.json").write_text("[]")
        else:
            (root / name).mkdir(parents=True)
            for part in range(2):
                table = pyarrow.Table.from_pylist(rows[part * 3 : part * 3 + 3])
                pyarrow.parquet.write_table(table, root / name / f"test-0000{part}-of-00002.parquet")
    return root


def test_the_thirteen_tasks_are_there() -> None:
    assert sorted(TASKS.names()) == sorted(name for names in DOMAINS.values() for name in names)
    assert len(TASKS.names()) == 13


@pytest.mark.parametrize("name", TASKS.names())
def test_every_task_is_declared_as_the_papers_have_it(name: str) -> None:
    task = TASKS.load(name)

    assert name in DOMAINS[task.domain]
    assert task.kind == ("choice" if name in NUM_OPTIONS else "generate")
    assert task.metrics == METRICS_OF[name]
    assert task.num_options == (None if name == "CaseHOLD" else NUM_OPTIONS.get(name))
    assert task.context_tokens == (2048 if task.kind == "generate" else None)
    sets = {"biomedicine": "medicine", "finance": "finance", "law": "law"}
    assert task.source == HubRows(f"AdaptLLM/{sets[task.domain]}-tasks", name)


@pytest.mark.parametrize("name", TASKS.names())
def test_every_task_reads_its_rows_and_scores_them(name: str, tasks_root: Path) -> None:
    (task,) = load_tasks([name], root=str(tasks_root))

    rows, refused = read_rows(task)

    assert (len(rows), refused) == (6, [])
    if task.kind == "choice":
        assert all(isinstance(row, ChoiceRow) and len(row.options) == NUM_OPTIONS[name] for row in rows)
        right: list[Any] = [row.gold[0] for row in rows if isinstance(row, ChoiceRow)]
        wrong: list[Any] = [(row.gold[-1] + 1) % 2 for row in rows if isinstance(row, ChoiceRow)]
    else:
        right = [row.labels[0] for row in rows if isinstance(row, GenerateRow)]
        wrong = ["none"] * 6
    for metric in task.metrics:
        assert METRICS.load(metric)(rows, right) == 1
        assert METRICS.load(metric)(rows, wrong) < 1


@pytest.mark.parametrize("name", TASKS.names())
def test_every_task_refuses_rows_that_lack_a_field_by_name(
    name: str, tmp_path: Path, write_rows: Write
) -> None:
    good = made_up_row(name, 1)
    answer = "label" if "label" in good else "gold_index"
    path = write_rows(tmp_path / f"{name}.jsonl", good, {key: good[key] for key in good if key != answer})

    rows, refused = read_rows(load_tasks([name], root=str(tmp_path))[0])

    assert len(rows) == 1
    assert str(refused[0]).startswith(f"{path}:2: {answer} missing; found ")


@pytest.mark.parametrize("name", [name for name in NUM_OPTIONS if name != "CaseHOLD"])
def test_every_choice_refuses_another_number_of_options(name: str, tmp_path: Path, write_rows: Write) -> None:
    good = made_up_row(name, 0)
    path = write_rows(tmp_path / f"{name}.jsonl", good, good | {"options": [*good["options"], "one more"]})

    _, refused = read_rows(load_tasks([name], root=str(tmp_path))[0])

    count = NUM_OPTIONS[name]
    assert [str(row) for row in refused] == [f"{path}:2: has {count + 1} options, expected {count}"]


def test_casehold_joins_each_input_and_the_one_output_as_they_are(tasks_root: Path) -> None:
    row = read_rows(load_tasks(["CaseHOLD"], root=str(tasks_root))[0])[0][2]

    assert isinstance(row, ChoiceRow)
    assert (row.separator, row.gold) == ("", (2,))
    assert row.inputs[:2] == (
        "the patient 2 has a fever because aspirin",
        "the patient 2 has a fever because nerve",
    )
    assert row.options == (" the drug works",) * 5


@pytest.mark.parametrize("class_id", [None, 9, -1, "3", True])
def test_headline_refuses_a_row_that_does_not_say_what_is_asked(
    class_id: Any, tmp_path: Path, write_rows: Write
) -> None:
    good = made_up_row("Headline", 0)
    path = write_rows(tmp_path / "Headline.jsonl", good, good | {"class_id": class_id})

    _, refused = read_rows(load_tasks(["Headline"], root=str(tmp_path))[0])

    assert [str(row) for row in refused] == [f"{path}:2: class_id is {class_id!r}, expected 0 to 8"]


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_domain_means_its_tasks(domain: str, tasks_root: Path) -> None:
    tasks = load_tasks([domain], root=str(tasks_root))

    assert tuple(task.name for task in tasks) == DOMAINS[domain]
    assert {task.domain for task in tasks} == {domain}


def test_a_task_named_twice_through_its_domain_is_wrong_use(tasks_root: Path) -> None:
    with pytest.raises(ConfigError, match="two evaluation tasks are named 'MQP'"):
        load_tasks(["biomedicine", "MQP"], root=str(tasks_root))


def test_generation_keeps_to_the_papers_context(tmp_path: Path, write_rows: Write) -> None:
    task = load_tasks(["NER"], root=str(write_rows(tmp_path / "NER.jsonl", made_up_row("NER", 0)).parent))[0]

    assert task.context_tokens == 2048


def test_a_directory_without_a_tasks_rows_is_wrong_use(tmp_path: Path, write_rows: Write) -> None:
    write_rows(tmp_path / "MQP.jsonl", made_up_row("MQP", 0))
    write_rows(tmp_path / "MQP" / "test.jsonl", made_up_row("MQP", 0))

    with pytest.raises(ConfigError, match=r"task RCT: found neither RCT\.jsonl \(or \.json, \.parquet\) nor"):
        load_tasks(["RCT"], root=str(tmp_path))
    with pytest.raises(ConfigError, match=r"task MQP: .* has its rows twice: "):
        load_tasks(["MQP"], root=str(tmp_path))


def test_the_hub_needs_datasets_and_says_what_else_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plugins.tasks.row_sources.importlib.util.find_spec", lambda name: None)

    with pytest.raises(ConfigError, match=r"needs the package datasets: pip install .* --tasks-root"):
        read_rows(load_tasks(["MQP"])[0])


def test_hub_rows_are_the_test_split_of_the_tasks_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def load_dataset(path: str, *, name: str, split: str) -> list[dict[str, Any]]:
        asked.append((path, name, split))
        if name == "RCT":
            raise ConnectionError("no route to host")
        return [made_up_row(name, number) for number in range(2)]

    stand_in = types.SimpleNamespace(load_dataset=load_dataset, __spec__=object())
    monkeypatch.setitem(sys.modules, "datasets", stand_in)  # type: ignore[arg-type]

    rows, _ = read_rows(load_tasks(["MQP"])[0])

    assert asked == [("AdaptLLM/medicine-tasks", "MQP", "test")]
    assert [row.position for row in rows] == [
        "AdaptLLM/medicine-tasks/MQP:1",
        "AdaptLLM/medicine-tasks/MQP:2",
    ]
    with pytest.raises(InputError, match=r"task RCT: AdaptLLM/medicine-tasks cannot be read .* --tasks-root"):
        read_rows(load_tasks(["RCT"])[0])
