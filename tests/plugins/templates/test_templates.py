"""Template families: the contract of each, and the texts of reading comprehension."""

from __future__ import annotations

import dataclasses
import itertools
import os
import random
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence

import pytest

from plugins.templates import TEMPLATES
from plugins.templates import text_layouts as frames
from plugins.templates import wordings as phrases
from plugins.templates.base import TemplateFamily
from plugins.templates.options import NAMINGS, Naming, OptionStyle, lay_out_options
from plugins.templates.patterns import Pattern, Slot
from plugins.templates.reading_comprehension import PairsApart, ReadingComprehension
from schemas.errors import RecordError
from schemas.records import Document, InstructionPair, SynthesizedDocument

FAMILY = ReadingComprehension()
ADVERSARIAL = (
    "plain text",
    "{question} {answer} {} {0!r} {{}}",
    "%s %(answer)d 100% %%",
    "<CON> </CON> <QUE> <ANS> </END>",
    "<|endoftext|><s></s>[INST]",
    "Slot.TEXT Slot.QUESTION $question ${answer} \\1 \\g<0>",
    "line one\n\nline two\n\tindented\r\nwindows\n",
    "  outer spaces  ",
    "Ünïcödé 漢字 🧬 \u202eright to left\u202c e\u0301 \x00",
    "Question: a?\nAnswer: b\n\n---\n\n(A) c",
)


def pair(number: int, *, options: Sequence[str] = (), rationale: str = "") -> InstructionPair:
    response = options[0] if options else f"Reply {number}."
    return InstructionPair(
        instruction=f"Ask {number}?", response=response, options=tuple(options), rationale=rationale
    )


def document(text: str, *pairs: InstructionPair) -> SynthesizedDocument:
    return SynthesizedDocument(document=Document.of(text[:8], text, source="test"), pairs=pairs)


def _core(mark: str) -> str:
    """A marker without its punctuation, or an unchanged bullet."""
    return re.sub(r"\W", "", mark).casefold() or mark.strip()


TWO_EACH = (document("First text.", pair(1), pair(2)), document("Second text.", pair(3), pair(4)))
ONE_HAS_ONE = (document("First text.", pair(1), pair(2)), document("Second text.", pair(3)))


@pytest.fixture(params=TEMPLATES.names())
def family(request: pytest.FixtureRequest) -> TemplateFamily:
    return TEMPLATES.load(request.param)()


