"""Held-out documents: which are held out, what a build writes of them, and what later runs do with them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.increments.compact import compact
from pipelines.increments.prune import prune
from pipelines.increments.withdraw import withdraw
from pipelines.inspect.trace import trace_document
from pipelines.inspect.verify import verify_corpus
from pipelines.planning.plan import plan_increment
from pipelines.planning.plan_table import plan_lines
from pipelines.steps.hold_out import is_chosen
from pipelines.store.held_out import read_held_out
from schemas import storage
from schemas.corpus_config import CorpusConfig
from schemas.manifest import read_manifest
from schemas.records import InstructionPair
from tests.published import name_of, read_stats

pytestmark = pytest.mark.slow

Rows = list[dict[str, str]]
SHARE = 0.3
TWO_PROCESSES = ("--direct_num_workers=2", "--direct_running_mode=multi_processing")


def rows(first: int, last: int) -> Rows:
    """Rows whose texts share few words with each other, so that none is a near copy."""
    return [
        {"id": f"d{at}", "text": " ".join(f"w{at}x{word}" for word in range(20))} for at in range(first, last)
    ]


ROWS = rows(0, 20)
CHOSEN = {row["id"] for row in ROWS if is_chosen(row["text"], SHARE)}
ID = min(CHOSEN)


class Corpus:
    """A corpus of two streams in a folder, whose sources a test writes."""

    def __init__(self, root: Path, corpus_config: Any, build: Any, write_jsonl: Any):
        self.root, self._config, self._build, self._write = root, corpus_config, build, write_jsonl
        self.uri = str(root / "corpus")

    def config(self, holdout: Any = SHARE, **changes: Any) -> CorpusConfig:
        source = {"reader": "jsonl", "uri": f"{self.root}/in/*.jsonl", "id_field": "id"}
        general = {"reader": "jsonl", "uri": f"{self.root}/general/*.jsonl"}
        streams = {"domain": {"synthesize": True, "sources": [source]}, "general": {"sources": [general]}}
        config: CorpusConfig = self._config(
            self.uri, holdout=holdout, **{"streams": streams, "synthesis": {"max_empty_share": 1}, **changes}
        )
        return config

    def add(self, name: str, added: Rows, folder: str = "in") -> None:
        self._write(self.root / folder / f"{name}.jsonl", added)

    def build(self, *options: str, **changes: Any) -> Any:
        return self._build(self.config(**changes), *options)

    def held_out(self, stream: str = "domain") -> dict[str, str]:
        found = list(read_held_out(self.uri, read_manifest(self.uri), stream))
        texts = {each.document_id: each.text for each in found}
        assert len(texts) == len(found)
        return texts

    def trained(self, stream: str = "domain") -> dict[str, str]:
        """Texts of all documents that any increment of the newest manifest trains on."""
        found: dict[str, str] = {}
        for name in read_manifest(self.uri).names():
            for path in sorted(Path(self.uri, "increments", name, "texts").glob(f"{stream}-*")):
                for text in map(json.loads, storage.read_lines_zst(str(path))):
                    for each in text["passages"]:
                        found[each["document_id"]] = text["text"][each["start"] : each["end"]]
        return found


@pytest.fixture
def corpus(tmp_path: Path, corpus_config: Any, build: Any, write_jsonl: Any) -> Corpus:
    """A corpus with 20 documents in `domain` and 5 of the same texts in `general`, not built yet."""
    made = Corpus(tmp_path, corpus_config, build, write_jsonl)
    made.add("a", ROWS)
    made.add("g", ROWS[:5], "general")
    return made


def test_the_hash_of_the_text_decides_in_every_stream_and_nothing_is_lost(corpus: Corpus) -> None:
    manifest = corpus.build()
    assert 2 <= len(CHOSEN) <= 10
    assert corpus.held_out() == {row["id"]: row["text"] for row in ROWS if row["id"] in CHOSEN}
    assert corpus.trained().keys() == {row["id"] for row in ROWS} - CHOSEN
    general = set(corpus.held_out("general").values())
    assert general == {row["text"] for row in ROWS[:5] if row["id"] in CHOSEN}
    (increment,) = manifest.increments
    assert increment.num_documents == 25
    assert increment.num_held_out == {
        stream: count for stream in ("domain", "general") if (count := len(corpus.held_out(stream)))
    }
    assert not verify_corpus(corpus.uri, manifest).damages
    assert corpus.build() is None


@pytest.mark.parametrize("options", [TWO_PROCESSES, ("--direct_runner_bundle_repeat=1",)])
def test_workers_retries_files_and_their_order_change_no_byte(
    corpus: Corpus, options: tuple[str, ...], digests_of: Callable[[str], dict[str, str]]
) -> None:
    corpus.build()
    expected, held_out = digests_of(corpus.uri), corpus.held_out()
    shutil.rmtree(corpus.uri)
    corpus.add("a", ROWS[:7:-1])
    corpus.add("b", ROWS[:8])
    assert corpus.build(*options).increments[0].num_held_out["domain"] == len(CHOSEN)
    assert digests_of(corpus.uri) == expected
    assert corpus.held_out() == held_out


def test_a_corpus_of_held_out_documents_alone_is_published_and_grows(corpus: Corpus) -> None:
    corpus.add("a", [row for row in ROWS if row["id"] in CHOSEN])
    corpus.add("g", [row for row in ROWS if row["id"] in CHOSEN][:1], "general")
    manifest = corpus.build()
    assert manifest.stream_names() == []
    assert not verify_corpus(corpus.uri, manifest).damages
    corpus.add("b", ROWS)
    corpus.build()
    assert corpus.held_out().keys() == CHOSEN
    assert corpus.trained().keys() == {row["id"] for row in ROWS} - CHOSEN


def test_a_share_of_zero_leaves_a_corpus_as_it_was(corpus: Corpus) -> None:
    manifest = corpus.build(holdout=0)
    assert "num_held_out" not in manifest.model_dump_json()
    assert not list(Path(corpus.uri).rglob("*held-out*"))
    assert len(corpus.trained()) == 20


def test_later_increments_hold_out_of_new_documents_by_the_same_rule(corpus: Corpus) -> None:
    corpus.build()
    corpus.add("b", more := rows(20, 40))
    manifest = corpus.build()
    chosen = CHOSEN | {row["id"] for row in more if is_chosen(row["text"], SHARE)}
    assert corpus.held_out().keys() == chosen
    assert manifest.increments[1].num_held_out == {"domain": len(chosen - CHOSEN)}
    assert not corpus.trained().keys() & chosen


@pytest.mark.parametrize("holdout", [SHARE, 0.0])
def test_a_new_version_goes_where_the_last_one_went(corpus: Corpus, holdout: float) -> None:
    corpus.build()
    changed = [{**row, "text": f"{row['text']} end of {row['id']}"} for row in ROWS]
    corpus.add("b", changed)
    manifest = corpus.build(holdout=holdout)
    assert corpus.held_out() == {row["id"]: row["text"] for row in changed if row["id"] in CHOSEN}
    assert corpus.trained().keys() == {row["id"] for row in ROWS} - CHOSEN
    assert len(manifest.increments[1].superseded_document_ids) == 20


def test_a_raised_share_leaves_training_text_in_training(corpus: Corpus) -> None:
    corpus.build(holdout=0)
    corpus.add("b", [{**row, "text": f"{row['text']} changed {row['id']}"} for row in ROWS])
    corpus.add("c", new := rows(20, 40))
    corpus.build(holdout=0.5)
    assert corpus.held_out().keys() == {row["id"] for row in new if is_chosen(row["text"], 0.5)} != set()
    assert {row["id"] for row in ROWS} <= corpus.trained().keys()


@pytest.mark.parametrize("between", ["nothing", "compact", "withdraw"])
def test_an_old_version_that_returns_under_another_name_is_held_out(corpus: Corpus, between: str) -> None:
    changes = {"dedup": {"near": None}, "holdout": 0}
    old = next(row["text"] for row in ROWS if row["id"] == ID)
    corpus.build(dedup={"near": None})
    corpus.add("b", [{"id": ID, "text": "quite another text that shares no word with the old one"}])
    corpus.build(**changes)
    if between == "compact":
        compact(corpus.config(**changes), quiet=True)
    if between == "withdraw":
        withdraw(corpus.config(**changes), document_ids=[ID], quiet=True)
    corpus.add("c", [{"id": "returned", "text": old}])
    corpus.build(**changes)
    assert corpus.held_out()["returned"] == old
    assert "returned" not in corpus.trained()


def test_an_old_version_of_training_text_is_not_held_out_under_another_name(corpus: Corpus) -> None:
    changes = {"dedup": {"near": None}}
    old = next(row["text"] for row in ROWS if row["id"] == ID)
    corpus.build(holdout=0, **changes)
    corpus.add("b", [{"id": ID, "text": "quite another text that shares no word with the old one"}])
    corpus.build(holdout=0, **changes)
    corpus.add("c", [{"id": "returned", "text": old}])
    corpus.build(**changes)
    assert "returned" in corpus.trained()


@pytest.mark.parametrize("copy", ["exact", "near"])
def test_a_copy_of_a_held_out_document_never_becomes_training_text(corpus: Corpus, copy: str) -> None:
    corpus.build()
    text = next(row["text"] for row in ROWS if row["id"] == ID)
    corpus.add("b", [{"id": "copy", "text": text if copy == "exact" else f"{text} tail"}, *rows(20, 21)])
    corpus.build(holdout=0)
    assert corpus.held_out().keys() == CHOSEN
    assert "copy" not in corpus.trained()


def test_rows_that_move_on_by_one_take_their_text_along(corpus: Corpus) -> None:
    source = {"reader": "jsonl", "uri": f"{corpus.root}/in/a.jsonl"}  # named by file and position
    changes = {"streams": {"domain": {"sources": [source]}}, "dedup": {"near": None}}
    corpus.build(**changes)
    before = set(corpus.held_out().values())
    corpus.add("a", [*rows(90, 91), *ROWS])
    corpus.build(holdout=0, **changes)
    assert before <= set(corpus.held_out().values())
    assert not before & set(corpus.trained().values())


def test_a_withdrawn_document_leaves_the_held_out_file_for_good(corpus: Corpus) -> None:
    corpus.build()
    withdraw(corpus.config(), document_ids=[ID], quiet=True)
    assert corpus.held_out().keys() == CHOSEN - {ID}
    withdraw(corpus.config(), sources=[f"{corpus.root}/in/a.jsonl"], quiet=True)
    assert corpus.held_out() == {}
    assert corpus.held_out("general")
    prune(corpus.uri)
    files = [str(path) for path in Path(corpus.uri).rglob("held-out/domain-*")]
    assert files == []
    assert corpus.build() is None


def test_a_compaction_keeps_current_held_out_documents(corpus: Corpus) -> None:
    corpus.build()
    changed = [{**row, "text": f"{row['text']} changed"} for row in ROWS if row["id"] == ID]
    corpus.add("b", changed + rows(20, 30))
    corpus.build()
    before, general = corpus.held_out(), corpus.held_out("general")
    manifest = compact(corpus.config(holdout=0), quiet=True)
    assert manifest is not None
    assert (corpus.held_out(), corpus.held_out("general")) == (before, general)
    assert manifest.increments[0].num_held_out == {"domain": len(before), "general": len(general)}
    assert not verify_corpus(corpus.uri, manifest).damages
    prune(corpus.uri)
    assert corpus.held_out() == before
    corpus.add("c", [{**row, "text": f"{row['text']} again"} for row in changed])
    corpus.build(holdout=0)
    assert corpus.held_out()[ID].endswith("changed again")


def test_a_plan_takes_held_out_documents_off(corpus: Corpus) -> None:
    plan = plan_increment(corpus.config(), quiet=True)
    domain = plan.streams["domain"]
    assert (domain.num_new, domain.num_held_out, domain.num_unchanged) == (20, len(CHOSEN), 0)
    assert domain.num_chains == (20 - len(CHOSEN)) / 2
    general = plan.streams["general"].num_held_out
    said = f"Held out, and no training text: {len(CHOSEN) + general} of 25 documents (holdout 30.00%)."
    assert said in plan_lines(plan)
    corpus.build()
    again = plan_increment(corpus.config(), quiet=True)
    assert again.total.num_new == again.total.num_held_out == 0
    assert plan_lines(again) == []


def test_a_damaged_or_missing_held_out_file_is_found(corpus: Corpus) -> None:
    manifest = corpus.build()
    (path,) = Path(corpus.uri, "increments", name_of(corpus.uri, 1), "held-out").glob("domain-*")
    lines = list(storage.read_lines_zst(str(path)))
    storage.write_lines_zst(str(path), lines[1:])
    (damage,) = verify_corpus(corpus.uri, manifest).damages
    expected = f"{len(lines) - 1} held-out documents of 'domain', the manifest says {len(lines)}"
    assert damage.finding == f"holds {expected}"
    path.write_bytes(b"no zstd")
    assert len(verify_corpus(corpus.uri, manifest).damages) == 1


def test_a_trace_says_held_out(corpus: Corpus) -> None:
    manifest = corpus.build()
    alone = {row["id"] for row in ROWS[5:]}  # in one stream only, so that a hash means one document
    for name, expected in ((min(CHOSEN & alone), True), (min(alone - CHOSEN), False)):
        trace = trace_document(corpus.uri, manifest, name)
        (entry,) = trace.entries
        assert (entry.state, entry.is_held_out, not trace.holdings) == ("current", expected, expected)
        by_hash = trace_document(corpus.uri, manifest, entry.content_hash[:12])
        assert by_hash.document_id == name


def test_every_command_says_how_many_are_held_out(corpus: Corpus, tutelage: Any) -> None:
    config, yaml = corpus.config().model_dump(mode="json"), corpus.root / "corpus.yaml"
    yaml.write_text(json.dumps(config))
    built = tutelage("corpus", "build", str(yaml))
    general = sum(row["id"] in CHOSEN for row in ROWS[:5])
    of_each = f"{len(CHOSEN)} of domain, {general} of general"
    line = f"held out: {len(CHOSEN) + general} of 25 documents ({of_each})"
    assert f"  {line}; they are no training text\n" in built.out
    assert f"increment 1, {line}\n" in tutelage("corpus", "show", corpus.uri).out
    said = "increment 1, domain: current, held out: no training text has it, content "
    assert said in tutelage("corpus", "trace", corpus.uri, ID).out
    card = Path(corpus.uri, "increments", name_of(corpus.uri, 1), "README.md").read_text()
    assert f"increment 1 {line}." in card
    assert read_stats(corpus.uri, 1)["held_out"] == {"domain": len(CHOSEN), "general": general}
    corpus.add("b", rows(20, 21))
    lowered = tutelage("corpus", "build", str(yaml), "holdout=0.01%")
    assert "  holdout 0.01%: none of 1 documents was held out\n" in lowered.out


def test_tuning_examples_are_held_out_with_their_pairs(corpus: Corpus) -> None:
    def example(row: dict[str, str], answer: str) -> dict[str, Any]:
        return {**row, "pairs": [{"question": "What is told?", "answer": answer}]}

    source = {"reader": "jsonl", "uri": f"{corpus.root}/t/*.jsonl", "id_field": "id", "pairs_field": "pairs"}
    changes = {"streams": {"tuning": {"tuning": {}, "sources": [source]}}, "dedup": {"near": None}}
    corpus.add("a", [example(row, "much") for row in ROWS], "t")  # type: ignore[misc]
    corpus.build(**changes)
    held_out = list(read_held_out(corpus.uri, read_manifest(corpus.uri), "tuning"))
    assert {each.document_id for each in held_out} == CHOSEN
    assert {each.pairs for each in held_out} == {
        (InstructionPair(instruction="What is told?", response="much"),)
    }
    corpus.add("a", [example(row, "little") for row in ROWS], "t")  # type: ignore[misc]
    corpus.build(holdout=0, **changes)
    again = list(read_held_out(corpus.uri, read_manifest(corpus.uri), "tuning"))
    assert {each.document_id for each in again} == CHOSEN
    assert {each.pairs[0].response for each in again} == {"little"}
    assert corpus.trained("tuning").keys() == {row["id"] for row in ROWS} - CHOSEN
