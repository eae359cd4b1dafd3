"""The report of a corpus: its numbers are those of manifest and stats.json; what is missing is said."""

from __future__ import annotations

import json
import random
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pipelines.inspect.report import corpus_part as parts
from pipelines.inspect.report.corpus_part import corpus_part
from pipelines.inspect.report.sampled_texts import Sample, _marked
from plugins.report.blocks import Facts, Note, Part, Rows, Table, Texts
from plugins.report.page import MOST_BYTES, render
from schemas.corpus_layout import increment_uri, report_uri, stats_uri
from schemas.errors import CorpusError
from schemas.manifest import read_manifest
from tests.attacks.mutations import mutate_json

GOLDEN = Path(__file__).parents[3] / "golden"


@pytest.fixture
def golden(tmp_path: Path) -> str:
    """A corpus of two increments, whose pairs a stand-in of a model wrote."""
    return str(shutil.copytree(GOLDEN / "asked", tmp_path / "asked"))


def blocks_of(part: Part, title: str) -> list[Any]:
    (section,) = (each for each in part.sections if each.title == title)
    return list(section.blocks)


def notes_of(part: Part, title: str) -> list[str]:
    return [each.text for each in blocks_of(part, title) if isinstance(each, Note)]


def tables_of(part: Part, title: str) -> list[Table]:
    return [each for each in blocks_of(part, title) if isinstance(each, Table)]


def test_numbers_are_those_of_manifest_and_statistics(golden: str) -> None:
    part = corpus_part(golden)
    (facts,) = (each for each in blocks_of(part, "At a glance") if isinstance(each, Facts))
    assert facts.facts == [
        ("documents taken in", 21),
        ("training texts", 21),
        ("pairs in them", 45),
        ("packed rows", 16),
        ("tokens", 8192),
    ]
    documents, made = tables_of(part, "From documents to tokens")
    assert [row[1] for row in documents.rows] == [18 + 22, 17 + 21, 21, 18 + 8, 16 + 8]
    assert [row[1] for row in made.rows] == [21, 45, 16, 8192]
    (rejects,) = tables_of(part, "Rejects")
    assert {tuple(row[:3]) for row in rejects.rows} == {
        ("decontaminate", "task_overlap", 4),
        ("dedup", "near_duplicate", 2),
        ("dedup", "conflict", 2),
        ("dedup", "exact_duplicate", 1),
        ("ledger", "already_ingested", 1),
        ("read", "empty", 2),
        ("read", "invalid_json", 2),
    }
    (growth,) = tables_of(part, "Growth")
    assert [tuple(row[:6]) for row in growth.rows] == [
        ("1", 13, 16, 31, 6144, 6144),
        ("2", 8, 5, 14, 2048, 8192),
    ]
    requests, walls = tables_of(part, "Cost")
    assert requests.rows == [
        ("1: synthesis", 18, 0, 0, 5601, 556, "0.0%", None),
        ("2: synthesis", 8, 0, 0, 1469, 249, "0.0%", None),
    ]
    folders = [increment_uri(golden, each.name) for each in read_manifest(golden).increments]
    seconds = [json.loads(Path(stats_uri(folder)).read_text())["wall_sec"] for folder in folders]
    assert [row[2] for row in walls.rows] == seconds


def test_every_reject_has_an_example(golden: str) -> None:
    (rejects,) = tables_of(corpus_part(golden), "Rejects")
    examples = {row[1]: str(row[3]) for row in rejects.rows}
    assert examples["exact_duplicate"] == "article-2: kept 'article-11' from sources/articles.jsonl:@5737"
    assert "no example" not in "".join(examples.values())


def test_texts_show_their_pairs_and_rows_their_segments(golden: str) -> None:
    part = corpus_part(golden)
    (browser,) = (each for each in blocks_of(part, "Texts") if isinstance(each, Texts))
    assert len(browser.texts) == 21
    assert sum(len(pairs) for text in browser.texts for _, _, pairs in text.passages) == 45
    for text in browser.texts:
        for _, words, pairs in text.passages:
            assert any(pair.is_supported for pair in pairs) == any(marked for _, marked in words)
    (kinds,) = tables_of(part, "Kinds of pairs")
    assert sum(int(str(row[1])) for row in kinds.rows) == 45
    (lengths,) = tables_of(part, "Lengths")[:1]
    assert sum(int(str(row[1])) for row in lengths.rows) == 21
    (rows,) = (each for each in blocks_of(part, "Packed rows") if isinstance(each, Rows))
    assert [row.num_tokens for row in rows.rows] == [512] * 4  # of the newest increment


def test_what_a_corpus_lacks_is_said(golden: str) -> None:
    part = corpus_part(golden)
    assert notes_of(part, "Verification of pairs") == ["No pair was verified."]
    assert "dropped 0 exact and 1 near copies" in notes_of(part, "Copies")[0]
    mined = corpus_part(str(GOLDEN / "mined"))
    assert notes_of(mined, "Rejects") == ["Nothing was refused."]  # increment 4 rewrites all others
    assert "rewrites earlier ones" in notes_of(mined, "From documents to tokens")[1]
    assert notes_of(mined, "Cost") == ["No increment asked a model."]
    assert notes_of(mined, "Copies") == ["The newest increment, 4, dropped no copies of documents."]


