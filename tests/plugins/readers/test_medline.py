"""MEDLINE XML: titles and abstracts, and rejects for damaged records."""

from __future__ import annotations

import gzip
import random
from pathlib import Path

import pytest

from schemas.records import Document, Reject
from tests.plugins.readers.reading import read as read_file

HEAD = b"""<?xml version="1.0" encoding="utf-8"?>
<!DOCTYPE PubmedArticleSet SYSTEM "http://dtd.nlm.nih.gov/ncbi/pubmed/out/pubmed_250101.dtd">
<PubmedArticleSet>
"""
TAIL = b"</PubmedArticleSet>\n"

FULL = """<PubmedArticle>
  <MedlineCitation Status="MEDLINE" Owner="NLM">
    <PMID Version="1">30000001</PMID>
    <Article PubModel="Print">
      <Journal>
        <JournalIssue><PubDate><Year>2018</Year><Month>Jul</Month></PubDate></JournalIssue>
        <Title>Journal of nerves</Title>
      </Journal>
      <ArticleTitle>The <i>femoral</i> nerve &amp; Ca<sup>2+</sup>
        in knees.</ArticleTitle>
      <Abstract>
        <AbstractText Label="BACKGROUND" NlmCategory="BACKGROUND">Knees &lt; 40°
          bend.</AbstractText>
        <AbstractText Label="RESULTS"/>
        <AbstractText>They <b>weaken</b>.</AbstractText>
        <CopyrightInformation>Copyright</CopyrightInformation>
      </Abstract>
    </Article>
    <CommentsCorrectionsList><CommentsCorrections><PMID>5</PMID></CommentsCorrections></CommentsCorrectionsList>
  </MedlineCitation>
</PubmedArticle>
""".encode()


def article(pmid: int, title: str = "A title.", date: str = "<Year>1976</Year>") -> bytes:
    return (
        f"<PubmedArticle><MedlineCitation><PMID>{pmid}</PMID><Article><Journal><JournalIssue>"
        f"<PubDate>{date}</PubDate></JournalIssue></Journal><ArticleTitle>{title}</ArticleTitle></Article>"
        f"</MedlineCitation></PubmedArticle>\n"
    ).encode()


def read(path: Path, data: bytes) -> list[Document | Reject]:
    path.write_bytes(data)
    fields = ("journal", "year", "abstract")
    return read_file("medline", path, id_field="pmid", metadata_fields=fields)


def found_in(path: Path, data: bytes) -> list[tuple[str, str]]:
    """Each record's position, and the document's id or the reject's reason."""
    return [
        (
            each.source.removeprefix(str(path)),
            each.document_id if isinstance(each, Document) else each.reason,
        )
        for each in read(path, data)
    ]


def test_an_article_is_its_title_and_its_labelled_sections(tmp_path: Path) -> None:
    (found,) = read(tmp_path / "a.xml", HEAD + FULL + TAIL)
    assert isinstance(found, Document)
    abstract = "BACKGROUND: Knees < 40° bend.\nThey weaken."
    assert found.text == f"The femoral nerve & Ca^2+ in knees.\n\n{abstract}"
    assert (found.document_id, found.source) == ("30000001", f"{tmp_path}/a.xml:1")
    assert found.metadata == {"journal": "Journal of nerves", "year": "2018", "abstract": abstract}


def test_an_article_without_an_abstract_is_its_title(tmp_path: Path) -> None:
    (found,) = read(tmp_path / "a.xml", HEAD + article(1) + TAIL)
    assert isinstance(found, Document)
    assert (found.text, found.metadata) == ("A title.", {"year": "1976"})


@pytest.mark.parametrize(
    ("date", "year"),
    [
        ("<MedlineDate>1998 Dec-1999 Jan</MedlineDate>", {"year": "1998"}),
        ("<MedlineDate>Winter 1998</MedlineDate>", {"year": "1998"}),
        ("<MedlineDate>2000 Spring</MedlineDate>", {"year": "2000"}),
        ("<MedlineDate>Winter</MedlineDate>", {}),
        ("<Season>Fall</Season>", {}),
    ],
)
def test_the_year_may_stand_in_words_or_not_at_all(tmp_path: Path, date: str, year: dict[str, str]) -> None:
    (found,) = read(tmp_path / "a.xml", HEAD + article(1, date=date) + TAIL)
    assert isinstance(found, Document) and found.metadata == year


