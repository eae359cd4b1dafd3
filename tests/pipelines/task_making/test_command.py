"""`tutelage tasks make` on small corpora: what it writes and says, and what it refuses."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from pipelines.task_making import drawn_texts
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
    kinds = {task.name: (task.kind, len(read_rows(task)[0])) for task in load_tasks([str(output)])}
    assert kinds["reading_choice"] == ("choice", 16)
    assert kinds["closed_book_short"] == ("generate", 8)
    texts = [sentences(at) for at in range(8)]
    for row in rows_of(output / "reading_choice.jsonl"):
        origin = row["provenance"]
        text = texts[int(origin["document_id"][1:])]
        right = row["options"][row["gold_index"]]
        assert text[origin["start"] : origin["end"]] == right
        assert row["input"].startswith(f"Text: {text}\n\nFill in the blank: ")
        assert not any(option in text for option in row["options"] if option != right)
    assert "closed_book_choice: 8 rows" in done.out
    assert f"tasks: [{json.dumps(str(output))}]" in done.out
    card = first["README.md"].decode()
    assert "| documents | `8 drawn, 0 of 0 held out` |" in card
    assert "| reading_choice | 16 | questions with their text, four options |" in card
    assert "| unspecific | names no subject" in card


def test_what_is_missing_or_small_is_said(corpus: str, tutelage: Any, tmp_path: Path) -> None:
    done = tutelage("tasks", "make", corpus, "--output", str(tmp_path / "tasks"), "--json")
    assert "--documents is 200; the corpus has 8 to ask about, and all were taken." in done.err
    assert "no document is held out" in done.err
    assert "task closed_book_choice has 8 rows, fewer than 20" in done.err
    found = json.loads(done.out)
    assert found["tasks"]["closed_book_choice"] == 8
    assert found["counts"]["documents"] == 8


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


def test_held_out_documents_become_reading_and_perplexity_tasks(
    corpus: str, tutelage: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held_out = [
        types.SimpleNamespace(
            document_id="h", stream="domain", text="Drugz is made in Rome today.", source="raw:1"
        ),
        types.SimpleNamespace(
            document_id="g", stream="general", text="Drugy is made in Bonn today.", source="raw:2"
        ),
    ]
    monkeypatch.setattr(drawn_texts, "read_held_out", lambda corpus, manifest: iter(held_out))
    output = tmp_path / "tasks"
    done = tutelage("tasks", "make", corpus, "--output", str(output))
    assert done.status == 0, done.err
    asked = rows_of(output / "heldout_reading_choice.jsonl")
    assert {row["provenance"]["document_id"] for row in asked} == {"h"}  # general is not asked about
    assert {row["options"][row["gold_index"]] for row in asked} == {"Rome"}
    assert rows_of(output / "heldout_perplexity_general.jsonl")[0]["text"] == held_out[1].text
    assert "2 of 2 held out" in (output / "README.md").read_text()
    assert all(row["provenance"]["document_id"] != "h" for row in rows_of(output / "closed_book_short.jsonl"))


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
    assert (refused["reason"], refused["label"]) == ("unsupported", ["Tokyo."])
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
    assert (
        "no question is verified, and nothing was written: 8 documents gave 8 questions (8 training_pair)"
        in (done.err)
    )
    assert not output.exists()
    mined = ("synthesis.backend=mined", "synthesis.options={}")
    assert tutelage("tasks", "make", yaml, *mined, "--output", str(output)).status == 0


@pytest.mark.slow
def test_text_in_another_language_is_refused_by_the_rules(
    builder: Any, tutelage: Any, tmp_path: Path
) -> None:
    chinese = [f"地球是太阳系中的第{at}颗行星,它围绕太阳公转,周期约为三百六十五天。" for at in range(4)]
    yaml = builder(tmp_path, chinese, dedup={"near": None})
    done = tutelage("tasks", "make", yaml, "--output", str(tmp_path / "tasks"))
    assert done.status == 1
    assert "4 texts are not English, the only language of the rules." in done.err
    assert not (tmp_path / "tasks").exists()


def test_questions_that_the_base_model_answers_alone_are_refused(
    corpus: str, tutelage: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scores(key: str, model: str, rows: Sequence[Any]) -> dict[str, list[float]]:
        assert (key, model) == ("--base-model", "base")
        assert not any("Text:" in row["input"] for row in rows)
        best = {row["id"]: (0.0 if "Kyoto" in row["input"] + str(row["options"]) else -2.0) for row in rows}
        return {
            row["id"]: [best[row["id"]] if at == row["gold_index"] else -1.0 for at in range(4)]
            for row in rows
        }

    module = types.SimpleNamespace(option_scores=scores, check_model_name=lambda *_, **__: None)
    monkeypatch.setitem(sys.modules, "trainer.evaluation.option_scores", module)
    output = tmp_path / "tasks"
    done = tutelage("tasks", "make", corpus, "--output", str(output), "--base-model", "base")
    assert done.status == 0, done.err
    refused = [row for row in rows_of(output / "refused.ndjson") if row["reason"] == "base_model"]
    assert refused and f"{len(refused)} base_model" in done.out
    kept = rows_of(output / "reading_choice.jsonl")
    assert not {row["id"] for row in kept} & {row["id"] for row in refused}
    assert not any("Kyoto" in row["options"] for row in kept)
    assert "| base model | `base` |" in (output / "README.md").read_text()


def test_a_directory_with_other_files_is_not_replaced(corpus: str, tutelage: Any, tmp_path: Path) -> None:
    output = tmp_path / "tasks"
    output.mkdir()
    (output / "mine.jsonl").write_text("{}")
    done = tutelage("tasks", "make", corpus, "--output", str(output))
    assert done.status == 2
    assert "holds files that tutelage tasks make did not make and would replace" in done.err
    assert files_in(output) == {"mine.jsonl": b"{}"}


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("--documents", "0"), 2, "--documents is 0; expected at least 1."),
        (("--output", "s3://bucket/tasks"), 2, "expected a local directory"),
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


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("pipelines.store.held_out") is None, reason="stand-ins do not reach the process"
)
def test_tasks_are_made_without_beam_and_torch(corpus: str, tmp_path: Path) -> None:
    code = (
        "import sys; from plugins.commands.main import main; status = main(sys.argv[1:]); "
        "sys.exit(status or ' '.join({'apache_beam', 'torch'} & set(sys.modules)) or 0)"
    )
    command = ("tasks", "make", corpus, "--output", str(tmp_path / "tasks"))
    surroundings = {name: value for name, value in os.environ.items() if name != "USE_TORCH"}
    done = subprocess.run(
        [sys.executable, "-c", code, *command], capture_output=True, text=True, timeout=120, env=surroundings
    )
    assert done.returncode == 0, done.stderr
