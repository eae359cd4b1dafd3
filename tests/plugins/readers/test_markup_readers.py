"""Markup in every reader of XML and HTML: taking it out changes no number."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from plugins.readers.html_text import html_text
from tests.plugins.readers.reading import read, texts, write

LONG = (
    "The patients were followed for a long time, and all of them were examined by two physicians, who "
    "wrote down what they saw, and compared it with the earlier findings of the same hospital."
)
PAGES: dict[str, tuple[str, str]] = {
    "html": ("html", f"<html><body><main><p>{LONG}</p><p>{{}}</p></main></body></html>"),
    "fragment": ("html", "<div>{}</div>"),
    "jats": (
        "jats",
        '<article><body><p xmlns:mml="http://www.w3.org/1998/Math/MathML">{}</p></body></article>',
    ),
    "medline": (
        "medline",
        "<PubmedArticleSet><PubmedArticle><MedlineCitation><Article><Abstract><AbstractText>{}"
        "</AbstractText></Abstract></Article></MedlineCitation></PubmedArticle></PubmedArticleSet>",
    ),
}
FRACTION = "<math><mfrac><mn>140</mn><mn>72</mn></mfrac></math>"

INLINE = [
    ("10<sup>6</sup> copies of H<sub>2</sub>O", "10^6 copies of H2O"),
    ("2 × 10<sup>-</sup><sup>3</sup> mol, <i>x</i><sub>1</sub>2", "2 × 10^-3 mol, x_(1)2"),
    ("<sup>18</sup>F on the 19<sup>th</sup> day, Ca<sup>2+</sup>", "18F on the 19th day, Ca^2+"),
    (f"a pressure of {FRACTION} mmHg", "a pressure of 140/72 mmHg"),
    ("x = <math><msup><mn>10</mn><mn>6</mn></msup></math>5", "x = 10^6 5"),
    ("1<b>2</b>3 and <i>gly</i>cine", "123 and glycine"),
    ("5 &lt; 6 &amp; 7 &#8805; 6 &#xBD;", "5 < 6 & 7 ≥ 6 ½"),
]


@pytest.mark.parametrize("kind", PAGES)
@pytest.mark.parametrize(("marked", "plain"), INLINE)
def test_scripts_formulas_and_entities_keep_their_numbers(
    tmp_path: Path, kind: str, marked: str, plain: str
) -> None:
    reader, page = PAGES[kind]
    (text,) = texts(read(reader, write(tmp_path / "a", page.format(marked).encode())))
    assert text.removeprefix(LONG).strip() == plain


@pytest.mark.parametrize("kind", ["html", "fragment", "jats"])
@pytest.mark.parametrize(
    ("marked", "plain"),
    [
        ("Pulse 80<br/>60 later", "Pulse 80\n60 later"),
        ("<ul><li>5</li><li>6 <sup>18</sup>F</li></ul>", "- 5\n- 6 18F"),
        ("<ul><li>5<ul><li>7</li></ul></li><li>6</li></ul>", "- 5\n  - 7\n- 6"),
        (
            "<table><tr><th>Age</th><th>Dose</th></tr><tr><td>140</td><td>7<sup>2</sup></td></tr></table>",
            "Age | Dose\n140 | 7^2",
        ),
    ],
)
def test_breaks_items_and_cells_stand_apart(tmp_path: Path, kind: str, marked: str, plain: str) -> None:
    reader, page = PAGES[kind]
    page = page.replace("<p>{}</p>", "<div>{}</div>")
    (text,) = texts(read(reader, write(tmp_path / "a", page.format(marked).encode())))
    assert text.removeprefix(LONG).strip() == plain


def test_medline_sets_breaks_items_and_cells_apart_on_a_line(tmp_path: Path) -> None:
    reader, page = PAGES["medline"]
    marked = "80<br/>60 <list><li>5</li><li>6</li></list><tr><td>140</td><td>72</td></tr>"
    assert texts(read(reader, write(tmp_path / "a", page.format(marked).encode()))) == ["80 60 5 6 140 72"]


TAGS = [
    "sup",
    "sub",
    "br",
    "li",
    "p",
    "div",
    "section",
    "blockquote",
    "h3",
    "pre",
    "address",
    "aside",
    "figure",
    "form",
    "td",
    "b",
    "span",
    "math",
    "a",
]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    pieces=st.lists(
        st.tuples(st.sampled_from(TAGS), st.sampled_from(["1", "23"]), st.sampled_from(["6 ", "78"])),
        max_size=5,
    ),
    around=st.sampled_from(["", "body", "article", "main"]),
)
def test_no_page_turns_two_numbers_into_one(pieces: list[tuple[str, str, str]], around: str) -> None:
    marked, expected = "<div>9 ", "9 "
    for name, inside, after in pieces:
        inner = f"<mn>{inside}</mn>" if name == "math" else inside
        marked += f"<{name}/>{inside} {after}" if name == "br" else f"<{name}>{inner}</{name}>{after}"
        looks = name in ("b", "span", "a")
        expected += f"{inside}{after}" if looks else f" {inside} {after}"
    numbers = re.findall(r"\d+", expected)
    if not around:
        assert re.findall(r"\d+", html_text(marked + "</div>").text) == numbers
        return
    # Of a page trafilatura may leave pieces out.
    left = iter(numbers)
    page = f"<html><body><{around}><p>{LONG}</p>{marked}</div></{around}></body></html>"
    assert all(number in left for number in re.findall(r"\d+", html_text(page).text))
