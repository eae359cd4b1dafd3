"""Mining rules: findings, wordings, and text without findings."""

from __future__ import annotations

import asyncio
import os
import random
import re
import subprocess
import sys
from collections import Counter

import pytest

from plugins.synthesizers.mined import MinedSynthesizer
from plugins.synthesizers.mining_rules import RULES, mine_pairs
from plugins.synthesizers.mining_sentences import Passage, is_imperative, open_pronoun, split_sentences
from plugins.synthesizers.mining_statements import another_number, falsified
from plugins.synthesizers.mining_wordings import wordings
from schemas.records import Chain, Document
from schemas.synthesis_config import SynthesisConfig

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
        ("Lithium is a simple ion, and yet it remains one of the best drugs.", None),
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


@pytest.mark.parametrize(
    ("text", "pattern", "most"),
    [
        ("The gate opens before 30 December in all towns.", r"before (\d+) December", 28),
        ("The treaty was signed on May 27 in the town hall.", r"May (\d+)", 28),
        ("About 95% of the voters took part in it.", r"About (\d+)%", 100),
        ("The pool closes at 11 pm on every day of the week.", r"at (\d+) pm", 12),
        ("The pumps run for 23 hours a day in summer.", r"for (\d+) hours", 24),
        ("The solution has a pH of 13 after the reaction.", r"pH of (\d+)", 14),
    ],
)
def test_a_changed_number_stays_possible(text: str, pattern: str, most: int):
    changed = {another_number(text, random.Random(seed)) for seed in range(60)} - {None}
    values = [int(re.search(pattern, each)[1]) for each in changed]
    assert values and all(0 < value <= most for value in values)


def test_a_part_stays_within_its_whole_and_years_keep_their_order():
    part = {
        another_number("The vaccine helped 14 of 15 children in a year.", random.Random(n)) for n in range(60)
    }
    assert {int(each.split()[3]) for each in part - {None}} <= set(range(1, 14))
    text = "Work began in March 1869 and ended in 1873."
    for changed in {another_number(text, random.Random(n)) for n in range(60)} - {None}:
        first, last = re.findall(r"\d{4}", changed)
        assert first < last


@pytest.mark.parametrize(
    ("text", "made_false"),
    [
        ("Voyager 2 passed the planet and took photographs.", None),
        ("Older carriages are restored by volunteers in the shed.", None),
        ("The tablets lower the pressure in the eye.", None),
        ("Several drugs lower acid secretion after meals.", None),
        ("By default, 1 copy is kept on the disk.", None),
        ("The largest moon is made of ice and rock.", "The smallest moon is made of ice and rock."),
    ],
)
def test_only_what_the_text_contradicts_is_made_false(text: str, made_false: str | None):
    assert falsified(text, random.Random(0)) == made_false


@pytest.mark.parametrize(
    ("text", "is_open"),
    [
        ("The builders cut a tunnel of 1.3 kilometres through them.", True),
        ("Orchard owners like them because the bees fly in cool weather.", True),
        ("Coach Maria Lund praised him after the match.", True),
        ("After three years the builders dug under it.", True),
        ("Observers need a telescope to see it.", True),
        ("The council asked for their views on the plan.", True),
        ("The town grew quickly under his rule.", True),
        ("Calves died when the staff fed them at night.", False),
        ("The bridge costs 14 million euros, and the city pays half of it.", False),
        ("Residents near the site will be asked for their views.", False),
        ("The dough rises because it holds gas.", False),
        ("The planet was found by Johann Galle on his first night.", False),
    ],
)
def test_a_pronoun_needs_a_noun_before_it(text: str, is_open: bool):
    assert open_pronoun(text) == is_open
    assert any(each.stands_alone for each in Passage.of(text).sentences) != is_open


def test_a_part_of_a_sentence_is_not_asked_about_with_an_open_pronoun():
    text = "Because bees fly in the cold, growers like them."
    assert findings("cause_and_effect", text) != []
    assert mine_pairs(document(f"{text} {text}"), seed=0) == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Mix 500 g of rye flour with 560 ml of lukewarm water.", True),
        ("Stir in 10 g of salt.", True),
        ("Bake the loaf at 250 degrees, then lower the heat.", True),
        ("Knead the dough for 8 minutes.", True),
        ("Wait until the loaf is cold before you slice it.", True),
        ("Pay attention to deadlines, as courts enforce them.", True),
        ("If the soup boils, stir it well.", True),
        ("J. Preserve the network location of the document.", True),
        ("Work began on 14 March 1869.", False),
        ("Water flows through the valley.", False),
        ("Trade with China grew fast.", False),
        ("Fire destroyed the barn.", False),
        ("Vasopressin acts on the kidney.", False),
        ("Research shows that bees sleep.", False),
        ("If the tap is open, water flows through the pipe.", False),
    ],
)
def test_a_sentence_that_begins_with_a_bare_verb_is_an_imperative(text: str, expected: bool):
    assert is_imperative(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "Die neue Brücke kostet 14 Millionen Euro.",
        "Der Vertrag wurde am 3. Mai verlängert.",
        "Les travaux coûtent plus cher que prévu.",
        "De stad was in handen van de Spanjaarden.",
        "El puente fue construido en el siglo pasado.",
    ],
)
def test_a_sentence_in_another_language_is_not_quoted_in_an_english_text(text: str):
    english = "The bridge over the Weser costs 14 million euros, and the city pays for it."
    assert [each.text for each in Passage.of(f"{english} {text}").alone] == [english]


def test_a_verb_is_no_term():
    text = "The bee pollinates orchards, whereas honeybees impair the standardised hives of apiarists."
    ((_, fields, _),) = findings("word_to_text", text)
    assert fields == {"words": "honeybees and apiarists"}
    assert findings("examples", "Gardeners plant wildflowers such as cowslip, borage and phacelia.") == [
        ("examples", {"kind": "wildflowers"}, "Cowslip, borage and phacelia.")
    ]


def test_yes_and_no_are_as_frequent_as_true_and_false():
    passage = Passage.of(
        "The bridge was built by 350 soldiers of the north. The gate is not open to the public at night. "
        "The river was crossed by 40 boats of the fleet. The town hall is made of the local stone."
    )
    for rule, pair in (("yes_or_no", ("Yes", "No")), ("true_or_false", ("true", "false"))):
        answers = Counter(
            item.response for seed in range(200) for item in RULES[rule](passage, random.Random(seed))
        )
        assert set(answers) == set(pair) and 85 <= answers[pair[0]] <= 115


def test_documents_that_are_not_english_prose_are_counted():
    code = "import os\n\ndef names(path):\n    return sorted(os.listdir(path))\n"
    texts = (BAROREFLEX, code, "Renin ist ein Enzym der Niere. Die Zellen geben es ab.")
    mined = asyncio.run(
        MinedSynthesizer(SynthesisConfig(backend="mined"), seed=0).synthesize(
            Chain(chain_id="c", documents=tuple(document(text) for text in texts))
        )
    )
    assert [bool(each.pairs) for each in mined] == [True, False, False]
    assert [dict(each.dropped) for each in mined] == [{}, {"not_english": 1}, {"not_english": 1}]
