from __future__ import annotations

import gc
import hashlib
import struct
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pipelines.increments.document_versions import Origin
from pipelines.increments.publish import remove_increment
from pipelines.store.ledger import (
    WITHDRAWN,
    Ledger,
    Newest,
    check_ledger,
    count_documents,
    current_rows,
    ledger_row,
    write_ledger,
)
from schemas import storage
from schemas.content_hash import content_hash
from schemas.corpus_layout import ledger_uri
from schemas.errors import CorpusError

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
            write_ledger(ledger_uri(corpus, "domain", f"{number:06d}"), rows)
        return Ledger.open(corpus, "domain", [f"{each:06d}" for each in range(1, len(increments) + 1)])

    return make


def test_a_document_has_its_newest_content(ledger: Callable[..., Ledger]) -> None:
    found = ledger({"a": ONE, "b": TWO}, {"a": THREE})
    assert [found.content_of(name) for name in ("a", "b", "c")] == [THREE, TWO, None]


def test_a_content_that_was_superseded_is_no_longer_in(ledger: Callable[..., Ledger]) -> None:
    found = ledger({"a": ONE, "b": TWO}, {"a": THREE})
    assert [bool(found.holder_of(content)) for content in (ONE, TWO, THREE)] == [False, True, True]


def test_a_content_that_was_superseded_and_came_back_is_in(ledger: Callable[..., Ledger]) -> None:
    found = ledger({"a": ONE}, {"a": TWO}, {"a": ONE})
    assert found.content_of("a") == ONE
    assert [bool(found.holder_of(content)) for content in (ONE, TWO)] == [True, False]


def test_a_superseded_content_that_another_document_holds_is_in(ledger: Callable[..., Ledger]) -> None:
    found = ledger({"a": ONE, "b": ONE}, {"a": TWO})
    assert bool(found.holder_of(ONE))


def test_an_increment_without_the_stream_has_no_ledger(corpus: str, ledger: Callable[..., Ledger]) -> None:
    ledger({"a": ONE})
    found = Ledger.open(corpus, "domain", ("000001", "000002", "000003"))
    assert found.content_of("a") == ONE
    assert Ledger.open(corpus, "general", ("000001",)).content_of("a") is None


def test_an_empty_ledger_can_be_opened(ledger: Callable[..., Ledger]) -> None:
    assert not ledger({}).holder_of(ONE)


def test_names_that_are_no_valid_unicode_have_a_row(ledger: Callable[..., Ledger]) -> None:
    assert ledger({"\ud800": ONE}).content_of("\ud800") == ONE


def test_rows_are_found_among_many(ledger: Callable[..., Ledger]) -> None:
    contents = {f"doc {number}": content_hash(f"text {number}") for number in range(2000)}
    found = ledger(contents)
    assert all(found.content_of(name) == content for name, content in contents.items())
    assert all(bool(found.holder_of(content)) for content in contents.values())
    assert not any(found.holder_of(content_hash(f"other {number}")) for number in range(2000))


def test_the_same_rows_give_the_same_bytes_in_any_order(corpus: str) -> None:
    rows = [ledger_row(name, ONE) for name in "abc"]
    write_ledger(ledger_uri(corpus, "domain", "000001"), rows)
    write_ledger(ledger_uri(corpus, "domain", "000002"), reversed(rows))
    first, second = (storage.read_bytes(ledger_uri(corpus, "domain", f"{number:06d}")) for number in (1, 2))
    assert first == second
    assert (len(first), len(first) % 32) == (64 + 3 * 36 + 21, 1)


def test_documents_are_counted_by_stream_and_increment(corpus: str, ledger: Callable[..., Ledger]) -> None:
    ledger({"a": ONE, "b": TWO}, {"a": THREE})
    assert [count_documents(corpus, "domain", f"{number:06d}") for number in (1, 2, 3)] == [2, 1, 0]
    assert count_documents(corpus, "general", "000001") == 0


def test_a_content_is_found_by_the_beginning_of_its_hash_while_it_is_current(
    ledger: Callable[..., Ledger],
) -> None:
    found = ledger({"a": ONE, "b": TWO}, {"a": THREE})
    is_held = [found.holder_of(content[:16]) is not None for content in (ONE, TWO, THREE)]
    assert is_held == [False, True, True]
    assert found.holder_of(TWO[:15] + ("0" if TWO[15] != "0" else "1")) is None


