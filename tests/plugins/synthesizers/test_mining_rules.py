"""Mining rules: findings, wordings, and text without findings."""

from __future__ import annotations

import dataclasses
import os
import random
import re
import subprocess
import sys

import pytest

from plugins.synthesizers.mining_rules import RULES, mine_pairs
from plugins.synthesizers.mining_sentences import Passage, split_sentences
from plugins.synthesizers.mining_wordings import WORDINGS
from schemas.records import Document, InstructionPair

BAROREFLEX = (
    "In most healthy people nothing is noticed, because a rapid reflex corrects the change. "
    "Signals from the carotid sinus travel in one nerve, whereas those from the aorta travel in another. "
    "The heart beats faster and veins tighten. However, the reflex is a short-term device.\n\n"
    "Granular cells in the kidney release renin. As a result, angiotensin appears in the plasma. "
    "Receptors reset within two days. In other words, the reflex buffers sudden swings only."
)


GOLDEN = (
    InstructionPair(
        instruction="Write the sentence that follows in the passage after these: Signals from the carotid "
        "sinus travel in one nerve, whereas those from the aorta travel in another. The heart beats faster "
        "and veins tighten.",
        response="However, the reflex is a short-term device.",
    ),
    InstructionPair(
        instruction="Put this in other words, as the passage does.\nReceptors reset within two days.",
        response="The reflex buffers sudden swings only.",
    ),
    InstructionPair(
        instruction="Write the sentence that opens a text with this title.\nThe arterial reflex",
        response="In most healthy people nothing is noticed, because a rapid reflex corrects the change.",
    ),
    InstructionPair(
        instruction="The text states: The heart beats faster and veins tighten.\nAnd also: Receptors "
        "reset within two days.\nHow are the two related?",
        response="Neither",
        options=("The second follows from the first", "The second contrasts with the first", "Neither"),
    ),
)


def document(text: str, title: str = "") -> Document:
    return Document.of("d", text, source="test", metadata={"title": title} if title else {})


def findings(kind: str, text: str, title: str = "") -> list[tuple[str, dict[str, str], str]]:
    found = RULES[kind](Passage.of(text, title), random.Random(0))
    return [(item.task, dict(item.fields), item.response) for item in found]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Dr. Smith came. He left.", ("Dr. Smith came.", "He left.")),
        ("Use salts, e.g. Sodium. It works.", ("Use salts, e.g. Sodium.", "It works.")),
        ("It rose by 3.5 per cent. Then it fell.", ("It rose by 3.5 per cent.", "Then it fell.")),
        ("See Fig. 2 for that. The end.", ("See Fig. 2 for that.", "The end.")),
        ("The answer is no. The test failed.", ("The answer is no.", "The test failed.")),
        ("He lives in the U.S. The law differs.", ("He lives in the U.S.", "The law differs.")),
        ("The U.S. Senate met.", ("The U.S. Senate met.",)),
        ("J. Smith took vitamin C. It helped.", ("J. Smith took vitamin C.", "It helped.")),
        ("Smith et al. Found it. They did.", ("Smith et al. Found it.", "They did.")),
        ('"Is it so?" She nodded.', ('"Is it so?"', "She nodded.")),
        ("Wait... It moved! Did it?", ("Wait...", "It moved!", "Did it?")),
        ("1. Wash the cells.", ("1. Wash the cells.",)),
        ("It began in 1998. In 2004 it ended.", ("It began in 1998.", "In 2004 it ended.")),
        ("pH was 7.4. mRNA was low.", ("pH was 7.4. mRNA was low.",)),
        ("broken \n over  lines.", ("broken over lines.",)),
        ("", ()),
    ],
)
def test_sentences_end_where_a_reader_would_end_them(text: str, expected: tuple[str, ...]):
    assert split_sentences(text) == expected


def test_a_title_and_the_opening_sentence_ask_for_each_other():
    text = "Renin is an enzyme of the kidney. Cells release it when pressure falls."
    assert findings("summarisation", text, "Renin and pressure") == [
        ("title", {}, "Renin and pressure"),
        ("opening", {"title": "Renin and pressure"}, "Renin is an enzyme of the kidney."),
    ]


def test_a_title_that_shares_no_word_with_the_text_is_not_asked_for():
    text = "Renin is an enzyme of the kidney. Cells release it when pressure falls."
    assert findings("summarisation", text, "page_0017.txt") == []


def test_inference_takes_its_relation_from_the_connective():
    text = (
        "The middle portion is steep. Therefore a small drop in pressure releases much oxygen. "
        "Sweating cools the skin well. The cooling, however, fails in humid air."
    )
    found = RULES["inference"](Passage.of(text), random.Random(0))
    assert [(item.fields["premise"], item.fields["hypothesis"], item.response) for item in found] == [
        ("The middle portion is steep.", "A small drop in pressure releases much oxygen.", "entailment"),
        ("Sweating cools the skin well.", "The cooling fails in humid air.", "contradiction"),
    ]
    assert (
        found[0].rationale
        == 'The passage joins the two with "therefore", so the second is drawn from the first.'
    )


