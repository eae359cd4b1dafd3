"""Main text of pages: what trafilatura would lose stays, what stands around goes."""

from __future__ import annotations

from pathlib import Path

import pytest
import trafilatura.core

from benchmarks.readers import html_sites
from benchmarks.readers.html_quality import comparable
from plugins.readers.html_text import html_text
from tests.plugins.readers.reading import only_reject, read, texts, write

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
        ("<figure><img src='a.png'><figcaption>Figure 1. It fell to <b>5</b> percent.</figcaption></figure>",
         "Figure 1. It fell to 5 percent."),
        ("<p hidden>One</p><template><p>Two</p></template><p hidden=until-found>Three of them.</p>",
         "Three of them."),
        ("<p>They met on <time datetime='2024-03-12'>12 March 2024</time> in a small town.</p>",
         "They met on 12 March 2024 in a small town."),
        ("<p>She said <q>it is 5</q> and left the room.</p>", 'She said "it is 5" and left the room.'),
        ("<p>It fell to 10<span style='vertical-align: super; font-size: 6pt'>6</span> cells.</p>",
         "It fell to 10^6 cells."),
        ("<p>10</br>20 mg, 30<br></br>40 mg</p>", "10\n20 mg, 30\n40 mg"),
        ("<p>Of 10<span style='position:relative; top:-3pt'>7</span> cells "
         "5<font style='vertical-align:4px'>8</font>"
         " had CO<span style='bottom: -.25em'>2</span> and 5<i style='vertical-align:-20%'>2</i>.</p>",
         "Of 10^7 cells 5^8 had CO2 and 5_2."),
        ("<p>1<span style='position:relative;top:3px'>2</span>, 1<b style='vertical-align:0.0px'>2</b>, 1<b "
         "style='vertical-align:top;border-top:1px'>2</b></p>", "1_2, 12, 12"),
        ("<p style='vertical-align: 2px'>It is 5.</p><p><span style='position:relative;top:-1px'>This is no "
         "script.</span></p>", "It is 5.\n\nThis is no script."),
        ("<p>Take 3<sup>1</sup>/<sub>2</sub>, 3 <sup>1</sup>&frasl;<sub>2</sub> or "
         "<sup>3</sup>⁄<sub>4</sub> cup.</p>", "Take 3 1/2, 3 1/2 or 3/4 cup."),
        ("<p>It fell to <script type='math/tex'>10^6</script> in 1 <img class='latex' alt='m^2'>.</p>",
         "It fell to 10^6 in 1 m^2."),
        ("<p>It cost <s>$5</s>$6 in all.</p>", "It cost $5 $6 in all."),
        ("<table><tr><th>a</th><th>b</th></tr><tr><td>x</td><td><ul><li>5</li><li>6</li></ul></td></tr></table>",
         "a | b\nx | 5 6"),
        ("<ol type=a><li>first of all</li></ol>", "a. first of all"),
        ("<p>In 1998<sup><a href='#n1'>1</a></sup> it was 10<sup>6</sup>.</p>", "In 1998 it was 10^6."),
        ("<p>In 1998<sup>[<a href='#n1'>1</a>]</sup> it was so<sup>[2]</sup>.</p>", "In 1998 it was so."),
        ("<p>The dose was 7\x018 mg, 7&#1;8 mg and 7&#X1f;8&#12;9 mg.</p>",
         "The dose was 7\ufffd8 mg, 7\ufffd8 mg and 7\ufffd8 9 mg."),
        ("<p>Both \U00100001 and &#147;5&#x94; &#128512; &#8804; 6.</p>", "Both \ufffd and “5” 😀 ≤ 6."),
        ("<h2>Part<span class='mw-editsection'>[<a href='/e'>edit</a>]</span></h2><p>It is 5.</p>",
         "Part\n\nIt is 5."),
    ],
)  # fmt: skip
def test_numbers_and_text_stay_and_marks_go(markup: str, text: str) -> None:
    assert main_text(markup) == text


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("<p>a<wbr>b. Is 9<div>10 mg</div>11</p>", "ab. Is 9\n\n10 mg\n\n11"),
        ("<ul><li>y 9<div>10</div>11</li></ul>", "- y 9\n  10\n  11"),
        ('<p>5<a epub:type="noteref" href="#n">3</a> mg</p>', "5 mg"),
        ('<p>5<a role="doc-noteref" href="#n"><sup>3</sup></a> mg</p>', "5 mg"),
        ('<p>7<a class="footnote-ref" href="#fn1">4</a> mg</p>', "7 mg"),
    ],
)
def test_blocks_in_blocks_and_marks_that_say_so_join_no_numbers(markup: str, text: str) -> None:
    prose = "The usual treatment is an inhaler with a steroid, which the patient uses every day. " * 3
    page = f"<html><body><article><p>{prose}</p>{markup}<p>B. {prose}</p></article></body></html>"
    assert html_text(page).text == f"{prose.strip()}\n\n{text}\n\nB. {prose.strip()}"


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


