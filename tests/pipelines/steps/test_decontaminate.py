"""Decontamination: the steps, then builds with overlaps in a document, in pairs and in another stream."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.util import assert_that, equal_to

from pipelines.planning.plan import plan_increment
from pipelines.steps.base import REJECTS
from pipelines.steps.decontaminate import (
    CONTAMINATIONS,
    Contamination,
    DecontaminateDocuments,
    DecontaminatePairs,
    SharedTasks,
)
from schemas.config import load_config, validate
from schemas.corpus_config import CorpusConfig, DecontaminationConfig
from schemas.errors import ConfigError
from schemas.records import Document, InstructionPair, Reject, SynthesizedDocument
from tests.published import name_of, read_stats
from tests.tiny import located

ROOT = Path(__file__).resolve().parents[3]

QUIZ = [
    {"id": "q-1", "input": "Which protein of the cell was it that ended the trial early?", "label": "none"},
    {"id": "q-2", "input": "Who was well after a dose of 5 mg of protein 5?", "label": "patient 5"},
]
LEAK = "They ask: which protein of the cell was it that ended the trial early?"


@pytest.fixture
def quiz(tmp_path: Path, write_jsonl: Any) -> str:
    """A task of two rows of 12 words."""
    return str(write_jsonl(tmp_path / "tasks/quiz.jsonl", QUIZ))


def tasks_of(*uris: str) -> SharedTasks:
    return SharedTasks(DecontaminationConfig(tasks=uris))


def document(name: str, text: str = "A text about cells.") -> Document:
    return Document.of(name, text, source=f"file:{name}")


def asked(instruction: str, response: str = "Yes.") -> InstructionPair:
    return InstructionPair(instruction=instruction, response=response)


def test_a_document_that_overlaps_is_a_reject_with_the_row_and_the_words(quiz: str) -> None:
    clean = document("a")
    with TestPipeline(runner="FnApiRunner") as pipeline:
        done = (
            pipeline
            | beam.Create([clean, document("b", LEAK)])
            | beam.ParDo(DecontaminateDocuments(tasks_of(quiz), "domain")).with_outputs(
                REJECTS, CONTAMINATIONS, main="ok"
            )
        )
        assert_that(done.ok, equal_to([clean]), label="ok")
        rejected = Reject(
            stage="decontaminate",
            reason="task_overlap",
            document_id="b",
            source="file:b",
            detail="task quiz row 1 (q-1): 'which protein of the cell was it that ended the trial early'",
        )
        assert_that(done[REJECTS], equal_to([rejected]), label="rejects")
        contamination = Contamination(
            row=("quiz", 1, "q-1"),
            words="which protein of the cell was it that ended the trial early",
            stream="domain",
            document_id="b",
            part="",
            pair=0,
        )
        assert_that(done[CONTAMINATIONS], equal_to([contamination]), label="contaminations")


def decontaminated(quiz: str, *chain: SynthesizedDocument) -> tuple[list[SynthesizedDocument], list[Reject]]:
    """Run the step and return its chain and its rejects."""
    step = DecontaminatePairs(tasks_of(quiz), "domain")
    step.setup()
    *tagged, cleaned = step.process(chain)
    return list(cleaned), [each.value for each in tagged if each.tag == REJECTS]


def test_a_pair_that_overlaps_loses_only_itself_and_the_chain_stays_whole(quiz: str) -> None:
    first = SynthesizedDocument(document=document("a"), pairs=(asked("Why?"), asked(LEAK), asked("How?")))
    second = SynthesizedDocument(document=document("b"), pairs=(asked("When?"),), follows_previous=True)
    cleaned, rejects = decontaminated(quiz, first, second)
    assert cleaned == [dataclasses.replace(first, pairs=(asked("Why?"), asked("How?"))), second]
    assert rejects == [
        Reject(
            stage="decontaminate",
            reason="pair_task_overlap",
            document_id="a",
            source="file:a",
            detail="pair 2 'They ask: which protein of the cell was it that ended the trial early?': "
            "task quiz row 1 (q-1): 'which protein of the cell was it that ended the trial early'",
        )
    ]


def test_a_document_left_without_pairs_is_raw_and_joins_no_neighbour(quiz: str) -> None:
    chain = [
        SynthesizedDocument(document=document("a"), pairs=(asked("Why?"),)),
        SynthesizedDocument(document=document("b"), pairs=(asked(LEAK),), follows_previous=True),
        SynthesizedDocument(document=document("c"), pairs=(asked("When?"),), follows_previous=True),
        SynthesizedDocument(document=document("d"), pairs=(asked("How?"),), follows_previous=True),
    ]
    cleaned, _ = decontaminated(quiz, *chain)
    assert [(bool(each.pairs), each.follows_previous) for each in cleaned] == [
        (True, False),
        (False, False),
        (True, False),
        (True, True),
    ]


def test_an_overlap_may_lie_across_the_fields_of_a_pair(quiz: str) -> None:
    pair = InstructionPair(
        instruction="Name it.",
        options=("which protein of the cell", "was it that"),
        response="ended the trial",
        rationale="Early.",
    )
    (cleaned,), _ = decontaminated(quiz, SynthesizedDocument(document=document("a"), pairs=(pair,)))
    assert cleaned.pairs == ()


def test_a_long_overlap_with_several_rows_is_said_in_short(tmp_path: Path, write_jsonl: Any) -> None:
    rows = [{"input": f"{'immunoglobulin ' * 13}number {number}", "label": "x"} for number in range(3)]
    uri = write_jsonl(tmp_path / "long.jsonl", rows)
    leak = SynthesizedDocument(document=document("a"), pairs=(asked("immunoglobulin " * 20),))
    _, (reject,) = decontaminated(uri, leak)
    long = "immunoglobulin " * 5 + "immun…"
    assert reject.detail == f"pair 1 '{long}': task long row 1: '{long}'; and 2 more rows"


WHY = "Why is this so?\nThe trial ended early."
REASONS = range(0, 12, 3)


@pytest.fixture
def planted(
    tmp_path: Path, passages: Any, write_jsonl: Any, corpus_config: Callable[..., CorpusConfig]
) -> CorpusConfig:
    """A corpus of two streams and two tasks, not yet built.

    Each document has a pair; four have another that asks why the trial ended early, but not in the words of
    the passage. So these overlap with `reasons`, and no document does.
    """
    tasks = tmp_path / "tasks"
    write_jsonl(tasks / "quiz.jsonl", [*QUIZ, {"input": "Too short.", "label": "x"}, {"input": "No label."}])
    reasons = [f"The trial ended early because protein {number} binds the gene." for number in REASONS]
    write_jsonl(tasks / "reasons.jsonl", [{"input": reason, "label": "true"} for reason in reasons])
    general = [
        {"id": "leak", "text": f"Is it so? {LEAK}"},
        {"id": "sum", "text": "What is two and two? It is four, no more."},
    ]
    streams = {
        "domain": {
            "synthesize": True,
            "sources": [
                {
                    "reader": "jsonl",
                    "uri": write_jsonl(
                        tmp_path / "domain.jsonl",
                        [*passages(12), {"id": "leak", "text": f"{passages(1)[0]['text']} {LEAK}"}],
                    ),
                    "id_field": "id",
                }
            ],
        },
        "general": {
            "sources": [
                {
                    "reader": "jsonl",
                    "uri": write_jsonl(tmp_path / "general.jsonl", general),
                    "id_field": "id",
                }
            ]
        },
    }
    pairs = [
        ("Who was well?", "Patient {}.", range(12)),
        (WHY, "Because protein {} binds the gene.", REASONS),
    ]
    recorded = [
        {"document_id": f"doc-{number}", "instruction": asked, "response": answer.format(number)}
        for asked, answer, numbers in pairs
        for number in numbers
    ]
    return corpus_config(
        tmp_path / "corpus",
        streams=streams,
        decontaminate={"tasks": str(tasks)},
        synthesis={
            "backend": "recorded",
            "options": {"pairs": write_jsonl(tmp_path / "pairs.jsonl", recorded)},
        },
    )


def report_of(config: CorpusConfig, number: int = 1) -> dict[str, Any]:
    path = located(config.corpus, f"increments/{number:06d}/decontamination.json")
    report: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return report


@pytest.mark.slow
def test_a_build_keeps_planted_rows_out_and_reports_them(
    planted: CorpusConfig, build: Any, rejects_in: Any, texts_in: Any, tmp_path: Path
) -> None:
    manifest = build(planted)
    assert manifest.increments[0].num_documents == 13
    assert sorted(
        (each["reason"], each["document_id"], each["detail"])
        for each in rejects_in(planted.corpus, "decontaminate")
    ) == [
        *[
            (
                "pair_task_overlap",
                f"doc-{number}",
                f"pair 2 {WHY!r}: task reasons row {number // 3 + 1}: "
                f"'the trial ended early because protein {number} binds the gene'",
            )
            for number in REASONS
        ],
        *[
            (
                "task_overlap",
                "leak",
                "task quiz row 1 (q-1): 'which protein of the cell was it that ended the trial early'",
            )
        ]
        * 2,
    ]
    names = [name for text in texts_in(planted.corpus) for name in text.document_ids]
    assert sorted(names) == sorted(f"doc-{number}" for number in range(12))
    assert sum(text.num_pairs for text in texts_in(planted.corpus)) == 12
    assert all("early.\n" not in text.text for text in texts_in(planted.corpus))
    assert [text.document_ids for text in texts_in(planted.corpus, "general")] == [("sum",)]

    def found_in_pair(row: int, number: int) -> dict[str, Any]:
        return {
            "row": row,
            "id": "",
            "words": f"the trial ended early because protein {number} binds the gene",
            "num_documents": 0,
            "num_pairs": 1,
            "documents": [],
            "pairs": [{"stream": "domain", "document_id": f"doc-{number}", "pair": 2}],
        }

    quiz = {
        "uri": f"{tmp_path}/tasks/quiz.jsonl",
        "rows": 3,
        "rows_refused": 1,
        "rows_too_short": 1,
        "rows_of_shared_wording": 0,
        "first_refused": "4: has neither text, label, options nor input_options; found input",
        "rows_found": 1,
        "rows_found_in_documents": 1,
        "rows_found_in_pairs": 0,
        "share_found": 0.3333,
    }
    reasons = {
        "uri": f"{tmp_path}/tasks/reasons.jsonl",
        "rows": 4,
        "rows_refused": 0,
        "rows_too_short": 0,
        "rows_of_shared_wording": 0,
        "first_refused": "",
        "rows_found": 4,
        "rows_found_in_documents": 0,
        "rows_found_in_pairs": 4,
        "share_found": 1.0,
    }
    assert report_of(planted) == {
        "ngram": 13,
        "min_words": 8,
        "max_rows": 10,
        "tasks": {
            "quiz": {
                **quiz,
                "found": [
                    {
                        "row": 1,
                        "id": "q-1",
                        "words": "which protein of the cell was it that ended the trial early",
                        "num_documents": 2,
                        "num_pairs": 0,
                        "documents": [
                            {"stream": "domain", "document_id": "leak"},
                            {"stream": "general", "document_id": "leak"},
                        ],
                        "pairs": [],
                    }
                ],
            },
            "reasons": {
                **reasons,
                "found": [found_in_pair(number // 3 + 1, number) for number in REASONS],
            },
        },
    }
    stats = read_stats(planted.corpus, 1)
    assert stats["decontamination"] == {"quiz": quiz, "reasons": reasons}
    counts = {name: count for name, count in stats["counts"].items() if name.startswith("decontaminate/")}
    assert counts == {
        "decontaminate/documents": 15,
        "decontaminate/documents_without_pairs": 0,
        "decontaminate/pairs": 16,
        "decontaminate/rejected_pair_task_overlap": 4,
        "decontaminate/rejected_task_overlap": 2,
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        pytest.param(
            ("--direct_num_workers=2", "--direct_running_mode=multi_processing"), id="two processes"
        ),
        pytest.param(("--direct_runner_bundle_repeat=1",), id="every bundle twice"),
    ],
)
def test_texts_rejects_and_report_do_not_depend_on_workers_or_retries(
    planted: CorpusConfig, options: tuple[str, ...], build: Any, digests_of: Any, tmp_path: Path
) -> None:
    other = planted.model_copy(update={"corpus": str(tmp_path / "other")})
    build(planted)
    build(other, *options)
    assert digests_of(other.corpus) == digests_of(planted.corpus)
    for name in ("decontamination.json", "rejects/decontaminate.jsonl.zst"):
        one, two = (located(config.corpus, "increments/000001") / name for config in (planted, other))
        assert one.read_bytes() == two.read_bytes()


@pytest.mark.slow
def test_a_plan_counts_the_documents_that_a_build_would_reject(planted: CorpusConfig) -> None:
    plan = plan_increment(planted, quiet=True)
    assert plan.streams["domain"].rejects == {"decontaminate": {"task_overlap": 1}}
    assert plan.total.num_new == 13
    assert not Path(planted.corpus).exists()


@pytest.mark.slow
def test_a_changed_document_that_is_contaminated_leaves_the_corpus_as_it_was(
    planted: CorpusConfig, build: Any, passages: Any, write_jsonl: Any, tmp_path: Path
) -> None:
    build(planted)
    rows = passages(13)
    rows[3]["text"] = LEAK
    write_jsonl(tmp_path / "domain.jsonl", rows)
    increment = build(planted).increments[1]
    assert (increment.num_documents, increment.superseded_document_ids) == (1, ())
    (found,) = report_of(planted, 2)["tasks"]["quiz"]["found"]
    assert {"stream": "domain", "document_id": "doc-3"} in found["documents"]


@pytest.fixture
def yaml_of(tmp_path: Path) -> Callable[[CorpusConfig], str]:
    """Write a configuration as JSON, a subset of YAML, and return the path."""

    def write(config: CorpusConfig) -> str:
        path = tmp_path / "corpus.yaml"
        path.write_text(config.model_dump_json())
        return str(path)

    return write


@pytest.mark.slow
def test_the_command_says_what_was_found(planted: CorpusConfig, yaml_of: Any, tutelage: Any) -> None:
    done = tutelage("corpus", "build", yaml_of(planted))
    assert done.status == 0
    assert (
        "  task rows found and kept out: 1 of 3 of quiz, 4 of 4 of reasons "
        f"(increments/{name_of(planted.corpus, 1)}/decontamination.json)\n"
    ) in done.out


@pytest.mark.parametrize("command", ["build", "plan"])
def test_a_missing_task_file_is_wrong_use_and_nothing_starts(
    command: str, planted: CorpusConfig, yaml_of: Any, tutelage: Any, tmp_path: Path
) -> None:
    done = tutelage("corpus", command, yaml_of(planted), f"decontaminate.tasks={tmp_path}/none.jsonl")
    assert (done.status, done.out) == (2, "")
    assert done.err == (
        f"ConfigError: decontaminate.tasks: '{tmp_path}/none.jsonl': no such file. "
        "Give files of task rows, globs, or directories of them.\n"
    )
    assert not Path(planted.corpus).exists()


def test_words_of_a_short_row_cannot_be_more_than_those_of_a_long_one() -> None:
    with pytest.raises(
        ConfigError, match=r"^test: min_words 8 is more than ngram 5; lower the first or raise"
    ):
        validate(DecontaminationConfig, {"ngram": 5}, name="test")


@pytest.mark.slow
def test_the_bundled_corpus_holds_none_of_the_bundled_tasks(
    tokenizer_dir: str, build: Any, tmp_path: Path
) -> None:
    config = load_config(
        CorpusConfig,
        ROOT / "pipelines/yamls/demo.yaml",
        [
            f"variables.examples={ROOT}/examples",
            f"variables.model={tokenizer_dir}",
            f"corpus={tmp_path}/corpus",
            "synthesis.backend=mined",
            "synthesis.options={}",
        ],
    )
    build(config)
    tasks = report_of(config)["tasks"]
    assert {name: (task["rows"], task["found"]) for name, task in tasks.items()} == {
        "bio_choice": (72, []),
        "bio_recall": (30, []),
    }
