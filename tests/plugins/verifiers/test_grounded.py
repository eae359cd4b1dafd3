"""What the verifier `grounded` makes of answers, numbers, names, negations and options beside a passage."""

from __future__ import annotations

import hypothesis
import hypothesis.strategies
import pytest

from plugins.verifiers.base import Verdict
from plugins.verifiers.grounded import Grounded
from plugins.verifiers.well_formed import WellFormed
from schemas.errors import ConfigError
from schemas.records import InstructionPair

PASSAGE = (
    "The Okra bridge was opened in 1931 by Mayor Ada Quill. It is 412 metres long and carries about 1,200 "
    "cars a day. "
    "Lorries are not allowed on it. A ticket costs three dollars, but children pay nothing. "
    "In winter the bridge closes at 8:30, because ice falls from the cables. Its colour is green."
)


def verdict(instruction: str, response: str, **more: object) -> Verdict:
    pair = InstructionPair(instruction=instruction, response=response, **more)  # type: ignore[arg-type]
    return Grounded().verdict(PASSAGE, pair)


@pytest.mark.parametrize(
    ("instruction", "response"),
    [
        ("Who opened the Okra bridge?", "Ada Quill"),
        ("How long is the bridge?", "412 m"),
        ("How long is the bridge?", "0.412 kilometres"),
        ("How many cars use it each day?", "Roughly 1200."),
        ("What does a ticket cost?", "$3"),
        ("Are lorries allowed on the bridge?", "No, they are not."),
        ("Is the bridge open to trains?", "No."),
        ("Why does the bridge close early in winter?", "Ice drops from its cables."),
        ("Is the bridge green?", "Yes."),
        ("Summarise the text in two sentences.", "The bridge is 412 metres long. Lorries must not use it."),
        ("Complete: A ticket costs", "three dollars"),
    ],
)
def test_what_the_passage_says_is_grounded(instruction: str, response: str) -> None:
    assert verdict(instruction, response).score >= 0.5


@pytest.mark.parametrize(
    ("instruction", "response", "reason"),
    [
        ("How long is the bridge?", "512 metres", "the passage does not hold the number 512 metres"),
        ("How long is the bridge?", "412 kilometres", "the passage does not hold the number 412 kilometres"),
        ("Who opened the bridge?", "It was opened by Mayor Tom Brill.", "the answer's name 'Tom' is not in"),
        ("When did Zelda Okonjo open the bridge?", "In 1931", "the question's name 'Zelda' is not in"),
        (
            "Are lorries allowed on it?",
            "Yes.",
            "yes, but the passage denies it: 'Lorries are not allowed on it.'",
        ),
        ("Is the colour green?", "No.", "no, but the passage affirms it: 'Its colour is green.'"),
        (
            "Which vehicles may cross?",
            "Lorries are allowed on it.",
            "the passage denies it: 'Lorries are not",
        ),
        ("What happens in winter?", "Ice rises from the cables in winter.", "the passage says the opposite"),
        ("Who walks on the bridge?", "Children from Belgium", "the answer's name 'Belgium' is not in"),
        (
            "What is served on the bridge?",
            "Soup with noodles",
            "the passage does not hold the answer's words",
        ),
    ],
)
def test_a_contradiction_has_its_reason(instruction: str, response: str, reason: str) -> None:
    found = verdict(instruction, response)
    assert found.score < 0.5
    assert found.reason.startswith(reason)


def test_the_span_is_the_answer_where_it_stands_literally() -> None:
    start, end = verdict("Who opened the bridge?", "Ada Quill.").span or (0, 0)
    assert PASSAGE[start:end] == "Ada Quill"


def test_the_span_of_other_answers_is_the_sentence_that_matches_best() -> None:
    start, end = verdict("Are lorries allowed on the bridge?", "No, they are not.").span or (0, 0)
    assert PASSAGE[start:end] == "Lorries are not allowed on it."


