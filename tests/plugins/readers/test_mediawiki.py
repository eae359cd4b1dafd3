"""Dumps of MediaWiki: pages, what is passed over, damage."""

from __future__ import annotations

import bz2
import html
from pathlib import Path

import pytest

from schemas import limits
from schemas.errors import ConfigError
from schemas.records import Document
from tests.plugins.readers.reading import COMPRESS, only_reject, places, read, texts, write

SITE = """<siteinfo><sitename>Made</sitename><base>https://de.example.org/wiki/Start</base><namespaces>
<namespace key="0" /><namespace key="6">Datei</namespace><namespace key="14">Kategorie</namespace>
</namespaces></siteinfo>"""


def page(
    text: str,
    title: str = "Eye lid",
    number: int = 7,
    *,
    inner: str = "",
    model: str = "wikitext",
    ns: int = 0,
) -> str:
    return (
        f"<page><title>{title}</title><ns>{ns}</ns><id>{number}</id>{inner}<revision><id>70</id>"
        f"<timestamp>2024-05-01T10:00:00Z</timestamp><model>{model}</model>"
        f'<text bytes="1" xml:space="preserve">{html.escape(text)}</text></revision></page>'
    )


def dump(*pages: str) -> bytes:
    root = '<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/" version="0.11" xml:lang="de">'
    return "\n".join([root, SITE, *pages, "</mediawiki>\n"]).encode()


def text_of(wikitext: str, tmp_path: Path, **options: object) -> str:
    found, *_ = read("mediawiki", write(tmp_path / "a.xml", dump(page(wikitext))), **options)
    return texts([found])[0]


@pytest.mark.parametrize("ending", COMPRESS)
def test_a_page_with_its_fields(tmp_path: Path, ending: str) -> None:
    path = write(tmp_path / f"a.xml{ending}", COMPRESS[ending](dump(page("'''Lids''' close. {{stub}}"))))
    fields = ["title", "revision", "date", "url", "removed_templates"]
    found, left_out = read("mediawiki", path, id_field="id", metadata_fields=fields)
    assert left_out.detail == "1 parts of documents that are not read: 1 {{stub}}"
    assert isinstance(found, Document)
    assert (found.text, found.document_id, found.source) == ("Lids close.", "7", f"{path}:1")
    assert found.metadata == {
        "title": "Eye lid",
        "revision": "70",
        "date": "2024-05-01T10:00:00Z",
        "url": "https://de.example.org/wiki/Eye_lid",
        "removed_templates": "1",
    }


def test_what_is_no_article_is_counted(tmp_path: Path) -> None:
    pages = [
        page("#REDIRECT [[Lid]]", inner='<redirect title="Lid" />'),
        page("talk", ns=1),
        page("one"),
        page("talk", ns=1),
        page('{"a": 1}', model="json"),
        page("two"),
    ]
    path = write(tmp_path / "a.xml", dump(*pages))
    *found, last = read("mediawiki", path)
    assert places(path, found) == [("3", "one"), ("6", "two")]
    assert (last.reason, last.detail) == (
        "passed_over",
        "4 records that are no documents: 2 of namespace 1, 1 redirects, 1 of model json",
    )


def test_multistream_dumps_are_read_to_their_end(tmp_path: Path) -> None:
    whole = dump(*(page(f"text {number}") for number in range(6)))
    streams = [bz2.compress(whole[at : at + 400]) for at in range(0, len(whole), 400)]
    found = read("mediawiki", write(tmp_path / "a.xml.bz2", b"".join(streams)))
    assert texts(found) == [f"text {number}" for number in range(6)]


def test_the_last_revision_counts(tmp_path: Path) -> None:
    first = page("old")
    both = first.replace("</page>", page("new")[page("new").index("<revision>") :])
    assert texts(read("mediawiki", write(tmp_path / "a.xml", dump(both)))) == ["new"]


