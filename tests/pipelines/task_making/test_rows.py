"""Rows of made tasks: prompts, accepted answers, passages and provenance."""

from __future__ import annotations

import dataclasses

import pytest

from pipelines.task_making.make import rows_to_keep_out
from pipelines.task_making.questions import Question, SourceText
from pipelines.task_making.rows import accepted, perplexity_rows, question_rows
from schemas.corpus_config import DecontaminationConfig
from tests.pipelines.task_making.conftest import make_texts

TEXT = make_texts("The dose of Nerorix is 20 mg.")[0]
QUESTION = Question(
    text="The dose of Nerorix is ____.",
    answer="20 mg",
    about=TEXT,
    author="cloze",
    span=(23, 28),
    statement=TEXT.text,
    is_specific=True,
)
OPTIONS = {QUESTION.question_id: ("8 mg", "20 mg", "75 mg", "90 mg")}


def test_rows_are_those_that_eval_reads() -> None:
    tasks = question_rows([QUESTION], [QUESTION], OPTIONS)
    origin = {
        "document_id": "d0",
        "source": "raw.jsonl:0",
        "stream": "domain",
        "start": 23,
        "end": 28,
        "author": "cloze",
    }
    alone = "Fill in the blank: The dose of Nerorix is ____.\nAnswer:"
    row = {"id": QUESTION.question_id, "provenance": origin}
    choice = {"options": ["8 mg", "20 mg", "75 mg", "90 mg"], "gold_index": 1}
    short = {"label": ["20 mg", "20mg", "20"]}
    assert tasks == {
        "closed_book_choice": [row | choice | {"input": alone}],
        "closed_book_short": [row | short | {"input": alone}],
        "reading_choice": [row | choice | {"input": f"Text: {TEXT.text}\n\n{alone}"}],
        "reading_short": [row | short | {"input": f"Text: {TEXT.text}\n\n{alone}"}],
    }
    assert TEXT.text[23:28] == "20 mg"


def test_a_question_about_a_held_out_document_has_tasks_of_its_own() -> None:
    about = dataclasses.replace(TEXT, held_out=True, part="2/3")
    question = dataclasses.replace(QUESTION, about=about, text="What is the dose?")
    ((name, (row,)),) = question_rows([question], [], {}).items()
    assert name == "heldout_reading_short"
    assert row["input"] == f"Text: {TEXT.text}\n\nQuestion: What is the dose?\nAnswer:"
    assert row["provenance"]["part"] == "2/3"


def test_a_cloze_about_a_held_out_document_is_kept_out_by_its_whole_sentence() -> None:
    (text,) = make_texts("The highest dose that Nerorix was ever given in is 20 mg a day.")
    held_out = dataclasses.replace(text, held_out=True)
    cloze = dataclasses.replace(
        QUESTION, text=text.text.replace("20 mg", "____"), about=held_out, statement=text.text
    )
    trained = dataclasses.replace(cloze, about=text)
    rule = DecontaminationConfig()
    assert rows_to_keep_out([trained], rule) == []  # the next version of its document would be refused
    (row,) = rows_to_keep_out([cloze, dataclasses.replace(cloze, statement="Nerorix is new.")], rule)
    assert row == {"id": cloze.question_id, "text": text.text}


def test_held_out_documents_are_rows_of_one_perplexity_task_a_stream() -> None:
    texts = [
        SourceText(document_id=name, stream=stream, text="A text.", source="raw", held_out=True)
        for name, stream in (("a", "domain"), ("b", "general"))
    ]
    tasks = perplexity_rows(texts)
    assert list(tasks) == ["heldout_perplexity_domain", "heldout_perplexity_general"]
    (row,) = tasks["heldout_perplexity_domain"]
    origin = {"document_id": "a", "source": "raw", "stream": "domain"}
    assert row == {"id": row["id"], "text": "A text.", "provenance": origin}


@pytest.mark.parametrize("at", [0, 2_000, 9_000])
def test_a_long_text_is_cut_to_a_passage_of_whole_words_around_the_answer(at: int) -> None:
    words = [f"w{number:04}" for number in range(2_000)]
    text = " ".join(words)
    start = at // 6 * 6
    question = dataclasses.replace(
        QUESTION,
        about=dataclasses.replace(TEXT, text=text),
        answer=text[start : start + 5],
        span=(start, start + 5),
    )
    prompt = question_rows([question], [], {})["reading_short"][0]["input"]
    passage = prompt.removeprefix("Text: ").partition("\n\n")[0]
    assert question.answer in passage.split()
    assert set(passage.split()) <= set(words)
    assert 2_900 < len(passage) <= 3_000


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("20 mg", ["20 mg", "20mg", "20"]),
        ("1,200 km", ["1,200 km", "1,200km", "1,200"]),
        ("1948", ["1948"]),
        ("beta-blocker", ["beta-blocker", "beta blocker"]),
        ("Kyoto", ["Kyoto"]),
    ],
)
def test_accepted_variants_of_an_answer(answer: str, expected: list[str]) -> None:
    assert accepted(answer) == expected
