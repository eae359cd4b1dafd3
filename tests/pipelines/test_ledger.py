from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.ledger import Ledger, count_documents, ledger_row, write_ledger
from pipelines.places import ledger_uri, remove_tables
from schemas import storage
from schemas.records import content_hash

ONE, TWO, THREE = map(content_hash, ("text one", "text two", "text three"))


@pytest.fixture(params=["local", "memory"])
def corpus(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path) if request.param == "local" else f"memory://ledger-{uuid.uuid4().hex}"


@pytest.fixture
def ledger(corpus: str) -> Callable[..., Ledger]:
    """Write increments, each a mapping from document_id to content hash, and open them all."""

    def make(*increments: dict[str, str]) -> Ledger:
        for number, contents in enumerate(increments, start=1):
            rows = [ledger_row(name, content) for name, content in contents.items()]
            write_ledger(ledger_uri(corpus, "domain", number), rows)
        return Ledger.open(corpus, "domain", range(1, len(increments) + 1))

    return make


def test_a_document_has_its_newest_content(ledger: Callable[..., Ledger]) -> None:
    found = ledger({"a": ONE, "b": TWO}, {"a": THREE})
    assert [found.content_of(name) for name in ("a", "b", "c")] == [THREE, TWO, None]


def test_a_content_that_was_superseded_is_no_longer_in(ledger: Callable[..., Ledger]) -> None:
    found = ledger({"a": ONE, "b": TWO}, {"a": THREE})
    assert [found.has_content(content) for content in (ONE, TWO, THREE)] == [False, True, True]


def test_a_content_that_was_superseded_and_came_back_is_in(ledger: Callable[..., Ledger]) -> None:
    found = ledger({"a": ONE}, {"a": TWO}, {"a": ONE})
    assert found.content_of("a") == ONE
    assert [found.has_content(content) for content in (ONE, TWO)] == [True, False]


def test_a_superseded_content_that_another_document_holds_is_in(ledger: Callable[..., Ledger]) -> None:
    found = ledger({"a": ONE, "b": ONE}, {"a": TWO})
    assert found.has_content(ONE)


def test_an_increment_without_the_stream_has_no_ledger(corpus: str, ledger: Callable[..., Ledger]) -> None:
    ledger({"a": ONE})
    found = Ledger.open(corpus, "domain", (1, 2, 3))
    assert found.content_of("a") == ONE
    assert Ledger.open(corpus, "general", (1,)).content_of("a") is None


def test_an_empty_ledger_can_be_opened(ledger: Callable[..., Ledger]) -> None:
    assert not ledger({}).has_content(ONE)


def test_names_that_are_no_valid_unicode_have_a_row(ledger: Callable[..., Ledger]) -> None:
    assert ledger({"\ud800": ONE}).content_of("\ud800") == ONE


def test_rows_are_found_among_many(ledger: Callable[..., Ledger]) -> None:
    contents = {f"doc {number}": content_hash(f"text {number}") for number in range(2000)}
    found = ledger(contents)
    assert all(found.content_of(name) == content for name, content in contents.items())
    assert all(found.has_content(content) for content in contents.values())
    assert not any(found.has_content(content_hash(f"other {number}")) for number in range(2000))


def test_the_same_rows_give_the_same_bytes_in_any_order(corpus: str) -> None:
    rows = [ledger_row(name, ONE) for name in "abc"]
    write_ledger(ledger_uri(corpus, "domain", 1), rows)
    write_ledger(ledger_uri(corpus, "domain", 2), reversed(rows))
    first, second = (storage.read_bytes(ledger_uri(corpus, "domain", number)) for number in (1, 2))
    assert first == second
    assert len(first) == 3 * 32


def test_documents_are_counted_by_stream_and_increment(corpus: str, ledger: Callable[..., Ledger]) -> None:
    ledger({"a": ONE, "b": TWO}, {"a": THREE})
    assert [count_documents(corpus, "domain", number) for number in (1, 2, 3)] == [2, 1, 0]
    assert count_documents(corpus, "general", 1) == 0


def test_a_content_is_found_by_the_beginning_of_its_hash_while_it_is_current(
    ledger: Callable[..., Ledger],
) -> None:
    found = ledger({"a": ONE, "b": TWO}, {"a": THREE})
    assert [found.has_content_beginning(content[:16]) for content in (ONE, TWO, THREE)] == [False, True, True]
    assert not found.has_content_beginning(TWO[:15] + ("0" if TWO[15] != "0" else "1"))


def test_only_the_ledgers_of_one_increment_are_removed(corpus: str, ledger: Callable[..., Ledger]) -> None:
    ledger({"a": ONE}, {"a": TWO})
    write_ledger(ledger_uri(corpus, "general", 2), [ledger_row("g", ONE)])
    remove_tables(corpus, 2)
    assert [storage.exists(ledger_uri(corpus, "domain", number)) for number in (1, 2)] == [True, False]
    assert not storage.exists(ledger_uri(corpus, "general", 2))
