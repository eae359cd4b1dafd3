"""`tutelage tasks make` on small corpora: what it writes and says, and what it refuses."""

from __future__ import annotations

import errno
import json
import shutil
import sys
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from pipelines.steps.hold_out import is_chosen
from pipelines.task_making import folder as folder_module
from plugins.synthesizers.base import Synthesizer
from plugins.tasks.lookup import load_tasks
from plugins.tasks.task import read_rows
from schemas.records import Chain, InstructionPair, SynthesizedDocument

CITIES = ("Kyoto", "Lima", "Oslo", "Cairo", "Vienna", "Sydney", "Boston", "Prague")


def sentences(at: int) -> str:
    return f"The drug Drug{'abcdefgh'[at]} is made in {CITIES[at]} for all. The trial dose is {10 + at} mg."


@pytest.fixture(scope="session")
def builder(write_jsonl: Any, corpus_config: Any, build: Any) -> Callable[..., str]:
    """Build a corpus of texts in a folder, and return the path of its YAML."""

    def make(folder: Path, texts: Sequence[str], **changes: Any) -> str:
        rows = [{"id": f"d{at}", "text": text} for at, text in enumerate(texts)]
        config = corpus_config(folder / "corpus", write_jsonl(folder / "raw.jsonl", rows), **changes)
        build(config)
        path = folder / "corpus.yaml"
        path.write_text(config.model_dump_json(exclude_defaults=True))
        return str(path)

    return make


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, builder: Any) -> Path:
    folder = tmp_path_factory.mktemp("built")
    builder(folder, [sentences(at) for at in range(8)])
    return folder


@pytest.fixture
def corpus(built: Path, tmp_path: Path) -> str:
    """A YAML whose corpus is a copy of that of eight texts."""
    shutil.copytree(built / "corpus", tmp_path / "corpus")
    config = json.loads((built / "corpus.yaml").read_text()) | {"corpus": str(tmp_path / "corpus")}
    (tmp_path / "corpus.yaml").write_text(json.dumps(config))
    return str(tmp_path / "corpus.yaml")


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_two_runs_write_the_same_tasks_that_eval_reads(corpus: str, tutelage: Any, tmp_path: Path) -> None:
    yaml, output = corpus, tmp_path / "tasks"
    done = tutelage("tasks", "make", yaml, "--output", str(output))
    assert done.status == 0, done.err
    first = files_in(output)
    assert tutelage("tasks", "make", yaml, "--output", str(output)).status == 0
    assert files_in(output) == first
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    assert {*first} == {
        "README.md",
        "refused.ndjson",
        *(f"{place}_{form}.jsonl" for place in ("closed_book", "reading") for form in ("choice", "short")),
    }
    # A mined pair has the words of two of the 18 questions.
    kinds = {task.name: (task.kind, len(read_rows(task)[0])) for task in load_tasks([str(output)])}
    assert kinds["reading_choice"] == ("choice", 15)
    assert kinds["closed_book_short"] == ("generate", 7)
    texts = [sentences(at) for at in range(8)]
    for row in rows_of(output / "reading_choice.jsonl"):
        origin = row["provenance"]
        text = texts[int(origin["document_id"][1:])]
        right = row["options"][row["gold_index"]]
        assert text[origin["start"] : origin["end"]] == right
        assert row["input"].startswith(f"Text: {text}\n\nFill in the blank: ")
        assert not any(option in text for option in row["options"] if option != right)
    assert "closed_book_choice: 7 rows" in done.out
    assert f"tasks: [{json.dumps(str(output))}]" in done.out
    card = first["README.md"].decode()
    assert "| documents | <code>8 drawn</code> |" in card
    assert "| reading_choice | 15 | questions with their text, four options |" in card
    assert "| asked with its text only, since it names no subject | 8 |" in card


def test_what_is_missing_or_small_is_said(corpus: str, tutelage: Any, tmp_path: Path) -> None:
    done = tutelage("tasks", "make", corpus, "--output", str(tmp_path / "tasks"))
    assert "--documents is 200; the corpus has 8 to ask about, and all were taken." in done.err
    assert "no document is held out" in done.err
    assert "task closed_book_choice has 7 rows, fewer than 20" in done.err
    assert "heldout" not in done.err


def test_documents_are_drawn_by_seed(corpus: str, tutelage: Any, tmp_path: Path) -> None:
    drawn = []
    for at, override in enumerate(("seed=1", "seed=2")):
        output = tmp_path / f"tasks{at}"
        assert (
            tutelage("tasks", "make", corpus, override, "--output", str(output), "--documents", "4").status
            == 0
        )
        drawn.append({row["provenance"]["document_id"] for row in rows_of(output / "reading_short.jsonl")})
    assert len(drawn[0]) == len(drawn[1]) == 4
    assert drawn[0] != drawn[1]