def test_a_broken_page_costs_only_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RECORD_BYTES", 2_000)
    entity = page("x").replace(">x<", ">&lol;<")
    pages = [
        page("one"),
        "<page><title>A</tilte></page>",
        entity,
        "<page><title>cut",
        page("w" * 3_000),
        page("six"),
    ]
    path = write(tmp_path / "a.xml", dump(*pages))
    reasons = ["one", "invalid_xml", "invalid_xml", "truncated_record", "record_too_long", "six"]
    assert places(path, read("mediawiki", path)) == [
        (str(n), what) for n, what in enumerate(reasons, start=1)
    ]


def test_a_broken_siteinfo_costs_only_the_addresses(tmp_path: Path) -> None:
    path = write(tmp_path / "a.xml", dump(page("one")).replace(b"<base>", b"<base&>"))
    found = read("mediawiki", path, metadata_fields=["url", "title"])
    assert places(path, found) == [("", "invalid_xml"), ("1", "one")]
    assert isinstance(found[1], Document) and found[1].metadata == {"title": "Eye lid"}


def test_truncated_and_foreign_files_are_told(tmp_path: Path) -> None:
    data = dump(page("one"), page("two"))
    path = write(tmp_path / "a.xml", data[:-40])
    assert places(path, read("mediawiki", path)) == [("1", "one"), ("2", "truncated_file")]
    path = write(tmp_path / "a.xml.bz2", bz2.compress(data)[:-9])
    assert only_reject(read("mediawiki", path)).reason == "damaged_file"
    path = write(tmp_path / "b.xml", b"<PubmedArticleSet></PubmedArticleSet>")
    assert places(path, read("mediawiki", path)) == [("", "not_mediawiki")]


@pytest.mark.parametrize(
    ("wikitext", "expected"),
    [
        ("10<sup>-6</sup> m, 10{{sup|6}}, H<sub>2</sub>O, 140/72", "10^-6 m, 10^6, H2O, 140/72"),
        ("a<br>b&nbsp;&ge; 5", "a\nb \u2265 5"),
        ("<s>5</s>6 <del>old</del>new <strike>7</strike>8, 1<u>2</u>", "5 6 old new 7 8, 12"),
        ("3{{frac|1|2}}, 5{{x}}6, 7{{efn|x}}8, 5<ref>r</ref>6, a{{x}}b", "3 1/2, 5 6, 7 8, 5 6, ab"),
        ("<math>\\frac{140}{72}</math> is 1.9", "\\frac{140}{72} is 1.9"),
        ("{{nowrap|5 mg}}, {{lang|fr|\u0153il}}, {{convert|5|km|mi}}.", "5 mg, \u0153il, 5 km."),
        ("long{{convert|5|ft|4|in|m}}, {{val|1.5|e=-6}}, {{convert|2|to|3|km}}!", "long, 1.5\u00d710^-6, !"),
        ("A<ref>x [[y]]</ref>b<ref name=c />. <!-- no -->", "Ab."),
        ("[[Eye|eyes]] [[Lens]]es [[:Kategorie:X]]", "eyes Lenses Kategorie:X"),
        ("[http://a.org it] [http://b.org] http://c.org", "it http://c.org"),
        ("[[Datei:a.jpg|mini|A [[lid]].]]Text [[Kategorie:Auge]] [[fr:\u0152il]] __NOTOC__", "Text"),
        ("* one\n** two\n# three\n; term : said\n: more", "- one\n- two\n1. three\nterm : said\nmore"),
        ("A.\n\n\n\n== B ==\n=== C ===\ntext\n== D ==\n{{reflist}}\n== E ==\n", "A.\n\nB\n\nC\n\ntext"),
        ("<pre>\na  b\n  c</pre>", "a  b\n  c"),
        ("<nowiki>[[a]]</nowiki> ''b'' <code>x</code>", "[[a]] b x"),
        ("{{{1}}} {{a|{{b|c}}}} d {{unclosed", "d {{unclosed"),
    ],
)  # fmt: skip
def test_wikitext_becomes_text(tmp_path: Path, wikitext: str, expected: str) -> None:
    assert text_of(wikitext, tmp_path) == expected


