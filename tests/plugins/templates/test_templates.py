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
from pathlib import Path
from typing import Any

import pytest

from benchmarks.wordings import variety
from plugins.templates import TEMPLATES
from plugins.templates.base import TemplateFamily
from plugins.templates.options import NAMINGS, OptionRules, OptionStyle, lay_out_options
from plugins.templates.patterns import Pattern, Slot
from plugins.templates.reading_comprehension import PairsApart, ReadingComprehension
from plugins.templates.wording_files import built_in, built_in_languages
from schemas.errors import ConfigError, RecordError
from schemas.records import Document, InstructionPair, SynthesizedDocument
from tests.plugins.templates.golden_texts import DOCUMENTS, GOLDEN

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


def document(text: str, *pairs: InstructionPair, language: str = "en") -> SynthesizedDocument:
    metadata = {"language": language, "language_probability": "0.99"}  # as the language filter sets them
    found = Document.of(text[:8], text, source="test", metadata=metadata)
    return SynthesizedDocument(document=found, pairs=pairs)


def _parts(pattern: Pattern) -> tuple[str | Slot, ...]:
    return pattern.parts


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

    @pytest.mark.parametrize("language", built_in_languages())
    def test_texts_instructions_and_responses_stand_verbatim(self, family: TemplateFamily, language: str):
        rng = random.Random(0)
        for seed in range(400):
            parts = [rng.choice(ADVERSARIAL) + f" {number}" for number in range(8)]
            kinds = [
                InstructionPair(instruction=parts[0], response=parts[1]),
                InstructionPair(
                    instruction=parts[2], response=parts[3], options=(parts[7], parts[3], "None of these")
                ),
                InstructionPair(instruction=parts[4], response=parts[5], rationale=parts[6]),
            ]
            rng.shuffle(kinds)
            documents = [
                document(parts[7], *kinds[:2], language=language),
                document(parts[6] + parts[0], *kinds[1:], language=language),
            ]
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
        languages = (built_in_languages()[seed % 5], "en", built_in_languages()[seed % 3])
        nasty = " ".join(ADVERSARIAL)
        pieces = [[f"{name}{number} {nasty}" for name in ("t", "q", "r")] for number in range(3)]
        documents = [
            document(text, InstructionPair(instruction=question, response=answer), language=language)
            for (text, question, answer), language in zip(pieces, languages, strict=True)
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

    def test_files_are_used_or_refused(self, family: TemplateFamily, tmp_path: Path):
        missing = str(tmp_path / "no.yaml")
        with pytest.raises(ConfigError, match=r"no such file|template_files"):
            type(family)([missing])

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
        pattern = Pattern("{Q {question} %s {answer}", slots={Slot.QUESTION, Slot.ANSWER})
        filled = pattern.fill({Slot.QUESTION: "{answer}", Slot.ANSWER: "{question}"})
        assert filled == "{Q {answer} %s {question}"

    def test_letters_mark_questions_and_answers_where_no_pair_has_options(self):
        texts = [FAMILY.render([document("Text.", pair(1))], seed=seed).text for seed in range(1000)]
        assert any("Q: Ask 1?\nA: Reply 1." in text for text in texts)
        assert any("Q. Ask 1?\nA. Reply 1." in text for text in texts)

    @pytest.mark.parametrize("language", built_in_languages())
    def test_no_letter_marks_an_answer_beside_items(self, language: str):
        """Items in the instruction, and items of ours, whatever their markers."""
        inside = InstructionPair(instruction="Which?\nA. Lung\nB. Heart", response="B. Heart")
        beside = InstructionPair(instruction="Which?", response="Heart", options=("Lung", "Heart"))
        item = r"(?i)^[(\[]?(?:[a-z]|[ivx]+|[-*])[.)\]:：](?! *(?:Lung|Heart))"
        for seed in range(800):
            for asked in (inside, beside):
                text = FAMILY.render([document("Text.", asked, language=language)], seed=seed).text
                assert not re.search(item, text, re.MULTILINE), text

    @pytest.mark.parametrize("language", built_in_languages())
    def test_a_question_without_end_mark_runs_into_nothing_and_its_options_finish_it(self, language: str):
        asked = [
            dataclasses.replace(each, instruction="Asthma kills each year by")
            for each in (pair(1), pair(2, options=("x", "y")), pair(3, rationale="r"))
        ]
        asked.append(dataclasses.replace(asked[1], rationale="r"))
        item = r"(?: ?[:：]|……| ?…| ___|（ ）)\n(?:[-*]|\W?\w+\W?) (?:x|y)"
        for seed in range(1200):
            (one,) = random.Random(seed).sample(asked, 1)
            text = FAMILY.render([document("Text.", one, one, language=language)], seed=seed).text
            if one.options:
                assert len(re.findall(f"each year by{item}", text)) == 2, text
            else:
                assert not re.search(r"each year by(?!\n| – | — |——|\*|$)", text), text

    @pytest.mark.parametrize("language", built_in_languages())
    def test_there_are_as_many_wordings_as_promised(self, language: str):
        file = built_in(language)

        def count(groups: Sequence[Any]) -> int:
            return sum(
                len({each.parts for each in g.ask}) * len({each.parts for each in g.reply}) for g in groups
            )

        voices = {each.parts for each in file.pairs + file.bare_pairs}
        assert len(voices) >= (100 if language == "en" else 50)
        assert len(voices) * len(file.questions) >= 100
        assert count(file.options) >= 60
        assert count(file.reasoning) >= 200

    @pytest.mark.parametrize("language", built_in_languages())
    def test_a_thousand_texts_have_various_wordings(self, language: str):
        found = variety(language)
        assert found.num_plain >= 200
        assert found.commonest_share <= 0.2
        assert found.num_phrases >= (337 if language == "en" else 190)


RULES = OptionRules(built_in("en").option_words)


class TestOptions:
    STYLE = OptionStyle(
        naming=NAMINGS[2],
        introducer="Options:",
        delimiter="\n",
        none_of_these="No option fits",
        rules=RULES,
    )

    @pytest.mark.parametrize(
        ("language", "options"),
        [
            ("de", ("Keine davon.", "x", "y")),
            ("zh", ("以上都不对。", "x", "y")),
            ("es", ("x", "todas las anteriores", "y")),
            ("fr", ("Aucune de ces réponses", "y", "x")),
        ],
    )
    def test_what_speaks_of_the_others_stays_last_in_each_language(
        self, language: str, options: tuple[str, ...]
    ):
        style = self.STYLE._replace(rules=OptionRules(built_in(language).option_words))
        asked = InstructionPair(instruction="?", response="x", options=options)
        for seed in range(20):
            text = lay_out_options(asked, style, random.Random(seed)).text
            assert {text.split("\n")[at][4:] for at in (1, 2)} == {"x", "y"}

    @pytest.mark.parametrize(
        ("language", "rationale"),
        [
            ("de", "Option B nennt y, die erste Antwort nennt x."),
            ("de", "Sowohl A als auch B? A und B sind es nicht."),
            ("zh", "选项B说的是y。"),
            ("zh", "A和B都不对。"),
            ("es", "La opción B habla de y."),
            ("fr", "La première réponse est x."),
        ],
    )
    def test_a_pair_that_speaks_of_positions_keeps_its_order_in_each_language(
        self, language: str, rationale: str
    ):
        style = self.STYLE._replace(rules=OptionRules(built_in(language).option_words))
        asked = pair(1, options=("x", "y"), rationale=rationale)
        for seed in range(20):
            assert lay_out_options(asked, style, random.Random(seed)).text == "A. x\nB. y" or (
                lay_out_options(asked, style, random.Random(seed)).text == "Options:\nA. x\nB. y"
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
        style = self.STYLE._replace(naming=NAMINGS[0], introducer="", delimiter="; ")
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
        rendered = FAMILY.render(DOCUMENTS, seed=seed)
        assert rendered.template == f"reading_comprehension/{layout}"
        assert rendered.text == expected

    def test_golden_with_the_text_last(self):
        seed, expected = GOLDEN["text_last"]
        assert FAMILY.render(DOCUMENTS, seed=seed).text == expected
