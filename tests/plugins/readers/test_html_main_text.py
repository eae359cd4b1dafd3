"""Main text of pages: what trafilatura would lose stays, what stands around goes."""

from __future__ import annotations

import pytest

from benchmarks.readers import html_sites
from benchmarks.readers.html_quality import comparable
from plugins.readers.html_text import html_text

LONG = "The patients were followed for a long time, and all of them were examined by two physicians, who "
LONG += "wrote down what they saw, and compared it with the earlier findings of the same hospital."
OTHER = "Each of the nurses kept a diary in which the meals, the visits and the weather of a day were noted. "
OTHER += "Nobody read them for years, until a student found the boxes under the stairs of the old wing."


def main_text(markup: str) -> str:
    page = f"<html><body><main><p>{LONG}</p>{markup}<p>{OTHER}</p>"
    return html_text(page).text.removeprefix(LONG).removesuffix(OTHER).strip("\n")


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("<pre>a  b\n  10<sup>6</sup>\n<b>c</b><br>d</pre>", "a  b\n  10^6\nc\nd"),
        ("<figure><pre>x = 5\ny = 6</pre></figure>", "x = 5\ny = 6"),
        ("<p>They met on <time datetime='2024-03-12'>12 March 2024</time> in a small town.</p>",
         "They met on 12 March 2024 in a small town."),
        ("<p>She said <q>it is 5</q> and left the room.</p>", 'She said "it is 5" and left the room.'),
        ("<p>It fell to 10<span style='vertical-align: super; font-size: 6pt'>6</span> cells.</p>",
         "It fell to 10^6 cells."),
        ("<p>It fell to <script type='math/tex'>10^6</script> in 1 <img class='latex' alt='m^2'>.</p>",
         "It fell to 10^6 in 1 m^2."),
        ("<p>It cost <s>$5</s>$6 in all.</p>", "It cost $5 $6 in all."),
        ("<table><tr><th>a</th><th>b</th></tr><tr><td>x</td><td><ul><li>5</li><li>6</li></ul></td></tr></table>",
         "a | b\nx | 5 6"),
        ("<ol type=a><li>first of all</li></ol>", "- first of all"),
        ("<p>In 1998<sup><a href='#n1'>1</a></sup> it was 10<sup>6</sup>.</p>", "In 1998 it was 10^6."),
        ("<p>In 1998<sup>[<a href='#n1'>1</a>]</sup> it was so<sup>[2]</sup>.</p>", "In 1998 it was so."),
        ("<h2>Part<span class='mw-editsection'>[<a href='/e'>edit</a>]</span></h2><p>It is 5.</p>",
         "Part\n\nIt is 5."),
    ],
)  # fmt: skip
def test_numbers_and_text_stay_and_marks_go(markup: str, text: str) -> None:
    assert main_text(markup) == text


def test_a_fragment_keeps_marks_of_notes_in_brackets() -> None:
    text = "<div>1998<sup><a href='#n'>1</a></sup>, so<sup>[<a href='#n'>2</a>]</sup>, 10<sup>6</sup></div>"
    assert html_text(text).text == "1998[1], so[2], 10^6"


def test_a_table_that_arranges_a_page_is_no_row_and_its_menu_is_no_text() -> None:
    menu = "".join(f"<td><a href='/{each}'>{each}</a></td>" for each in ("Home", "News", "Sport"))
    data = "<table><tr><td>Year</td><td>Sales</td></tr><tr><td>2023</td><td>140</td></tr></table>"
    page = (
        f"<html><body><table><tr><td colspan=2><table><tr>{menu}</tr></table></td></tr>"
        "<tr><td><a href='/a'>Home</a></td>"
        f"<td><p>{LONG}</p>{data}<p>{OTHER}</p></td></tr></table></body></html>"
    )
    assert html_text(page).text == f"{LONG}\n\nYear | Sales\n2023 | 140\n\n{OTHER}"


def test_a_title_that_trafilatura_leaves_out_comes_first() -> None:
    page = (
        "<html><head><title>The pump - A forum</title></head><body><h1>The pump</h1><div class='a'><div>"
        f"<a href='/u'>x</a></div><div class='b'>{LONG}</div></div>"
        f"<div class='a'><div class='b'>{OTHER}</div></div></body></html>"
    )
    assert html_text(page).text.startswith("The pump\n\n")
    assert not html_text(page.replace("<title>The", "<title>A")).text.startswith("The pump")


@pytest.mark.parametrize("page", [*html_sites.files(0, 5)], ids=lambda page: page.features[0])
def test_pages_of_known_software_are_their_posts_or_articles(page: html_sites.Made) -> None:
    found = comparable(html_text(page.data.decode()).text).split()
    expected = comparable(page.text).split()
    assert found == expected if page.features != ("MediaWiki",) else expected[:-1] == found
