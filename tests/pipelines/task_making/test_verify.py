"""Verification: each reason for which a question is refused, or asked with its text only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import pytest

from pipelines.task_making.questions import Question, SourceText
from pipelines.task_making.verify import LeftOut, closed_book, overlapping, verify
from schemas.corpus_config import DecontaminationConfig
from tests.pipelines.task_making.conftest import make_texts

TEXT = "The maker of Nerorix is in Kyoto. Take 20 mg once a day. It causes a rash in some of the people."


def question(
    text: str, answer: str, about: SourceText | None = None, *, is_specific: bool = True
) -> Question:
    return Question(
        text=text,
        answer=answer,
        about=about or make_texts(TEXT)[0],
        author="sglang:chat:model",
        span=(0, 0),
        statement=text,
        is_specific=is_specific,
    )


def outcome(*questions: Question, pairs: Sequence[str] = ()) -> tuple[list[str], dict[str, int]]:
    """Answers that pass, and the number of refused questions by reason."""
    refused: LeftOut = defaultdict(list)
    passed = verify(questions, pairs, refused)
    return [each.answer for each in passed], {reason: len(each) for reason, each in refused.items()}


@pytest.mark.parametrize(
    ("answer", "found", "span"),
    [
        ("Kyoto", "Kyoto", (27, 32)),
        ("kyoto.", "Kyoto", (27, 32)),
        ("A rash", "rash", (69, 73)),
        ("20-mg", "20 mg", (39, 44)),
    ],
)
def test_an_answer_gets_the_words_and_the_place_that_it_has_in_the_text(
    answer: str, found: str, span: tuple[int, int]
) -> None:
    (passed,) = verify([question("What does the text tell of?", answer)], [], defaultdict(list))
    assert (passed.answer, passed.span) == (found, span)


@pytest.mark.parametrize(
    ("text", "answer", "reason"),
    [
        ("Where is the maker of Nerorix?", "Tokyo", "its text does not hold the answer"),
        ("Where is the maker of Nerorix?", "oto", "its text does not hold the answer"),
        ("Where is the maker of Nerorix?", "", "its text does not hold the answer"),
        ("Where is the maker of Nerorix?", "in some of the people", None),
        (
            "What is said of this drug?",
            "It causes a rash in some of the people",
            "the answer has more than 6 words",
        ),
        ("Where is it?", "Kyoto", "it has fewer than 4 words"),
        ("Is the maker of Nerorix in Kyoto?", "Kyoto", "it holds its answer"),
    ],
)
def test_a_question_is_refused_with_its_reason(text: str, answer: str, reason: str | None) -> None:
    assert outcome(question(text, answer))[1] == ({reason: 1} if reason else {})


def test_text_without_spaces_supports_an_answer_within_it() -> None:
    (about,) = make_texts("奈罗利克斯由京都的一家工厂生产,每日剂量为二十毫克。")
    asked = question("奈罗利克斯在哪里生产?", "京都的一家工厂", about)
    (passed,) = verify([asked], [], defaultdict(list))
    assert (passed.answer, passed.span) == ("京都的一家工厂", (6, 13))


def test_a_question_is_asked_once_about_a_text() -> None:
    again = question("where is the Maker of nerorix", "Kyoto")
    other = question("Where is the maker of Nerorix?", "Kyoto", make_texts("x", TEXT)[1])
    assert outcome(question("Where is the maker of Nerorix?", "Kyoto"), again, other) == (
        ["Kyoto", "Kyoto"],
        {"it was asked before about its text": 1},
    )


def test_a_question_in_the_words_of_a_training_pair_is_refused() -> None:
    pairs = ["Say: what is the usual dose of Nerorix? 20 mg"]
    asked = question("Where is the maker?", "Kyoto"), question("What is the dose?", "20 mg")
    assert outcome(*asked, pairs=pairs) == (["Kyoto", "20 mg"], {})
    pairs.append("Say: what is the DOSE of Nerorix? 20 mg")
    assert outcome(*asked, pairs=pairs) == (["Kyoto"], {"a training pair has its words": 1})


def test_questions_that_a_text_holds_are_found() -> None:
    rule = DecontaminationConfig()
    text = "However, the trial ended early. However patient 3 was well."
    asked = ["the trial ended early however patient 3 was well", "the trial ended early", "early"]
    assert overlapping(asked, [text], rule) == {0}
    assert overlapping(["dose"], ["a dose"], DecontaminationConfig(min_words=1)) == {0}


def test_a_closed_book_question_names_its_subject_and_has_one_answer() -> None:
    first, second = make_texts(TEXT, TEXT)
    left_out: LeftOut = defaultdict(list)
    kept = closed_book(
        [
            question("Where is the maker of Nerorix?", "Kyoto", first),
            question("Where is the maker of Nerorix", "kyoto", second),
            question("What is the usual dose?", "20 mg", first),
            question("What is the usual dose?", "8 mg", second),
            question("What is said here?", "Kyoto", first, is_specific=False),
        ],
        left_out,
    )
    assert [each.text for each in kept] == ["Where is the maker of Nerorix?"]
    assert {reason: len(each) for reason, each in left_out.items()} == {
        "asked with its text only, since it is asked about another text": 1,
        "asked with its text only, since texts answer it differently": 2,
        "asked with its text only, since it names no subject": 1,
    }