def test_a_bad_record_costs_only_itself(tmp_path: Path) -> None:
    records = [
        article(1),
        article(2, title="<i>never closed"),
        article(3, title="an &undeclared; entity"),
        article(4).replace(b"</PubmedArticle>", b""),
        article(5, title=""),
        article(6).replace(b"<PMID>6</PMID>", b""),
        article(7, title="bytes").replace(b"bytes", b"caf\xe9"),
        article(8),
    ]
    path = tmp_path / "a.xml"
    assert found_in(path, HEAD + b"".join(records) + TAIL) == [
        (":1", "1"),
        (":2", "invalid_xml"),
        (":3", "invalid_xml"),
        (":4", "truncated_record"),
        (":5", "missing_field"),
        (":6", "missing_id"),
        (":7", "invalid_xml"),
        (":8", "8"),
    ]
    rejects = [each for each in read(path, HEAD + b"".join(records) + TAIL) if isinstance(each, Reject)]
    assert rejects[1].detail == "undefined entity: line 1, column 156 of the record"
    assert rejects[2].detail.startswith("the record has no </PubmedArticle>; ")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (HEAD + TAIL, []),
        (HEAD, [(":1", "truncated_file")]),
        (HEAD + article(1), [(":1", "1"), (":2", "truncated_file")]),
        (HEAD + article(1) + article(2)[:90], [(":1", "1"), (":2", "truncated_file")]),
        (HEAD + article(1) + article(2)[:90] + TAIL, [(":1", "1"), (":2", "truncated_record")]),
        (article(1) + TAIL, [(":1", "1"), ("", "not_medline")]),
        (b'{"text": "x"}\n', [("", "not_medline")]),
        (b"", [("", "not_medline")]),
    ],
)
def test_a_file_that_is_not_whole_is_one_reject_after_what_could_be_read(
    tmp_path: Path, data: bytes, expected: list[tuple[str, str]]
) -> None:
    assert found_in(tmp_path / "a.xml", data) == expected