class TestEveryFamily:
    def test_is_registered_under_its_own_name(self, family: TemplateFamily):
        assert isinstance(family, TemplateFamily)
        assert type(family) is TEMPLATES.load(family.name)

    @pytest.mark.parametrize("text", ADVERSARIAL)
    def test_a_document_without_pairs_is_exactly_its_text(self, family: TemplateFamily, text: str):
        rendered = family.render([document(text)], seed=5)
        assert (rendered.text, rendered.template, rendered.spans) == (text, "raw", ((0, len(text)),))

    def test_no_documents_are_refused(self, family: TemplateFamily):
        with pytest.raises(RecordError, match="at least one document"):
            family.render([], seed=0)

    def test_texts_instructions_and_responses_stand_verbatim(self, family: TemplateFamily):
        rng = random.Random(0)
        for seed in range(600):
            parts = [rng.choice(ADVERSARIAL) + f" {number}" for number in range(8)]
            kinds = [
                InstructionPair(instruction=parts[0], response=parts[1]),
                InstructionPair(
                    instruction=parts[2], response=parts[3], options=(parts[7], parts[3], "None of these")
                ),
                InstructionPair(instruction=parts[4], response=parts[5], rationale=parts[6]),
            ]
            rng.shuffle(kinds)
            documents = [document(parts[7], *kinds[:2]), document(parts[6] + parts[0], *kinds[1:])]
            rendered = family.render(documents, seed=seed).text
            for item in documents:
                assert item.document.text in rendered
                for each in item.pairs:
                    assert each.instruction in rendered
                    assert each.response in rendered
                    assert each.rationale in rendered

    @pytest.mark.parametrize("seed", range(200))
    def test_each_document_in_order_has_a_span_with_its_pairs_that_can_be_cut_out(
        self, family: TemplateFamily, seed: int
    ):
        nasty = " ".join(ADVERSARIAL)
        pieces = [[f"{name}{number} {nasty}" for name in ("t", "q", "r")] for number in range(3)]
        documents = [
            document(text, InstructionPair(instruction=question, response=answer))
            for text, question, answer in pieces
        ]
        rendered = family.render(documents, seed=seed)
        assert len(rendered.spans) == 3
        assert rendered.spans[0][0] == 0 and rendered.spans[-1][1] == len(rendered.text)
        for (start, end), own in zip(rendered.spans, pieces, strict=True):
            for piece in own:
                assert piece in rendered.text[start:end]
                assert piece not in rendered.text[:start] + rendered.text[end:]
        for (_, end), (start, _) in itertools.pairwise(rendered.spans):
            assert end <= start and not rendered.text[end:start].strip("\n -=*_#~.")

    def test_the_template_is_named_after_the_family(self, family: TemplateFamily):
        assert family.render(TWO_EACH, seed=0).template.startswith(f"{family.name}/")

    @pytest.mark.slow
    def test_the_text_does_not_depend_on_the_process(self, family: TemplateFamily):
        code = (
            "from plugins.templates import TEMPLATES\n"
            "from schemas.records import *\n"
            "pairs = tuple(InstructionPair(instruction=f'Ask {n}?', response='b', options=('a', 'b', 'c'),"
            " rationale='r' * (n % 2)) for n in range(3))\n"
            "item = SynthesizedDocument(document=Document.of('d', 'A text.', source='test'), pairs=pairs)\n"
            f"family = TEMPLATES.load({family.name!r})()\n"
            "print([family.render([item, item], seed=seed) for seed in range(50)])"
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


class TestPatterns:
    def test_filling_never_scans_what_it_puts_in(self):
        pattern = Pattern(("{Q} ", Slot.QUESTION, " %s ", Slot.ANSWER), slots={Slot.QUESTION, Slot.ANSWER})
        filled = pattern.fill({Slot.QUESTION: "{answer}", Slot.ANSWER: "{question}"})
        assert filled == "{Q} {answer} %s {question}"

    @pytest.mark.parametrize(
        ("parts", "slots"),
        [
            (("Q: ", Slot.QUESTION), {Slot.QUESTION, Slot.ANSWER}),
            ((Slot.QUESTION, "\n", Slot.QUESTION), {Slot.QUESTION}),
            ((Slot.QUESTION, "\n", Slot.ANSWER), {Slot.QUESTION}),
            ((Slot.QUESTION, Slot.ANSWER), {Slot.QUESTION, Slot.ANSWER}),
            ((Slot.QUESTION, ""), {Slot.QUESTION}),
            (("text", None), set()),
        ],
        ids=["missing", "repeated", "unasked for", "touching", "empty literal", "no slot"],
    )
    def test_an_ill_formed_pattern_cannot_be_made(self, parts: tuple[str | Slot, ...], slots: set[Slot]):
        with pytest.raises(ValueError, match="pattern"):
            Pattern(parts, slots=slots)

    @pytest.mark.parametrize("naming", NAMINGS)
    def test_nothing_that_marks_an_answer_could_mark_an_option(self, naming: Naming):
        marks = [part for voice in phrases.OPTION_VOICES for part in voice.parts if isinstance(part, str)]
        marks += itertools.chain(*phrases.SPEAKERS)
        if not naming.is_number:  # numbered questions have no numbered options
            marks += [before + "1" + after for before, after in phrases.NUMBERINGS]
        names = {_core(naming.marker(index)) for index in range(26)}
        assert names.isdisjoint(map(_core, marks))

    def test_letters_mark_questions_and_answers_where_no_pair_has_options(self):
        texts = [FAMILY.render([document("Text.", pair(1))], seed=seed).text for seed in range(200)]
        assert any("Q: Ask 1?\nA: Reply 1." in text for text in texts)
        assert any("Q. Ask 1?\nA. Reply 1." in text for text in texts)

    def test_no_letter_marks_an_answer_below_items_in_an_instruction(self):
        asked = InstructionPair(instruction="Which?\nA. Lung\nB. Heart", response="B. Heart")
        for seed in range(300):
            text = FAMILY.render([document("Text.", asked)], seed=seed).text
            assert not re.search(r"^A[.:] (?!Lung)", text, re.MULTILINE)

    def test_a_question_without_end_punctuation_runs_into_nothing(self):
        asked = [
            dataclasses.replace(each, instruction="Asthma kills each year by")
            for each in (pair(1), pair(2, options=("x", "y")), pair(3, rationale="r"))
        ]
        asked.append(dataclasses.replace(asked[1], rationale="r"))
        for seed in range(2000):
            (one,) = random.Random(seed).sample(asked, 1)
            text = FAMILY.render([document("Text.", one, one)], seed=seed).text
            assert not re.search(r"each year by(?!\n| – |$)", text)

    def test_there_are_as_many_patterns_as_the_family_promises(self):
        plain = {pattern.parts for pattern in phrases.LABELLED_VOICES + phrases.BARE_VOICES}
        assert len(plain) >= 14
        for forms, least in (
            (phrases.OPTION_FORMS, 8),
            (phrases.RATIONALE_FORMS, 6),
            (phrases.OPTION_RATIONALE_FORMS, 4),
        ):
            assert len({(form.ask.parts, form.reply.parts, form.names_item) for form in forms}) >= least

    @pytest.mark.parametrize(("kind", "forms"), phrases.FORMS.items())
    def test_a_form_asks_and_replies_with_what_its_kind_has(
        self, kind: tuple[bool, bool], forms: tuple[phrases.Form, ...]
    ):
        options, rationale = kind
        for form in forms:
            assert form.ask.slots == {Slot.QUESTION} | ({Slot.OPTIONS} if options else set())
            assert form.reply.slots == {Slot.ANSWER} | ({Slot.RATIONALE} if rationale else set())
            assert isinstance(form.reply.parts[-1], Slot)

    @pytest.mark.parametrize("group", [frames.TEXT_FIRST, frames.TEXT_LAST])
    def test_a_frame_puts_the_text_where_its_group_says(self, group: dict[str, tuple[Pattern, ...]]):
        assert group.keys() == frames.TEXT_FIRST.keys()
        for pattern in (pattern for layout in group.values() for pattern in layout):
            first_slot = next(part for part in pattern.parts if isinstance(part, Slot))
            assert (first_slot is Slot.TEXT) == (group is frames.TEXT_FIRST)


class TestOptions:
    STYLE = OptionStyle(
        naming=NAMINGS[2], introducer="Options:", delimiter="\n", none_of_these="No option fits"
    )

    def test_the_right_option_moves_and_its_marker_follows(self):
        seen = set()
        asked = pair(1, options=("yes", "no", "maybe"))
        for seed in range(60):
            block = lay_out_options(asked, self.STYLE, random.Random(seed))
            assert f"{block.answer_marker} yes" in block.text.split("\n")
            assert sorted(line[4:] for line in block.text.split("\n")[1:]) == ["maybe", "no", "yes"]
            seen.add(block.answer_marker)
        assert seen == {"(A)", "(B)", "(C)"}

    def test_none_of_these_stays_last_in_the_wording_of_the_style(self):
        asked = pair(1, options=("x", "None of the above", "y"))
        for seed in range(20):
            assert lay_out_options(asked, self.STYLE, random.Random(seed)).text.endswith(
                "\n(C) No option fits"
            )

    def test_none_of_these_keeps_its_wording_when_it_is_the_answer(self):
        asked = pair(1, options=("None of the above", "x", "y"))
        block = lay_out_options(asked, self.STYLE, random.Random(0))
        assert block.text.endswith("\n(C) None of the above")
        assert block.answer_marker == "(C)"

    def test_an_option_that_only_begins_like_one_moves_like_any_other(self):
        asked = pair(1, options=("None of the patients", "x"))
        texts = {lay_out_options(asked, self.STYLE, random.Random(seed)).text for seed in range(20)}
        assert texts == {
            "Options:\n(A) None of the patients\n(B) x",
            "Options:\n(A) x\n(B) None of the patients",
        }

    @pytest.mark.parametrize(
        "asked",
        [
            pair(1, options=("x", "y"), rationale="Option B speaks of y, so it is not that."),
            pair(1, options=("x", "y", "Both A and B")),
        ],
        ids=["rationale names an option", "an option names options"],
    )
    def test_the_order_given_is_kept_where_positions_matter(self, asked: InstructionPair):
        for seed in range(20):
            text = lay_out_options(asked, self.STYLE, random.Random(seed)).text
            assert text.startswith("Options:\nA. x\nB. y")

    def test_options_of_which_none_is_the_response_are_left_out(self):
        asked = InstructionPair(instruction="Which?", response="neither", options=("choice x", "choice y"))
        assert lay_out_options(asked, self.STYLE, random.Random(0)) is None
        opened = InstructionPair(instruction="Which?", response="neither")
        for seed in range(200):
            text = FAMILY.render([document("Text.", asked, pair(1))], seed=seed).text
            assert "choice" not in text
            assert "Which?" in text and "neither" in text
        assert FAMILY.render([document("Text.", opened, pair(1))], seed=0).text.count("Which?") == 1

    def test_options_that_hold_the_delimiter_get_lines_of_their_own(self):
        style = OptionStyle(naming=NAMINGS[0], introducer="", delimiter="; ", none_of_these="None of these")
        asked = pair(1, options=("x; y", "z"))
        texts = {lay_out_options(asked, style, random.Random(seed)).text for seed in range(20)}
        assert texts == {"A. x; y\nB. z", "A. z\nB. x; y"}

    def test_names_that_run_out_go_on_as_numbers(self):
        for naming in NAMINGS:
            if naming.names:
                assert len({naming.marker(index) for index in range(40)}) == 40


class TestReadingComprehension:
    def test_layouts_have_the_published_shares(self):
        seeds = range(4000)
        several = Counter(FAMILY.render(TWO_EACH, seed=seed).template for seed in seeds)
        few = Counter(FAMILY.render(ONE_HAS_ONE, seed=seed).template for seed in seeds)
        shares = {name.partition("/")[2]: count / len(seeds) for name, count in several.items()}
        assert shares == pytest.approx(
            {"classic": 0.80, "dialogue": 0.05, "numbered": 0.05, "inline_few_shot": 0.05, "next_turn": 0.05},
            abs=0.015,
        )
        shares = {name.partition("/")[2]: count / len(seeds) for name, count in few.items()}
        assert shares == pytest.approx({"classic": 0.95, "dialogue": 0.05}, abs=0.015)

    def test_the_text_comes_after_the_questions_in_one_of_twenty(self):
        seeds = range(4000)
        after = 0
        for seed in seeds:
            text = FAMILY.render(TWO_EACH, seed=seed).text
            after += text.index("Ask 1?") < text.index("First text.")
        assert after / len(seeds) == pytest.approx(0.05, abs=0.015)

    def test_pairs_apart_stand_behind_the_bare_text(self):
        for seed in range(200):
            found = PairsApart().render(TWO_EACH[:1], seed=seed)
            text = TWO_EACH[0].document.text
            assert found.text.startswith(f"{text}\n\n") and found.text.count(text) == 1
            assert found.text.index("Ask 1?") < found.text.index("Ask 2?")
            assert (found.spans, found.template) == (((0, len(found.text)),), "pairs_apart/classic")

    def test_pairs_keep_their_order(self):
        for seed in range(400):
            text = FAMILY.render(TWO_EACH, seed=seed).text
            places = [text.index(f"Ask {number}?") for number in (1, 2, 3, 4)]
            assert places == sorted(places)

    def test_numbered_questions_have_options_that_are_not_numbered(self):
        asked = pair(1, options=("x", "y", "z"))
        numbered = 0
        for seed in range(1500):
            rendered = FAMILY.render([document("Text.", asked, asked)], seed=seed)
            if rendered.template.endswith("/numbered"):
                numbered += 1
                assert not any(f"{marker} y" in rendered.text for marker in ("1.", "2.", "(1)", "(2)"))
        assert numbered > 30

    def test_a_document_without_pairs_stays_bare_within_a_run(self):
        text = FAMILY.render([document("First text.", pair(1)), document("Second text.")], seed=0).text
        assert text.endswith("\n\nSecond text.")

    @pytest.mark.parametrize("layout", ["classic", "dialogue", "numbered", "inline_few_shot", "next_turn"])
    def test_golden(self, layout: str):
        seed, expected = GOLDEN[layout]
        rendered = FAMILY.render(GOLDEN_DOCUMENTS, seed=seed)
        assert rendered.template == f"reading_comprehension/{layout}"
        assert rendered.text == expected

    def test_golden_with_the_text_last(self):
        seed, expected = GOLDEN["text_last"]
        assert FAMILY.render(GOLDEN_DOCUMENTS, seed=seed).text == expected


GOLDEN_DOCUMENTS = (
    document(
        "Renin is made by the kidney.",
        InstructionPair(instruction="Where is renin made?", response="In the kidney."),
        InstructionPair(
            instruction="Is renin a hormone?",
            response="No",
            options=("Yes", "No", "None of the above"),
            rationale="It acts as an enzyme.",
        ),
    ),
    document(
        "Insulin falls in fasting.",
        InstructionPair(
            instruction="When does insulin fall?", response="In fasting", options=("In fasting", "At meals")
        ),
        InstructionPair(
            instruction="Say it briefly.",
            response="Fasting lowers insulin.",
            rationale="One clause is enough.",
        ),
    ),
)


GOLDEN: dict[str, tuple[int, str]] = {
    "classic": (
        3,
        "The passage below holds all that is needed to answer.\n\n"
        "Renin is made by the kidney.\n\n"
        "Problem: Where is renin made?\n"
        "Result: In the kidney.\n\n"
        "Problem: Is renin a hormone?\n"
        "Pick one:\n"
        "(a) No\n"
        "(b) Yes\n"
        "(c) No option fits\n"
        "Choose, and say why.\n"
        "Result: No\n"
        "Grounds: It acts as an enzyme.\n\n"
        "=====\n\n"
        "The passage below holds all that is needed to answer.\n\n"
        "Insulin falls in fasting.\n\n"
        "Problem: When does insulin fall?\n"
        "Pick one:\n"
        "(a) At meals\n"
        "(b) In fasting\n"
        "Which of them is it?\n"
        "Result: (b) In fasting\n\n"
        "Problem: Say it briefly.\n"
        "Result: One clause is enough.\n"
        "So the answer is: Fasting lowers insulin.",
    ),
    "dialogue": (
        0,
        "Text under discussion:\n"
        "Renin is made by the kidney.\n\n"
        "Discussion:\n"
        "[Ask] Where is renin made?\n"
        "[Reply] In the kidney.\n"
        "[Ask] Is renin a hormone?\n"
        "(a) No\n"
        "(b) Yes\n"
        "(c) None of the above\n"
        "Choose, and say why.\n"
        "[Reply] No\n"
        "Grounds: It acts as an enzyme.\n\n"
        "***\n\n"
        "Text under discussion:\n"
        "Insulin falls in fasting.\n\n"
        "Discussion:\n"
        "[Ask] When does insulin fall?\n\n"
        "(a) At meals\n"
        "(b) In fasting\n\n"
        "Give the one that the passage supports.\n\n"
        "[Reply] In fasting\n\n"
        "[Ask] Say it briefly.\n"
        "Give your grounds as well.\n\n"
        "[Reply] Fasting lowers insulin.\n"
        "Grounds: One clause is enough.",
    ),
    "numbered": (
        46,
        "Passage:\n"
        "Renin is made by the kidney.\n\n"
        "Questions\n\n"
        "(1) Where is renin made?\n"
        "(2) Is renin a hormone?\n"
        "Options:\n"
        "A. Yes\n"
        "B. No\n"
        "C. None of the others\n"
        "Choose, and say why.\n\n"
        "Answers\n\n"
        "(1) In the kidney.\n"
        "(2) B. No\n"
        "Why: It acts as an enzyme.\n\n\n"
        "Passage:\n"
        "Insulin falls in fasting.\n\n"
        "Questions\n\n"
        "(1) When does insulin fall?\n"
        "Options:\n"
        "A. In fasting\n"
        "B. At meals\n"
        "(2) Say it briefly.\n\n"
        "Answers\n\n"
        "(1) A. In fasting\n"
        "(2) Fasting lowers insulin.\n"
        "Why: One clause is enough.",
    ),
    "inline_few_shot": (
        20,
        "Renin is made by the kidney.\n\n"
        "Answered already:\n\n"
        "**Question.** Where is renin made?\n"
        "**Answer.** In the kidney.\n\n"
        "In the same way:\n\n"
        "**Question.** Is renin a hormone?\n"
        "Select one of these:\n"
        "(i) Yes\n"
        "(ii) No\n"
        "(iii) None of these\n"
        "Weigh them before you choose.\n"
        "**Answer.** It acts as an enzyme.\n"
        "So the answer is: (ii) No\n\n"
        "=====\n\n"
        "Insulin falls in fasting.\n\n"
        "Answered already:\n\n"
        "**Question.** When does insulin fall?\n"
        "Select one of these:\n"
        "(i) In fasting\n"
        "(ii) At meals\n"
        "Pick the one that fits.\n"
        "**Answer.** (i) In fasting\n\n"
        "In the same way:\n\n"
        "**Question.** Say it briefly.\n"
        "Reason first, then conclude.\n"
        "**Answer.** One clause is enough.\n"
        "Conclusion: Fasting lowers insulin.",
    ),
    "next_turn": (
        22,
        "Renin is made by the kidney.\n\n"
        "A conversation about the text:\n\n"
        "Reader: Where is renin made?\n"
        "Author: In the kidney.\n"
        "Reader: Is renin a hormone?\n"
        "Choose from:\n"
        "[A] No\n"
        "[B] Yes\n"
        "[C] None of the others\n"
        "Weigh them before you choose.\n\n"
        "What is said next?\n\n"
        "Author: It acts as an enzyme.\n"
        "So the answer is: [A] No\n\n\n"
        "Insulin falls in fasting.\n\n"
        "A conversation about the text:\n\n"
        "Reader: When does insulin fall?\n"
        "Choose from:\n"
        "[A] In fasting\n"
        "[B] At meals\n"
        "Author: In fasting\n"
        "Reader: Say it briefly.\n"
        "Take it one step after another.\n\n"
        "What is said next?\n\n"
        "Author: One clause is enough.\n"
        "This leads to: Fasting lowers insulin.",
    ),
    "text_last": (
        141,
        "## Exercises\n\n"
        "Query: Where is renin made?\n"
        "Reply: In the kidney.\n\n"
        "Query: Is renin a hormone?\n"
        "Options: 1. Yes | 2. No | 3. None of the others\n"
        "Reply: It acts as an enzyme.\n"
        "So the answer is: 2. No\n\n"
        "## Reading\n\n"
        "Renin is made by the kidney.\n\n"
        "***\n\n"
        "## Exercises\n\n"
        "Query: When does insulin fall?\n"
        "Options: 1. In fasting | 2. At meals\n"
        "Reply: 1. In fasting\n\n"
        "Query: Say it briefly.\n"
        "Show how you get there.\n"
        "Reply: One clause is enough.\n\n"
        "Final answer: Fasting lowers insulin.\n\n"
        "## Reading\n\n"
        "Insulin falls in fasting.",
    ),
}
