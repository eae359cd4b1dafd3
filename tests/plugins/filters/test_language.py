from __future__ import annotations

import socket
from typing import Any

import pytest

from plugins.document_language import identifier
from plugins.filters.base import Verdict
from plugins.filters.language import LanguageFilter
from schemas.errors import ConfigError
from schemas.records import Document

ENGLISH = "The patient was given antibiotics for five days, after which the fever was gone."
GERMAN = "Der Patient erhielt fünf Tage lang Antibiotika, danach war das Fieber verschwunden."


def judge(text: str, **options: Any) -> Document | Verdict:
    return LanguageFilter(options)(Document.of("d", text, source="s", metadata={"title": "T"}))


def test_a_kept_document_knows_its_language_and_is_otherwise_the_same() -> None:
    found = judge(ENGLISH)
    assert isinstance(found, Document)
    assert (found.text, found.metadata["title"], found.metadata["language"]) == (ENGLISH, "T", "en")
    assert 0.65 <= float(found.metadata["language_probability"]) <= 1


def test_another_language_is_refused_with_what_it_is() -> None:
    found = judge(GERMAN)
    assert isinstance(found, Verdict)
    assert (found.rule, str(found.value)[:4], found.limit) == ("keep", "de (", "one of en")


def test_several_languages_can_be_kept() -> None:
    assert isinstance(judge(GERMAN, keep=["en", "de"]), Document)


def test_an_uncertain_language_is_refused_at_the_limit() -> None:
    _, probability = identifier().classify(ENGLISH)
    assert isinstance(judge(ENGLISH, min_probability=float(probability)), Document)
    found = judge(ENGLISH, min_probability=1.0)
    assert found == Verdict(rule="min_probability", value=float(probability), limit="at least 1.0")


def test_only_the_beginning_is_read() -> None:
    assert isinstance(judge(ENGLISH + GERMAN * 9, max_characters=len(ENGLISH)), Document)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("fr", "Le patient a reçu des antibiotiques pendant cinq jours, puis la fièvre a disparu."),
        ("zh", "患者接受了五天的抗生素治疗，随后发烧消失了。"),
        ("ar", "تلقى المريض المضادات الحيوية لمدة خمسة أيام ثم اختفت الحمى."),
        ("ru", "Пациент получал антибиотики пять дней, после чего температура спала."),
        ("zxx", "12345 6789"),
    ],
)
def test_languages_are_told_apart(code: str, text: str) -> None:
    assert identifier().classify(text)[0] == code


def test_a_code_that_is_none_is_refused_with_the_nearest() -> None:
    with pytest.raises(
        ConfigError, match=r"^filters\.language\.keep: language 'eng' is unknown\. Did you mean 'en'\?"
    ):
        LanguageFilter({"keep": ["eng"]})


def test_nothing_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    identifier.cache_clear()
    assert isinstance(judge(ENGLISH), Document)