def test_only_the_ledgers_of_one_increment_are_removed(corpus: str, ledger: Callable[..., Ledger]) -> None:
    ledger({"a": ONE}, {"a": TWO})
    write_ledger(ledger_uri(corpus, "general", "000002"), [ledger_row("g", ONE)])
    remove_increment(corpus, "000002")
    assert [storage.exists(ledger_uri(corpus, "domain", f"{number:06d}")) for number in (1, 2)] == [
        True,
        False,
    ]
    assert not storage.exists(ledger_uri(corpus, "general", "000002"))


NAMES = ["000001", "000002", "000003"]
YEARLY = Origin(0, "raw/*.gz", "raw/n1.gz")
UPDATE = Origin(0, "raw/*.gz", "raw/n\u00fc \ud800.gz")  # the name is not UTF-8


def name_of(document_id: str) -> bytes:
    return hashlib.blake2b(document_id.encode(), digest_size=16).digest()


def test_the_bytes_of_a_ledger_are_these(corpus: str) -> None:
    rows = [ledger_row("a", ONE, 1), ledger_row("b", TWO, 2), ledger_row("c", THREE)]
    write_ledger(
        ledger_uri(corpus, "domain", "000001"), rows, [Origin(1, "unused", "unused"), YEARLY, UPDATE]
    )
    expected_rows = sorted(
        [
            name_of("a") + bytes.fromhex(ONE) + b"\x00\x00\x00\x00",
            name_of("b") + bytes.fromhex(TWO) + b"\x00\x00\x00\x01",
            name_of("c") + bytes.fromhex(THREE) + b"\xff\xff\xff\xff",
        ]
    )
    origins = b'[0, "raw/*.gz", "raw/n1.gz"]\n[0, "raw/*.gz", "raw/n\\u00fc \\ud800.gz"]\n'
    body = b"".join(expected_rows) + struct.pack("<QQ", 29, 70) + origins
    body += b" " * 31  # 289 bytes with the header, not a multiple of 32
    digest = hashlib.blake2b(body, digest_size=16).digest()
    header = b"tutelage ledger\n" + struct.pack("<IIQQQ", 2, 36, 3, 2, 70 + 31) + digest
    assert storage.read_bytes(ledger_uri(corpus, "domain", "000001")) == header + body
    found = Ledger.open(corpus, "domain", ["000001"])
    assert [found.origin_of(name) for name in "abcd"] == [YEARLY, UPDATE, None, None]
    assert [found.content_of(name) for name in "abcd"] == [ONE, TWO, THREE, None]
    check_ledger(ledger_uri(corpus, "domain", "000001"))


def test_a_ledger_of_rows_without_origins_opens_beside_newer_ones(corpus: str) -> None:
    old = sorted([name_of("a") + bytes.fromhex(ONE), name_of("b") + bytes.fromhex(TWO)])
    storage.write_bytes(ledger_uri(corpus, "domain", "000001"), b"".join(old))
    write_ledger(ledger_uri(corpus, "domain", "000002"), [ledger_row("a", THREE, 0)], [YEARLY])
    found = Ledger.open(corpus, "domain", ["000001", "000002"])
    assert [(found.content_of(name), found.origin_of(name)) for name in "abc"] == [
        (THREE, YEARLY),
        (TWO, None),
        (None, None),
    ]
    assert [bool(found.holder_of(content)) for content in (ONE, TWO, THREE)] == [False, True, True]
    assert [count_documents(corpus, "domain", f"{number:06d}") for number in (1, 2)] == [2, 1]
    check_ledger(ledger_uri(corpus, "domain", "000001"))


def test_rows_of_several_ledgers_keep_their_origins_in_one(corpus: str) -> None:
    old = sorted([name_of("a") + bytes.fromhex(ONE), name_of("b") + bytes.fromhex(TWO)])
    storage.write_bytes(ledger_uri(corpus, "domain", "000001"), b"".join(old))
    write_ledger(
        ledger_uri(corpus, "domain", "000002"),
        [ledger_row("c", ONE, 0), ledger_row("d", TWO, 1), ledger_row("e", TWO, 0)],
        [UPDATE, YEARLY],
    )
    write_ledger(ledger_uri(corpus, "domain", "000003"), [ledger_row("a", THREE, 0)], [YEARLY])
    rows, origins, num_documents = current_rows(corpus, "domain", NAMES, of={*NAMES}, withdrawn=["e"])
    assert num_documents == 4
    write_ledger(ledger_uri(corpus, "domain", "000004"), rows, origins)
    found = Ledger.open(corpus, "domain", ["000004"])
    assert [(found.content_of(name), found.origin_of(name)) for name in "abcde"] == [
        (THREE, YEARLY),
        (TWO, None),
        (ONE, UPDATE),
        (TWO, YEARLY),
        (WITHDRAWN, None),
    ]


