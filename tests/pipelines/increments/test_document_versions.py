"""Several versions of a document: the newest stays, in one build, over several, and after a full reread."""

from __future__ import annotations

import gzip
import hashlib
import itertools
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from pipelines.increments.compact import compact
from pipelines.increments.document_versions import Origin, VersionOrder, first_version
from pipelines.increments.withdraw import withdraw
from pipelines.inspect.trace import trace_document
from pipelines.store.ledger import Ledger
from plugins.readers import jsonl
from schemas import storage
from schemas.corpus_config import CorpusConfig
from schemas.errors import InputError
from schemas.manifest import newest_number, read_manifest
from tests.published import name_of
from tests.tiny import located

pytestmark = pytest.mark.slow

Config = Callable[..., CorpusConfig]
Files = Callable[..., None]

YEARLY, BETWEEN, UPDATE = "pubmed25n0001.xml.gz", "pubmed25n999.xml.gz", "pubmed25n1300.xml.gz"
DOSES = {
    YEARLY: "In trial {} the daily dose of the drug was 50 mg, because a report printed a wrong number.",
    BETWEEN: "In trial {} the daily dose of the drug was 25 mg, as an editor believed for some months.",
    UPDATE: "In trial {} the daily dose of the drug was 5 mg; a corrected abstract replaces a report.",
}
NEWEST = {str(900000 + number): "5 mg" for number in range(8)}
WORKERS = [
    pytest.param((), id="one worker"),
    pytest.param(("--direct_num_workers=2", "--direct_running_mode=multi_processing"), id="two processes"),
    pytest.param(("--direct_runner_bundle_repeat=1",), id="every bundle twice"),
]


@pytest.fixture
def pubmed(tmp_path: Path) -> Files:
    """Write old files of the same eight articles with varying doses, like PubMed's revisions."""

    def write(*names: str, more: str = "") -> None:
        for name in names:
            articles = "".join(
                f"<PubmedArticle><MedlineCitation><PMID>{pmid}</PMID><Article>"
                f"<ArticleTitle>Trial {pmid} of a drug.</ArticleTitle><Abstract><AbstractText>"
                f"{DOSES[name].format(pmid)}{more}</AbstractText></Abstract></Article></MedlineCitation></PubmedArticle>\n"
                for pmid in NEWEST
            )
            (tmp_path / "in").mkdir(exist_ok=True)
            data = f"<PubmedArticleSet>\n{articles}</PubmedArticleSet>\n".encode()
            (tmp_path / "in" / name).write_bytes(gzip.compress(data, mtime=0))
            os.utime(tmp_path / "in" / name, (1_000_000_000, 1_000_000_000))

    return write


@pytest.fixture
def config(tmp_path: Path, corpus_config: Config) -> Config:
    """A corpus of PubMed's files, without near dedup because the texts are too similar."""

    def make(corpus: str = "corpus", **changes: Any) -> CorpusConfig:
        source = {"preset": "pubmed", "uri": f"{tmp_path}/in/*.xml.gz"}
        values = {"streams": {"domain": {"sources": [source]}}, "dedup": {"near": None}, **changes}
        return corpus_config(tmp_path / corpus, **values)

    return make


@pytest.fixture
def current(texts_in: Any) -> Callable[[str], dict[str, str]]:
    """The current text of each document, or the dose in the text."""

    def read(corpus: str) -> dict[str, str]:
        numbers = read_manifest(corpus).numbers()
        ledger = Ledger.open(corpus, "domain", read_manifest(corpus).names())
        return {
            passage.document_id: text.text.partition("the drug was ")[2][:5].rstrip("; ,") or text.text
            for number in numbers
            for text in texts_in(corpus, number=number)
            for passage in text.passages
            if ledger.content_of(passage.document_id) == passage.content_hash
        }

    return read


def reasons(rejects: Sequence[dict[str, str]]) -> set[tuple[str, int]]:
    found = [each["reason"] for each in rejects]
    return {(reason, found.count(reason)) for reason in found}


