"""JATS: articles of PubMed Central."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest

from plugins.readers import decompression, open_reader
from schemas.corpus_config import SourceConfig
from schemas.errors import ConfigError
from schemas.records import Document
from tests.plugins.readers.reading import only_reject, places, read, texts, write

ARTICLE = """<article article-type="research-article" xmlns:xlink="http://www.w3.org/1999/xlink"><front>
<journal-meta><journal-title-group><journal-title>Kidney Journal</journal-title>
</journal-title-group></journal-meta>
<article-meta><article-id pub-id-type="pmc">123</article-id><article-id pub-id-type="pmid">9</article-id>
<article-id pub-id-type="doi">10.1/x</article-id>
<title-group><article-title>On H<sub>2</sub>O and &alpha;</article-title></title-group>
<pub-date pub-type="ppub"><year>2021</year></pub-date><pub-date pub-type="epub"><year>2020</year></pub-date>
<permissions><license xlink:href="https://example.org/by"><license-p>Free</license-p></license></permissions>
<abstract><sec><title>Background</title><p>10<sup>6</sup> cells.</p></sec></abstract></article-meta></front>
<body><sec><label>1.</label><title>Methods</title><p>A pressure of <inline-formula><alternatives>
<tex-math>\\documentclass{x}\\begin{document}$$a$$\\end{document}</tex-math>
<mml:math><mml:mfrac><mml:mn>140</mml:mn><mml:mn>72</mml:mn></mml:mfrac></mml:math></alternatives></inline-formula>
mmHg <xref ref-type="bibr">1</xref>.</p>
<disp-formula><tex-math>\\documentclass{x}\\begin{document}$$b^2$$\\end{document}</tex-math></disp-formula>
<list><list-item><p>one</p></list-item><list-item><p>two</p></list-item></list>
<table-wrap><label>Table 1</label><caption><p>Doses</p></caption>
<table><thead><tr><th>Age</th><th>Dose</th></tr></thead><tbody><tr><td>70</td><td>350</td></tr></tbody></table>
</table-wrap>
<fig><label>Figure 1</label><caption><p>A kidney</p></caption></fig></sec></body>
<back><ack><p>Thanks</p></ack>
<ref-list><title>References</title><ref><mixed-citation>Doe 1999</mixed-citation></ref>
</ref-list></back></article>"""
TEXT = (
    "On H2O and α\n\nBackground\n\n10^6 cells.\n\n1. Methods\n\nA pressure of 140/72 mmHg 1.\n\n$$b^2$$\n\n"
    "- one\n- two\n\nTable 1 Doses\n\nAge | Dose\n70 | 350\n\nFigure 1 A kidney\n\nThanks"
)
SECOND = "<article><body><p>Second</p></body></article>"


def test_an_article_is_its_sections_with_captions_tables_and_formulas(tmp_path: Path) -> None:
    names = ("title", "abstract", "pmcid", "pmid", "doi", "journal", "year", "license")
    (found,) = read("jats", write(tmp_path / "a.xml", ARTICLE.encode()), metadata_fields=names)
    assert isinstance(found, Document)
    assert found.text == TEXT
    assert dict(found.metadata) == {
        "title": "On H2O and α",
        "abstract": "Background\n\n10^6 cells.",
        "pmcid": "PMC123",
        "pmid": "9",
        "doi": "10.1/x",
        "journal": "Kidney Journal",
        "year": "2020",
        "license": "https://example.org/by",
    }


def test_parts_are_left_out_by_option(tmp_path: Path) -> None:
    path = write(tmp_path / "a.xml", ARTICLE.encode())
    (whole,) = texts(read("jats", path, options={"leave_out": []}))
    assert whole == f"{TEXT}\n\nReferences\n\nDoe 1999"
    (bare,) = texts(read("jats", path, options={"leave_out": ["tables", "figures", "notes", "references"]}))
    assert bare == TEXT.partition("\n\nTable 1")[0]


def test_an_unknown_part_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"reader 'jats': leave_out\.0 is 'table': .*'tables', .*'notes'"):
        open_reader(SourceConfig(reader="jats", uri="a", options={"leave_out": ["table"]}))


@pytest.mark.parametrize("size", [7, 1 << 20])
def test_articles_of_a_collection_are_read_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(decompression, "_CHUNK_BYTES", size)
    broken = "<article><body><p>a</body></article>"
    open_ = "<article><body><p>never closed</p></body>"
    data = f'<?xml version="1.0"?><pmc-articleset>{SECOND}{broken}{open_}{SECOND}</pmc-articleset>'
    path = write(tmp_path / "a.xml.gz", gzip.compress(data.encode()))
    assert places(path, read("jats", path)) == [
        ("1", "Second"),
        ("2", "invalid_xml"),
        ("3", "truncated_record"),
        ("4", "Second"),
    ]


def test_sub_articles_and_translations_are_counted(tmp_path: Path) -> None:
    data = SECOND.replace("</article>", "<sub-article><body><p>A review</p></body></sub-article></article>")
    titles = "<article-title>T</article-title><subtitle>S</subtitle><trans-title-group><trans-title>U"
    meta = f"<title-group>{titles}</trans-title></trans-title-group></title-group>"
    meta += "<abstract><p>A</p></abstract><trans-abstract><p>R\u00e9sum\u00e9</p></trans-abstract>"
    data += f"<article><front><article-meta>{meta}</article-meta></front></article>"
    found = read("jats", write(tmp_path / "a.xml", data.encode()))
    assert [each.text for each in found if isinstance(each, Document)] == ["Second", "T\n\nA"]
    reject = only_reject(found)
    assert (reject.reason, reject.detail) == (
        "left_out",
        "4 parts of documents that are not read: "
        "1 sub-article, 1 trans-abstract, 1 subtitle, 1 trans-title-group",
    )


def test_keywords_of_all_groups_are_a_field(tmp_path: Path) -> None:
    groups = (
        "<kwd-group><title>Keywords</title><kwd>H<sub>2</sub>O</kwd><nested-kwd><kwd>lid</kwd></nested-kwd>"
    )
    groups += "</kwd-group><kwd-group><compound-kwd><compound-kwd-part>C71</compound-kwd-part>"
    groups += "<compound-kwd-part>brain</compound-kwd-part></compound-kwd><kwd/></kwd-group>"
    article = SECOND.replace("<body>", f"<front><article-meta>{groups}</article-meta></front><body>")
    (found,) = read("jats", write(tmp_path / "a.xml", article.encode()), metadata_fields=["keywords"])
    assert isinstance(found, Document)
    assert (found.text, found.metadata) == ("Second", {"keywords": "H2O, lid, C71 brain"})


def test_figures_and_tables_that_float_follow_the_body(tmp_path: Path) -> None:
    floats = """<floats-group><fig><label>Figure 1</label><caption><p>Lid</p></caption></fig><table-wrap>
    <label>Table 9</label><table><tr><td>a</td><td>b</td></tr></table></table-wrap></floats-group>"""
    back = "<back><ack><p>Thanks</p></ack></back>"
    data = f"<article><body><p>Body</p></body>{back}{floats}</article>".encode()
    path = write(tmp_path / "a.xml", data)
    assert texts(read("jats", path)) == ["Body\n\nFigure 1 Lid\n\nTable 9\na | b\n\nThanks"]
    options = {"leave_out": ["figures", "tables"]}
    assert texts(read("jats", path, options=options)) == ["Body\n\nThanks"]


def test_an_encoding_may_be_declared_or_named(tmp_path: Path) -> None:
    article = "<article><body><p>naïve</p></body></article>"
    data = f'<?xml version="1.0" encoding="ISO-8859-1"?>{article}'.encode("latin-1")
    assert texts(read("jats", write(tmp_path / "a.xml", data))) == ["naïve"]
    assert texts(read("jats", write(tmp_path / "b.xml", article.encode("utf-16")), encoding="utf-16")) == [
        "naïve"
    ]


def test_an_unknown_encoding_is_a_reject(tmp_path: Path) -> None:
    data = f'<?xml version="1.0" encoding="no-such"?>{SECOND}'.encode()
    reject = only_reject(read("jats", write(tmp_path / "a.xml", data)))
    assert (reject.reason, reject.detail) == (
        "unknown_encoding",
        "unknown encoding: no-such. Name its encoding in `encoding`",
    )


def test_a_document_type_reaches_no_parser(tmp_path: Path) -> None:
    bomb = (
        '<!DOCTYPE article [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;"><!ENTITY f SYSTEM "/etc/hostname">]>'
    )
    for name in ("b", "f"):
        data = f"{bomb}<article><body><p>x &{name}; y</p></body></article>"
        reject = only_reject(read("jats", write(tmp_path / "a.xml", data.encode())))
        assert reject.reason == "invalid_xml" and f"undefined entity &{name};" in reject.detail


def test_deep_nesting_costs_only_the_article(tmp_path: Path) -> None:
    deep = f"<article><body>{'<sec>' * 50_000}x{'</sec>' * 50_000}</body></article>"
    path = write(tmp_path / "a.xml", f"<pmc-articleset>{deep}{SECOND}</pmc-articleset>".encode())
    assert places(path, read("jats", path)) == [("1", "nested_too_deeply"), ("2", "Second")]


def test_other_xml_is_a_reject(tmp_path: Path) -> None:
    assert only_reject(read("jats", write(tmp_path / "a.xml", b"<feed/>"))).reason == "not_jats"


NAMESPACE = "https://jats.nlm.nih.gov/ns/archiving/1.3/"


@pytest.mark.parametrize(
    "article",
    [
        ARTICLE.replace("<article ", f'<article xmlns="{NAMESPACE}" ', 1),
        re.sub(r"<(/?)(?!/?mml:)", r"<\1j:", ARTICLE).replace(" ", f' xmlns:j="{NAMESPACE}" ', 1),
    ],
)
def test_namespaces_and_prefixes_make_no_difference(tmp_path: Path, article: str) -> None:
    (found,) = read("jats", write(tmp_path / "a.xml", article.encode()), metadata_fields=["pmcid", "license"])
    assert isinstance(found, Document)
    assert (found.text, found.metadata) == (TEXT, {"pmcid": "PMC123", "license": "https://example.org/by"})


def test_articles_may_have_their_prefix_from_the_element_around_them(tmp_path: Path) -> None:
    one = "<record><j:article><j:body><j:p>10<j:sup>6</j:sup> {}</j:p></j:body></j:article></record>"
    data = (
        f"<o:OAI-PMH xmlns:o=\"urn:o\" xmlns:j = '{NAMESPACE}'>{one.format('a')}{one.format('b')}</o:OAI-PMH>"
    )
    path = write(tmp_path / "a.xml", data.encode())
    assert places(path, read("jats", path)) == [("1", "10^6 a"), ("2", "10^6 b")]