def test_a_calculation_is_followed() -> None:
    question = "How much do two tickets cost?"
    reason = "A ticket costs three dollars, and 2 × 3 = 6."
    assert verdict(question, "6 dollars", rationale=reason).score >= 0.5
    assert (
        verdict(question, "7 dollars", rationale=reason).reason
        == "the rationale does not lead to the number 7 dollars"
    )
    assert "follows from no two" in verdict(question, "96 dollars", rationale="It is 96 dollars.").reason


def test_another_option_stands_nearer_to_the_question() -> None:
    passage = "The otter eats crabs. The heron eats frogs and waits by the pond."
    pair = InstructionPair(
        instruction="What does the heron eat by the pond?",
        response="crabs",
        options=("crabs", "frogs", "bread"),
    )
    assert (
        Grounded().verdict(passage, pair).reason.startswith("the passage speaks for another option: 'frogs'")
    )


def test_labels_of_a_classification_are_not_looked_for_in_the_passage() -> None:
    options = ("Entailment", "Contradiction", "Neutral")
    assert verdict("How do the statements relate?", "Neutral", options=options).score == 1.0


def test_a_short_answer_from_elsewhere_in_the_passage_is_doubted() -> None:
    passage = "Orvo mills grind barley at night. It rains. Karla sells the finest honey at the weekly market."
    pair = InstructionPair(instruction="What does Karla sell at the weekly market?", response="barley")
    assert Grounded().verdict(passage, pair).reason.startswith("the passage speaks of this elsewhere")


def test_other_languages_are_checked_for_numbers_and_words_and_the_reason_says_so() -> None:
    passage = "Die Imkerin betreut 38 Bienenvölker und verkauft den Honig nicht an Händler."
    question = "Wie viele Bienenvölker betreut die Imkerin?"
    good = Grounded().verdict(passage, InstructionPair(instruction=question, response="38"))
    bad = Grounded().verdict(passage, InstructionPair(instruction=question, response="83"))
    assert good.score >= 0.5
    assert good.reason == "only numbers and words were checked: the passage is not in English"
    assert bad.reason == "the passage does not hold the number 83"


def test_a_letter_stands_for_its_option() -> None:
    options = ("312 metres", "412 metres")
    assert verdict("How long is the bridge?", "B", options=options).score >= 0.5
    assert verdict("How long is the bridge?", "A", options=options).score < 0.5


@pytest.mark.slow  # may load the model of py3langid
@hypothesis.given(
    *[hypothesis.strategies.text(alphabet="aI1.,:% \n\"'[é茶İ²٣-and notbillion", max_size=40)] * 4
)
@hypothesis.settings(max_examples=200, deadline=None)
def test_any_text_has_a_verdict(passage: str, instruction: str, response: str, rationale: str) -> None:
    pair = InstructionPair(instruction=instruction, response=response, rationale=rationale)
    for verifier in (Grounded(), WellFormed()):
        found = verifier.verdict(passage, pair)
        assert 0 <= found.score <= 1
        assert found.span is None or 0 <= found.span[0] < found.span[1] <= len(passage)


def test_an_unknown_option_is_refused_by_its_key() -> None:
    with pytest.raises(ConfigError, match=r"verify\.grounded.*min_scor"):
        Grounded({"min_scor": 0.4})


INFLATION = (
    "Inflation in Norland fell from 9.1% in 2022 to 3.4% in 2024. Wages grew by 4% in 2019 and 6% in 2020, "
    "and rents by 3% in 2016, 2% in 2017 and 1% in 2018. About 14% of the 4 million workers were not paid."
)
TUNNEL = (
    "The Sellin Tunnel, begun in 1798, was opened in 1811 and carries the Lindmoor Canal over 1.3 km. Its "
    "lock of 1790 was rebuilt in 1814 at a cost of 8,000 pounds. The new bridge was closed in 1955 and "
    "reopened in 1960. Boats carried lime, coal and slate. Salt increased the flow. On the first day the "
    "mixture activates factor X."
)


