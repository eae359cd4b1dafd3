"""Documents with pairs: SQuAD's JSON, one row per question, the collection's rows; bad pairs."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from plugins.readers.pair_fields import BadPair, read_pair
from schemas.records import Document, InstructionPair, Reject
from tests.plugins.readers.reading import read

WHY = {"question": " Why? ", "id": "q1", "answers": [{"text": "So.", "answer_start": 3}, {"text": "Thus."}]}
HOW = {"question": "How?", "answers": [{"text": "Well."}]}


@pytest.mark.parametrize(
    ("item", "response"),
    [
        (WHY, "So."),
        ({"question": "Why?", "answers": {"text": ["So.", "Thus."], "answer_start": [3, 9]}}, "So."),
        ({"question": "Why?", "answers": ["", "So."]}, "So."),
        ({"question": "Why?", "answers": "So."}, "So."),
        ({"question": "Why?", "answer": "So.\n"}, "So."),
        ({"question": "Why?", "answers": None, "answer": "So."}, "So."),
        ({"Q": "Why?", "A": "So."}, "So."),
        ({"question": "Why?", "is_impossible": False, "answers": [{"text": "half \ud83d"}]}, "half \ud83d"),
    ],
)
def test_the_ways_to_write_a_pair(item: dict[str, Any], response: str) -> None:
    assert read_pair(item) == InstructionPair(instruction="Why?", response=response)


@pytest.mark.parametrize(
    ("item", "reason", "found"),
    [
        ("Why? So.", "not_a_pair", "found str, expected an object with question and answers"),
        ({}, "no_question", "no text in field 'question' or 'Q' of an object of no fields"),
        (
            {"question": "  ", "A": "So."},
            "no_question",
            "no text in field 'question' or 'Q' of an object of A, ",
        ),
        (
            {"question": 7, "A": "So."},
            "no_question",
            "no text in field 'question' or 'Q' of an object of A, ",
        ),
        ({"Q": "Why?"}, "no_answer", "no text in field 'answers', 'answer' or 'A': 'Why?'"),
        ({"Q": "Why?", "A": " "}, "no_answer", "no text in field"),
        ({"question": "Why?", "answers": []}, "no_answer", "no text in field"),
        ({"question": "Why?", "answers": {"text": [], "answer_start": []}}, "no_answer", "no text in field"),
        ({"question": "Why?", "answers": [{"answer_start": 3}]}, "no_answer", "no text in field"),
        (
            {
                "question": "Why?",
                "is_impossible": True,
                "answers": [],
                "plausible_answers": [{"text": "So."}],
            },
            "no_answer",
            "is marked is_impossible: 'Why?'",
        ),
    ],
)
def test_what_is_no_pair_is_said(item: Any, reason: str, found: str) -> None:
    with pytest.raises(BadPair) as caught:
        read_pair(item)
    assert caught.value.reason == reason
    assert str(caught.value).startswith(found)


def squad(path: Path, value: Any) -> list[Document | Reject]:
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return read(None, path, preset="squad")


def rejects(found: list[Document | Reject], path: Path) -> list[tuple[str, str, str]]:
    return [
        (each.source.removeprefix(str(path)), each.reason, each.detail)
        for each in found
        if isinstance(each, Reject)
    ]


class TestSquad:
    def test_a_paragraph_is_a_document_with_its_pairs(self, tmp_path: Path) -> None:
        path = tmp_path / "train.json"
        first, second = squad(
            path,
            {
                "version": "1.1",
                "data": [
                    {"title": "Nerves", "paragraphs": [{"context": "A nerve.", "qas": [WHY, HOW]}]},
                    {"title": "Bones", "paragraphs": [{"context": "A bone.", "qas": [HOW]}]},
                ],
            },
        )
        assert isinstance(first, Document) and isinstance(second, Document)
        assert (first.text, first.metadata) == ("A nerve.", {"title": "Nerves"})
        assert first.document_id == first.source == f"{path}:data[0].paragraphs[0]"
        assert [(pair.instruction, pair.response) for pair in first.pairs] == [
            ("Why?", "So."),
            ("How?", "Well."),
        ]
        assert first.dataset == second.dataset == str(path)
        assert second.source == f"{path}:data[1].paragraphs[0]"

    def test_bad_articles_paragraphs_and_pairs_cost_only_themselves(self, tmp_path: Path) -> None:
        path = tmp_path / "train.json"
        paragraphs = [
            {"context": "Good.", "qas": [{"question": "Why?", "answers": []}, HOW, "?"]},
            {"qas": [HOW]},
            {"context": "  ", "qas": [HOW]},
            {"context": 7, "qas": [HOW]},
            {"context": "No pairs."},
            {"context": "No pairs.", "qas": []},
            {"context": "No answer.", "qas": [{"question": "Why?", "is_impossible": True, "answers": []}]},
            "text",
        ]
        found = squad(path, {"data": [{"title": "A", "paragraphs": paragraphs}, {"title": "B"}, 7]})
        documents = [each for each in found if isinstance(each, Document)]
        assert [(each.text, len(each.pairs)) for each in documents] == [("Good.", 1)]
        here = ":data[0].paragraphs"
        assert [each[:2] for each in rejects(found, path)] == [
            (f"{here}[0].qas[0]", "no_answer"),
            (f"{here}[0].qas[2]", "not_a_pair"),
            (f"{here}[1]", "missing_field"),
            (f"{here}[2]", "empty"),
            (f"{here}[3]", "not_text"),
            (f"{here}[4]", "missing_field"),
            (f"{here}[5]", "no_pairs"),
            (f"{here}[6].qas[0]", "no_answer"),
            (f"{here}[7]", "not_squad"),
            (":data[1]", "not_squad"),
            (":data[2]", "not_squad"),
        ]
        details = [each[2] for each in rejects(found, path)]
        assert details[5] == "field 'qas' must hold a list of pairs; found none in a row of context, title"
        assert details[9] == "expected an object with a list 'paragraphs', found an object of title"

    @pytest.mark.parametrize(
        ("content", "reason", "detail"),
        [
            ("{", "invalid_json", "Expecting property name"),
            ("[]", "not_squad", "expected an object with a list 'data', found list"),
            ('{"rows": []}', "not_squad", "expected an object with a list 'data', found an object of rows"),
        ],
    )
    def test_a_file_that_is_none_is_one_reject(
        self, tmp_path: Path, content: str, reason: str, detail: str
    ) -> None:
        path = tmp_path / "train.json"
        (found,) = rejects(squad(path, content), path)
        assert found[:2] == ("", reason)
        assert found[2].startswith(detail)

    def test_a_file_that_is_cut_short_is_one_reject(self, tmp_path: Path) -> None:
        path = tmp_path / "train.json.gz"
        path.write_bytes(gzip.compress(b'{"data": []}' * 50)[:-9])
        (found,) = read(None, path, preset="squad")
        assert isinstance(found, Reject)
        assert (found.source, found.reason) == (str(path), "damaged_file")


class TestRows:
    def read(self, path: Path, *rows: Any, **fields: Any) -> list[Document | Reject]:
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
        return read("jsonl", path, text_field="context", **fields)

    def test_a_row_without_the_name_of_its_dataset_is_a_reject(self, tmp_path: Path) -> None:
        row = {"context": "A nerve.", "QA_list": [{"Q": "Why?", "A": "So."}]}
        good, bad = self.read(
            tmp_path / "a.jsonl",
            {**row, "rc_name": "squad"},
            row,
            pairs_field="QA_list",
            dataset_field="rc_name",
        )
        assert isinstance(good, Document) and isinstance(bad, Reject)
        assert good.dataset == "squad"
        assert (bad.reason, bad.detail) == ("missing_field", "no name of a dataset in field 'rc_name'")

    def test_pairs_make_the_content_of_a_document_another_one(self, tmp_path: Path) -> None:
        rows = [
            {"context": "A nerve.", "question": "Why?", "answer": answer} for answer in ("So.", "so. ", "No.")
        ]
        first, same, other = self.read(tmp_path / "a.jsonl", *rows, pairs_field=".")
        plain, *_ = self.read(tmp_path / "a.jsonl", *rows)
        assert isinstance(first, Document) and isinstance(same, Document)
        assert isinstance(other, Document) and isinstance(plain, Document)
        assert first.content_hash == same.content_hash
        assert len({first.content_hash, other.content_hash, plain.content_hash}) == 3
        assert plain.pairs == ()
