"""Wrong options: of the answer's kind, from other documents, and wrong."""

from __future__ import annotations

from itertools import permutations

import pytest

from pipelines.task_making.options import Options, kind_of
from pipelines.task_making.questions import Question, SourceText
from tests.pipelines.task_making.conftest import make_texts

DRUGS = (
    ("Nerorix", "Kyoto", "20 mg"),
    ("Galenvir", "Lima", "8 mg"),
    ("Dolorix", "Oslo", "75 mg"),
    ("Quinivir", "Cairo", "90 mg"),
    ("Mabervir", "Vienna", "5 ml"),
)


def ask(text: str, answer: str, about: SourceText) -> Question:
    at = about.text.index(answer)
    return Question(
        text=text,
        answer=answer,
        about=about,
        author="cloze",
        span=(at, at + len(answer)),
        statement=text,
        is_specific=text != "The dose is ____.",
    )


def test_options_are_answers_of_the_same_kind_about_other_documents() -> None:
    texts = make_texts(*(f"{name} is made in {city}. The dose is {dose}." for name, city, dose in DRUGS))
    cities = [ask(f"{DRUGS[at][0]} is made in ____.", DRUGS[at][1], text) for at, text in enumerate(texts)]
    doses = [ask("The dose is ____.", DRUGS[at][2], text) for at, text in enumerate(texts)]
    chooser = Options([*cities, *doses], texts, seed=17)
    assert set(chooser.of(cities[0])) <= {"Kyoto", "Lima", "Oslo", "Cairo", "Vienna"}
    assert "Kyoto" in chooser.of(cities[0]) and len(set(chooser.of(cities[0]))) == 4
    assert sorted(chooser.of(doses[0])) == ["20 mg", "75 mg", "8 mg", "90 mg"]
    assert chooser.of(doses[4]) == ()  # nothing else is measured in ml
    assert chooser.of(cities[0]) == Options([*doses, *cities], texts, seed=17).of(cities[0])
    orders = {Options([*cities, *doses], texts, seed=seed).of(cities[0]) for seed in range(9)}
    assert len({order.index("Kyoto") for order in orders}) > 1


def test_the_order_of_sets_in_a_process_changes_no_likeness() -> None:
    texts = make_texts("Nerorix is made in Kyoto.")
    chooser = Options([ask("Nerorix is made in ____.", "Kyoto", texts[0])], texts, seed=17)
    chooser._weights = {"a": 1e16, "b": 1.0, "c": -1e16, "d": 3.0}
    assert {chooser._weight(dict.fromkeys(order)) for order in permutations("abcd")} == {4.0}  # type: ignore[arg-type]


def options_of(texts: list[SourceText], question: Question, answers: list[str]) -> set[str]:
    stock = [
        ask("One of many is ____ here.", answer, text)
        for answer, text in zip(answers, texts[1:], strict=True)
    ]
    return set(Options([question, *stock], texts, seed=1).of(question)) - {question.answer}


@pytest.mark.parametrize(
    "unfit",
    [
        "Kyoto",  # the answer about another document
        "North Kyoto",  # holds the answer
        "Osaka",  # in the text of the question
        "Nerorix",  # in the question
        "Nagoya",  # its own text says the same of it
    ],
)
def test_an_option_that_is_or_may_be_right_is_not_used(unfit: str) -> None:
    answers = ["Lima", "Oslo", "Cairo", unfit]
    others = [f"Others are made in {each}." for each in answers[:3]]
    last = "Nerorix is made for adults in Nagoya." if unfit == "Nagoya" else f"Others are made in {unfit}."
    texts = make_texts("Nerorix is made for adults in Kyoto. Osaka has none.", *others, last)
    question = ask("Nerorix is made for adults in ____.", "Kyoto", texts[0])
    assert options_of(texts, question, answers) == {"Lima", "Oslo", "Cairo"}


def test_options_fit_the_article_and_the_number_of_the_answer() -> None:
    texts = make_texts(
        "Nerorix causes an ulcer.", "It is an abscess.", "It is an itch.", "It is an oedema.", "It is a rash."
    )
    question = ask("Nerorix causes an ____.", "ulcer", texts[0])
    assert options_of(texts, question, ["abscess", "itch", "oedema", "rash"]) == set()  # abscess ends in s
    texts = make_texts(
        "Nerorix causes an ulcer.", "It is an ache.", "It is an itch.", "It is an oedema.", "It is a rash."
    )
    question = ask("Nerorix causes an ____.", "ulcer", texts[0])
    assert options_of(texts, question, ["ache", "itch", "oedema", "rash"]) == {"ache", "itch", "oedema"}


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ("1948", "year"),
        ("20 mg", "number mg"),
        ("12%", "number %"),
        ("1,200", "number"),
        ("Kyoto", "name"),
        ("CYP3A4", "code"),
        ("crab shells", "term"),
    ],
)
def test_kinds_of_answers(answer: str, kind: str) -> None:
    assert kind_of(answer) == kind
