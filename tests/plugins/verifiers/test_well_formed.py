"""Which questions and answers the verifier `well_formed` refuses, and which it leaves alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from plugins.synthesizers import mining_rules
from plugins.synthesizers.mining_rules import mine_pairs
from plugins.verifiers.well_formed import WellFormed
from schemas.records import Document, InstructionPair

PASSAGE = (
    "The Okra bridge was opened in 1931 by Mayor Ada Quill. It is 412 metres long. Lorries are not allowed, "
    "since the cables were made for lighter loads. The bridge closes early in winter, when ice falls."
)


def reason(instruction: str, response: str, *, standalone: bool = False, **more: object) -> str:
    pair = InstructionPair(instruction=instruction, response=response, **more)  # type: ignore[arg-type]
    found = WellFormed({"standalone": standalone}).verdict(PASSAGE, pair)
    assert (found.score < 0.5) == bool(found.reason)
    return found.reason


@pytest.mark.parametrize(
    ("instruction", "response"),
    [
        ("Who opened the bridge?", "Ada Quill"),
        ("When was it opened?", "In 1931"),
        ("Are lorries allowed?", "No, the cables are too weak."),
        ("Is it closed in winter or in summer?", "In winter"),
        ("Summarise the text.", "A bridge from 1931."),
        ("Complete: The bridge closes early in", "winter"),
        ("The Okra bridge was opened by", "Ada Quill"),
        ("Give the passage a title.", "The Okra bridge"),
        ("According to the passage, how long is the bridge?", "412 metres"),
        ("How to cross in winter: write one line of advice.", "Cross before it closes, since ice may fall."),
        ("Put in order: opened, closed for lorries.", "Opened, closed for lorries."),
        ("Which option sets the port?", "--port"),
        ("Which variable sets the port?", "PORT"),
        ("Does the passage say who paid?", "The passage does not say."),
        ("What does the passage not mention?", "It does not mention the price."),
        ("What is forbidden?", "Lorries; the text does not say why, but the cables are weak."),
        ("Translate into German: The bridge is long.", "Die Brücke ist lang."),
        ("Translate into Greek: The bridge is long.", "Η γέφυρα είναι μεγάλη."),
    ],
)
def test_good_pairs_pass(instruction: str, response: str) -> None:
    assert reason(instruction, response) == ""


@pytest.mark.parametrize("seed", range(8))
def test_mined_pairs_pass(seed: int) -> None:
    text = f"{PASSAGE} However, the Okra Traffic Board (OTB) wants to open it for lorries again."
    pairs = mine_pairs(
        Document.of("okra", text, source="s", metadata={"title": "The Okra bridge"}), seed=seed
    )
    assert pairs
    assert [pair for pair in pairs if WellFormed().verdict(text, pair).score < 0.5] == []


@pytest.mark.parametrize(
    ("instruction", "response", "expected"),
    [
        ("Who opened it?", "...", "the answer is empty"),
        ("Who opened it?", "[Your answer]", "the answer holds the placeholder '[Your answer]'"),
        ("Who opened {name}?", "Ada Quill", "the question holds the placeholder '{name}'"),
        ("Who opened it?", "N/A", "the answer is no answer: 'N/A'"),
        ("Who opened it? Answer: Ada Quill", "Ada Quill", "the question holds the label 'Answer:'"),
        ("Who opened it?", "Who opened it?", "the answer is the question"),
        ("Who opened it?", "It was Ada. It was Ada.", "the answer repeats 'it was ada'"),
        ("Who opened it?", "Ada Ada Ada Quill", "the answer repeats 'ada'"),
        ("How many metres long is the", "412", "the question is cut: it has no question mark"),
        ("The bridge is long.", "412 metres", "the question states something and asks nothing"),
        ("What?", "The bridge", "the question does not say what it asks about"),
        ("Who opened the bridge?", "1931", "the question asks who, and the answer is a number"),
        ("When was it opened?", "By Ada Quill", "the question asks when, and the answer names no time"),
        ("How many metres long is it?", "Long", "the question asks for a number, and the answer has none"),
        ("Are lorries allowed?", "Cables", "the question asks for yes or no, and the answer gives neither"),
        ("Who opened the bridge?", "Yes.", "the question does not ask for yes or no"),
        ("As mentioned above, who opened it?", "Ada Quill", "the question refers to what is not shown"),
        (
            "How long is the bridge in Figure 2?",
            "412 metres",
            "the question refers to what is not shown: 'Figure 2'",
        ),
        ("What does the author say of ice?", "It falls.", "the question refers to somebody who is not shown"),
        ("Which mayor, Ada Quill, opened it?", "Ada Quill", "the answer stands in the question"),
        ("Why was it built?", "I cannot answer this question.", "the answer is no answer: 'I cannot answer"),
        ("Why was it built?", "The passage does not say.", "the answer is no answer"),
        ("Why was it built?", "Not mentioned in the text.", "the answer is no answer"),
        ("Why was it built?", "Sorry, but I don't know.", "the answer is no answer"),
        (
            "Why was it built?",
            "There is no information about this in the passage.",
            "the answer is no answer",
        ),
        ("Who opened it?", "Ада Квилл", "the answer is in another script than the passage"),
    ],
)
def test_malformed_pairs_have_their_reason(instruction: str, response: str, expected: str) -> None:
    assert reason(instruction, response).startswith(expected)


@pytest.mark.slow  # loads the model of py3langid
def test_an_answer_in_another_language_is_refused() -> None:
    answer = "Die Bürgermeisterin der Stadt hat die Brücke im Jahr 1931 vor vielen Leuten eröffnet."
    assert reason("Who opened the bridge?", answer) == (
        "the answer is in another language (de) than the passage (en)"
    )


def test_the_answer_is_one_of_different_options() -> None:
    options = ("Ada Quill", "Tom Brill")
    assert reason("Who opened it?", "Tom Brill.", options=options) == ""
    assert reason("Who opened it?", "Someone", options=options) == "the answer is none of the options"
    assert reason("Who opened it?", "Ada", options=("Ada", "Ada")) == "the options are not different"


def test_standalone_pairs_do_not_mention_their_passage() -> None:
    question = "According to the passage, how long is the bridge?"
    assert reason(question, "412 metres", standalone=True).startswith("the question refers to a text")


def test_an_author_who_speaks_is_shown() -> None:
    pair = InstructionPair(instruction="What does the author like?", response="Rain")
    assert WellFormed().verdict("I like rain, and I was happy when it came.", pair).score == 1.0


def test_other_languages_pass_the_english_rules_and_the_reason_says_so() -> None:
    pair = InstructionPair(instruction="Wer betreut die Bienen", response="38")
    found = WellFormed().verdict("Karla Brandt betreut die Bienen am Rand des Moors.", pair)
    assert found.score == 1.0
    assert found.reason.endswith("the passage is not in English")


@pytest.mark.parametrize("response", ["Not stated", "I don't know"])
def test_a_passage_or_an_option_may_say_that_nothing_is_known(response: str) -> None:
    pair = InstructionPair(instruction="When was he born?", response=response)
    said = "The year of birth is not stated in the roll, and even his sons said: I don't know."
    assert WellFormed().verdict(said, pair).score == 1.0
    assert reason("When was it built?", response, options=("1931", response)) == ""


def test_every_mined_wording_of_a_yes_or_no_question_allows_both() -> None:
    path = Path(mining_rules.__file__).with_name("mining_wordings.yaml")
    wordings = yaml.safe_load(path.read_text(encoding="utf-8"))["yes_no"]
    asked = [wording.format(question="Are lorries safe on the bridge?") for wording in wordings]
    assert [(each, reason(each, "No")) for each in asked if reason(each, "No")] == []


@pytest.mark.slow  # loads the model of py3langid
@pytest.mark.parametrize(
    ("passage", "instruction", "response", "expected"),
    [
        (
            "Der Kanal ist 42 Kilometer lang und wurde 1811 fertig.",
            "How long is the canal?",
            "42 kilometres",
            "(en)",
        ),
        (
            "Le canal mesure 42 kilomètres et fut achevé en 1811.",
            "How long is the canal?",
            "42 kilometres",
            "(en)",
        ),
        (
            "The canal is 42 kilometres long and was finished in 1811.",
            "Quelle est la longueur du canal ?",
            "42",
            "(fr)",
        ),
        ("The canal is 42 kilometres long and was finished in 1811.", "¿Cuánto mide el canal?", "42", "(es)"),
        ("Der Kanal ist 42 Kilometer lang und wurde 1811 fertig.", "Was war in der Stadt?", "42", ""),
        (
            "Der Kanal ist 42 Kilometer lang und wurde 1811 fertig.",
            "Translate 'lang' into English: what is it?",
            "long",
            "",
        ),
        (
            "Rösti, Spätzle, Brezeln: 3.50. Maultaschen: 8.20.",
            "What is the cheapest?",
            "Rösti, Spätzle, Brezeln",
            "",
        ),
        ("It is in the town. The canal is long.", "Was ist in der Stadt?", "42 m", "(de)"),
        ("The opera Der Ring des Nibelungen is long.", "Who wrote Der Ring des Nibelungen?", "Wagner", ""),
    ],
)
def test_languages_of_short_questions(passage: str, instruction: str, response: str, expected: str) -> None:
    found = WellFormed().verdict(passage, InstructionPair(instruction=instruction, response=response))
    assert (found.score < 0.5) == bool(expected)
    assert not expected or f"the question is in another language {expected}" in found.reason
