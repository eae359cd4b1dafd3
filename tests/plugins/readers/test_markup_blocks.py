"""Blocks of text: paragraphs, lists, rows."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from plugins.readers.html_text import html_text
from plugins.readers.html_tree import parse, visible
from plugins.readers.markup_blocks import blocks_of

LONG = "The patients were followed for a long time, and all of them were examined by two physicians. " * 3


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("<ol><li>one</li><li>two<ul><li>in</li></ul></li></ol>", "1. one\n2. two\n   - in"),
        ("<ol start=9><li>nine</li><li>ten<p>more</p></li></ol>", "9. nine\n10. ten\n    more"),
        (f"<ol start={'9' * 5_000}><li>one</li></ol>", "1. one"),
        ("<ol start=²><li>one</li></ol>", "1. one"),
        ("<ol start=-1><li>one</li></ol>", "-1. one"),
        ("<ol type=a start=26><li>one</li><li>two</li><li value=0>no letter</li></ol>",
         "z. one\naa. two\n0. no letter"),
        ("<ol type=I start=1994><li>one</li></ol><ol type=i start=4><li>four</li></ol>",
         "MCMXCIV. one\n\niv. four"),
        ("<ol reversed><li>two</li><li>one</li></ol>", "2. two\n1. one"),
        ("<ol><li value=7>seven</li><li>eight</li><li value=x>nine</li></ol>", "7. seven\n8. eight\n9. nine"),
        ("<ol style='list-style-type: none'><li>one</li></ol>", "- one"),
        ("<ul><li>a<ol><li>x</li></ol></li><li>b</li></ul>", "- a\n  1. x\n- b"),
        ("<dl><dt>term</dt><dd>one<br>two</dd><dt>other</dt></dl>", "- term\n  one\n  two\n- other"),
        ("<ul><li></li></ul><p>no item</p>", "no item"),
        ("<p>a <img> b<button>c</button>d</p>", "a b c d"),
        ("<p>a</p><script>x</script><p>b</p>", "a\n\nb"),
        ("<table><tr><td></td><th>Drug</th><th>Dose</th></tr><tr><td>1</td><td>a</td><td></td></tr></table>",
         "| Drug | Dose\n1 | a"),
        ("<table><tr><td><p>Drug</p></td><td><p>Dose</p></td></tr><tr><td><p>a</p></td><td></td></tr></table>",
         "Drug | Dose\na"),
        ("<table><tr><td>a</td><td>b</td></tr><tr><td></td><td><p>c</p><p>d</p></td></tr></table>",
         "a | b\n\nc\n\nd"),
        ("<table><tr><td rowspan=2>a</td><td>b</td></tr><tr><td>c</td></tr></table>",
         "a | b\n| c"),
        ("<table><tr><td>a</td><td rowspan=2 colspan=2>b</td><td>c<tr><td>d</td><td>e</td></tr></table>",
         "a | b | c\nd |  |  | e"),
        ("<table><tr><td>a<script>x</script></td><td>b</td></tr></table>", "a | b"),
        ("<pre>a  b\n 10<sup>6</sup>\n<b>c</b><br>d<div>e</div></pre>", "a  b\n 10^6\nc\nd\ne"),
        ("<p><ruby>漢<rp>(</rp><rt>kan</rt><rp>)</rp></ruby>字</p>", "漢字"),
        ("<p>1<s>2</s>3 <del>4</del>5 6<ins>7</ins> <q>so</q></p>", '1 2 3 4 5 67 "so"'),
        ("<p>a<video>b</video><canvas>c</canvas></p>", "a"),
        ("<table><tr><td></td><td>a</td></tr><tr><td></td><td>b</td></tr></table>", "a\n\nb"),
    ],
)  # fmt: skip
def test_blocks_of_html(markup: str, text: str) -> None:
    assert blocks_of(visible(parse(markup))) == text
    assert html_text(f"<div>{markup}</div>").text == text


SALES = "<tr><td>Sales</td><td>$</td><td>1,234.5</td><td></td><td>(</td><td>12.3</td><td>)%</td></tr>"
COSTS = "<tr><td>Costs</td><td></td><td>900</td><td></td><td></td><td>4</td><td>%</td></tr>"
YEARS = "<tr><td></td><td colspan=2>2023</td><td></td><td colspan=3>Change</td></tr>"


def test_signs_in_cells_of_their_own_join_their_numbers() -> None:
    expected = "| 2023 |  | Change\nSales | $1,234.5 |  | (12.3)%\nCosts | 900 |  | 4%"
    assert html_text(f"<table>{YEARS}{SALES}{COSTS}</table>").text == expected
    page = f"<html><body><main><p>{LONG}</p><table>{YEARS}{SALES}{COSTS}</table><p>{LONG}</p></main>"
    assert html_text(page).text.replace(LONG.strip(), "").strip("\n") == expected


@pytest.mark.parametrize(
    ("cells", "text"),
    [
        ("<td>Unit</td><td>Price</td></tr><tr><td>$</td><td>5</td>", "Unit | Price\n$ | 5"),
        ("<td>Price</td><td>US$</td><td>5</td></tr><tr><td>Rate</td><td></td><td>6</td>",
         "Price | US$5\nRate | 6"),
        ("<td>$</td><td>five</td>", "$ | five"),
        ("<td>a</td><td>%</td>", "a | %"),
        ("<td>5</td><td>-</td><td>6</td>", "5 | - | 6"),
        ("<td>5</td><td>$</td>", "5 | $"),
    ],
)  # fmt: skip
def test_other_signs_in_cells_stay_apart(cells: str, text: str) -> None:
    assert html_text(f"<table><tr>{cells}</tr></table>").text == text


@pytest.mark.parametrize(
    ("items", "text"),
    [
        ("<list-item><p>a</p></list-item><list-item><p>b</p></list-item>", "1. a\n2. b"),
        ("<list-item><label>(i)</label><p>a</p></list-item>", "- (i) a"),
    ],
)
def test_lists_of_jats_have_numbers_once(items: str, text: str) -> None:
    assert blocks_of(ElementTree.fromstring(f'<list list-type="order">{items}</list>')) == text


def test_a_list_of_a_page_has_the_numbers_that_the_page_shows() -> None:
    lists = "<ol><li>first</li><li>second</li></ol><p>and then</p><ol start=3><li><p>third</p></li>"
    lists += "<li value=7><b>seventh</b><ol type=a><li>letter</li></ol></li><li>eighth</li></ol>"
    page = f"<html><body><main><p>{LONG}</p>{lists}<p>{LONG}</p></main></body></html>"
    text = html_text(page).text.replace(LONG.strip(), "")
    assert text.strip() == "1. first\n2. second\n\nand then\n\n3. third\n7. seventh\n   a. letter\n8. eighth"
