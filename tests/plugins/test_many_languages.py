"""Plain prose in many languages passes through what is made for text in any language, with its defaults."""

from __future__ import annotations

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
from plugins.words import has_words, words_of
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


@pytest.mark.parametrize("language", PASSAGES)
def test_cleaning_keeps_a_passage_as_it_is(language: str) -> None:
    assert clean_text(PASSAGES[language]) == PASSAGES[language]
    assert has_words(PASSAGES[language], CleanConfig().min_words)


@pytest.mark.parametrize("name", FILTER_NAMES)
@pytest.mark.parametrize("language", PASSAGES)
def test_no_filter_refuses_or_shortens_prose(language: str, name: str) -> None:
    assert FILTERS.load(name)()(document(language)) == document(language)


@pytest.mark.parametrize("name", FILTER_NAMES)
@pytest.mark.parametrize("language", PASSAGES)
def test_no_filter_refuses_prose_with_one_sentence_a_line(language: str, name: str) -> None:
    lines = PASSAGES[language]
    for mark in (". ", "。", "।", "။", "។", "۔ ", "؟ "):
        lines = lines.replace(mark, f"{mark.strip()}\n")
    assert not isinstance(FILTERS.load(name)()(Document.of("d", lines, source="s")), Verdict)


@pytest.mark.parametrize("language", PASSAGES)
def test_lists_in_any_language_are_refused(language: str) -> None:
    """A filter that passes everything in other scripts would pass the tests above."""
    items = "\n".join(word[:6] for word in dict.fromkeys(words_of(PASSAGES[language])) if len(word) > 1)
    items = items or "\n".join(dict.fromkeys(words_of(PASSAGES[language])))
    verdict = FILTERS.load("fineweb")()(Document.of("d", items, source="s"))
    assert isinstance(verdict, Verdict)


@pytest.mark.parametrize("language", PASSAGES)
def test_a_held_out_row_is_found_in_its_text_and_in_no_other(language: str) -> None:
    config = DecontaminationConfig()
    row = TextRow(row_id="r", position="f:1", text=PASSAGES[language])
    index = TaskIndex(
        [TaskRows(name="t", uri="f", rows=(row,))],
        ngram=config.ngram,
        min_words=config.min_words,
        max_rows=config.max_rows,
    )
    assert [each for each, text in PASSAGES.items() if index.find(text)] == [language]


@pytest.mark.parametrize("language", PASSAGES)
def test_an_answer_from_the_passage_is_grounded_and_another_is_not(language: str) -> None:
    *_, last = PASSAGES[language].split()
    answer = PASSAGES[language][-60:] if len(last) < 50 else last[-20:]
    other = PASSAGES["el" if language != "el" else "ru"][-60:]
    scores = [
        Grounded().verdict(PASSAGES[language], InstructionPair(instruction="?", response=response)).score
        for response in (answer, other)
    ]
    assert scores[0] >= 0.5 > scores[1]


def test_line_ends_and_sentences_are_those_of_the_script() -> None:
    ends = (
        "Он пришёл.",
        "他来了。",
        "来た」",
        "वह आया।",
        "هل جاء؟",
        "وہ آیا۔",
        "ήρθε;",
        "เขามาแล้ว",
        "មក។",
        "Er sagte: „So.“",
    )
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
