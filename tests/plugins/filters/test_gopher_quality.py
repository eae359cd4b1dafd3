from __future__ import annotations

from typing import Any

import pytest

from plugins.filters.base import Unjudged, Verdict
from plugins.filters.gopher_quality import GopherQualityFilter
from schemas.errors import ConfigError
from schemas.records import Document

OFF: dict[str, Any] = dict.fromkeys(
    name for name in GopherQualityFilter.Options.model_fields if name != "stop_words"
)


def judge(text: str, **options: Any) -> Verdict | None:
    outcome = GopherQualityFilter(options)(Document.of("d", text, source="s"))
    return outcome if isinstance(outcome, Verdict) else None


def only(text: str, rule: str) -> tuple[float | str, str] | None:
    """The verdict of a single rule with its published limit."""
    published = getattr(GopherQualityFilter.Options(), rule)
    verdict = judge(text, **{**OFF, rule: published})
    if verdict is None:
        return None
    assert verdict.rule == rule
    return verdict.value, verdict.limit


@pytest.mark.parametrize(
    ("rule", "kept", "refused", "value", "limit"),
    [
        ("min_words", "word " * 50, "word " * 49, 49, "at least 50"),
        ("max_words", "w " * 100_000, "w " * 100_001, 100_001, "at most 100,000"),
        ("min_mean_word_length", "abc abcd ab", "abc ab abc ab", 2.5, "at least 3.0"),
        ("max_mean_word_length", "abcdefghij", "abcdefghij abcdefghijkl", 11.0, "at most 10.0"),
        ("max_hashes_per_word", "# b c d e f g h i j", "# # c d e f g h i j", 0.2, "at most 0.1"),
        ("max_ellipses_per_word", "a… b c d e f g h i j", "a... b… c d e f g h i j", 0.2, "at most 0.1"),
        ("max_bullet_lines", "- a\n" * 9 + "a", "- a\n" * 19 + "a", 0.95, "at most 0.9"),
        ("max_ellipsis_lines", "a...\n" * 3 + "b\n" * 7, "a…\n\n" * 2 + "b\n" * 3, 0.4, "at most 0.3"),
        ("min_words_with_letter", "a b c d 5", "a b 3 4", 0.5, "at least 0.8"),
        ("min_stop_words", "The cat and dog", "The the THE cat", 1, "at least 2"),
    ],
)
def test_each_limit_is_kept_and_what_lies_past_it_is_refused(
    rule: str, kept: str, refused: str, value: float, limit: str
) -> None:
    assert only(kept, rule) is None
    assert only(refused, rule) == (value, limit)


def test_running_text_passes_all_rules() -> None:
    assert judge("The nerve arises from the plexus, and it supplies that part of the thigh. " * 4) is None


def test_stop_words_count_beside_punctuation() -> None:
    assert only("(the) cat\u2014that's it", "min_stop_words") is None


def test_words_of_scripts_without_spaces_are_counted_and_signs_are_shares_of_them() -> None:
    text = "# 肾动脉\n肾动脉起自腹主动脉，在第一和第二腰椎之间的高度分出。"
    assert only(text * 2, "min_words") is None
    assert only(text, "max_hashes_per_word") is None
    assert judge(text, **{**OFF, "min_stop_words": 2, "stop_words": ["动脉", "第二", "静脉"]}) is None


def test_stop_words_of_another_language_can_be_given() -> None:
    text = "Der Nerv und die Arterie"
    assert judge(text, **{**OFF, "min_stop_words": 2, "stop_words": ["the", "of"]}) is not None
    assert judge(text, **{**OFF, "min_stop_words": 2, "stop_words": ["der", "und"]}) is None


def test_stop_words_are_those_of_the_language_of_the_document() -> None:
    german = "Preise Angebote Gutscheine Versand Rückgabe Größe Farbe Schuhe Jacken Hosen Kleider"
    assert only(german, "min_stop_words") == (0, "at least 2 in de")
    assert only(f"{german}, und das ist alles", "min_stop_words") is None


def test_a_language_without_a_list_of_stop_words_passes_over_their_rule() -> None:
    yoruba = "Ilé ìkàwé kékeré tí ó wà lẹ́gbẹ̀ẹ́ odò tún ṣí ní ìgbà ìrúwé, àwọn ọmọdé sì máa ń lọ síbẹ̀."
    document = Document.of("d", yoruba, source="s")
    assert GopherQualityFilter({"min_words": 10})(document) == Unjudged(document, "min_stop_words")
    signs = judge("1234 5678 9012 3456 7890 " * 4, **{**OFF, "min_stop_words": 2})
    assert signs is not None and signs.detail == "0, at least 2"


def test_half_of_the_words_and_one_stop_word_are_enough_in_short_texts_of_other_languages() -> None:
    finnish = (
        "Sydän pumppaa verta koko kehoon. Siinä on neljä lokeroa. Kun lihas heikkenee, nestettä kertyy "
        "keuhkoihin, potilas hengästyy herkästi, jalat turpoavat, paino nousee. Lääkäri määrää pian levon."
    )
    assert judge(finnish) is None
    assert only(finnish, "min_words") == (26, "at least 50")
    short = finnish.partition(" Lääkäri")[0]
    assert judge(short) == Verdict(rule="min_words", value=22, limit="at least 25 in fi")
    assert judge(finnish, min_stop_words=2) == Verdict(
        rule="min_stop_words", value=1, limit="at least 2 in fi"
    )
    english = "The nerve arises from the plexus, and it supplies that part of the thigh. " * 3
    assert judge(english) == Verdict(rule="min_words", value=42, limit="at least 50")


def test_without_any_rule_everything_passes() -> None:
    assert judge("", **OFF) is None
    assert judge("# # #", **OFF) is None


def test_a_share_above_one_is_refused_with_its_key() -> None:
    with pytest.raises(ConfigError, match=r"^filters\.gopher_quality: max_bullet_lines is 90: "):
        GopherQualityFilter({"max_bullet_lines": 90})
