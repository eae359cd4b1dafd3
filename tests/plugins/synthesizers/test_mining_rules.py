"""Mining rules: findings, wordings, and text without findings."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys

import pytest

from plugins.synthesizers.mining_rules import RULES, mine_pairs
from plugins.synthesizers.mining_sentences import Passage, split_sentences
from plugins.synthesizers.mining_wordings import wordings
from schemas.records import Document

BAROREFLEX = (
    "In most healthy people nothing is noticed, because a rapid reflex corrects the change. "
    "Signals from the carotid sinus travel in one nerve, whereas those from the aorta travel in another. "
    "The heart beats faster and veins tighten. However, the reflex is a short-term device.\n\n"
    "Granular cells in the kidney release renin. As a result, angiotensin appears in the plasma. "
    "Receptors reset within two days. In other words, the reflex buffers sudden swings only."
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


def test_a_title_that_shares_no_word_with_the_text_is_not_asked_for():
    text = "Renin is an enzyme of the kidney. Cells release it when pressure falls."
    assert findings("summarisation", text, "page_0017.txt") == []


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
            'The cure is real, because doctors met the "Berlin patient".',
            "why",
            {"effect": "The cure is real."},
            'Because doctors met the "Berlin patient".',
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
    text = "Cells of the kidney release renin. As a result, angiotensin appears in plasma."
    ends = set()
    for seed in range(20):
        (found,) = RULES["cause_and_effect"](Passage.of(text), random.Random(seed))
        ends.add((found.task, *found.fields.values(), found.response))
    cause, effect = "Cells of the kidney release renin.", "Angiotensin appears in plasma."
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
            "Vomiting loses much gastric acid, whereas diarrhoea loses much bicarbonate.",
            "opposition",
            "Vomiting loses much gastric acid.",
            "Diarrhoea loses much bicarbonate.",
        ),
    ],
)
def test_paraphrase_and_contrast(text: str, task: str, statement: str, response: str):
    assert findings("paraphrase_and_contrast", text) == [(task, {"statement": statement}, response)]


@pytest.mark.parametrize(
    "text", ["", "  \n\n ", "Renin.", "The cell is small. The cell is round.", "12 34 56 %"]
)
def test_a_text_without_cues_gives_no_pairs(text: str):
    assert mine_pairs(document(text), seed=0) == ()


def test_every_answer_with_options_is_one_of_them():
    for seed in range(50):
        for pair in mine_pairs(document(BAROREFLEX), seed=seed, max_pairs=50):
            assert not pair.options or pair.response in pair.options


def test_braces_in_a_title_are_copied():
    text, title = (
        "Renin is an enzyme of the kidney. Cells release it at night.",
        "Renin and {effect} of %s {0}",
    )
    assert title in {pair.response for pair in mine_pairs(document(text, title), seed=0)}


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


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        (
            "abbreviations",
            "Cells need extracellular electron transfer (EET) here.",
            {("EET", "extracellular electron transfer")},
        ),
        ("abbreviations", "Patients with multiple myeloma (MM) came.", {("MM", "multiple myeloma")}),
        ("abbreviations", "The result was good (OK) for all.", set()),
        ("apposition", "It was Mary Hill, a lawyer in York, who won.", {("Mary Hill", "A lawyer in York.")}),
        ("apposition", "He lives in New York, a city of millions, with her.", set()),
        (
            "examples",
            "Factories need solvents such as ether, acetone and water.",
            {("solvents", "Ether, acetone and water.")},
        ),
        ("examples", "Vitamins and minerals, including iron and zinc.", set()),
    ],
)
def test_terms_are_found_and_doubtful_ones_refused(kind: str, text: str, expected: set[tuple[str, str]]):
    found = set()
    for task, fields, response in findings(kind, text):
        (value,) = fields.values()
        found.add((response, value) if task == "short_form" else (value, response))
    assert {
        (one, other[0].lower() + other[1:]) if kind == "abbreviations" else (one, other)
        for one, other in found
    } == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "A catheter is a thin tube that drains the bladder.",
            ("a catheter", "A thin tube that drains the bladder."),
        ),
        (
            "Renin is one of the enzymes that kidneys make.",
            ("Renin", "One of the enzymes that kidneys make."),
        ),
        ("This is a thin tube that drains the bladder.", None),
        ("Walking is a good way to keep healthy in old age.", None),
        ("The oldest tube is the tube that drains the bladder.", None),
    ],
)
def test_definitions(text: str, expected: tuple[str, str] | None):
    found = {
        (item.fields["term"], item.response)
        for seed in range(20)
        for item in RULES["definition"](Passage.of(text), random.Random(seed))
        if item.task == "definition"
    }
    assert found == ({expected} if expected else set())


@pytest.mark.parametrize(
    ("text", "task", "fields", "response"),
    [
        (
            "Drugs are used to lower cholesterol.",
            "use",
            {"subject": "drugs", "be": "are"},
            "To lower cholesterol.",
        ),
        ("The aim of this study was to compare two drugs.", "aim", {}, "To compare two drugs."),
        ("These results suggest that renin matters much.", "conclusion", {}, "Renin matters much."),
        (
            "The bridge was built in 1932.",
            "when",
            {"subject": "the bridge", "be": "was", "done": "built"},
            "In 1932.",
        ),
        (
            "Officials said that the road was closed.",
            "said",
            {"subject": "officials"},
            "The road was closed.",
        ),
    ],
)
def test_statements(text: str, task: str, fields: dict[str, str], response: str):
    assert findings("statements", text) == [(task, fields, response)]


@pytest.mark.parametrize(
    "text",
    [
        "It is used to lower cholesterol.",
        "What doctors know is used to heal the sick.",
        "In Rome people are used to wait.",
    ],
)
def test_statements_without_a_subject_are_refused(text: str):
    assert findings("statements", text) == []


def test_a_question_is_answered_no_if_the_text_denies_it_or_a_number_was_changed():
    denied = "The aardwolf is not closely related to the anteater."
    assert findings("yes_or_no", denied)[0][1:] == (
        {"question": "Is the aardwolf closely related to the anteater?"},
        "No",
    )
    counted = "The brigade was formed by 350 soldiers of the north."
    answers = {}
    for seed in range(30):
        for item in RULES["yes_or_no"](Passage.of(counted), random.Random(seed)):
            answers.setdefault(item.response, set()).add("350" in item.fields["question"])
    assert answers == {"Yes": {True}, "No": {False}}


def test_a_false_statement_has_another_number_or_an_opposite():
    for text, original in (
        ("The trial treated 120 patients in two large hospitals.", "120"),
        ("The dose increased the pressure of all treated patients.", "increased"),
    ):
        found = [
            item
            for seed in range(20)
            for item in RULES["true_or_false"](Passage.of(text), random.Random(seed))
        ]
        assert {item.response for item in found} == {"true", "false"}
        assert all((original in item.fields["statement"]) == (item.response == "true") for item in found)


def test_however_is_a_contrast_only_beside_a_limit_and_a_common_word():
    contrast = "The reflex corrects pressure quickly. However, the reflex does not last for days."
    topic = "The reflex corrects pressure quickly. However, many visitors enjoy the garden today."
    assert [item[2] for item in findings("inference", contrast)] == ["contrast"]
    assert findings("inference", topic) == []


def test_the_connective_of_the_text_is_among_three_options():
    text = "Veins tighten in the cold. As a result, more blood reaches the heart."
    (found,) = RULES["connective"](Passage.of(text), random.Random(0))
    assert (
        found.response == "As a result" and found.response in found.options and len(set(found.options)) == 3
    )


@pytest.mark.parametrize(
    "text",
    [
        "It does the opposite of that.",
        "In that year he won the great prize.",
        "We measured the renin of all patients.",
        "The values are shown in Fig. 2 of the report.",
        'He said "the road is closed to all of them.',
        "Sets the mode of the device to automatic.",
        "Add a range of numbers to the pool.",
        "The river (about ) flows into the lake.",
        "Прошлые годы были временем перемен для всех.",
        "This happens in all of the cells.",
    ],
)
def test_sentences_that_do_not_stand_alone(text: str):
    assert not any(sentence.stands_alone for sentence in Passage.of(text).sentences)


def test_rare_words_come_from_a_frequency_list():
    text = "Vasopressin is an antidiuretic acting through aquaporins. The large responsibilities ended."
    assert findings("word_to_text", text) == [
        (
            "words",
            {"words": "antidiuretic and aquaporins"},
            "Vasopressin is an antidiuretic acting through aquaporins.",
        )
    ]


def test_a_document_in_another_language_has_no_pairs():
    german = "Renin ist ein Enzym der Niere. Die Zellen geben es ab, wenn der Druck im Blut fällt."
    assert mine_pairs(document(german, "Renin der Niere"), seed=0) == ()


def test_each_sentence_is_used_once_and_pairs_repeat_for_a_seed():
    asked = document(BAROREFLEX, "The arterial reflex")
    assert mine_pairs(asked, seed=3) == mine_pairs(asked, seed=3)
    assert 1 < len(mine_pairs(asked, seed=3)) <= 6
    assert len(mine_pairs(asked, seed=3, max_pairs=1)) == 1


def test_wordings_are_many_and_end_their_line_with_a_sentence():
    assert sum(map(len, wordings().values())) >= 300
    for task, each in wordings().items():
        assert len({wording.text for wording in each}) == len(each) >= 10, task
        for wording in each:
            for field in re.findall(r"\{(\w+)\}(?!\n|$)", wording.text):
                assert field in (
                    "term",
                    "be",
                    "short",
                    "long",
                    "name",
                    "kind",
                    "words",
                    "subject",
                    "done",
                    "concession",
                ), wording
