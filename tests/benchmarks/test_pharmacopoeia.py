"""The made-up domain: its facts, texts, pairs and questions agree."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from benchmarks.handbook import write_handbook
from benchmarks.pharmacopoeia import (
    ATTRIBUTES,
    HELD_OUT_KIND,
    KINDS,
    make_drugs,
    pairs_about,
    question_about,
    rearranged,
    sentences_about,
    text_about,
)
from plugins.readers import decompression

SEED = 4
HANDBOOK = Path(__file__).resolve().parents[2] / "examples/handbook"


def test_a_seed_makes_the_same_drugs_and_another_seed_others() -> None:
    assert make_drugs(36, seed=SEED) == make_drugs(36, seed=SEED)
    assert make_drugs(36, seed=SEED) != make_drugs(36, seed=SEED + 1)


def test_a_text_of_a_seed_is_pinned() -> None:
    (drug, _) = make_drugs(2, seed=1)
    assert text_about(drug, "leaflet", seed=1) == (
        "This leaflet is about Dololone. Keep it, since you may want to read it again. You may notice dry "
        "mouth in the first weeks. You take Dololone because you have migraine. Do not have grapefruit "
        "while you take this medicine. Dololone is made from willow bark; tell your doctor if you are "
        "allergic to it. Take 2 mg once a day. The maker in Oslo answers your questions."
    )


def test_drugs_have_names_of_their_own_and_values_are_equally_frequent() -> None:
    drugs = make_drugs(36, seed=SEED)
    assert len({drug.name for drug in drugs}) == 36
    for attribute, about in ATTRIBUTES.items():
        found = Counter(drug.facts[attribute] for drug in drugs)
        assert found == dict.fromkeys(about.values, 3)


def test_more_drugs_than_names_are_refused() -> None:
    with pytest.raises(ValueError, match="2000 drugs are wanted, but there are 1152 names"):
        make_drugs(2000, seed=SEED)


@pytest.mark.parametrize("kind", [*KINDS, HELD_OUT_KIND])
def test_a_text_states_each_fact_once(kind: str) -> None:
    for drug in make_drugs(12, seed=SEED):
        text = text_about(drug, kind, seed=SEED)
        sentences = sentences_about(drug, kind, seed=SEED)
        assert sorted(sentences) == sorted(ATTRIBUTES)
        for attribute, sentence in sentences.items():
            assert text.count(sentence) == 1
            assert drug.facts[attribute] in sentence


def test_a_held_out_text_shares_no_sentence_with_the_others() -> None:
    for about in ATTRIBUTES.values():
        others = {sentence for kind in KINDS for sentence in about.sentences[kind]}
        assert not others & set(about.sentences[HELD_OUT_KIND])


def test_a_rearranged_text_states_the_same_facts_and_shares_no_13_words_with_a_text() -> None:
    def runs(text: str) -> set[str]:
        words = text.casefold().replace(".", "").replace(",", "").split()
        return {" ".join(words[at : at + 13]) for at in range(len(words) - 12)}

    drugs = make_drugs(12, seed=SEED)
    texts = [text_about(drug, kind, seed=SEED) for drug in drugs for kind in KINDS]
    taken = set().union(*map(runs, texts))
    for drug, kind in zip(drugs, KINDS * 3, strict=True):
        text = rearranged(drug, kind, texts=texts, seed=SEED)
        assert not taken & runs(text)
        assert all(value in text for value in drug.facts.values())


def test_pairs_of_a_text_answer_with_the_drugs_values_and_keep_to_the_named_attributes() -> None:
    (drug, *_) = make_drugs(12, seed=SEED)
    named = {"dose": drug.facts["dose"], "city": drug.facts["city"]}
    for kind in KINDS:
        pairs = pairs_about(drug, kind, seed=SEED, attributes=list(named))
        assert len(pairs) == 5
        assert {str(pair["response"]) for pair in pairs} <= set(named.values())
        for pair in pairs:
            assert pair["response"] in pair.get("options", [pair["response"]])  # type: ignore[operator]


def test_no_pair_has_the_wording_of_a_held_out_question() -> None:
    for about in ATTRIBUTES.values():
        assert len({*about.asked, *about.held_out}) == 6


@pytest.mark.parametrize("num_options", [4, 12])
def test_a_question_has_one_right_option_and_distinct_wrong_ones(num_options: int) -> None:
    for drug in make_drugs(12, seed=SEED):
        for attribute, value in drug.facts.items():
            row = question_about(drug, attribute, wording=1, seed=SEED, num_options=num_options)
            options = row["options"]
            assert isinstance(options, list)
            assert len(set(options)) == num_options
            assert options[int(str(row["gold_index"]))] == value
            assert drug.name in str(row["input"])


def test_the_bundled_handbook_is_what_its_command_writes(tmp_path: Path) -> None:
    def contents(folder: Path) -> dict[str, object]:
        found: dict[str, object] = {
            str(path.relative_to(folder)): path.read_bytes()
            for path in folder.rglob("*")
            if path.suffix in (".txt", ".jsonl")
        }
        found["articles"] = list(decompression.lines(f"{folder}/articles.jsonl.zst"))
        found["cases"] = pq.read_table(folder / "cases.parquet").to_pylist()
        return found

    write_handbook(tmp_path, make_drugs(12, seed=17), seed=17)
    assert contents(tmp_path) == contents(HANDBOOK)