@pytest.mark.parametrize("options", WORKERS)
def test_of_all_versions_in_one_build_the_one_of_the_last_file_stays(
    options: tuple[str, ...],
    pubmed: Files,
    config: Config,
    build: Any,
    current: Any,
    rejects_in: Any,
    tmp_path: Path,
) -> None:
    pubmed(UPDATE, YEARLY, BETWEEN)
    build(config(), *options)
    assert current(config().corpus) == NEWEST
    rejects = rejects_in(config().corpus, "dedup")
    assert reasons(rejects) == {("older_version", 16)}
    assert {each["detail"] for each in rejects if each["document_id"] == "900002"} == {
        f"kept the later version at {tmp_path}/in/{UPDATE}:3"
    }
    build(config("other"))
    ledgers = [
        located(name, "ledger/000001.domain.ledger") for name in (config().corpus, config("other").corpus)
    ]
    assert ledgers[0].read_bytes() == ledgers[1].read_bytes()


@pytest.mark.parametrize("names", itertools.permutations([YEARLY, BETWEEN, UPDATE]))
def test_files_that_come_in_any_order_leave_the_newest_version(
    names: tuple[str, ...], pubmed: Files, config: Config, build: Any, current: Any
) -> None:
    for name in names:
        pubmed(name)
        build(config())
    assert current(config().corpus) == NEWEST
    if names[0] == UPDATE:
        assert newest_number(config().corpus) == 1


@pytest.mark.parametrize("names", [(YEARLY, UPDATE), (UPDATE, YEARLY)])
def test_reading_everything_again_brings_no_older_version_back(
    names: tuple[str, ...], pubmed: Files, config: Config, build: Any, current: Any, tmp_path: Path
) -> None:
    for name in names:
        pubmed(name)
        build(config())
    assert build(config(clean={"min_words": 6})) is None
    assert current(config().corpus) == NEWEST
    (tmp_path / "in" / UPDATE).unlink()
    assert build(config(clean={"min_words": 7})) is None
    assert current(config().corpus) == NEWEST


def test_an_older_version_that_comes_late_is_a_reject_that_a_trace_shows(
    pubmed: Files, config: Config, build: Any, rejects_in: Any, tmp_path: Path, write_jsonl: Any
) -> None:
    pubmed(UPDATE)
    build(config())
    pubmed(YEARLY)
    streams = {
        "domain": {
            "sources": [
                {"preset": "pubmed", "uri": f"{tmp_path}/in/*.xml.gz"},
                {
                    "reader": "jsonl",
                    "uri": write_jsonl(tmp_path / "more.jsonl", [{"text": "One more of five words."}]),
                },
            ]
        }
    }
    manifest = build(config(streams=streams))
    assert [each.num_documents for each in manifest.increments] == [8, 1]
    assert manifest.increments[1].superseded_document_ids == ()
    assert reasons(rejects_in(config().corpus, "dedup", 2)) == {("older_version", 8)}
    trace = trace_document(config().corpus, manifest, "900000")
    assert [(each.increment, each.state, each.file) for each in trace.entries] == [
        (1, "current", f"{tmp_path}/in/{UPDATE}")
    ]
    assert [(each.increment, each.reject.reason, each.reject.detail) for each in trace.refusals] == [
        (2, "older_version", f"kept the later version at {tmp_path}/in/{UPDATE}:1")
    ]


def test_a_newest_version_that_is_refused_lets_no_older_one_in(
    pubmed: Files, config: Config, build: Any, current: Any
) -> None:
    longest = len("Trial 900000 of a drug.\n\n" + DOSES[YEARLY].format(900000))
    changes = {"clean": {"max_characters": longest}}
    pubmed(YEARLY)
    build(config())
    pubmed(BETWEEN)
    pubmed(UPDATE, more=" It says much more about the trial than any report before it.")
    assert build(config(**changes)) is None
    assert current(config().corpus) == dict.fromkeys(NEWEST, "50 mg")
    with pytest.raises(InputError, match="no document of the sources can be used"):
        build(config("other", **changes))