@pytest.mark.parametrize("length", [0, 5, 16, 32, 63, 64, 96, 160, -32, -1])
def test_a_ledger_that_was_cut_short_is_refused(corpus: str, length: int) -> None:
    uri = ledger_uri(corpus, "domain", "000001")
    write_ledger(uri, [ledger_row(name, ONE, 0) for name in "abc"], [YEARLY])
    storage.write_bytes(uri, storage.read_bytes(uri)[:length])
    with pytest.raises(CorpusError, match=r"domain\.ledger: is damaged: .*Restore it"):
        Ledger.open(corpus, "domain", ["000001"])


@pytest.mark.parametrize(
    ("at", "finding"),
    [
        (0, "does not begin like a ledger"),
        (16, "is a ledger of version 3"),
        (24, "expected"),
        (40, "expected"),
    ],
)
def test_a_ledger_with_a_damaged_header_is_refused(corpus: str, at: int, finding: str) -> None:
    uri = ledger_uri(corpus, "domain", "000001")
    write_ledger(uri, [ledger_row("a", ONE, 0)], [YEARLY])
    data = bytearray(storage.read_bytes(uri))
    data[at] ^= 1
    storage.write_bytes(uri, bytes(data))
    with pytest.raises(CorpusError, match=finding):
        Ledger.open(corpus, "domain", ["000001"])


@pytest.mark.parametrize("at", [64, 99, 100, 108, -3])
def test_a_changed_byte_is_found_where_all_of_a_ledger_is_read(corpus: str, at: int) -> None:
    uri = ledger_uri(corpus, "domain", "000001")
    write_ledger(uri, [ledger_row("a", ONE, 0)], [YEARLY])
    data = bytearray(storage.read_bytes(uri))
    data[at] ^= 1
    storage.write_bytes(uri, bytes(data))
    with pytest.raises(CorpusError, match="its bytes do not have the hash in its header"):
        check_ledger(uri)


def test_an_origin_that_cannot_be_read_is_named(corpus: str) -> None:
    uri = ledger_uri(corpus, "domain", "000001")
    write_ledger(uri, [ledger_row("a", ONE, 0)], [YEARLY])
    data = bytearray(storage.read_bytes(uri))
    data[99] = 7  # the last byte of the row: the number of its origin
    storage.write_bytes(uri, bytes(data))
    with pytest.raises(CorpusError, match="its origin 7 cannot be read"):
        Ledger.open(corpus, "domain", ["000001"]).origin_of("a")


def test_a_process_fetches_a_table_once_for_all_threads_and_steps(
    corpus: str, ledger: Callable[..., Ledger], reads: Counter[str]
) -> None:
    if not corpus.startswith("memory://"):
        pytest.skip("counts reads of a store")
    ledger({"a": ONE, "b": TWO}, {"a": THREE})
    gc.collect()
    reads.clear()
    with ThreadPoolExecutor(8) as threads:
        opened = list(threads.map(lambda _: Ledger.open(corpus, "domain", NAMES), range(16)))
        holders = list(threads.map(lambda each: each.holder_of(TWO), opened))
    newest = Newest(corpus, "domain", NAMES)
    assert newest.is_current(2, "a", THREE)
    assert len(set(holders)) == 1 and holders[0] is not None
    assert reads == {"000001.domain.ledger": 1, "000002.domain.ledger": 1}


def test_a_table_that_was_written_anew_is_opened_anew(corpus: str) -> None:
    uri = ledger_uri(corpus, "domain", "000001")
    write_ledger(uri, [ledger_row("a", ONE)])
    before = Ledger.open(corpus, "domain", ["000001"])
    write_ledger(uri, [ledger_row("a", TWO)])
    after = Ledger.open(corpus, "domain", ["000001"])
    assert (before.content_of("a"), after.content_of("a")) == (ONE, TWO)