def test_an_old_corpus_without_newer_keys_has_a_report(golden: str) -> None:
    """Older builds wrote counts alone, stored no pairs and counted no parted ones."""
    manifest = read_manifest(golden)
    for name in manifest.names():
        uri = Path(stats_uri(increment_uri(golden, name)))
        uri.write_text(json.dumps({"counts": json.loads(uri.read_text())["counts"]}))
        shutil.rmtree(Path(increment_uri(golden, name), "pairs"))
    path = Path(golden, "manifest/000002.json")
    values = json.loads(path.read_text())
    for increment in values["increments"]:
        for field in ("num_stored_pairs", "num_cut_texts", "num_parted_pairs", "num_pairs_asked_first"):
            del increment["streams"]["domain"][field]
    path.write_text(json.dumps(values))
    shutil.rmtree(Path(golden, "tokenizer"))

    part = corpus_part(golden)
    assert notes_of(part, "Sources and licences") == [
        "The statistics of the newest increment name no sources."
    ]
    assert notes_of(part, "Kinds of pairs") == ["Its 45 pairs are only inside its texts."]
    assert notes_of(part, "Packed rows")[0].startswith(f"Rows cannot be shown: {golden} holds no tokenizer")
    assert len(render("Old", [part])) < MOST_BYTES


def test_verification_is_shown_by_rule(golden: str) -> None:
    newest = Path(stats_uri(increment_uri(golden, read_manifest(golden).names()[-1])))
    stats = json.loads(newest.read_text())
    stats["counts"] |= {
        "verify/pairs": 20,
        "verify/kept": 15,
        "verify/rejected_grounded": 4,
        "verify/rejected_judge_failed": 1,
        "verify/marked_closed_book": 2,
        "verify/documents_without_pairs": 3,
    }
    newest.write_text(json.dumps(stats))
    part = corpus_part(golden)
    (table,) = tables_of(part, "Verification of pairs")
    assert table.rows == [
        ("kept", 15, "75.0%"),
        ("dropped by grounded", 4, "20.0%"),
        ("dropped by judge_failed", 1, "5.0%"),
        ("kept with a mark of closed_book", 2, "10.0%"),
    ]
    assert notes_of(part, "Verification of pairs") == ["3 documents lost all pairs."]


def test_gpu_hours_are_counted_where_workers_started_the_servers(golden: str) -> None:
    newest = Path(stats_uri(increment_uri(golden, read_manifest(golden).names()[-1])))
    stats = json.loads(newest.read_text())
    stats["config"]["synthesis"]["server"] = {"python": "p", "gpus_per_server": 2}
    stats["synthesis"] |= {"seconds": 1800.0, "endpoints": {"http://a": {}, "http://b": {}}}
    newest.write_text(json.dumps(stats))
    requests = tables_of(corpus_part(golden), "Cost")[0]
    assert [row[-1] for row in requests.rows] == [None, 2.0]


def test_logins_of_sources_are_not_shown(golden: str) -> None:
    newest = Path(stats_uri(increment_uri(golden, read_manifest(golden).names()[-1])))
    newest.write_text(newest.read_text().replace("sources/notes/*.txt", "https://me:pw@host/notes?sig=abc"))
    html = render("A", [corpus_part(golden)]).decode()
    assert "https://host/notes" in html
    assert "me:pw" not in html and "sig=abc" not in html


@pytest.mark.parametrize(
    ("spans", "pieces"),
    [
        ([], [("abcdef", False)]),
        ([(), (2, 4)], [("ab", False), ("cd", True), ("ef", False)]),
        ([(0, 3), (1, 2), (2, 6)], [("abc", True), ("def", True)]),
    ],
)
def test_spans_that_overlap_are_marked_once(spans: list[Any], pieces: list[Any]) -> None:
    assert list(_marked("abcdef", spans)) == pieces


@pytest.mark.slow
def test_a_build_writes_its_report_with_200_texts_or_more(
    tmp_path: Path, corpus_config: Any, build: Any, passages: Any, write_jsonl: Any
) -> None:
    source = write_jsonl(tmp_path / "rows.jsonl", passages(260))
    corpus = str(tmp_path / "corpus")
    manifest = build(corpus_config(corpus, source, dedup={"near": None}, chains={"max_documents": 1}))
    data = Path(report_uri(increment_uri(corpus, manifest.names()[0]))).read_bytes()
    html = data.decode()
    assert len(data) < MOST_BYTES
    assert len(re.findall("<article ", html)) >= 200
    assert "<mark>" in html
    assert "260" in re.sub(r"<[^>]*>", " ", html.partition("documents read")[2][:300])


@pytest.mark.slow
def test_a_report_that_fails_leaves_the_increment_published(
    tmp_path: Path,
    corpus_config: Any,
    build: Any,
    passages: Any,
    write_jsonl: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: Any) -> Any:
        raise RuntimeError("no room")

    monkeypatch.setattr(parts, "render", fail)
    corpus = str(tmp_path / "corpus")
    manifest = build(corpus_config(corpus, write_jsonl(tmp_path / "rows.jsonl", passages(3))))
    uri = report_uri(increment_uri(corpus, manifest.names()[0]))
    assert not Path(uri).exists()
    assert read_manifest(corpus) == manifest
    assert f"Warning: {uri} is not written: RuntimeError: no room. " in capsys.readouterr().err


def test_damaged_statistics_are_named_or_shown(golden: str, monkeypatch: pytest.MonkeyPatch) -> None:
    empty = Sample(num_texts=0, lengths=[], kinds=Counter(), blocks=[])
    monkeypatch.setattr(parts, "sample_texts", lambda *_: empty)
    monkeypatch.setattr(parts, "shown_rows", lambda *_: [])
    path = Path(stats_uri(increment_uri(golden, read_manifest(golden).names()[-1])))
    whole, rng, refused = path.read_bytes(), random.Random(17), 0
    for _ in range(150):
        path.write_bytes(mutate_json(rng, whole))
        try:
            assert len(render("A", [corpus_part(golden)])) < MOST_BYTES
        except CorpusError as error:
            assert str(path) in str(error)
            refused += 1
    assert 20 < refused < 150