def test_neutral_pairs_come_from_different_paragraphs_and_only_beside_a_linked_pair():
    calm = "Granular cells release renin.\n\nVeins hold much blood.\n\nBone stores most calcium."
    assert findings("inference", calm) == []
    linked = f"{calm}\n\nThe curve is steep there. Therefore a small drop frees much oxygen."
    neutral = [item for item in findings("inference", linked) if item[2] == "neutral"]
    assert len(neutral) == 1
    premise, hypothesis = neutral[0][1].values()
    assert premise != hypothesis and premise in linked and hypothesis in linked


@pytest.mark.parametrize(
    ("text", "task", "fields", "response"),
    [
        (
            "Most people notice nothing, because a reflex corrects it.",
            "why",
            {"effect": "Most people notice nothing."},
            "Because a reflex corrects it.",
        ),
        (
            "Because fluid flows both ways, the core becomes concentrated.",
            "why",
            {"effect": "The core becomes concentrated."},
            "Because fluid flows both ways.",
        ),
        (
            "Trends moved, partly because populations are ageing.",
            "why",
            {"effect": "Trends moved."},
            "Partly because populations are ageing.",
        ),
        (
            "Differences in length are mostly due to the follicular phase.",
            "cause",
            {"effect": "Differences in length"},
            "The follicular phase.",
        ),
        (
            "A fall in firing therefore leads to more sympathetic activity.",
            "effect",
            {"cause": "A fall in firing"},
            "More sympathetic activity.",
        ),
        (
            "Redness etc. is due to the drug in the U.S.",
            "cause",
            {"effect": "Redness etc."},
            "The drug in the U.S.",
        ),
        (
            'The cure, he said, is real, because we met the "Berlin patient".',
            "why",
            {"effect": "The cure, he said, is real."},
            'Because we met the "Berlin patient".',
        ),
        (
            "The pH drop leads to pH sensing by cells.",
            "effect",
            {"cause": "The pH drop"},
            "pH sensing by cells.",
        ),
    ],
)
def test_causes_are_found_within_a_sentence(text: str, task: str, fields: dict[str, str], response: str):
    assert findings("cause_and_effect", text) == [(task, fields, response)]


@pytest.mark.parametrize(
    "text",
    [
        "People often assume that we breathe because we are short of oxygen.",
        "It is unsuitable when patients may die, because nobody would return.",
        "Pressure does not fall because the vessel is narrow.",
        "It works not because it is ideal, but because both parts can be adjusted.",
        "The sponsor should not, because its interests might colour its judgement.",
        "Later analyses have led to a more detailed picture.",
        "Because it may give unequal groups, many trials use blocks.",
    ],
)
def test_causes_that_could_mislead_are_left_alone(text: str):
    assert findings("cause_and_effect", text) == []


def test_a_result_is_asked_for_from_either_end():
    text = "Granular cells release renin. As a result, angiotensin appears in plasma."
    ends = set()
    for seed in range(20):
        (found,) = RULES["cause_and_effect"](Passage.of(text), random.Random(seed))
        ends.add((found.task, *found.fields.values(), found.response))
    cause, effect = "Granular cells release renin.", "Angiotensin appears in plasma."
    assert ends == {("consequence", cause, effect), ("reason", effect, cause)}


@pytest.mark.parametrize(
    ("text", "task", "statement", "response"),
    [
        (
            "Receptors reset within days. In other words, the reflex buffers sudden swings.",
            "restatement",
            "Receptors reset within days.",
            "The reflex buffers sudden swings.",
        ),
        (
            "Interviewers may probe the ill. Likewise, doctors may look harder for harm.",
            "similarity",
            "Interviewers may probe the ill.",
            "Doctors may look harder for harm.",
        ),
        (
            "Patients on oxygen did better. In contrast, no benefit was seen in others.",
            "opposition",
            "Patients on oxygen did better.",
            "No benefit was seen in others.",
        ),
        (
            "For example, vomiting loses acid, whereas diarrhoea loses bicarbonate.",
            "opposition",
            "Vomiting loses acid.",
            "Diarrhoea loses bicarbonate.",
        ),
    ],
)
def test_paraphrase_and_contrast(text: str, task: str, statement: str, response: str):
    assert findings("paraphrase_and_contrast", text) == [(task, {"statement": statement}, response)]


def test_rare_words_ask_for_the_only_sentence_that_joins_them():
    text = "Vasopressin is an antidiuretic acting through aquaporins. The patients drank water every morning."
    assert findings("word_to_text", text) == [
        (
            "words",
            {"words": "antidiuretic and aquaporins"},
            "Vasopressin is an antidiuretic acting through aquaporins.",
        )
    ]
    assert findings("word_to_text", text + " An antidiuretic needs aquaporins to work.") == []