@pytest.mark.slow
def test_held_out_documents_become_reading_and_perplexity_tasks_and_stay_apart_from_later_increments(
    builder: Any, tutelage: Any, tmp_path: Path, write_jsonl: Any
) -> None:
    texts = [sentences(at) for at in range(8)]
    general = {
        "sources": [{"reader": "jsonl", "uri": write_jsonl(tmp_path / "general.jsonl", [{"text": texts[0]}])}]
    }
    domain = {"sources": [{"reader": "jsonl", "uri": f"{tmp_path}/raw*.jsonl", "id_field": "id"}]}
    streams = {"domain": {**domain, "synthesize": True}, "general": general}
    near = {"near": None}
    yaml = builder(
        tmp_path, texts, streams=streams, holdout=0.5, dedup=near, synthesis={"max_empty_share": 1}
    )
    chosen = {f"d{at}" for at, text in enumerate(texts) if is_chosen(text, 0.5)}
    assert 3 <= len(chosen) <= 5
    output = tmp_path / "tasks"
    done = tutelage("tasks", "make", yaml, "--output", str(output))
    assert done.status == 0, done.err
    assert "no document is held out" not in done.err
    for row in (held := rows_of(output / "heldout_reading_short.jsonl")):
        assert row["provenance"]["document_id"] in chosen and row["provenance"]["stream"] == "domain"
    assert not any(
        row["provenance"]["document_id"] in chosen for row in rows_of(output / "reading_short.jsonl")
    )
    perplexity = load_tasks([str(output / "heldout_perplexity_domain.jsonl")])
    assert [(task.kind, len(read_rows(task)[0])) for task in perplexity] == [("perplexity", len(chosen))]
    assert (output / "heldout_perplexity_general.jsonl").exists() == ("d0" in chosen)
    assert f"{8 - len(chosen)} drawn" in (output / "README.md").read_text()
    asked = held[0]["input"].rpartition("Fill in the blank: ")[2].removesuffix("\nAnswer:")
    assert len(asked.split()) >= 8
    leak = {"id": "leak", "text": f"{asked.replace('____', 'left out')} The rest of it is new to all."}
    write_jsonl(
        tmp_path / "raw2.jsonl", [leak, {"id": "new", "text": "Nothing of it was ever asked by them."}]
    )
    again = tutelage(
        "corpus", "build", yaml, "holdout=0", "decontaminate.ngram=5", "decontaminate.min_words=4"
    )
    assert "Made tasks of this corpus are kept out, too: " in again.err
    assert "1 decontaminate: task_overlap" in again.out


class Writer(Synthesizer):
    """Answers with two pairs about the first text, an unusable one about the second, and fails afterwards."""

    async def synthesize(self, chain: Chain) -> tuple[SynthesizedDocument, ...]:
        (document,) = chain.documents
        asked = {
            "d0": [("Where is the drug Druga made?", "Tokyo."), ("Where\nis Druga made?", "Kyoto")],
            "d1": [("?", "Lima")],
        }
        pairs = tuple(
            InstructionPair(instruction=question, response=answer)
            for question, answer in asked.get(document.document_id, [])
        )
        failure = "" if pairs else "unreadable: no pair"
        return (
            SynthesizedDocument(
                document=document, pairs=pairs, failure=failure, dropped={"bad_pieces": 1} if pairs else {}
            ),
        )


def test_a_synthesizer_writes_questions_and_its_faults_are_counted(
    corpus: str, tutelage: Any, tmp_path: Path, synthesizer: Any
) -> None:
    yaml, output = corpus, tmp_path / "tasks"
    overrides = (f"synthesis.backend={synthesizer(Writer)}", "synthesis.max_failure_share=1")
    done = tutelage("tasks", "make", yaml, *overrides, "--output", str(output))
    assert done.status == 0, done.err
    (row,) = rows_of(output / "closed_book_short.jsonl")
    assert (row["input"], row["label"]) == ("Question: Where is Druga made?\nAnswer:", ["Kyoto"])
    assert row["provenance"]["author"] == "of_a_test"
    (refused,) = rows_of(output / "refused.ndjson")
    assert (refused["reason"], refused["label"]) == ("its text does not hold the answer", ["Tokyo."])
    for said in ("6 texts got no readable", "2 pieces of answers", "1 pairs were no question"):
        assert said in done.err
    done = tutelage("tasks", "make", corpus, overrides[0], "--output", str(tmp_path / "others"))
    assert done.status == 1
    assert "gave no readable answer about 6 of 8 texts, but synthesis.max_failure_share is 0.05" in done.err
    assert not (tmp_path / "others").exists()


