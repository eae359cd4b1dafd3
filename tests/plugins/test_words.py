"""Words of texts in any script."""

from __future__ import annotations

import pytest

from plugins.words import has_words, letters_per_word, words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The dose, 2.5 mg, was HALVED.", "the dose 2.5 mg was halved"),
        ("It cost 1,234.5 in v1.2, 3. or .5,6", "it cost 1,234.5 in v1.2 3 or 5,6"),
        ("Es kostet „1.234,5“ €, 2.", "es kostet 1.234,5 2"),
        ("A PC, a CP", "a pc a cp"),
        ("don't fill_in the ___", "don t fill in the"),
        ("John’s l'homme example.com e.g", "john s l homme example com e g"),
        ("Über-Straße: ﬁfty µg", "über strasse fifty μg"),
        ("cafe\u0301 CAFÉ", "café café"),
        ("हिन्दी भाषा", "हिन्दी भाषा"),
        ("糖尿病の患者 ABC12", "糖 尿 病 の 患 者 abc12"),
        ("コーヒーを１，２３４．５円", "コーヒー を 1,234.5 円"),
        ("カ゛ x・y", "カ x y"),
        ("ผู้ป่วย ๒๕๖๓", "ผู้ ป่ ว ย ๒๕๖๓"),
        ("ខ្មែរ ລາວ မြန်မာ", "ខ្ មែ រ ລ າ ວ မြ န် မာ"),
        ("می‌خواهم ٣٫٥ Kranken­haus", "میخواهم ٣٫٥ krankenhaus"),
        ("תַּפּוּחַ तमिल தமிழ்", "תַּפּוּחַ तमिल தமிழ்"),
        ("👍🏽 ok 😀", "ok"),
        ("당뇨병 환자", "당뇨병 환자"),
        ("…!? \n", ""),
    ],
)
def test_words_are_folded_and_without_punctuation(text: str, words: str) -> None:
    assert " ".join(words_of(text)) == words


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("肾动脉起自腹主动脉。", 9),
        ("don't - stop", 3),
        ("one two", 2),
        ("\u2014 … ***", 0),
        ("e\u0301\u0302\u0303" * 40 + " two", 2),
        (f"{'x' * 500} two three", 3),
    ],
)
def test_a_text_has_its_words_and_no_more(text: str, number: int) -> None:
    assert [has_words(text, count) for count in range(number + 3)] == [True] * (number + 1) + [False] * 2


def test_only_the_beginning_of_a_long_text_is_looked_at() -> None:
    class Text(str):
        def __getitem__(self, key: object) -> str:
            assert isinstance(key, slice) and key.stop == 40
            return "one two three four five"

    assert has_words(Text("- " * 10), 5)


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        ("糖尿病の患者", 2),
        ("ผู้ป่วย", 4),
        ("ខ្មែរ", 4),
        ("당뇨병 환자", 1),
        ("a b c", 1),
        ("", 1),
        ("naïve 糖", 1),
    ],
)
def test_several_letters_make_a_word_in_scripts_without_spaces(text: str, letters: int) -> None:
    assert letters_per_word(words_of(text)) == letters