def test_a_correction_that_is_nearly_its_older_version_supersedes_it(
    tmp_path: Path, corpus_config: Config, build: Any, write_jsonl: Any, current: Any
) -> None:
    made = corpus_config(tmp_path / "corpus", f"{tmp_path}/in/*.jsonl")
    words = " ".join(f"word{number}" for number in range(100))
    for number, dose in ((1, "50 mg"), (2, "5 mg"), (10, "7 mg")):
        write_jsonl(
            tmp_path / f"in/part-{number}.jsonl", [{"id": "a", "text": f"{words} the drug was {dose}"}]
        )
        build(made)
    assert current(made.corpus) == {"a": "7 mg"}
    assert newest_number(made.corpus) == 3


@pytest.mark.parametrize("range_bytes", [30, 1 << 26])
def test_of_one_file_the_last_row_of_a_name_stays_however_the_file_is_cut(
    range_bytes: int,
    tmp_path: Path,
    corpus_config: Config,
    build: Any,
    write_jsonl: Any,
    current: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(jsonl, "RANGE_BYTES", range_bytes)
    rows = [{"id": "a", "text": f"Version {number} of a text of many words."} for number in range(30)]
    build(made := corpus_config(tmp_path / "corpus", write_jsonl(tmp_path / "a.jsonl", rows)))
    (text,) = current(made.corpus).values()
    assert "Version 29 of" in text
    write_jsonl(tmp_path / "a.jsonl", rows[:12])  # a changed file is newer, whatever its rows
    build(made)
    (text,) = current(made.corpus).values()
    assert "Version 11 of" in text


def test_an_older_version_keeps_out_no_other_document_of_the_same_text(
    tmp_path: Path, corpus_config: Config, build: Any, write_jsonl: Any, current: Any
) -> None:
    old, new = "The text that two documents had.", "The text that one of them has now."
    write_jsonl(tmp_path / "in/1.jsonl", [{"id": "a", "text": old}, {"id": "b", "text": old}])
    write_jsonl(tmp_path / "in/2.jsonl", [{"id": "a", "text": new}])
    streams = {"domain": {"sources": [{"reader": "jsonl", "uri": f"{tmp_path}/in/*", "id_field": "id"}]}}
    build(made := corpus_config(tmp_path / "corpus", streams=streams))
    assert current(made.corpus) == {"a": new, "b": old}


def test_rows_that_file_and_position_name_are_not_grouped_by_name_and_have_no_origin(
    tmp_path: Path, corpus_config: Config, build: Any, write_jsonl: Any, passages: Any
) -> None:
    uri = write_jsonl(tmp_path / "a.jsonl", [{"text": row["text"]} for row in passages(3)])
    streams = {"domain": {"sources": [{"reader": "jsonl", "uri": uri}]}}
    build(made := corpus_config(tmp_path / "corpus", streams=streams))
    ledger = Ledger.open(made.corpus, "domain", [name_of(made.corpus, 1)])
    assert ledger.content_of(f"{uri}:@0") is not None
    assert ledger.origin_of(f"{uri}:@0") is None
    both = {
        "domain": {
            "sources": [
                {"reader": "jsonl", "uri": uri},
                {"reader": "jsonl", "uri": uri, "text_field": "more"},
            ]
        }
    }
    write_jsonl(
        tmp_path / "a.jsonl", [{"text": "The text of one field.", "more": "The text of the other field."}]
    )
    build(twice := corpus_config(tmp_path / "twice", streams=both))
    assert read_manifest(twice.corpus).increments[0].num_documents == 1


def test_a_corpus_built_before_is_extended_and_its_documents_are_older_than_all_that_comes(
    pubmed: Files, config: Config, build: Any, current: Any
) -> None:
    pubmed(YEARLY)
    manifest = build(config())
    uri = str(located(config().corpus, "ledger/000001.domain.ledger"))
    contents = {
        name: Ledger.open(config().corpus, "domain", [name_of(config().corpus, 1)]).content_of(name)
        for name in NEWEST
    }
    rows = sorted(
        hashlib.blake2b(name.encode(), digest_size=16).digest() + bytes.fromhex(content or "")
        for name, content in contents.items()
    )
    storage.write_bytes(uri, b"".join(rows))
    located(config().corpus, "ledger/000001.domain.versions.ledger").unlink()
    assert len(storage.read_bytes(uri)) == 8 * 32
    trace = trace_document(config().corpus, manifest, "900000")
    assert [each.file for each in trace.entries] == [""]
    pubmed(UPDATE)
    assert build(config()).increments[1].superseded_document_ids == tuple(NEWEST)
    assert build(config(clean={"min_words": 6})) is None
    assert current(config().corpus) == NEWEST
    compact(config(), quiet=True)
    assert current(config().corpus) == NEWEST


def test_a_corpus_built_before_reads_later_files_with_an_older_one(
    pubmed: Files, config: Config, build: Any, current: Any
) -> None:
    pubmed(YEARLY, UPDATE)
    build(config())
    uri = str(located(config().corpus, "ledger/000001.domain.ledger"))
    ledger = Ledger.open(config().corpus, "domain", [name_of(config().corpus, 1)])
    storage.write_bytes(
        uri,
        b"".join(
            sorted(
                hashlib.blake2b(name.encode(), digest_size=16).digest()
                + bytes.fromhex(ledger.content_of(name) or "")
                for name in NEWEST
            )
        ),
    )
    located(config().corpus, "ledger/000001.domain.versions.ledger").unlink()
    pubmed(YEARLY, more=" It was printed once more.")
    assert build(config()) is None
    assert current(config().corpus) == NEWEST


ROW = "The text of {} says that a dose of the drug was given to patients in the trial."


@pytest.fixture
def take(tmp_path: Path, corpus_config: Config, write_jsonl: Any, build: Any, texts_in: Any) -> Any:
    """Build files of `id:text` rows and return the current text of each document."""
    corpus = str(tmp_path / "rows")

    def run(files: dict[str, str]) -> dict[str, str]:
        for name, rows in files.items():
            pairs = (row.split(":") for row in rows.split())
            rows_of = [{"id": key, "text": ROW.format(text) if text else "Too short."} for key, text in pairs]
            write_jsonl(tmp_path / "in" / f"{name}.jsonl", rows_of)
        build(corpus_config(corpus, f"{tmp_path}/in/*.jsonl", dedup={"near": None}))
        ledger = Ledger.open(corpus, "domain", read_manifest(corpus).names())
        return {
            passage.document_id: re.findall(r"The text of (\w+)", text.text[passage.start :])[0]
            for number in read_manifest(corpus).numbers()
            for text in texts_in(corpus, number=number)
            for passage in text.passages
            if ledger.content_of(passage.document_id) == passage.content_hash
        }

    return run


def test_a_version_between_two_equal_ones_never_wins(take: Any) -> None:
    assert take({"part-2": "a:B", "part-10": "z:Z"}) == {"a": "B", "z": "Z"}
    assert take({"part-3": "a:F", "part-11": "a:B"}) == {"a": "B", "z": "Z"}
    assert take({"part-3": "a:F y:Y"}) == {"a": "B", "z": "Z", "y": "Y"}


def test_a_newest_version_that_was_refused_lets_no_older_one_in_later(take: Any) -> None:
    assert take({"f1": "z:Z", "f3": "a:"}) == {"z": "Z"}
    assert take({"f2": "a:Y"}) == {"z": "Z"}


def test_texts_that_move_to_other_ids_are_not_lost(take: Any) -> None:
    assert take({"f1": "1:X 2:Y 3:Z"}) == {"1": "X", "2": "Y", "3": "Z"}
    assert take({"f1": "1:N 2:X 3:Y 4:Z"}) == {"1": "N", "2": "X", "3": "Y", "4": "Z"}
    assert take({"f1": "1:X 2:N 3:Y 4:Z"}) == {"1": "X", "2": "N", "3": "Y", "4": "Z"}


def test_a_copy_of_an_older_version_is_not_lost_with_it(take: Any) -> None:
    assert take({"f1": "a:X", "f2": "a:Y"}) == {"a": "Y"}
    assert take({"f1": "a:X b:X"}) == {"a": "Y", "b": "X"}


def test_a_copy_of_what_was_withdrawn_comes_in(take: Any, tmp_path: Path, corpus_config: Config) -> None:
    assert take({"f1": "a:X b:X z:Z"}) == {"a": "X", "z": "Z"}
    config = corpus_config(tmp_path / "rows", f"{tmp_path}/in/*.jsonl", dedup={"near": None})
    withdraw(config, document_ids=["a"], quiet=True)
    assert take({"f1": "a:X b:X z:Z"}) == {"b": "X", "z": "Z"}


def test_compacting_and_withdrawing_keep_the_versions_of_what_stays(
    pubmed: Files, config: Config, build: Any, current: Any, tmp_path: Path
) -> None:
    for name in (YEARLY, UPDATE):
        pubmed(name)
        build(config())
    compact(config(), quiet=True)
    withdraw(config(), document_ids=["900003"], quiet=True)
    (tmp_path / "in" / UPDATE).unlink()
    assert build(config(clean={"min_words": 6})) is None
    assert current(config().corpus) == {name: dose for name, dose in NEWEST.items() if name != "900003"}


def older(read: Origin, known: Origin, *patterns: str) -> bool:
    order = VersionOrder([Origin(0, "other", "other"), read], patterns)
    return order.is_older(first_version(1) + 17, known)


@pytest.mark.parametrize(
    ("read", "known", "patterns", "expected"),
    [
        ((0, "a/*", "a/part-9"), (0, "a/*", "a/part-10"), ("a/*",), True),
        ((0, "a/*", "a/part-10"), (0, "a/*", "a/part-9"), ("a/*",), False),
        ((0, "a/*", "a/part-9"), (0, "a/*", "a/part-9"), ("a/*",), False),
        ((0, "a/*", "a/2024/2"), (0, "a/*", "a/2025/1"), ("a/*",), True),
        ((0, "a/*", "a/9"), (1, "b/*", "b/1"), ("a/*", "b/*"), True),
        ((1, "b/*", "b/1"), (0, "a/*", "a/9"), ("a/*", "b/*"), False),
        pytest.param(
            (1, "a/*", "a/1"), (1, "b/*", "b/1"), ("new/*", "a/*", "b/*"), True, id="one was put before"
        ),
        pytest.param((1, "b/*", "b/1"), (0, "c/*", "c/1"), ("c/*", "b/*"), False, id="put in another order"),
        pytest.param((0, "a/*", "a/1"), (1, "b/*", "b/1"), ("a/*",), True, id="the later source was removed"),
        pytest.param((0, "b/*", "b/1"), (0, "a/*", "a/9"), ("b/*",), False, id="the earlier one was removed"),
        pytest.param((0, "y/*.gz", "y/1.gz"), (0, "x/*.gz", "x/9.gz"), ("y/*.gz",), False, id="moved"),
        pytest.param((0, "a/n*", "a/n1"), (0, "a/*", "a/n2"), ("a/n*",), True, id="another glob"),
        pytest.param(
            (0, "file:///a/n*", "/a/n1"), (0, "/a/*", "/a/n2"), ("file:///a/n*",), True, id="a file: URI"
        ),
        pytest.param((0, "a", "a/1"), (1, "a", "a/2"), ("a", "a"), True, id="two sources of the same files"),
        pytest.param((1, "a", "a/1"), (0, "a", "a/2"), ("a", "a"), False, id="the same, the other way round"),
    ],
)
def test_which_version_is_older(
    read: tuple[int, str, str], known: tuple[int, str, str], patterns: tuple[str, ...], expected: bool
) -> None:
    assert older(Origin(*read), Origin(*known), *patterns) is expected
