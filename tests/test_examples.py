"""Bundled example corpus: enough text, in three kinds of files, with fair questions."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from plugins.readers import READERS, listing, open_reader
from schemas.corpus_config import SourceConfig
from schemas.records import Document

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
BIOMEDICINE = EXAMPLES / "biomedicine"
RUN_WORDS = 8
"""A question with this many consecutive words of a passage counts as copied."""


def read(reader: str, uri: Path, **options: Any) -> list[Document]:
    source = SourceConfig(reader=reader, uri=str(uri), **options)
    found = [each for name in listing.expand(str(uri)) for each in READERS.load(reader)(source).read(name)]
    assert all(isinstance(each, Document) for each in found), found
    return [each for each in found if isinstance(each, Document)]


def rows(name: str) -> list[dict[str, Any]]:
    lines = (BIOMEDICINE / "tasks" / name).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def passages() -> dict[str, list[Document]]:
    """The passages by kind of file."""
    return {
        "jsonl": read("jsonl", BIOMEDICINE / "articles.jsonl.zst", id_field="id", metadata_fields=["title"]),
        "text": read("text", BIOMEDICINE / "case_notes" / "*.txt"),
        "parquet": read("parquet", BIOMEDICINE / "studies.parquet", id_field="id", metadata_fields=["title"]),
    }


@pytest.fixture(scope="module")
def instructions() -> list[Document]:
    """The general instructions in the form that the demo reads."""
    return read(
        "jsonl",
        EXAMPLES / "general" / "instructions.jsonl.zst",
        id_field="id",
        format="{system_prompt}\n{question} {response}",
    )


def words(text: str) -> list[str]:
    plain = "".join(letter if letter.isalnum() else " " for letter in text.casefold())
    return plain.split()


def runs(text: str) -> set[tuple[str, ...]]:
    each = words(text)
    return {tuple(each[at : at + RUN_WORDS]) for at in range(len(each) - RUN_WORDS + 1)}


def test_there_are_passages_enough_in_three_kinds_of_files(passages: dict[str, list[Document]]) -> None:
    assert all(len(documents) >= 10 for documents in passages.values())
    assert sum(map(len, passages.values())) >= 120


def test_every_passage_has_150_to_400_words(passages: dict[str, list[Document]]) -> None:
    lengths = {each.document_id: len(each.text.split()) for kind in passages.values() for each in kind}
    assert {name: length for name, length in lengths.items() if not 150 <= length <= 400} == {}


def test_ids_and_texts_are_unique(passages: dict[str, list[Document]], instructions: list[Document]) -> None:
    documents = [each for kind in passages.values() for each in kind] + instructions
    for field in ("document_id", "content_hash"):
        counts = Counter(getattr(each, field) for each in documents)
        assert [value for value, count in counts.items() if count > 1] == []


def test_every_article_and_study_has_a_title(passages: dict[str, list[Document]]) -> None:
    assert all(each.metadata["title"].strip() for each in passages["jsonl"] + passages["parquet"])


def test_there_are_choices_enough_with_good_gold_answers() -> None:
    choices = rows("bio_choice.jsonl")
    assert len(choices) >= 60
    assert len({row["id"] for row in choices}) == len(choices)
    for row in choices:
        assert 0 <= row["gold_index"] < len(row["options"]), row["id"]
        assert len({option.casefold() for option in row["options"]}) == len(row["options"]) == 4, row["id"]


def test_gold_answers_are_spread_over_the_places() -> None:
    counts = Counter(row["gold_index"] for row in rows("bio_choice.jsonl"))
    assert sorted(counts) == [0, 1, 2, 3]
    assert max(counts.values()) <= 0.35 * counts.total()


def test_the_longest_option_is_no_giveaway() -> None:
    choices = rows("bio_choice.jsonl")
    longest = sum(
        max(range(4), key=lambda place: len(row["options"][place])) == row["gold_index"] for row in choices
    )
    assert longest <= 0.45 * len(choices)


def test_there_are_questions_enough_with_a_short_answer() -> None:
    recalls = rows("bio_recall.jsonl")
    assert len(recalls) >= 20
    assert len({row["id"] for row in recalls}) == len(recalls)
    assert all(1 <= len(row["label"].split()) <= 6 for row in recalls)


@pytest.mark.parametrize("name", ["bio_choice.jsonl", "bio_recall.jsonl"])
def test_no_question_is_copied_from_a_passage(name: str, passages: dict[str, list[Document]]) -> None:
    known = {run for kind in passages.values() for each in kind for run in runs(each.text)}
    assert len(known) > 20_000
    copied = [
        row["id"]
        for row in rows(name)
        for text in (row["input"], *row.get("options", ()), row.get("label", ""))
        if runs(text) & known
    ]
    assert copied == []


def test_there_are_general_instructions_enough(instructions: list[Document]) -> None:
    assert len(instructions) >= 150
    assert len({each.document_id for each in instructions}) == len(instructions)


def test_general_instructions_hold_no_question_of_the_tasks(instructions: list[Document]) -> None:
    known = {run for each in instructions for run in runs(each.text)}
    asked = rows("bio_choice.jsonl") + rows("bio_recall.jsonl")
    assert [row["id"] for row in asked if runs(row["input"]) & known] == []


def test_the_mixed_folder_is_read_without_naming_a_reader() -> None:
    reader = open_reader(SourceConfig(uri=str(EXAMPLES / "mixed"), metadata_fields=("title",)))
    page, article, text = [each for name in reader.listing().files for each in reader.read(name)]
    assert isinstance(page, Document) and isinstance(article, Document) and isinstance(text, Document)
    assert page.metadata["title"] == "Fever in adults" and "Home" not in page.text
    assert "above 12 × 10^9 a litre" in page.text and "above 38 °C | fever" in page.text
    assert "litres of H2O a day" in article.text and "felt well was 17/20 in the" in article.text
    assert "invented reference" not in article.text and text.text.startswith("Rest during fever")