def test_completion_stays_within_a_paragraph_and_skips_headings():
    text = (
        "Heading\n\nThe first thing came first. Veins hold much blood. Salt is lost there.\n\n"
        "Bone stores most calcium."
    )
    assert findings("completion", text) == [
        (
            "continuation",
            {"start": "The first thing came first. Veins hold much blood."},
            "Salt is lost there.",
        )
    ]


def test_no_mark_follows_one_that_is_the_texts_own():
    for task, wordings in WORDINGS.items():
        for wording in wordings:
            # Words of the text are no sentences and end in no mark.
            assert task == "words" or not re.search(r"\}(?!\n|$)", wording.text), wording
    text = "Asthma is a disease of the airways. It comes and goes over many years."
    for title in ("Signs of asthma.", "What is asthma?", 'The word "asthma."'):
        asked = {
            pair.instruction
            for seed in range(40)
            for pair in mine_pairs(document(text, title), seed=seed)
            if pair.instruction.count(title)
        }
        assert asked == {
            f"Write the sentence that opens a text with this title.\n{title}",
            f"A passage has the title below. How does it begin?\n{title}",
            f"Begin a text under this heading: {title}",
        }


def test_a_document_is_continued_at_most_once():
    text = " ".join(f"Vein number {number} holds much blood." for number in range(30))
    for seed in range(20):
        (pair,) = mine_pairs(document(text), seed=seed)
        assert pair.response.startswith("Vein number")
    first, second = (dataclasses.replace(document(text), part=f"{k}/12") for k in (1, 11))
    assert len(mine_pairs(first, seed=0)) == 1
    assert mine_pairs(second, seed=0) == ()


def test_only_the_first_part_is_how_the_text_of_a_title_begins():
    def responses(part: str) -> set[str]:
        asked = dataclasses.replace(document(BAROREFLEX, "The arterial reflex"), part=part)
        return {pair.response for seed in range(30) for pair in mine_pairs(asked, seed=seed, max_pairs=50)}

    opening = BAROREFLEX.split(". ")[0] + "."
    assert opening in responses("1/2")
    assert opening not in responses("2/2")


@pytest.mark.parametrize(
    "text", ["", "  \n\n ", "Renin.", "The cell is small. The cell is round.", "12 34 56 %"]
)
def test_a_text_without_cues_gives_no_pairs(text: str):
    assert mine_pairs(document(text), seed=0) == ()


def test_pairs_are_varied_in_kind_and_pinned_for_a_seed():
    assert mine_pairs(document(BAROREFLEX, "The arterial reflex"), seed=3, max_pairs=4) == GOLDEN


def test_max_pairs_bounds_and_no_instruction_comes_twice():
    for seed in range(50):
        pairs = mine_pairs(document(BAROREFLEX, "The arterial reflex"), seed=seed, max_pairs=50)
        asked = [pair.instruction.casefold() for pair in pairs]
        assert len(set(asked)) == len(asked)
        assert len(mine_pairs(document(BAROREFLEX), seed=seed, max_pairs=2)) == 2


def test_every_answer_with_options_is_one_of_them():
    for seed in range(50):
        for pair in mine_pairs(document(BAROREFLEX), seed=seed, max_pairs=50):
            assert not pair.options or pair.response in pair.options


def test_braces_in_a_text_are_copied():
    text = "The {effect} of %s is nil, because {cause} and {0} cancel."
    (pair,) = mine_pairs(document(text), seed=0)
    assert "The {effect} of %s is nil" in pair.instruction
    assert pair.response == "Because {cause} and {0} cancel."


def test_every_wording_uses_the_fields_its_task_has():
    fields = {
        "title": (),
        "opening": ("title",),
        "why": ("effect",),
        "cause": ("effect",),
        "effect": ("cause",),
        "consequence": ("cause",),
        "reason": ("effect",),
        "restatement": ("statement",),
        "similarity": ("statement",),
        "opposition": ("statement",),
        "words": ("words",),
        "continuation": ("start",),
        "inference": ("premise", "hypothesis"),
    }
    assert fields.keys() == WORDINGS.keys()
    for task, wordings in WORDINGS.items():
        assert len(wordings) >= 3
        for wording in wordings:
            filled = wording.text.format(**{name: f"<{name}>" for name in fields[task]})
            assert all(filled.count(f"<{name}>") == 1 for name in fields[task]), wording


@pytest.mark.slow
def test_mining_does_not_depend_on_the_process():
    code = (
        "from plugins.synthesizers.mining_rules import mine_pairs\n"
        "from schemas.records import Document\n"
        f"document = Document.of('d', {BAROREFLEX!r}, source='test')\n"
        "print([pair.instruction for seed in range(20) for pair in mine_pairs(document, seed=seed)])"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert len(outputs) == 1
