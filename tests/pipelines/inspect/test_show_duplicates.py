"""Clusters of duplicates: built from duplicate records, and shown by `corpus show`."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.store.duplicate_records import Duplicate, find_clusters
from schemas import storage
from schemas.content_hash import content_hash
from schemas.corpus_layout import duplicates_uri, increment_uri
from schemas.records import to_json


def exact(name: str, content: str, kept: str) -> Duplicate:
    return Duplicate(
        kind="exact",
        document_id=name,
        source=f"file:{name}",
        content=content,
        kept_content=content,
        kept_id=kept,
        kept_source=f"file:{kept}",
        similarity=1.0,
    )


def near(name: str, content: str, kept: str, kept_content: str, similarity: float) -> Duplicate:
    return Duplicate(
        kind="near",
        document_id=name,
        source=f"file:{name}",
        content=content,
        kept_content=kept_content,
        kept_id=kept,
        kept_source=f"file:{kept}",
        similarity=similarity,
    )


def held(name: str, content: str, kept_content: str, number: int) -> Duplicate:
    return Duplicate(
        kind="near",
        document_id=name,
        source=f"file:{name}",
        content=content,
        kept_content=kept_content,
        kept_in=number,
    )


@pytest.fixture
def corpus() -> str:
    return f"memory://duplicates-{uuid.uuid4().hex}"


@pytest.fixture
def write(corpus: str) -> Callable[..., None]:
    def make(*duplicates: Duplicate) -> None:
        uri = duplicates_uri(increment_uri(corpus, "000002"), "domain")
        storage.write_lines_zst(uri, sorted(map(to_json, duplicates)))

    return make


def clusters_in(corpus: str, most: int = 10) -> list[tuple[str, str, int, list[str]]]:
    return [
        (each.kept_id, each.kept_content, each.kept_in, [copy.document_id for copy in each.copies])
        for each in find_clusters(corpus, "000002", "domain", most)
    ]


def test_clusters_are_the_biggest_first_then_by_name(corpus: str, write: Any) -> None:
    write(
        exact("z", "1", "y"),
        exact("b", "2", "a"),
        *(near(name, f"4{name}", "k", "3", similarity) for name, similarity in (("m", 0.8), ("n", 0.9))),
    )
    assert clusters_in(corpus) == [("k", "3", 0, ["n", "m"]), ("a", "2", 0, ["b"]), ("y", "1", 0, ["z"])]
    assert clusters_in(corpus, 2) == clusters_in(corpus)[:2]


def test_exact_copies_of_a_document_that_was_dropped_belong_to_what_was_kept_for_it(
    corpus: str, write: Any
) -> None:
    write(exact("b", "2", "a"), near("a", "2", "k", "3", 0.8), exact("d", "4", "c"), held("c", "4", "5", 1))
    assert clusters_in(corpus) == [("", "5", 1, ["d", "c"]), ("k", "3", 0, ["b", "a"])]


def test_what_an_earlier_increment_holds_has_a_name_where_an_exact_copy_tells_it(
    corpus: str, write: Any
) -> None:
    write(held("c", "4", "5", 1), exact("e", "5", "d"))
    assert clusters_in(corpus) == [("d", "5", 1, ["e", "c"])]


def test_an_increment_without_copies_has_no_clusters(corpus: str) -> None:
    assert find_clusters(corpus, "000002", "domain", 3) == []


def story(last: str) -> str:
    return " ".join([*(f"Word{number}" for number in range(60)), last])


@pytest.fixture
def built(tmp_path: Path, corpus_config: Any, write_jsonl: Any, build: Any) -> str:
    """Two increments: the first contains copies, and the second copies a document of the first."""
    corpus = tmp_path / "corpus"
    rows = [
        {"id": "a", "text": story("one end")},
        {"id": "b", "text": story("One  END")},
        {"id": "c", "text": story("another end")},
        {"id": "d", "text": "A text of its own, about something else."},
    ]
    more = [
        {"id": "e", "text": story("a third end")},
        {"id": "f", "text": "Another text, about nothing else."},
    ]
    build(corpus_config(corpus, write_jsonl(tmp_path / "in/1.jsonl", rows)))
    build(corpus_config(corpus, write_jsonl(tmp_path / "in/2.jsonl", more)))
    return str(corpus)


@pytest.mark.slow
def test_show_prints_clusters_with_what_was_kept_and_what_was_dropped(built: str, tutelage: Any) -> None:
    first = tutelage("corpus", "show", built, "--duplicates", "3", "--manifest", "1")
    assert first.status == 0
    said = " ".join(first.out.split())
    texts = {"a": story("one end"), "c": story("another end")}
    kept, dropped = sorted("ac", key=lambda name: content_hash(texts[name]))
    assert f"domain: kept {kept!r} from" in said
    assert "dropped 2 copies" in said
    assert "exact" in said and "near" in said and "1.00" in said
    assert f"│ {dropped} " in first.out and "│ b " in first.out
    second = tutelage("corpus", "show", built, "--duplicates", "3")
    content = content_hash(texts[kept])[:16]
    assert f"kept content {content} of increment 1; dropped 1 copy" in " ".join(second.out.split())


@pytest.mark.slow
def test_show_gives_clusters_as_json(built: str, tutelage: Any) -> None:
    show = ("corpus", "show", built, "--duplicates", "1", "--json")
    first = json.loads(tutelage(*show, "--manifest", "1").out)
    assert first["increment"] == 1
    (cluster,) = first["clusters"]
    copies = [copy["document_id"] for copy in cluster["copies"]]
    assert sorted([cluster["kept_id"], *copies]) == ["a", "b", "c"]
    alike = {copy["kind"]: copy["similarity"] for copy in cluster["copies"]}
    assert alike["exact"] == 1.0
    assert 0.8 < alike["near"] < 1.0
    second = json.loads(tutelage(*show).out)
    assert [(each["kept_in"], len(each["copies"])) for each in second["clusters"]] == [(1, 1)]


@pytest.mark.slow
def test_show_says_when_there_are_no_copies(
    tmp_path: Path, corpus_config: Any, write_jsonl: Any, passages: Any, build: Any, tutelage: Any
) -> None:
    config = corpus_config(tmp_path / "corpus", write_jsonl(tmp_path / "a.jsonl", passages(3)))
    build(config)
    shown = tutelage("corpus", "show", config.corpus, "--duplicates", "3")
    assert (shown.status, shown.out) == (0, "Increment 1 dropped no copies of documents.\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--duplicates", "0"], "ConfigError: --duplicates is 0; expected at least 1.\n"),
        (
            ["--duplicates", "1", "--stream", "domian"],
            "ConfigError: stream 'domian' is unknown. Did you mean 'domain'? Available: domain.\n",
        ),
    ],
)
def test_show_refuses_what_makes_no_sense(built: str, tutelage: Any, more: list[str], message: str) -> None:
    shown = tutelage("corpus", "show", built, *more)
    assert (shown.status, shown.err) == (2, message)