def of(passage: str, instruction: str, response: str, **more: object) -> Verdict:
    return Grounded().verdict(passage, InstructionPair(instruction=instruction, response=response, **more))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("passage", "instruction", "response"),
    [
        (INFLATION, "What was inflation in Norland in 2022?", "9.1%"),
        (INFLATION, "Which year had 9.1% inflation?", "2022"),
        (INFLATION, "By how much did wages grow in 2019?", "4%"),
        (INFLATION, "In which year did rents grow by 2%?", "2017"),
        (INFLATION, "What share of the workers was not paid?", "14 per cent"),
        (TUNNEL, "When was the tunnel opened?", "In eighteen eleven"),
        (TUNNEL, "In which century was the tunnel begun?", "In the eighteenth century"),
        (TUNNEL, "How long did it take to build the tunnel?", "13 years"),
        (TUNNEL, "How long was the bridge closed?", "Half a decade, 5 years"),
        (TUNNEL, "What did boats carry?", "Slate, lime and coal"),
        ("The mill dates from the 18th century.", "When was the mill built?", "In the eighteenth century"),
        ("Der Weg hat 15–20 Stufen.", "Wie viele Stufen hat der Weg?", "Fünfzehn bis zwanzig"),
        ("Der Kanal ist lang.", "Translate the sentence into English.", "The canal is long."),
        ("The canal is long.", "Translate into German: The canal is long.", "Der Kanal ist lang."),
        ("运河长42公里。", "运河有多长？", "四十二公里"),
    ],
)
def test_years_centuries_and_number_words_are_found(passage: str, instruction: str, response: str) -> None:
    assert of(passage, instruction, response).score >= 0.5


@pytest.mark.parametrize(
    ("passage", "instruction", "response", "reason"),
    [
        (
            TUNNEL,
            "How long is the tunnel?",
            "13 kilometres",
            "the passage does not hold the number 13 kilometres",
        ),
        (
            TUNNEL,
            "How long did the repair take?",
            "24 pounds",
            "the passage does not hold the number 24 pounds",
        ),
        (TUNNEL, "How long is the new bridge?", "5 metres", "the passage does not hold the number 5 metres"),
        (
            TUNNEL,
            "In which century was it begun?",
            "The seventeenth century",
            "the passage does not hold the number",
        ),
        (
            INFLATION,
            "What was inflation in 2023?",
            "3.4%",
            "the question's number 2023 is not in the passage",
        ),
        (
            INFLATION,
            "How many workers are there?",
            "5 million",
            "the passage does not hold the number 5 million",
        ),
        (TUNNEL, "What did boats carry?", "Lime, coal and gold", "the passage does not hold the item 'gold'"),
        (
            TUNNEL,
            "What did salt do?",
            "It decreased the flow",
            "the passage says the opposite: 'increased the'",
        ),
        (
            TUNNEL,
            "What does the mixture do?",
            "It inhibits factor X",
            "the passage says the opposite: 'activates factor'",
        ),
        (TUNNEL, "When does it act?", "On the last day", "the passage says the opposite: 'first day'"),
    ],
)
def test_what_only_resembles_the_passage_has_its_reason(
    passage: str, instruction: str, response: str, reason: str
) -> None:
    found = of(passage, instruction, response)
    assert found.score < 0.5
    assert found.reason.startswith(reason)


def test_a_score_below_one_names_the_words_that_the_passage_lacks() -> None:
    found = verdict("Why does the bridge close early in winter?", "Frozen lumps drop from the cables.")
    assert 0.5 <= found.score < 1
    assert found.reason == "the passage does not hold the answer's words: Frozen, lumps, drop"


@pytest.mark.slow  # loads the model of py3langid
@pytest.mark.parametrize(
    ("passage", "instruction", "response", "languages"),
    [
        (
            "Der Kanal ist 42 Kilometer lang und wurde 1811 fertig.",
            "How long is the canal?",
            "42 km",
            "(en) (de)",
        ),
        ("The canal is 42 kilometres long.", "Wie lang ist der Kanal?", "42 Kilometer", "(de) (en)"),
    ],
)
def test_a_question_in_another_language_is_refused_for_its_language(
    passage: str, instruction: str, response: str, languages: str
) -> None:
    asked, theirs = languages.split()
    found = of(passage, instruction, response)
    assert found.score < 0.5
    assert found.reason == f"the question is in another language {asked} than the passage {theirs}"
