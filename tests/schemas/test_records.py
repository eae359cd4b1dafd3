"""Records: hashes, and conversion to JSON and back."""

from __future__ import annotations

import dataclasses
import pickle

import pytest

from schemas.content_hash import content_hash, digest
from schemas.records import (
    AugmentedText,
    Chain,
    Document,
    Generation,
    InstructionPair,
    Passage,
    Reject,
    from_json,
    to_json,
    well_formed,
)


def test_digest_is_pinned() -> None:
    """Corpora on disk, chains and seeds depend on these values."""
    assert digest() == "cae66941d9efbd404e4d88758ea67670"
    assert digest("ab", "c") == "4826ed043ab3cdec576d8541fa5d5a80"
    assert digest("a", size_bytes=4) == "9dfc2fa6"


def test_digest_keeps_its_parts_apart() -> None:
    assert (
        len({digest("ab", "c"), digest("a", "bc"), digest("abc"), digest("abc", ""), digest("", "abc")}) == 5
    )


def test_digest_takes_lone_surrogates() -> None:
    assert digest("\ud83d") != digest("\ufffd")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("The Cell", "the cell"),
        ("a  b\n\tc ", "a b c"),
        ("ﬁbre", "fibre"),
        ("Ｄｏｓｅ　１", "dose 1"),
        ("cafe\u0301", "café"),
        ("STRASSE", "straße"),
    ],
)
def test_content_hash_overlooks_case_white_space_and_unicode_form(one: str, other: str) -> None:
    assert content_hash(one) == content_hash(other)


@pytest.mark.parametrize(("one", "other"), [("a b", "ab"), ("a.", "a"), ("café", "cafe"), ("1", "2")])
def test_content_hash_sees_what_a_reader_sees(one: str, other: str) -> None:
    assert content_hash(one) != content_hash(other)


def test_a_document_is_hashed_as_it_is_made() -> None:
    document = Document.of("a:1", "The  Cell", source="a:1", metadata={"title": "T"})
    assert document.content_hash == content_hash("the cell")
    assert (document.text, dict(document.metadata)) == ("The  Cell", {"title": "T"})


RECORDS = (
    Document.of("a:1", 'Line\nbreak, "quotes", 漢字 🧬', source="a:1", metadata={"title": "T"}),
    InstructionPair(instruction="q", response="b", options=("a", "b"), rationale="r"),
    InstructionPair(instruction="q", response="b"),
    Generation(text="t", finish_reason="stop", prompt_tokens=3, completion_tokens=2, cached_tokens=1),
    AugmentedText(text_id="t", text="x", passages=(), num_pairs=0, template="f/l", seed=2**63),
    AugmentedText(
        text_id="t",
        text="one\n\ntwo",
        passages=(
            Passage(document_id="a", content_hash="0a", source="a:1", start=0, end=3, generation="k"),
            Passage(document_id="b", content_hash="0b", source="b", start=5, end=8, part="1/2", num_pairs=2),
        ),
        num_pairs=2,
        template="f/l",
        seed=1,
    ),
    Reject(stage="read", reason="empty", document_id="", source="a:1"),
)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_record_comes_back_from_json(record: object) -> None:
    line = to_json(record)
    assert "\n" not in line
    assert from_json(type(record), line) == record
    assert from_json(type(record), line.encode()) == record


def test_a_text_read_back_holds_passages_and_names_their_documents() -> None:
    text = next(record for record in RECORDS if isinstance(record, AugmentedText) and record.passages)
    again = from_json(AugmentedText, to_json(text))
    assert [type(passage) for passage in again.passages] == [Passage, Passage]
    assert again.document_ids == ("a", "b")


def test_json_has_sorted_keys_and_plain_letters() -> None:
    reject = Reject(stage="read", reason="empty", document_id="é", source="a:1", detail="d")
    assert to_json(reject) == (
        '{"detail": "d", "document_id": "é", "reason": "empty", "source": "a:1", "stage": "read"}'
    )


def test_a_record_with_a_lone_surrogate_comes_back_from_json() -> None:
    reject = Reject(stage="read", reason="x", document_id="", source="a", detail="\ud83d")
    assert from_json(Reject, to_json(reject)) == reject


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_a_record_crosses_process_boundaries(record: object) -> None:
    assert pickle.loads(pickle.dumps(record)) == record


def test_records_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Chain(chain_id="c", documents=()).chain_id = "d"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain 🧬", "plain 🧬"),
        ("cut \ud83d", "cut \ufffd"),
        ("\udc00 first", "\ufffd first"),
        ("a\ud83db\udc00c", "a\ufffdb\ufffdc"),
        ("\ud83e\uddec", "🧬"),
    ],
)
def test_well_formed_replaces_lone_surrogates(text: str, expected: str) -> None:
    assert well_formed(text) == expected
