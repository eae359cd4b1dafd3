"""Near dedup: the step on planted copies of known similarity, then builds of several increments."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.util import assert_that, equal_to

from pipelines.planning.plan import plan_increment
from pipelines.steps.dedup.minhash import MinHasher, similarity
from pipelines.steps.dedup.near import DropNearDuplicates
from schemas import storage
from schemas.content_hash import content_hash
from schemas.corpus_config import CorpusConfig, NearDedupConfig
from schemas.errors import CorpusError
from schemas.records import Document, Reject, from_json, to_json
from tests.published import read_stats

pytestmark = pytest.mark.slow

Config = Callable[..., CorpusConfig]
Build = Callable[..., Any]
Files = Callable[[str | Path], list[str]]

NUM_PAIRS = 300
NUM_SHINGLES = 200


def text_of(words: Sequence[str]) -> str:
    return " ".join(words)


def words_of(name: str, count: int) -> list[str]:
    """Make words that are unique to a name."""
    return [f"{name}w{at}" for at in range(count)]


def planted(alike: float, number: int) -> tuple[str, str]:
    """Make two texts of 200 shingles each with a given Jaccard similarity."""
    common = round(2 * NUM_SHINGLES * alike / (1 + alike))
    name = f"p{round(alike * 100)}n{number}"
    both, rest = words_of(name, common + 4), NUM_SHINGLES - common
    return text_of([*both, *words_of(f"{name}a", rest)]), text_of([*both, *words_of(f"{name}b", rest)])


@pytest.fixture
def dropped_among(tmp_path: Path) -> Callable[[Sequence[Document]], list[Reject]]:
    """Run the step on an empty corpus and return its rejects."""

    def run(documents: Sequence[Document]) -> list[Reject]:
        uri = str(tmp_path / "rejects.jsonl.zst")
        with TestPipeline(runner="FnApiRunner") as pipeline:
            (
                (pipeline | beam.Create(documents) | _step())["rejects"]
                | beam.Map(lambda reject: (None, to_json(reject)))
                | beam.GroupByKey()
                | beam.Map(lambda lines, uri: storage.write_lines_zst(uri, lines[1]), uri)
            )
        return (
            [from_json(Reject, line) for line in storage.read_lines_zst(uri)] if storage.exists(uri) else []
        )

    return run


def _step(corpus: str = "memory://no-corpus") -> beam.PTransform:
    return DropNearDuplicates(NearDedupConfig(), corpus=corpus, stream="domain", names=())


def test_as_many_planted_copies_are_found_as_the_bands_promise_and_nothing_else(
    dropped_among: Any,
) -> None:
    documents = []
    for alike in (0.3, 0.5, 0.75, 0.9, 1.0):
        for number in range(NUM_PAIRS):
            one, two = planted(alike, number)
            if alike == 1.0:
                two = two.upper() + "!"  # the same words with another content hash
            for side, text in (("a", one), ("b", two)):
                documents.append(Document.of(f"{alike}/{number}/{side}", text, source="planted"))
    random.Random(1).shuffle(documents)
    rejects = dropped_among(documents)
    found = Counter(reject.document_id.split("/")[0] for reject in rejects)
    shares = {float(alike): count / NUM_PAIRS for alike, count in found.items()}
    assert shares.get(0.3, 0.0) <= 0.01
    assert shares[0.5] == pytest.approx(1 - (1 - 0.5**8) ** 14, abs=0.04)
    assert shares[0.75] == pytest.approx(1 - (1 - 0.75**8) ** 14, abs=0.07)
    assert shares[0.9] >= 0.99
    assert shares[1.0] == 1.0
    for reject in rejects:  # only its own partner: none of 45 million other pairs
        pair, side = reject.document_id.rsplit("/", 1)
        assert reject.detail.startswith(f"kept '{pair}/{'b' if side == 'a' else 'a'}' from planted, ")


def story(*sentences: str) -> str:
    """Make a text of 60 words and the given sentences."""
    return " ".join([*(f"Word{number}" for number in range(60)), *sentences])


ALIKE = [
    Document.of(name, story(last), source=f"file:{at}")
    for at, (name, last) in enumerate([("a", "One end."), ("b", "Another end."), ("c", "The third end.")])
]


@pytest.mark.parametrize("order", [1, -1])
def test_which_copy_stays_is_decided_by_content_hash_and_never_by_arrival(order: int) -> None:
    first, *others = sorted(ALIKE, key=lambda document: document.content_hash)
    hasher = MinHasher(NearDedupConfig())
    signed = dict(zip("abc", hasher.sign([document.text for document in ALIKE]), strict=True))
    alone = Document.of("d", "A text that has nothing in common with the others.", source="file:9")
    with TestPipeline(runner="FnApiRunner") as pipeline:
        done = pipeline | beam.Create([*ALIKE, alone][::order]) | _step()
        assert_that(done["ok"], equal_to([first, alone]), label="kept")
        rejects, duplicates = [], []
        for other in others:
            alike = similarity(signed[other.document_id], signed[first.document_id])
            assert 0.8 < alike < 1
            rejects.append(
                Reject(
                    stage="dedup",
                    reason="near_duplicate",
                    document_id=other.document_id,
                    source=other.source,
                    detail=f"kept {first.document_id!r} from {first.source}, similarity {alike:.2f}",
                )
            )
            kept = (first.document_id, first.content_hash[:16])
            duplicates.append((other.document_id, *kept, round(alike, 4)))
        assert_that(done["rejects"], equal_to(rejects), label="rejects")
        assert_that(
            done["duplicates"]
            | beam.Map(lambda each: (each.document_id, each.kept_id, each.kept_content, each.similarity)),
            equal_to(duplicates),
            label="duplicates",
        )


def test_copies_of_copies_are_one_cluster(dropped_among: Any) -> None:
    """Each text shares nine tenths of its shingles with the next; the first and the last share under half."""
    words = words_of("t", 1000)
    chain = [
        Document.of(f"{at}", text_of(words[at * 10 : at * 10 + 204]), source=f"file:{at}") for at in range(12)
    ]
    hasher = MinHasher(NearDedupConfig())
    signed = hasher.sign([document.text for document in chain])
    assert similarity(signed[0], signed[11]) < 0.5
    kept = min(chain, key=lambda document: document.content_hash)
    rejects = dropped_among(chain)
    assert len(rejects) == 11
    assert {reject.detail.split(",")[0] for reject in rejects} == {
        f"kept {kept.document_id!r} from {kept.source}"
    }


def test_texts_that_differ_in_numbers_only_are_no_copies_when_the_numbers_are_many(
    dropped_among: Any,
) -> None:
    def doses(seed: int) -> str:
        choice = random.Random(seed)
        return " ".join(f"Patient {choice.randrange(900)} had {choice.randrange(90)} mg." for _ in range(40))

    assert dropped_among([Document.of(str(seed), doses(seed), source="s") for seed in range(20)]) == []


@pytest.fixture
def files(tmp_path: Path, write_jsonl: Any) -> Callable[..., None]:
    """Write a file of documents from texts by name."""

    def write(name: str, **texts: str) -> None:
        write_jsonl(tmp_path / f"in/{name}.jsonl", [{"id": key, "text": text} for key, text in texts.items()])

    return write


@pytest.fixture
def config(tmp_path: Path, corpus_config: Config) -> CorpusConfig:
    """A corpus of all files, not yet built."""
    return corpus_config(tmp_path / "corpus", f"{tmp_path}/in/*.jsonl")


def names_in(texts_in: Any, corpus: str, number: int) -> list[str]:
    return sorted(name for text in texts_in(corpus, number=number) for name in text.document_ids)


def rejected(rejects_in: Any, corpus: str, number: int) -> list[tuple[str, str, str]]:
    return [
        (each["document_id"], each["reason"], each["detail"]) for each in rejects_in(corpus, "dedup", number)
    ]


def test_a_corpus_of_the_first_scheme_goes_on_with_it(
    config: CorpusConfig, files: Any, build: Build, texts_in: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.increment.check_indexes", lambda *_: "minhash-1")
    # With words of one scheme and keys of the other, no five words in a row are the same.
    doses = " ".join(f"w{number} {number}.5" for number in range(300))
    files("a", old=f"{doses} old")
    build(config)
    monkeypatch.undo()
    files("b", copy=f"{doses} new", fresh="Another text of its own, about nothing else.")
    build(config)
    assert names_in(texts_in, config.corpus, 2) == ["fresh"]
    indexes = sorted(Path(config.corpus).glob("dedup/*/index.json"))
    schemes = [json.loads(each.read_text())["keys"]["scheme"] for each in indexes]
    assert schemes == ["minhash-1", "minhash-1"]


def test_copies_of_what_earlier_increments_hold_do_not_come_in(
    config: CorpusConfig, files: Any, build: Build, texts_in: Any, rejects_in: Any, tmp_path: Path
) -> None:
    files("a", old=story("The old end."), other="A text of its own, about something else.")
    build(config)
    files("b", copy=story("A newer end."), fresh="Another text of its own, about nothing else.")
    plan = plan_increment(config, quiet=True)
    manifest = build(config)
    assert names_in(texts_in, config.corpus, 2) == ["fresh"]
    assert manifest.increments[1].superseded_document_ids == ()
    held = content_hash(story("The old end."))[:16]
    (reject,) = rejects_in(config.corpus, "dedup", 2)
    source = f"{tmp_path}/in/b.jsonl:@0"
    assert reject == {
        "stage": "dedup",
        "reason": "near_duplicate",
        "document_id": "copy",
        "source": source,
        "detail": f"near copy of content {held} in increment 1",
    }
    counts = read_stats(config.corpus, 2)["counts"]
    assert (counts["dedup/rejected_near_duplicate"], counts["ledger/new"]) == (1, 1)
    assert plan.total.rejects == {"dedup": {"near_duplicate": 1}}
    assert (plan.total.num_new, plan.total.num_changed) == (1, 0)


def test_a_document_that_was_edited_a_little_is_taken_in_and_supersedes_its_old_text(
    config: CorpusConfig, files: Any, build: Build, texts_in: Any
) -> None:
    files("a", doc=story("The old end."), other="A text of its own, about something else.")
    build(config)
    files("a", doc=story("The new end."), other="A text of its own, about something else.")
    manifest = build(config)
    assert names_in(texts_in, config.corpus, 2) == ["doc"]
    assert manifest.increments[1].superseded_document_ids == ("doc",)
    counts = read_stats(config.corpus, 2)["counts"]
    assert {name: counts[f"ledger/{name}"] for name in ("unchanged", "new", "changed")} == {
        "unchanged": 1,
        "new": 1,
        "changed": 1,
    }


def test_a_changed_document_that_is_now_a_copy_of_another_keeps_its_old_text(
    config: CorpusConfig, files: Any, build: Build, texts_in: Any, rejects_in: Any
) -> None:
    files("a", doc="A text of its own, about something else.", held=story("The old end."))
    build(config)
    files("a", doc=story("The new end."), held=story("The old end."))
    files("b", fresh="Another text of its own, about nothing else.")
    plan = plan_increment(config, quiet=True)
    manifest = build(config)
    assert names_in(texts_in, config.corpus, 2) == ["fresh"]
    assert manifest.increments[1].superseded_document_ids == ()
    assert [name for name, _, _ in rejected(rejects_in, config.corpus, 2)] == ["doc"]
    assert "ledger/changed" not in read_stats(config.corpus, 2)["counts"]
    assert plan.total.num_changed == 0


def test_a_text_that_was_superseded_keeps_out_nothing(
    config: CorpusConfig, files: Any, build: Build, texts_in: Any
) -> None:
    files("a", doc=story("The old end."))
    build(config)
    files("a", doc="An entirely new text takes the place of what this document said.")
    build(config)
    files("b", copy=story("A newer end."))
    build(config)
    assert names_in(texts_in, config.corpus, 3) == ["copy"]


def test_near_copies_stay_where_they_are_not_asked_for(
    config: CorpusConfig, files: Any, build: Build, texts_in: Any, files_of: Files
) -> None:
    files("a", one=story("One end."), two=story("Another end."))
    kept = config.model_copy(update={"dedup": config.dedup.model_copy(update={"near": None})})
    build(kept)
    assert names_in(texts_in, config.corpus, 1) == ["one", "two"]
    assert not [name for name in files_of(config.corpus) if name.startswith("dedup/")]
    files("b", three=story("The third end."), four=story("The fourth end."))
    build(config)  # documents without an index are not compared
    assert len(names_in(texts_in, config.corpus, 2)) == 1


def test_a_corpus_that_was_compared_in_another_way_is_refused_before_anything_is_read(
    config: CorpusConfig, files: Any, build: Build, files_of: Files
) -> None:
    files("a", one=story("One end."))
    build(config)
    before = files_of(config.corpus)
    files("b", two="A text of its own, about something else.")
    near = NearDedupConfig(bands=20)
    other = config.model_copy(update={"dedup": config.dedup.model_copy(update={"near": near})})
    for run in (build, lambda config: plan_increment(config, quiet=True)):
        with pytest.raises(
            CorpusError, match=r"dedup/000001-\w+\.domain: its keys were made with .* bands 14"
        ):
            run(other)
    assert files_of(config.corpus) == before


def test_a_run_that_fails_leaves_no_index(
    config: CorpusConfig, files: Any, build: Build, files_of: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    files("a", one=story("One end."))
    from pipelines.increments import publish as module

    def fail(*_: object, **__: object) -> None:
        raise CorpusError("something after the pipeline")

    monkeypatch.setattr(module, "write_stats", fail)
    with pytest.raises(CorpusError, match="something after"):
        build(config)
    assert [name for name in files_of(config.corpus) if name.startswith(("dedup/", "ledger/"))] == []


OPTIONS = [
    pytest.param(("--direct_num_workers=2", "--direct_running_mode=multi_processing"), id="two processes"),
    pytest.param(("--direct_runner_bundle_repeat=1",), id="every bundle twice"),
    pytest.param((), id="other order"),
]


@pytest.fixture(scope="module")
def many(
    tmp_path_factory: pytest.TempPathFactory,
    corpus_config: Config,
    write_jsonl: Any,
    build: Build,
    digests_of: Any,
) -> Iterator[tuple[list[list[dict[str, str]]], dict[str, str], dict[str, bytes]]]:
    """Rows of two increments, with clusters in each and across both, and the results of a plain build."""
    root = tmp_path_factory.mktemp("many")

    def row(which: str, group: int, copy: int) -> dict[str, str]:
        text = text_of([*words_of(f"g{group}", 80), f"end{which}{copy}"])
        return {"id": f"{which}-{group}-{copy}", "text": text}

    increments = [
        [row(which, group, copy) for group in groups for copy in range(1 + group % 4)]
        for which, groups in (("first", range(0, 30)), ("second", range(20, 50)))
    ]
    for number, rows in enumerate(increments):
        build(corpus_config(root / "corpus", write_jsonl(root / f"in/{number}.jsonl", rows)))
    yield increments, _without_texts(digests_of(root / "corpus")), _told_of(root / "corpus")


def _without_texts(digests: dict[str, str]) -> dict[str, str]:
    """Leave out the files of texts, because these contain paths of sources."""
    return {name: digest for name, digest in digests.items() if "/texts/" not in name}


def _told_of(corpus: Path) -> dict[str, bytes]:
    """Duplicates and rejects without the folder of the sources."""
    folder = str(corpus.parent).encode()
    told = {
        path: "\n".join(sorted(storage.read_lines_zst(str(path)))).encode().replace(folder, b"")
        for path in sorted(corpus.rglob("*.jsonl.zst"))
        if path.parent.name in ("duplicates", "rejects")
    }
    return {
        re.sub("-[0-9a-f]{12}/", "/", str(path.relative_to(corpus))): lines for path, lines in told.items()
    }


def test_clusters_within_and_over_increments_leave_one_text_each(many: Any) -> None:
    increments, digests, told = many
    assert {name.split("/")[0] for name in digests} == {"dedup", "increments", "ledger"}
    assert [len(rows) for rows in increments] == [73, 73]
    counts = {name: data.count(b"\n") + 1 for name, data in told.items()}
    assert counts == {
        "increments/000001/duplicates/domain.jsonl.zst": 73 - 30,
        "increments/000001/rejects/dedup.jsonl.zst": 73 - 30,
        "increments/000002/duplicates/domain.jsonl.zst": 73 - 20,
        "increments/000002/rejects/dedup.jsonl.zst": 73 - 20,
    }


@pytest.mark.parametrize("options", OPTIONS)
def test_outcome_and_bytes_do_not_depend_on_workers_retries_or_order(
    many: Any,
    options: tuple[str, ...],
    tmp_path: Path,
    corpus_config: Config,
    write_jsonl: Any,
    build: Build,
    digests_of: Any,
) -> None:
    increments, digests, told = many
    for number, rows in enumerate(increments):
        shuffled = rows if options else random.Random(2).sample(rows, len(rows))
        source = write_jsonl(tmp_path / f"in/{number}.jsonl", shuffled)
        build(corpus_config(tmp_path / "corpus", source), *options)
    assert _without_texts(digests_of(tmp_path / "corpus")) == digests
    if options:  # another order of rows changes their positions
        assert _told_of(tmp_path / "corpus") == told