def test_records_before_the_end_of_a_truncated_archive_are_kept(tmp_path: Path) -> None:
    rng = random.Random(5)
    records = [article(number, title=f"{rng.getrandbits(2_000):x}") for number in range(1, 2_001)]
    data = gzip.compress(HEAD + b"".join(records) + TAIL)
    *documents, last = read(tmp_path / "a.xml.gz", data[: len(data) // 2])
    assert 800 < len(documents) < 1_200
    assert [each.document_id for each in documents] == [str(n) for n in range(1, len(documents) + 1)]
    assert isinstance(last, Reject) and last.reason == "damaged_file"
    assert last.source == f"{tmp_path}/a.xml.gz:{len(documents) + 1}"
    assert last.detail.endswith(f"; {len(documents)} records were read before it")


def test_declared_entities_are_neither_expanded_nor_fetched(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("the secret")
    bomb = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
    doctype = f'<!DOCTYPE PubmedArticleSet [<!ENTITY s SYSTEM "file://{secret}"><!ENTITY e0 "x">{bomb}]>'
    data = (
        f"{doctype}<PubmedArticleSet>".encode() + article(1, "&s;") + article(2, "&e9;") + article(3) + TAIL
    )
    path = tmp_path / "a.xml"
    assert found_in(path, data) == [(":1", "invalid_xml"), (":2", "invalid_xml"), (":3", "3")]
    inside = article(4, "&s;").replace(b"<Article>", doctype.encode() + b"<Article>", 1)
    assert found_in(path, HEAD + inside + TAIL) == [(":1", "invalid_xml")]


CHAPTER = b"""<PubmedBookArticle><BookDocument><PMID Version="1">900102</PMID>
<Book><BookTitle book="b">A book.</BookTitle><PubDate><Year>2011</Year></PubDate></Book>
<ArticleTitle book="b" part="p">A chapter.</ArticleTitle>
<Abstract><AbstractText Label="USE">Of 10<sup>6</sup> users.</AbstractText></Abstract>
</BookDocument><PubmedBookData/></PubmedBookArticle>
"""


def test_a_chapter_of_a_book_is_read_as_an_article_is(tmp_path: Path) -> None:
    article_found, found = read(tmp_path / "a.xml", HEAD + article(1) + CHAPTER + TAIL)
    assert isinstance(article_found, Document) and isinstance(found, Document)
    assert (found.document_id, found.text) == ("900102", "A chapter.\n\nUSE: Of 10^6 users.")
    assert found.metadata == {"journal": "A book.", "year": "2011", "abstract": "USE: Of 10^6 users."}
    assert found.source == f"{tmp_path}/a.xml:2"


def test_a_whole_book_has_the_title_of_the_book(tmp_path: Path) -> None:
    whole = CHAPTER.replace(b'<ArticleTitle book="b" part="p">A chapter.</ArticleTitle>', b"")
    (found,) = read(tmp_path / "a.xml", b"<PubmedBookArticleSet>" + whole + b"</PubmedBookArticleSet>")
    assert isinstance(found, Document) and found.text == "A book.\n\nUSE: Of 10^6 users."


def test_each_deleted_citation_and_each_unknown_record_is_a_reject(tmp_path: Path) -> None:
    deleted = b"<DeleteCitation><PMID Version='1'>8</PMID>\n<PMID Version='1'>9</PMID></DeleteCitation>\n"
    data = HEAD + article(1) + b"<Retraction><PMID>7</PMID></Retraction>" + article(2) + deleted + TAIL
    assert found_in(tmp_path / "a.xml", data) == [
        (":1", "1"),
        ("", "unknown_record"),
        (":2", "2"),
        (":3", "deleted_citation"),
        (":3", "deleted_citation"),
    ]
    unknown, first, _ = [each for each in read(tmp_path / "a.xml", data) if isinstance(each, Reject)]
    assert unknown.detail == "found <Retraction> after record 1, which is not read"
    assert first.detail == (
        "PubMed deletes PMID 8; without deleted_field: deleted reading takes out no document. "
        "`tutelage corpus withdraw FILE.yaml --id 8` does it where ids are PMIDs"
    )


def test_a_record_nested_too_deeply_costs_only_itself(tmp_path: Path) -> None:
    deep = "<i>" * 5_000 + "x" + "</i>" * 5_000
    records = article(1, title=deep) + article(2)
    assert found_in(tmp_path / "a.xml", HEAD + records + TAIL) == [(":1", "nested_too_deeply"), (":2", "2")]


def test_numbers_and_formulas_keep_their_meaning(tmp_path: Path) -> None:
    formula = (
        '<DispFormula><mml:math xmlns:mml="http://www.w3.org/1998/Math/MathML"><mml:mfrac><mml:mn>140</mml:mn>'
        "<mml:mn>72</mml:mn></mml:mfrac><mml:mo>×</mml:mo><mml:msup><mml:mi>x</mml:mi><mml:mn>2</mml:mn>"
        "</mml:msup></mml:math></DispFormula>"
    )
    title = f"At 10<sup>6</sup> per cm<sup>2</sup> of H<sub>2</sub>O, or 2 × 10<sup>-3</sup>:{formula}."
    (found,) = read(tmp_path / "a.xml", HEAD + article(1, title=title) + TAIL)
    assert isinstance(found, Document)
    assert found.text == "At 10^6 per cm^2 of H2O, or 2 × 10^-3: 140/72 × x^2 ."


def test_other_titles_and_abstracts_are_counted(tmp_path: Path) -> None:
    other = b"<OtherAbstract Language='fre'><AbstractText>Autre</AbstractText></OtherAbstract>"
    one = article(1).replace(b"</Article>", b"<VernacularTitle>Titel</VernacularTitle></Article>" + other)
    two = article(2).replace(b"</Article>", b"</Article>" + other)
    first, second, reject = read(tmp_path / "a.xml", HEAD + one + two + TAIL)
    assert isinstance(first, Document) and first.text == "A title."
    assert isinstance(second, Document) and second.text == "A title."
    assert isinstance(reject, Reject)
    assert (reject.reason, reject.detail) == (
        "left_out",
        "3 parts of documents that are not read: 2 OtherAbstract, 1 VernacularTitle",
    )