@pytest.mark.parametrize(
    ("title", "heading", "first"),
    [
        ("The pump - A forum", "The pump", "The pump\n\n"),
        ("A forum", "The pump", "The pump\n\n"),
        ("A forum", "The patients", "The patients\n\n"),
        ("Pump <1> - A forum", "<a href='/p1'>Pump &lt;1></a>", "Pump <1>\n\n"),
        ("The pump", "<a href='/'>A forum</a>", ""),
    ],
)
def test_a_heading_before_the_article_comes_first(title: str, heading: str, first: str) -> None:
    page = (
        f"<html><head><title>{title}</title></head><body><h1>{heading}</h1><div class='a'><div>"
        f"<a href='/u'>x</a></div><div class='b'>{LONG}</div></div>"
        f"<div class='a'><div class='b'>{OTHER}</div></div></body></html>"
    )
    assert html_text(page).text == f"{first}{LONG}\n\n{OTHER}"


REPAIRED = "The pump was repaired in March, and it works again."


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("<table><tr><td><h1>The pump</h1><p>{}</p><table><tr><th>Year</th><th>Sales</th></tr>"
         "<tr><td>2023</td><td>140</td></tr></table></td></tr></table>",
         "The pump\n\n{}\n\nYear | Sales\n2023 | 140"),
        ("<h1>The pump</h1><p>{}<ol start=3><li>oil<li>10<sup>6</sup> l</ol><script>x</script>",
         "The pump\n\n{}\n\n3. oil\n4. 10^6 l"),
        ("<nav>Home</nav><article><h1>The pump</h1><p>{}</p><dl><dt>Oil<dd>It takes 5 litres "
         "of the usual kind, or 6.</dl></article>",
         "The pump\n\n{}\n\n- Oil\n  It takes 5 litres of the usual kind, or 6."),
    ],
)  # fmt: skip
def test_a_short_page_keeps_its_blocks_and_has_its_heading_once(markup: str, text: str) -> None:
    page = f"<html><head><title>The pump</title></head><body>{markup.format(REPAIRED)}</body></html>"
    assert html_text(page).text == text.format(REPAIRED)


def test_a_heading_of_an_article_comes_once() -> None:
    page = f"<html><body><main><h1>The<br>pump</h1><p>{LONG}</p><p>{OTHER}</p>"
    assert html_text(page).text == f"The\npump\n\n{LONG}\n\n{OTHER}"


def test_sections_of_characters_in_xhtml_are_text() -> None:
    page = f"<html><body><p>{LONG} <![CDATA[5<6 &amp; 7]]></p><p>{OTHER}</p></body></html>"
    assert html_text(f'<?xml version="1.0"?>{page}').text == f"{LONG} 5<6 &amp; 7\n\n{OTHER}"


@pytest.mark.parametrize("tag", ["main", "div"])
def test_text_that_comes_again_stays(tag: str) -> None:
    short = "The maximum daily dose of the drug is 10 mg for adults, and it is 5 mg for children."
    found = [short, short, f"{short} Older ones take less.", short, "5 mg", "5 mg", LONG, OTHER, LONG]
    page = f"<html><body><{tag}>" + "".join(f"<p>{text}</p>" for text in found)
    assert html_text(page).text == "\n\n".join(found)
    page = f"<html><body><{tag}><p>{short}</p><p>{short}</p>"
    assert html_text(page).text == f"{short}\n\n{short}"


def test_a_failure_of_trafilatura_is_a_reject_and_no_line_of_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise ValueError

    path = write(tmp_path / "a.html", b"<html><body><p>" + LONG.encode())
    assert texts(read("html", path)) == [LONG]
    monkeypatch.setattr(trafilatura.core, "trafilatura_sequence", fail)
    reject = only_reject(read("html", path))
    assert (reject.source, reject.reason) == (str(path), "not_extracted")
    assert reject.detail == "trafilatura could not read the page"
    assert not caplog.records


@pytest.mark.parametrize("page", [*html_sites.files(0, 5)], ids=lambda page: page.features[0])
def test_pages_of_known_software_are_their_posts_or_articles(page: html_sites.Made) -> None:
    found = comparable(html_text(page.data.decode()).text).split()
    expected = comparable(page.text).split()
    assert found == expected if page.features != ("MediaWiki",) else expected[:-1] == found


def test_headings_and_lists_of_a_page_that_names_no_article_stay() -> None:
    sentence = "The usual treatment is an inhaler with a steroid, which the patient uses every day."
    page = (
        "<html><body><ul><li><a href=a>Home</a></li><li><a href=b>News</a></li></ul><div>"
        '<h1>Top<a class="headerlink" href="#top">¶</a></h1>'
        f"<p>{sentence}</p><h2><a href='#u'>Use</a> 22 <a href='#u'>#</a></h2>"
        f"<p>A. {sentence}</p><h3>Deep 33</h3><p>B. {sentence}</p>"
        f"<ul><li>item 9 mg</li></ul><p>C. {sentence}</p></div></body></html>"
    )

    assert html_text(page).text == (
        f"Top\n\n{sentence}\n\nUse 22\n\nA. {sentence}\n\n"
        f"Deep 33\n\nB. {sentence}\n\n- item 9 mg\n\nC. {sentence}"
    )
