"""Made tasks: registered in a corpus, and kept out of its later increments without being named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipelines.increments.lease import held, new_token
from pipelines.inspect.export_pairs import current_pairs
from pipelines.planning.plan import plan_increment
from pipelines.planning.plan_table import plan_lines
from pipelines.store.made_tasks import register, registered, with_made_tasks
from pipelines.task_making.verify import overlapping, training_pairs
from schemas import storage
from schemas.corpus_config import CorpusConfig, DecontaminationConfig
from schemas.errors import CorpusError
from schemas.manifest import read_manifest
from schemas.records import StoredPair
from tests.published import read_stats

pytestmark = pytest.mark.slow

LEAK = "which protein of the cell was it that ended the trial early"


def question(text: str = LEAK) -> bytes:
    return json.dumps({"input": text, "label": "none"}).encode() + b"\n"


@pytest.fixture
def config(tmp_path: Path, corpus_config: Any, write_jsonl: Any, passages: Any, build: Any) -> CorpusConfig:
    """A corpus of one increment of six documents."""
    write_jsonl(tmp_path / "in/a.jsonl", passages(6))
    made: CorpusConfig = corpus_config(tmp_path / "corpus", f"{tmp_path}/in/*.jsonl", dedup={"near": None})
    build(made)
    return made


def test_made_tasks_are_replaced_whole_and_removed_without_rows(config: CorpusConfig) -> None:
    corpus = config.corpus
    assert registered(corpus) == []
    register(corpus, "handbook", question())
    register(corpus, "atlas", question())
    assert [uri.split("/")[-1] for uri in registered(corpus)] == ["atlas.jsonl", "handbook.jsonl"]
    register(corpus, "handbook", question("another one"))
    (atlas, handbook) = registered(corpus)
    assert storage.read_bytes(handbook) == question("another one")
    register(corpus, "handbook", b"")
    assert registered(corpus) == [atlas]


def test_nothing_is_registered_while_a_build_is_at_work(config: CorpusConfig) -> None:
    with (
        held(config.corpus, new_token()),
        pytest.raises(CorpusError, match="another run holds this corpus"),
    ):
        register(config.corpus, "handbook", question())
    assert registered(config.corpus) == []


def test_the_next_build_keeps_registered_rows_out_of_documents_and_pairs(
    config: CorpusConfig,
    tmp_path: Path,
    write_jsonl: Any,
    passages: Any,
    build: Any,
    rejects_in: Any,
    capsys: Any,
) -> None:
    from pipelines.increments.build import build_increment

    leaked = {"id": "leak", "text": f"They ask {LEAK} and nobody knows it."}
    copy = config.model_copy(update={"corpus": shutil.copytree(config.corpus, tmp_path / "copy").as_posix()})
    write_jsonl(tmp_path / "in/b.jsonl", [leaked, *passages(8)[6:]])
    build(copy)
    (tmp_path / "in/b.jsonl").unlink()
    asked = [pair.instruction for pair in _pairs(copy) if pair.document_id == "doc-7"]
    register(config.corpus, "made", question() + question(max(asked, key=len)))
    assert plan_increment(config, quiet=True).total.num_new == 0
    assert build(config) is None  # an earlier increment stays as it is
    capsys.readouterr()
    write_jsonl(tmp_path / "in/b.jsonl", [leaked, *passages(8)[6:]])
    plan = plan_increment(config, quiet=True)
    assert plan.total.rejects == {"decontaminate": {"task_overlap": 1}}
    assert (
        plan_lines(plan)[0] == f"Made tasks of this corpus are kept out, too: {registered(config.corpus)[0]}."
    )
    assert build_increment(config).increments[1].num_documents == 2
    said = capsys.readouterr().err
    (uri,) = registered(config.corpus)
    assert f"Made tasks of this corpus are kept out, too: {uri}.\n" in said
    kinds = {(each["reason"], each["document_id"]) for each in rejects_in(config.corpus, "decontaminate", 2)}
    assert kinds == {("pair_task_overlap", "doc-7"), ("task_overlap", "leak")}
    (task,) = read_stats(config.corpus, 2)["decontamination"].values()
    assert (task["rows"], task["rows_found"]) == (2, 2)
    assert {pair.document_id for pair in _pairs(config)} == {f"doc-{number}" for number in range(7)}
    register(config.corpus, "made", b"")
    assert build(config).increments[2].num_documents == 1


def test_a_registration_is_added_to_the_tasks_once(config: CorpusConfig) -> None:
    register(config.corpus, "made", question())
    both, made = with_made_tasks(config)
    assert list(both.decontaminate.tasks) == made == registered(config.corpus)
    assert with_made_tasks(both)[0] == both


def _pairs(config: CorpusConfig) -> list[StoredPair]:
    from collections import Counter

    manifest = read_manifest(config.corpus)
    return [pair for pair, _ in current_pairs(config.corpus, manifest, "domain", Counter())]


def test_questions_that_training_pairs_hold_are_found(config: CorpusConfig) -> None:
    manifest = read_manifest(config.corpus)
    pair = next(each for each in _pairs(config) if len(each.instruction.split()) >= 8)
    asked = ["Is it something that no pair says of any protein?", pair.instruction.upper(), "early"]
    pairs = training_pairs(config.corpus, manifest)
    assert overlapping(asked, pairs, DecontaminationConfig()) == {1}
