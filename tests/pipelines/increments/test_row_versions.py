"""Versions that rows or files state, and deletions: in one build, over several, and read again."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from pipelines.increments.compact import compact
from pipelines.increments.increment_summary import print_increment
from pipelines.increments.withdraw import withdraw
from pipelines.inspect.trace import trace_document
from pipelines.planning.plan import plan_increment
from pipelines.planning.plan_table import plan_lines
from pipelines.store.ledger import Ledger
from pipelines.store.statistics import stats_of
from plugins.commands.main import main
from schemas.corpus_config import CorpusConfig
from schemas.manifest import newest_number, read_manifest

pytestmark = pytest.mark.slow

Row = tuple[str, Any, str]
"""Document, version, and word of its text; no word is a deletion."""

TEXT = "The text of {} says that a dose of the drug was given to patients in the trial."
FILES: dict[str, Sequence[Row]] = {
    "part-1": [("a", 5, "A5"), ("b", 1, "B1"), ("c", None, "C"), ("d", 3, ""), ("e", 2, "E")],
    "part-2": [("a", 3, "A3"), ("b", 2, ""), ("c", 1, "C1"), ("d", 2, "D2"), ("e", 4, "E")],
    "part-10": [("a", 4, "A4"), ("b", 3, "B3"), ("c", None, "C0"), ("d", 1, "D1"), ("e", 3, "E3")],
}
STATE = {"a": "A5", "b": "B3", "c": "C1", "e": "E"}


class Rows:
    """A corpus of JSON lines with versions and deletions."""

    def __init__(self, folder: Path, make: Callable[..., CorpusConfig], build: Any, texts_in: Any):
        self._make, self._build, self._texts_in = make, build, texts_in
        self.folder = folder
        self.corpus = str(folder / "corpus")
        self.keys: dict[str, Any] = {"version_field": "rev", "deleted_field": "gone"}

    def write(self, name: str, rows: Sequence[Row]) -> Path:
        path = self.folder / "in" / f"{name}.jsonl"
        path.parent.mkdir(exist_ok=True)
        lines = [
            {"id": key, "rev": version, **({"text": TEXT.format(word)} if word else {"gone": True})}
            for key, version, word in rows
        ]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return path

    def config(self, **changes: Any) -> CorpusConfig:
        source = {"reader": "jsonl", "uri": f"{self.folder}/in/*.jsonl", "id_field": "id", **self.keys}
        values = {"streams": {"domain": {"sources": [source]}}, "dedup": {"near": None}, **changes}
        return self._make(self.corpus, **values)

    def build(self, files: Mapping[str, Sequence[Row]], **changes: Any) -> Any:
        for name, rows in files.items():
            self.write(name, rows)
        return self._build(self.config(**changes))

    def state(self) -> dict[str, str]:
        manifest = read_manifest(self.corpus)
        ledger = Ledger.open(self.corpus, "domain", manifest.names())
        return {
            passage.document_id: text.text[passage.start :].split()[3]
            for increment in manifest.increments
            if increment.streams
            for text in self._texts_in(self.corpus, number=increment.number)
            for passage in text.passages
            if ledger.content_of(passage.document_id) == passage.content_hash
        }


@pytest.fixture
def rows(tmp_path: Path, corpus_config: Any, build: Any, texts_in: Any) -> Rows:
    return Rows(tmp_path, corpus_config, build, texts_in)


@pytest.mark.parametrize(
    "builds",
    [
        [("part-1", "part-2", "part-10")],
        [("part-10",), ("part-2",), ("part-1",)],
        [("part-2",), ("part-1", "part-10")],
    ],
)
def test_files_in_any_order_and_division_give_one_state_also_when_read_again(
    builds: Sequence[Sequence[str]], rows: Rows
) -> None:
    for names in builds:
        rows.build({name: FILES[name] for name in names})
    assert rows.state() == STATE
    assert rows.build({}, clean={"min_words": 6}) is None
    for name in ("part-1", "part-2"):  # older files alone bring nothing back
        (rows.folder / "in" / f"{name}.jsonl").unlink()
    assert rows.build({}, clean={"min_words": 7}) is None
    compact(rows.config(), quiet=True)
    assert rows.build({"part-1": FILES["part-1"], "part-2": FILES["part-2"]}) is None
    assert rows.state() == STATE


ARTICLE = """<PubmedArticle><MedlineCitation><PMID Version="1">{0}</PMID><DateRevised><Year>{1}</Year>
<Month>03</Month><Day>01</Day></DateRevised><Article>
<ArticleTitle>Trial {0} of an example drug.</ArticleTitle>
<Abstract><AbstractText>{2}</AbstractText></Abstract></Article></MedlineCitation></PubmedArticle>"""
OLD = "In trial {} the daily dose of the example drug was 50 mg, as the first report printed."
NEW = "In trial {} the daily dose of the example drug was 5 mg; this corrects the first report."
PMIDS = range(900000, 900008)


def medline(
    path: Path, year: int, text: str, pmids: Sequence[int] = PMIDS, deleted: Sequence[int] = ()
) -> None:
    records = "".join(ARTICLE.format(pmid, year, text.format(pmid)) for pmid in pmids)
    gone = "".join(f'<PMID Version="1">{pmid}</PMID>' for pmid in deleted)
    records += f"<DeleteCitation>{gone}</DeleteCitation>" if gone else ""
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(gzip.compress(f"<PubmedArticleSet>{records}</PubmedArticleSet>".encode(), mtime=0))
    os.utime(path, (1_000_000_000, 1_000_000_000))


@pytest.fixture
def pubmed(tmp_path: Path, corpus_config: Any) -> Callable[..., CorpusConfig]:
    def make(**changes: Any) -> CorpusConfig:
        source = {"preset": "pubmed", "uri": f"{tmp_path}/in/*.xml.gz"}
        values = {"streams": {"domain": {"sources": [source]}}, "dedup": {"near": None}, **changes}
        return corpus_config(tmp_path / "corpus", **values)

    return make


def doses(corpus: str, texts_in: Any) -> dict[str, str]:
    manifest = read_manifest(corpus)
    ledger = Ledger.open(corpus, "domain", manifest.names())
    return {
        passage.document_id: text.text.partition("drug was ")[2].partition(" mg")[0]
        for increment in manifest.increments
        if increment.streams
        for text in texts_in(corpus, number=increment.number)
        for passage in text.passages
        if ledger.content_of(passage.document_id) == passage.content_hash
    }


@pytest.mark.parametrize(
    ("first", "newest"),
    [(None, "pubmed25n1300"), ("pubmed25n1300", "pubmed25n1300"), ("pubmed25n0001", "pubmed25n0001")],
)
def test_the_revision_date_decides_between_pubmed_files_of_any_name(
    first: str | None, newest: str, pubmed: Any, build: Any, texts_in: Any, tmp_path: Path
) -> None:
    names = ["pubmed25n0001", "pubmed25n1300"]
    for name in sorted(names, key=lambda each: each != first):
        year, text = (2025, NEW) if name == newest else (2019, OLD)
        medline(tmp_path / "in" / f"{name}.xml.gz", year, text)
        if first is not None:
            build(pubmed())
    if first is None:
        build(pubmed())
    assert doses(pubmed().corpus, texts_in) == {str(pmid): "5" for pmid in PMIDS}
    assert build(pubmed(clean={"min_words": 6})) is None
    (tmp_path / "in" / f"{newest}.xml.gz").unlink()
    assert build(pubmed(clean={"min_words": 7})) is None
    assert doses(pubmed().corpus, texts_in) == {str(pmid): "5" for pmid in PMIDS}


def test_a_deleted_citation_withdraws_its_article_until_a_later_file_has_it(
    pubmed: Any, build: Any, texts_in: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = pubmed().corpus
    medline(tmp_path / "in/pubmed25n0001.xml.gz", 2024, OLD)
    build(pubmed())
    medline(tmp_path / "in/pubmed25n1300.xml.gz", 2024, NEW, pmids=(), deleted=(900001, 900002, 5))
    plan = plan_increment(pubmed(), quiet=True)
    assert (plan.total.num_new, plan.total.num_deleted, plan.total.num_rejected) == (0, 2, 0)
    manifest = build(pubmed())
    newest = manifest.increments[-1]
    assert (newest.num_documents, newest.num_withdrawn, newest.streams) == (0, 2, {})
    print_increment(pubmed(), manifest)
    assert "  2 documents deleted by the sources; `tutelage corpus compact` takes" in capsys.readouterr().out
    left = {str(pmid): "50" for pmid in PMIDS if pmid not in (900001, 900002)}
    assert doses(corpus, texts_in) == left
    trace = trace_document(corpus, manifest, "900001")
    update = f"{tmp_path}/in/pubmed25n1300.xml.gz"
    assert [(each.increment, each.state, each.version, each.file) for each in trace.entries] == [
        (1, "superseded", "2024-03-01", f"{tmp_path}/in/pubmed25n0001.xml.gz"),
        (2, "deleted", "deletion", update),
    ]
    assert [each.state for each in trace_document(corpus, manifest, "5").entries] == ["seen"]
    assert main(["corpus", "trace", corpus, "900001"]) == 0
    assert f"increment 2, domain: deleted, version deletion, of {update}" in capsys.readouterr().out
    assert main(["corpus", "verify", corpus]) == 0
    (versions,) = Path(corpus, "ledger").glob("000002-*.domain.versions.ledger")
    sound = versions.read_bytes()
    versions.write_bytes(sound[:70] + bytes([sound[70] ^ 1]) + sound[71:])
    assert main(["corpus", "verify", corpus]) == 1
    versions.unlink()
    capsys.readouterr()
    assert main(["corpus", "verify", corpus]) == 1
    assert f"{versions}: is missing.\n" in capsys.readouterr().out
    versions.write_bytes(sound)
    compact(pubmed(), quiet=True)
    (text,) = {text.text for text in texts_in(corpus, number=3) if "900001" in text.text} or {""}
    assert text == ""
    (tmp_path / "in/pubmed25n1300.xml.gz").rename(tmp_path / "kept")
    assert build(pubmed(clean={"min_words": 6})) is None
    assert doses(corpus, texts_in) == left
    (tmp_path / "kept").rename(tmp_path / "in/pubmed25n1300.xml.gz")
    medline(tmp_path / "in/pubmed25n1301.xml.gz", 2020, NEW, pmids=[900001])
    assert build(pubmed()).increments[-1].superseded_document_ids == ()
    assert doses(corpus, texts_in) == {**left, "900001": "5"}
    assert build(pubmed(clean={"min_words": 7})) is None
    assert doses(corpus, texts_in) == {**left, "900001": "5"}


def test_a_deletion_lets_the_text_in_under_another_id_of_the_same_build(rows: Rows) -> None:
    rows.build({"part-1": [("a", 1, "X"), ("z", 1, "Z")]})
    rows.build({"part-2": [("a", 2, ""), ("b", 1, "X")]})
    assert rows.state() == {"b": "X", "z": "Z"}


def test_what_a_user_withdraws_stays_out_whatever_version_comes(rows: Rows) -> None:
    rows.build({"part-1": [("a", 1, "A1"), ("b", 2, "B2"), ("c", 1, "C1"), ("d", 1, "D1")]})
    rows.build({"part-2": [("c", 2, "")]})
    withdraw(rows.config(), document_ids=["a", "c"], quiet=True)
    assert rows.build({"part-3": [("a", 2, ""), ("b", 1, "B1")]}) is not None  # a newer version was seen
    assert rows.build({"part-4": [("a", 3, "A3"), ("c", 3, "C3"), ("d", 2, "D2")]}) is not None
    assert rows.state() == {"b": "B2", "d": "D2"}


def test_a_newest_version_that_is_refused_or_unchanged_keeps_older_ones_out(
    rows: Rows, capsys: pytest.CaptureFixture[str], rejects_in: Any
) -> None:
    rows.build({"part-1": [("a", 1, "A1"), ("b", 1, "B")]})
    long = "A9" + " very" * 200
    manifest = rows.build({"part-2": [("a", 9, long), ("b", 9, "B")]}, clean={"max_characters": 300})
    assert (manifest.increments[1].num_documents, manifest.increments[1].streams) == (0, {})
    (rows.folder / "in/part-2.jsonl").unlink()
    again = rows.build({"part-3": [("a", 5, "A5"), ("b", 5, "B5"), ("y", 1, "Y")]})
    assert rows.state() == {"a": "A1", "b": "B", "y": "Y"}
    late = [each for each in rejects_in(rows.corpus, "dedup", 3) if "part-3" in each["source"]]
    assert {(each["reason"], each["detail"]) for each in late} == {
        ("older_version", f"version 5; the corpus has seen version 9 of {rows.folder}/in/part-2.jsonl")
    }
    trace = trace_document(rows.corpus, again, "b")
    assert [(each.increment, each.state, each.version) for each in trace.entries] == [
        (1, "current", "1"),
        (2, "seen", "9"),
    ]


def test_rows_without_a_version_are_counted_and_said(rows: Rows, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = rows.build({"part-1": [("a", None, "A"), ("b", 1, "B"), ("c", "v2", "C")]})
    print_increment(rows.config(), manifest)
    printed = capsys.readouterr().out
    assert "  1 of 2 rows have no value in version_field and count as the oldest\n" in printed
    assert "1 read: bad_version" in printed


def test_unlike_rows_of_one_id_without_a_version_are_a_conflict_with_both_places(
    rows: Rows, capsys: pytest.CaptureFixture[str], rejects_in: Any
) -> None:
    rows.keys = {}
    files = {"part-2": [("a", 1, "A1"), ("b", 1, "B")], "part-10": [("a", 1, "A2"), ("b", 1, "B")]}
    for name, lines in files.items():
        rows.write(name, lines)
    plan = plan_increment(rows.config(), quiet=True)
    assert plan.total.rejects["dedup"] == {"conflict": 1, "exact_duplicate": 1}
    assert plan_lines(plan)[0] == (
        "Conflicts: 1 rows have the id of another row and another text, and no version says which is newer. "
        "Set version_field or newest on their source."
    )
    manifest = rows.build({})
    print_increment(rows.config(), manifest)
    one, other = (f"{rows.folder}/in/part-{number}.jsonl:@0" for number in (2, 10))
    assert (
        "  CONFLICT: 1 rows have the id of another row and another text, and no version that says which is "
        f"newer; the later one by file name and position was kept: a ({one} and {other}). "
        "Set version_field or newest on the source\n"
    ) in capsys.readouterr().out
    assert stats_of(rows.corpus, manifest.increments[0].name)["counts"]["dedup/rejected_conflict"] == 1
    (reject,) = (each for each in rejects_in(rows.corpus, "dedup", 1) if each["reason"] == "conflict")
    assert (reject["source"], reject["detail"]) == (
        one,
        f"no version says which text is newer; kept the version at {other}",
    )
    assert rows.state() == {"a": "A2", "b": "B"}
    assert not list(Path(rows.corpus, "ledger").glob("*.versions.ledger"))
    rows.keys, rows.corpus = {"newest": "by_name"}, str(rows.folder / "ordered")
    manifest = rows.build({})
    print_increment(rows.config(), manifest)
    assert "CONFLICT" not in capsys.readouterr().out
    assert rows.state() == {"a": "A2", "b": "B"}


@pytest.mark.parametrize("builds", [[("new", "old")], [("old",), ("new",)], [("new",), ("old",)]])
def test_the_file_that_changed_last_is_the_newest_by_time(
    builds: Sequence[Sequence[str]], rows: Rows
) -> None:
    rows.keys = {"newest": "by_time", "deleted_field": "gone"}
    files: dict[str, tuple[str, Sequence[Row]]] = {
        "old": ("part-9", [("a", 0, "A1"), ("b", 0, "B1"), ("c", 0, "")]),
        "new": ("part-1", [("a", 0, "A2"), ("b", 0, ""), ("c", 0, "C2")]),
    }
    times = {"old": 1_000_000_000, "new": 1_100_000_000}
    for names in builds:
        for each in names:
            os.utime(rows.write(*files[each]), (times[each], times[each]))
        rows.build({})
    assert rows.state() == {"a": "A2", "c": "C2"}
    number = newest_number(rows.corpus)
    rows.build({}, clean={"min_words": 6})
    assert newest_number(rows.corpus) == number
    (rows.folder / "in/part-1.jsonl").unlink()
    assert rows.build({}, clean={"min_words": 7}) is None
    assert rows.state() == {"a": "A2", "c": "C2"}


def test_a_corpus_without_versions_learns_them_and_the_files_it_names_stay_newer(rows: Rows) -> None:
    keys, rows.keys = rows.keys, {}
    rows.build({"part-1": [("a", 1, "A1")]})
    rows.build({"part-2": [("a", 2, "A2")]})
    rows.keys = keys
    (rows.folder / "in/part-2.jsonl").unlink()
    assert rows.build({}) is None  # read again with new keys: an older file
    assert rows.state() == {"a": "A2"}
    rows.build({"part-3": [("a", 3, "A3")]})
    assert rows.build({"part-4": [("a", 2.5, "A4")]}) is None
    assert rows.state() == {"a": "A3"}
