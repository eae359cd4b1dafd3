"""Plain prose in many languages passes through what is made for text in any language, with its defaults."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from pipelines.steps.clean import clean_text
from plugins.document_language import UNKNOWN, language_of
from plugins.filters import FILTERS
from plugins.filters.base import Verdict
from plugins.filters.text_lines import ends_as_prose, num_sentences
from plugins.task_overlap import TaskIndex, TaskRows
from plugins.tasks.rows import TextRow
from plugins.verifiers.grounded import Grounded
from plugins.words import has_words
from schemas.corpus_config import CleanConfig, DecontaminationConfig
from schemas.errors import ConfigError
from schemas.records import Document, InstructionPair

PASSAGES: dict[str, str] = yaml.safe_load(
    Path(__file__).with_name("passages.yaml").read_text(encoding="utf-8")
)
FILTER_NAMES = sorted(set(FILTERS.names()) - {"language"})


def document(language: str) -> Document:
    return Document.of("d", PASSAGES[language], source="s")


def test_the_languages_are_those_that_they_say() -> None:
    assert len(PASSAGES) > 30
    found = {language: language_of(document(language)) for language in PASSAGES}
    assert {language: each for language, each in found.items() if each != language} == {"id": UNKNOWN}


def test_cleaning_keeps_all_passages_as_they_are() -> None:
    for passage in PASSAGES.values():
        assert clean_text(passage) == passage
        assert has_words(passage, CleanConfig().min_words)


@pytest.mark.parametrize("name", FILTER_NAMES)
def test_no_filter_refuses_or_shortens_prose(name: str) -> None:
    judge = FILTERS.load(name)()
    outcomes = {language: judge(document(language)) for language in PASSAGES}
    assert {language: each for language, each in outcomes.items() if each != document(language)} == {}


def test_two_sentences_look_like_running_text_in_every_language() -> None:
    """Their words are too few by default in English, too, but nothing else refuses them."""
    judge, refused = FILTERS.load("gopher_quality")({"min_words": 10}), {}
    yue = "河邊嗰間細細嘅圖書館喺春天重新開門。佢有一間窗好大嘅閱覽室，好多小朋友放學之後會嚟呢度做功課。"
    for language, text in {**PASSAGES, "yue": yue}.items():
        if language in ("th", "lo"):
            two = " ".join(text.split(" ")[:5])
        else:
            two = " ".join(re.split(r"(?<=[.。؟।။۔።])\s*", text)[:2])
        if not isinstance(outcome := judge(Document.of("d", two, source="s")), Document):
            refused[language] = outcome
    assert refused == {}


def test_no_language_needs_more_than_english() -> None:
    """Three sentences of the same content, in English just too short."""
    judge, refused = FILTERS.load("gopher_quality")(), set()
    for language in sorted(PASSAGES.keys() - {"th", "lo"}):
        three = " ".join(re.split(r"(?<=[.。؟।။۔።])\s*", PASSAGES[language])[:3])
        if not isinstance(judge(Document.of("d", three, source="s")), Document):
            refused.add(language)
    assert refused == {"en"}


@pytest.mark.parametrize("name", FILTER_NAMES)
def test_no_filter_refuses_prose_with_one_sentence_a_line(name: str) -> None:
    judge, refused = FILTERS.load(name)(), {}
    for language, text in PASSAGES.items():
        for mark in (". ", "。", "।", "။", "។", "۔ ", "؟ "):
            text = text.replace(mark, f"{mark.strip()}\n")
        if isinstance(outcome := judge(Document.of("d", text, source="s")), Verdict):
            refused[language] = outcome
    assert refused == {}


def test_menus_in_any_language_are_refused() -> None:
    """Filters that pass everything in other scripts would pass the tests above."""
    passed = []
    for language, passage in PASSAGES.items():
        menu = "\n".join(each[:8] for each in dict.fromkeys(re.split(r"\W+", passage)) if each[:8])
        if not isinstance(FILTERS.load("fineweb")()(Document.of("d", menu, source="s")), Verdict):
            passed.append(language)
    assert passed == []


def test_a_held_out_text_is_found_in_itself_and_in_no_other() -> None:
    config = DecontaminationConfig()
    rows = [TextRow(row_id=each, position=f"f:{each}", text=PASSAGES[each]) for each in PASSAGES]
    index = TaskIndex(
        [TaskRows(name="t", uri="f", rows=tuple(rows))],
        ngram=config.ngram,
        min_words=config.min_words,
        max_rows=config.max_rows,
    )
    for language, passage in PASSAGES.items():
        assert [overlap.row.row_id for overlap in index.find(f"… {passage} …")] == [language]


def test_answers_from_a_passage_are_grounded_and_others_are_not() -> None:
    for language, passage in PASSAGES.items():
        *_, last = passage.split()
        answer = passage[-60:] if len(last) < 50 else last[-20:]
        other = PASSAGES["el" if language != "el" else "ru"][-60:]
        own, wrong = (
            Grounded().verdict(passage, InstructionPair(instruction="?", response=response)).score
            for response in (answer, other)
        )
        assert own >= 0.5 > wrong, language


def test_line_ends_and_sentences_are_those_of_the_script() -> None:
    ends = ("Он пришёл.", "他来了。", "来た」", "वह आया।", "هل جاء؟", "وہ آیا۔")
    ends += ("ήρθε;", "เขามาแล้ว", "មក។", "„So.“")
    assert [line for line in ends if not ends_as_prose(line)] == []
    assert [line for line in ("f(x);", "Menu", "メニュー", "मेनू", "القائمة") if ends_as_prose(line)] == []
    counted = {
        "他来了。他走了！为什么？": 3,
        "वह आया। वह गया।": 2,
        "جاء. ثم ذهب. لماذا؟": 3,
        "Dr. A came. He left.": 2,
    }
    assert {line: num_sentences(line) for line in counted} == counted


def test_a_filter_passes_over_documents_that_are_certainly_in_other_languages() -> None:
    judging = FILTERS.load("c4")({"languages": ["en", "zh"]})
    assert [each for each in ("en", "de", "zh", "ja", "id") if judging.passes_over(document(each))] == [
        "de",
        "ja",
    ]
    assert not FILTERS.load("c4")().passes_over(document("de"))


def test_an_unknown_language_is_refused_with_its_key() -> None:
    with pytest.raises(ConfigError, match=r"^filters\.fineweb\.languages: language 'english' is unknown\."):
        FILTERS.load("fineweb")({"languages": ["english"]})
