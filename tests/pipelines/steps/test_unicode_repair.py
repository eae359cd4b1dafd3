from __future__ import annotations

import pytest

from pipelines.steps.unicode_repair import repair_unicode


@pytest.mark.parametrize(
    ("broken", "repaired"),
    [
        ("cafÃ©", "café"),
        ("Itâ€™s â€œquotedâ€\x9d", "It’s “quoted”"),
        ("25 Â°C", "25 °C"),
        ("Ð¿Ñ€Ð¸Ð²ÐµÑ‚", "привет"),
        ("ç‰¹æ®Š", "特殊"),
        ("twice: doublÃƒÂ©", "twice: doublé"),
        ("one line cafÃ©\nanother café", "one line café\nanother café"),
    ],
)
def test_wrong_decodings_are_undone(broken: str, repaired: str) -> None:
    assert repair_unicode(broken) == repaired


@pytest.mark.parametrize(
    "text",
    [
        "plain &amp; <b>simple</b>",
        "“curly” ‘quotes’ … – — ﬁne ligature, ＡＢＣ full width, Ⅳ, e\u0301",
        "L’été à Nîmes: 25 °C ± 3 µm², 10 × 5 ÷ 2 ≤ ½",
        "SÃO PAULO, ÀÉÎÕÜ ß, Íslenska þýðing, Łódź, žluťoučký kůň, İstanbul’da",
        "Ελληνικά, русский — «текст», Việt Nam ngữ",
        "日本語の「引用」です。中文，文本。한국어",
        "النص العربي؟ עברית שלום हिन्दी पाठ। ไทย ქართული አማርኛ",
        "🙂👍🏽👨‍👩‍👧 αβγ ∑∫√ ←↑→",
    ],
)
def test_text_that_was_decoded_rightly_stays(text: str) -> None:
    assert repair_unicode(text) == text
