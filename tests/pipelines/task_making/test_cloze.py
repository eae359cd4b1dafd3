"""Cloze questions: which words are left out, and which questions make sense without their text."""

from __future__ import annotations

import pytest

from pipelines.task_making.cloze import best_questions, cloze_questions
from plugins.synthesizers.mining_sentences import is_english
from tests.pipelines.task_making.conftest import make_texts, vocabulary_of


def asked(text: str, *others: str) -> dict[str, str]:
    """Answers by question about the first of some texts."""
    texts = make_texts(text, *others)
    return {each.text: each.answer for each in cloze_questions(texts[0], vocabulary_of(texts))}


def test_names_years_numbers_with_units_and_terms_are_left_out() -> None:
    found = asked("In 1998 the daily dose of Nerorix was 20 mg for most patients with rhabdomyolysis.")
    assert found == {
        "In ____ the daily dose of Nerorix was 20 mg for most patients with rhabdomyolysis.": "1998",
        "In 1998 the daily dose of ____ was 20 mg for most patients with rhabdomyolysis.": "Nerorix",
        "In 1998 the daily dose of Nerorix was ____ for most patients with rhabdomyolysis.": "20 mg",
        "In 1998 the daily dose of Nerorix was 20 mg for most patients with ____.": "rhabdomyolysis",
    }


def test_a_run_of_capitalised_words_is_one_name() -> None:
    found = asked("It was the Framingham Heart Study that followed people for decades.")
    assert found == {"It was the ____ that followed people for decades.": "Framingham Heart Study"}


def test_an_everyday_word_is_a_term_only_if_its_texts_have_a_name_in_common() -> None:
    text = "The sale of Nerorix with walnuts is not allowed here."
    assert "walnuts" not in asked(text, "The bread with walnuts is good.").values()
    assert "walnuts" in asked(text, "They eat no walnuts when they take Nerorix.").values()


@pytest.mark.parametrize(
    "text",
    [
        "Screening is done between 24 and 28 weeks of a pregnancy.",  # a range
        "Phase 1 trials give the compound to some humans.",  # an ordinal
        "The doctors came to see that the lung collapses and falls.",  # a verb behind an article
        "What is the daily dose of this drug in Kyoto?",  # a question
        "Nerorix: 20 mg",  # no sentence
    ],
)
def test_nothing_is_left_out_where_the_answer_would_be_unclear(text: str) -> None:
    assert asked(text) == {}


def test_a_question_is_specific_if_its_sentence_names_something_else() -> None:
    texts = make_texts(
        "It is sold in Kyoto as Nerorix today. The daily dose is 20 mg. The dose of Nerorix is 20 mg a day."
    )
    found = {each.text: each.is_specific for each in cloze_questions(texts[0], vocabulary_of(texts))}
    assert found == {
        "It is sold in ____ as Nerorix today.": False,  # "It" is what the text says
        "It is sold in Kyoto as ____ today.": False,
        "The daily dose is ____.": False,
        "The dose of Nerorix is ____ a day.": True,
        "The dose of ____ is 20 mg a day.": False,
    }


def test_the_span_is_that_of_the_answer_in_the_text() -> None:
    texts = make_texts("The maker of Nerorix\nworks in Kyoto. The maker of Galenvir works in Lima.")
    for question in cloze_questions(texts[0], vocabulary_of(texts)):
        assert texts[0].text[slice(*question.span)] == question.answer


def test_a_text_gets_three_questions_of_different_sentences_and_answers() -> None:
    sentences = [f"The maker of Drug{name} works in City{name} today." for name in "abcde"]
    texts = make_texts(" ".join(sentences))
    questions = cloze_questions(texts[0], vocabulary_of(texts))
    best = best_questions(questions)
    assert len(questions) == 10 and len(best) == 3
    assert len({each.statement for each in best}) == len({each.answer for each in best}) == 3


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The approved indication of the drug is a rash that comes with the cold.", True),
        ("地球是太阳系中的一颗行星,它围绕太阳公转。", False),
        ("الأرض كوكب من كواكب المجموعة الشمسية وهي تدور حول الشمس.", False),
        ("La dose quotidienne du médicament est de vingt milligrammes pour un adulte.", False),
        ("Die Erde ist ein Planet und kreist in einem Jahr um die Sonne.", False),
        ("", False),
    ],
)
def test_only_english_text_counts_as_english(text: str, expected: bool) -> None:
    assert is_english(text) is expected
