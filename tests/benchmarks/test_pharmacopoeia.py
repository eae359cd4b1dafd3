"""The made-up domain of the instruction trial: its facts, texts, pairs and questions agree."""

from __future__ import annotations

import asyncio
from collections import Counter

from benchmarks.pharmacopoeia import (
    ATTRIBUTES,
    MonographSynthesizer,
    make_drugs,
    pairs_about,
    question_about,
    read_facts,
    text_about,
)
from schemas.corpus_config import SynthesisConfig
from schemas.records import Chain, Document

SEED = 4


def test_a_seed_makes_the_same_drugs_and_another_seed_others() -> None:
    assert make_drugs(36, seed=SEED) == make_drugs(36, seed=SEED)
    assert make_drugs(36, seed=SEED) != make_drugs(36, seed=SEED + 1)


def test_drugs_have_names_of_their_own_and_values_are_equally_frequent() -> None:
    drugs = make_drugs(36, seed=SEED)
    assert len({drug.name for drug in drugs}) == 36
    for attribute, about in ATTRIBUTES.items():
        found = Counter(drug.facts[attribute] for drug in drugs)
        assert found == dict.fromkeys(about.values, 3)


def test_a_text_states_each_fact_once_and_can_be_read_back() -> None:
    for drug in make_drugs(200, seed=SEED):
        text = text_about(drug, seed=SEED)
        assert read_facts(text) == (drug.name, read_facts(text)[1])
        assert read_facts(text)[1] == drug.facts
        assert text.count(". ") == len(ATTRIBUTES)


def test_no_statement_is_read_as_another_attribute() -> None:
    for attribute, about in ATTRIBUTES.items():
        for statement in about.statements:
            for value in about.values:
                sentence = statement.format(drug="It", value=value)
                assert read_facts(f"Velomide is a drug. {sentence}") == ("Velomide", {attribute: value})


def test_pairs_ask_about_three_facts_and_answer_in_the_words_of_the_text() -> None:
    drug = make_drugs(1, seed=SEED)[0]
    text = text_about(drug, seed=SEED)
    pairs = pairs_about(text, seed=SEED)
    assert len(pairs) == 3
    for attribute, pair in pairs.items():
        assert pair.response == drug.facts[attribute]
        assert pair.response in text
        assert pair.instruction in [each.format(drug=drug.name) for each in ATTRIBUTES[attribute].asked]


def test_which_facts_are_asked_about_differs_from_text_to_text() -> None:
    asked = Counter(
        attribute
        for drug in make_drugs(120, seed=SEED)
        for attribute in pairs_about(text_about(drug, seed=SEED), seed=SEED)
    )
    assert set(asked) == set(ATTRIBUTES)
    assert min(asked.values()) > 40  # the mean is 60


def test_the_synthesizer_chains_texts_and_leaves_a_text_on_something_else_raw() -> None:
    drug, other = make_drugs(2, seed=SEED)
    texts = [text_about(drug, seed=SEED), text_about(other, seed=SEED), "Rivers flow to the sea."]
    documents = tuple(
        Document.of(str(number), text, source=f"texts:{number}") for number, text in enumerate(texts)
    )
    synthesizer = MonographSynthesizer(SynthesisConfig(), seed=SEED)
    done = asyncio.run(synthesizer.synthesize(Chain(chain_id="c", documents=documents)))
    assert [(len(each.pairs), each.follows_previous) for each in done] == [(3, False), (3, True), (0, False)]


def test_a_question_has_one_right_option_of_four_and_its_own_wording() -> None:
    for drug in make_drugs(36, seed=SEED):
        for attribute, about in ATTRIBUTES.items():
            row = question_about(drug, attribute, seed=SEED)
            options, question = row["options"], str(row["input"])
            assert isinstance(options, list)
            assert len(set(options)) == 4
            assert set(options) <= set(about.values)
            assert options[int(str(row["gold_index"]))] == drug.facts[attribute]
            assert drug.name in question
            assert not any(asked.format(drug=drug.name) in question for asked in about.asked)