@pytest.mark.slow
def test_recorded_training_pairs_are_no_questions(
    builder: Any, tutelage: Any, tmp_path: Path, write_jsonl: Any
) -> None:
    pairs = [
        {"document_id": f"d{at}", "instruction": f"Where is Drug{at} made?", "response": CITIES[at]}
        for at in range(8)
    ]
    recorded = {"backend": "recorded", "options": {"pairs": write_jsonl(tmp_path / "pairs.jsonl", pairs)}}
    yaml = builder(tmp_path, [sentences(at) for at in range(8)], synthesis=recorded)
    output = tmp_path / "tasks"
    done = tutelage("tasks", "make", yaml, "--output", str(output))
    assert done.status == 1
    assert "no question is verified, and nothing was written: 8 documents gave 8 questions; " in done.err
    assert "; 8: a training pair has its words. Ask with another synthesizer" in done.err
    assert not output.exists()
    mined = ("synthesis.backend=mined", "synthesis.options={}")
    assert tutelage("tasks", "make", yaml, *mined, "--output", str(output)).status == 0


def test_a_full_disk_is_named_and_leaves_no_half_written_tasks(
    corpus: str, tutelage: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(folder_module, "write_files", fail)
    done = tutelage("tasks", "make", corpus, "--output", str(tmp_path / "tasks"))
    assert done.status == 1
    assert f"{tmp_path}/tasks: cannot be written completely: No space left" in done.err
    assert not [path for path in tmp_path.iterdir() if "tasks" in path.name]


@pytest.mark.slow
def test_held_out_documents_become_a_task_where_no_question_is_found(
    builder: Any, tutelage: Any, tmp_path: Path
) -> None:
    texts = [f"地球是太阳系中的第{at}颗行星,它围绕太阳公转,周期约为三百六十五天。" for at in range(8)]
    yaml = builder(tmp_path, texts, dedup={"near": None}, holdout=0.5)
    output = tmp_path / "tasks"
    done = tutelage("tasks", "make", yaml, "--output", str(output))
    assert done.status == 0, done.err
    assert {*files_in(output)} == {"README.md", "refused.ndjson", "heldout_perplexity_domain.jsonl"}
    assert "8 texts are not English" in done.err
    assert "task reading_short is not written: no question is left for it." in done.err


@pytest.mark.slow
def test_text_in_another_language_is_refused_by_the_rules(
    builder: Any, tutelage: Any, tmp_path: Path
) -> None:
    chinese = [f"地球是太阳系中的第{at}颗行星,它围绕太阳公转,周期约为三百六十五天。" for at in range(4)]
    yaml = builder(tmp_path, chinese, dedup={"near": None})
    done = tutelage("tasks", "make", yaml, "--output", str(tmp_path / "tasks"))
    assert done.status == 1
    assert "; 4 texts are not English." in done.err
    assert not (tmp_path / "tasks").exists()


def test_questions_that_the_base_model_answers_alone_are_refused(
    corpus: str, tutelage: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Known:
        def __init__(self, key: str, model: str):
            assert (key, model) == ("--base-model", "base")

        def of(self, rows: Sequence[Any]) -> set[str]:
            assert not any("Text:" in row["input"] for row in rows)
            return {row["id"] for row in rows if "Kyoto" in row["input"] + str(row["options"])}

    module = types.SimpleNamespace(KnownAnswers=Known)
    monkeypatch.setitem(sys.modules, "trainer.evaluation.known_answers", module)
    output = tmp_path / "tasks"
    done = tutelage("tasks", "make", corpus, "--output", str(output), "--base-model", "base")
    assert done.status == 0, done.err
    refused = [
        row
        for row in rows_of(output / "refused.ndjson")
        if row["reason"] == "the base model knows the answer"
    ]
    assert refused and f"{len(refused)}, the base model knows the answer" in done.out
    kept = rows_of(output / "reading_choice.jsonl")
    assert not {row["id"] for row in kept} & {row["id"] for row in refused}
    assert not any("Kyoto" in row["options"] for row in kept)
    assert "| base model | <code>base</code> |" in (output / "README.md").read_text()


def test_a_directory_with_other_files_is_not_replaced(corpus: str, tutelage: Any, tmp_path: Path) -> None:
    output = tmp_path / "tasks"
    output.mkdir()
    (output / "mine.jsonl").write_text("{}")
    done = tutelage("tasks", "make", corpus, "--output", str(output))
    assert done.status == 2
    assert "holds 'mine.jsonl', which `tutelage tasks make` did not write and would remove" in done.err
    assert files_in(output) == {"mine.jsonl": b"{}"}


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("--documents", "0"), 2, "--documents is 0; expected at least 1."),
        (("--output", "s3://bucket/tasks"), 2, "expected a local directory"),
        (("--output", ""), 2, "--output is ''; expected a local directory"),
        (("--output", f"{__file__}/tasks"), 2, "cannot be written: "),
        (("corpus=elsewhere",), 1, "holds no published corpus"),
        (("--base-model", "nowhere/at/all"), 2, "--base-model 'nowhere/at/all'"),
    ],
)
def test_wrong_use_is_said_and_writes_nothing(
    corpus: str, tutelage: Any, tmp_path: Path, arguments: Sequence[str], status: int, said: str
) -> None:
    done = tutelage("tasks", "make", corpus, "--output", str(tmp_path / "tasks"), *arguments)
    assert done.status == status
    assert said in done.err
    assert not (tmp_path / "tasks").exists()
