"""The page of a report: texts of strangers stay texts, its size is bounded, everybody can read it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import pytest

from plugins.report import page as pages
from plugins.report.blocks import Block, Facts, Note, Pair, Part, Row, Rows, Section, Table, Text, Texts
from plugins.report.charts import Point, lines
from plugins.report.page import MOST_BYTES, place_name, render

HOSTILE = (
    "</script></style></textarea><script>document.title='owned'</script>"
    "\"'><img src=x onerror=\"document.title='owned'\"><svg onload=document.title='owned'>"
    "{{ 7 * 7 }}{% raw %}<!--\x1b]52;c;AAAA\x07\x1b[31m\x00\u202eevil\u2066\ud83d end"
)
"""Markup, scripts, template code, terminal commands, a turn of the direction of writing, half a character."""


def hostile_parts() -> list[Part]:
    """A part with every kind of block, and the hostile text in each of its places."""
    pair = Pair(
        question=HOSTILE,
        options=[HOSTILE],
        rationale=HOSTILE,
        answer=HOSTILE,
        verdicts=[HOSTILE],
        is_supported=True,
    )
    text = Text(
        name=HOSTILE,
        stream=HOSTILE,
        increment=1,
        template=HOSTILE,
        num_pairs=1,
        passages=[(HOSTILE, ((HOSTILE, False), (HOSTILE, True)), [pair])],
    )
    blocks: list[Block] = [
        Note(text=HOSTILE),
        Facts(facts=[(HOSTILE, HOSTILE)]),
        Table(caption=HOSTILE, head=(HOSTILE, "n"), rows=[(HOSTILE, 3)], bars=(1,)),
        Table(caption=f"closed {HOSTILE}", head=(HOSTILE, "n"), rows=[(HOSTILE, None)], is_open=False),
        lines(HOSTILE, {HOSTILE: [Point(0, 1)], "$x_$": [Point(1, 2)]}, x_name="tokens", y_name="loss"),
        Texts(texts=[text]),
        Rows(rows=[Row(name=HOSTILE, segments=[(HOSTILE, 5, HOSTILE)], padding=3)]),
    ]
    return [Part(title=HOSTILE, sections=[Section(title=HOSTILE, blocks=blocks)])]


class Outline(HTMLParser):
    """Tags, headings, ids and tables of a page."""

    def __init__(self, html: str):
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.headings: list[int] = []
        self.ids: list[str] = []
        self.handlers: list[str] = []
        self.open: list[str] = []
        self.unclosed: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.headings += [int(tag[1])] if re.fullmatch("h[1-6]", tag) else []
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        if tag not in ("meta", "link", "input", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.unclosed.append(tag)


def test_texts_of_strangers_stay_texts() -> None:
    html = render(HOSTILE, hostile_parts()).decode()
    found = Outline(html)
    assert found.tags["script"] == 1
    assert found.tags["img"] == 0
    assert found.handlers == []
    assert found.unclosed == []
    assert "document.title='owned'" not in html  # its quotes are escaped everywhere
    assert re.findall("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", html) == []
    assert "\\u001b]52;c;AAAA\\u0007" in html
    assert "\\u202eevil\\u2066\ufffd end" in html
    assert "{{ 7 * 7 }}" in html


def test_the_page_allows_its_own_script_alone() -> None:
    html = render("A", hostile_parts()).decode()
    assert "default-src 'none'" in html
    assert "script-src 'sha256-" in html
    assert re.findall(r"(?:src|href|action)=\"(?!#|data:,)[^\"]*\"|url\((?!#)[^)]*\)|@import", html) == []


def test_headings_are_in_order_and_each_picture_has_its_table() -> None:
    found = Outline(render("A", hostile_parts()).decode())
    assert found.headings == [1, 2, 3]
    assert len(found.ids) == len({*found.ids})
    assert found.tags["figure"] == 1
    assert found.tags["table"] == found.tags["caption"] == 3
    for landmark in ("header", "nav", "main", "footer"):
        assert found.tags[landmark] == 1


def long_texts(number: int, words: str) -> list[Part]:
    text = Text(
        name="t",
        stream="s",
        increment=1,
        template="raw",
        num_pairs=0,
        passages=[("a", ((words, False),), [])],
    )
    return [Part(title="A", sections=[Section(title="Texts", blocks=[Texts(texts=[text] * number)])])]


@pytest.mark.parametrize(
    ("words", "number", "kept"), [("<&>'\"" * 4000, 300, 1200), ("\u6f22" * 20_000, 900, 600)]
)
def test_a_page_stays_below_its_size_and_says_what_it_cuts(words: str, number: int, kept: int) -> None:
    data = render("A", long_texts(number, words))
    assert MOST_BYTES / 4 < len(data) < MOST_BYTES
    (cut,) = {*re.findall(r"\[([\d,]+) characters more\]", data.decode())}
    assert len(words) - int(cut.replace(",", "")) == kept


def test_a_page_that_cannot_be_small_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "MOST_BYTES", 9000)
    with pytest.raises(ValueError, match=r"the report has [\d,]+ bytes; at most 9,000 are allowed"):
        render("A", long_texts(300, "x" * 100))


def test_a_marked_piece_is_shown_though_the_words_before_it_are_cut() -> None:
    words = (("a" * 5000, False), ("the answer", True), ("b" * 10, False))
    text = Text(name="t", stream="s", increment=1, template="r", num_pairs=1, passages=[("o", words, [])])
    html = render(
        "A", [Part(title="A", sections=[Section(title="T", blocks=[Texts(texts=[text])])])]
    ).decode()
    assert f"{'a' * 2400} … <mark>the answer</mark> … [2,610 characters more]" in html


def test_a_bar_is_as_long_as_its_share_of_the_largest_number() -> None:
    table = Table(
        caption="c", head=("a", "n", "m"), rows=[("x", 40, 1), ("y", 10, 2), ("z", None, 3)], bars=(1,)
    )
    assert [table.share(row, 1) for row in table.rows] == [100.0, 25.0, None]
    assert table.share(table.rows[0], 2) is None
    html = render("A", [Part(title="A", sections=[Section(title="T", blocks=[table])])]).decode()
    assert re.findall(r'class="bar" style="width:([\d.]+%)"', html) == ["100.0%", "25.0%"]


def colours(theme: str) -> dict[str, str]:
    css = Path(pages.__file__).with_name("page.css").read_text("utf-8")
    blocks = re.findall(r"(?s)([^{}]*)\{\s*color-scheme: (light|dark);(.*?)\}", css)
    found = [
        dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", body)) for _, name, body in blocks if name == theme
    ]
    assert found and all(each == found[0] for each in found)  # the switch and the system's setting agree
    return found[0]


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    """Ratio of WCAG 2.1, 1.4.3."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_colours_have_the_contrast_of_wcag_aa(theme: str) -> None:
    found = colours(theme)
    segments = [f"line-{at}" for at in range(5)]
    letters = [*((ink, on) for ink in ("ink", "soft", "accent") for on in ("page", "card"))]
    letters += [("ink", "mark"), *(("page", segment) for segment in segments)]
    shapes = [(f"line-{at}", "card") for at in range(6)] + [
        ("bar", "page"),
        ("edge", "page"),
        ("edge", "card"),
    ]
    weak = [
        (one, other, round(contrast(found[one], found[other]), 2))
        for pairs, least in ((letters, 4.5), (shapes, 3.0))
        for one, other in pairs
        if contrast(found[one], found[other]) < least
    ]
    assert weak == []


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("runs/medicine/corpus/", "medicine/corpus"),
        ("gs://b/law", "law"),
        ("corpus", "corpus"),
        ("/corpus", "corpus"),
    ],
)
def test_a_place_is_named_by_its_folder_and_a_corpus_by_that_around_it(uri: str, name: str) -> None:
    assert place_name(uri) == name