TABLE = """Before.
{| class="wikitable"
|+ Doses
! Drug !! mg
|-
| style="a" | A<sup>2</sup> || 5<ref>x</ref>
|-
| B
* list
| 10<sup>-6</sup>
|}
After."""


def test_a_row_of_a_table_is_a_line_and_cells_stay_apart(tmp_path: Path) -> None:
    expected = ["Before.", "", "Doses", "Drug | mg", "A^2 | 5", "B list | 10^-6", "", "After."]
    found = [line for line in text_of(TABLE, tmp_path).split("\n") if line]
    assert found == [line for line in expected if line]
    assert text_of(TABLE, tmp_path, options={"leave_out": ["tables"]}).split() == ["Before.", "After."]


def test_an_unknown_part_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"reader 'mediawiki': leave_out\.0 is 'table': .* 'tables'"):
        text_of("a", tmp_path, options={"leave_out": ["table"]})


def test_deeply_nested_wikitext_ends(tmp_path: Path) -> None:
    assert text_of("{{a|" * 3_000 + "x" + "}}" * 3_000 + " end", tmp_path).endswith("end")


@pytest.mark.parametrize(
    ("wikitext", "expected"),
    [
        (
            "Take {{frac|1|2}} tablet, {{val|1.5|u=mg}} daily, since {{circa|1900}}.",
            "Take 1/2 tablet, 1.5 mg daily, since c. 1900.",
        ),
        ("{{frac|3|1|2}} or {{sfrac|4}}", "3 1/2 or 1/4"),
        ("{{val|1.5|0.2|e=-6|ul=kg}}, {{val|9|e=3}}", "(1.5\u00b10.2)\u00d710^-6 kg, 9\u00d710^3"),
        ("{{circa|1900|1910}}", "c. 1900 \u2013 c. 1910"),
        ("{{chem|H|2|O}}, {{chem|SO|4|2-}}, {{chem2|NaCl}}", "H2O, SO4^2-, NaCl"),
        ("{{math|x {{=}} 2}}, {{math|1=''y'' = 3}}, {{abbr|BP|pressure}}", "x = 2, y = 3, BP"),
        ("# a\n# b\n## c\n## d\n# e\n\n# f\n* g\n*# h", "1. a\n2. b\n1. c\n2. d\n3. e\n\n1. f\n- g\n1. h"),
        ("-{zh-hans:\u7b80;zh-hant:\u7e41}- -{plain}- -{H|zh-cn:a;zh-tw:b}-x", "\u7b80 plain x"),
        ("seen <includeonly>not</includeonly><noinclude>here</noinclude> ~~~~", "seen here"),
        ("<nowiki>{{x}} &lt;</nowiki>", "{{x}} <"),
    ],
)
def test_templates_that_write_numbers_lists_and_variants(
    tmp_path: Path, wikitext: str, expected: str
) -> None:
    (found,) = read("mediawiki", write(tmp_path / "a.xml", dump(page(wikitext))))
    assert texts([found]) == [expected]


def test_what_is_removed_or_has_no_end_is_counted(tmp_path: Path) -> None:
    pages = [
        page("a {{val|1.5|p=~}} b {{Stub}}{{stub}}"),
        page("{| x\n| cell\n\nText", number=8),
        page("{{b", number=9),
    ]
    *found, reject = read("mediawiki", write(tmp_path / "a.xml", dump(*pages)))
    assert texts(found) == ["a b", "{| x\n| cell\n\nText", "{{b"]
    assert (reject.reason, reject.detail) == (
        "left_out",
        "5 parts of documents that are not read: "
        "2 {{stub}}, 1 {{val}}, 1 {| without its end, 1 {{ without its end",
    )
