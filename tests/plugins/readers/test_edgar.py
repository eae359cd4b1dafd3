"""Filings of EDGAR: header, items of the main document, exhibits."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from schemas.records import Document
from tests.plugins.readers.reading import only_reject, places, read, texts, write

HEADER = """<SEC-DOCUMENT>0000000007-24-000001.txt : 20240201
<SEC-HEADER>0000000007-24-000001.hdr.sgml : 20240201
ACCESSION NUMBER:\t\t0000000007-24-000001
CONFORMED SUBMISSION TYPE:\t10-K
CONFORMED PERIOD OF REPORT:\t20231231
FILED AS OF DATE:\t\t20240201

FILER:

\tCOMPANY DATA:
\t\tCOMPANY CONFORMED NAME:\t\t\tLID WORKS INC
\t\tCENTRAL INDEX KEY:\t\t\t0000000007
\t\tSTANDARD INDUSTRIAL CLASSIFICATION:\tMADE GOODS [3900]
</SEC-HEADER>
"""
FIELDS = ["cik", "company", "form", "period", "filed", "accession", "sic", "item", "part", "title"]


def document(text: str, kind: str = "10-K") -> str:
    return f"<DOCUMENT>\n<TYPE>{kind}\n<SEQUENCE>1\n<FILENAME>a.htm\n<TEXT>\n{text}\n</TEXT>\n</DOCUMENT>\n"


def filing(*documents: str) -> bytes:
    return (HEADER + "".join(documents) + "</SEC-DOCUMENT>\n").encode()


PAGE = """<html><head><title>10-K</title></head><body><p>UNITED STATES</p><p>Annual report of Lid Works.</p>
<table><tr><td>Item&nbsp;1.</td><td>Business</td><td>3</td></tr>
<tr><td>Item 1A.</td><td>Risk Factors</td><td>9</td></tr>
<tr><td>Item 7.</td><td>Discussion</td><td>20</td></tr></table>
<p><b>PART I</b></p>
<p><b>Item 1. <span>Business</span></b></p><p>We make lids of 10<sup>-6</sup> m.</p>
<p>Item 1A.</p><p>Lids may break, as Item 1 says.</p>
<p><b>PART II</b></p>
<p>ITEM 7 \u2014 MANAGEMENT\u2019S DISCUSSION</p><p>Sales rose.</p>
<table><tr><td>2023</td><td>140</td></tr></table>
</body></html>"""


def test_items_of_a_page_are_documents_with_the_fields_of_the_header(tmp_path: Path) -> None:
    others = document("<html>x</html>", "EX-21"), document("M4XZ", "GRAPHIC"), document("x", "GRAPHIC")
    path = write(tmp_path / "a.txt", filing(document(PAGE), *others))
    *found, last = read("edgar", path, id_field="id", metadata_fields=FIELDS)
    assert [each.source.removeprefix(f"{path}:") for each in found] == [
        str(path), "Part I Item 1", "Part I Item 1A", "Part II Item 7"]  # fmt: skip
    cover, business, risks, discussion = texts(found)
    assert "Annual report of Lid Works." in cover and "Risk Factors" in cover
    assert (
        business.split("\n")[:3] == ["PART I", "", "Item 1. Business"]
        and "We make lids of 10^-6 m." in business
    )
    assert "Lids may break, as Item 1 says." in risks
    assert "Sales rose." in discussion and "2023" in discussion and "140" in discussion
    assert isinstance(found[3], Document)
    assert found[3].document_id == "0000000007-24-000001:Part II Item 7"
    assert found[3].metadata == {
        "cik": "0000000007",
        "company": "LID WORKS INC",
        "form": "10-K",
        "period": "20231231",
        "filed": "20240201",
        "accession": "0000000007-24-000001",
        "sic": "MADE GOODS [3900]",
        "item": "7",
        "part": "II",
        "title": "MANAGEMENT\u2019S DISCUSSION",
    }
    assert last.detail == "3 records that are no documents: 2 GRAPHIC, 1 EX-21"


def test_inline_xbrl_leaves_its_numbers_and_takes_its_hidden_facts_along(tmp_path: Path) -> None:
    page = (
        '<html xmlns:ix="x"><body><div style="display:none"><ix:header><ix:hidden>hidden</ix:hidden>'
        "</ix:header></div><p>Item&nbsp;7.&nbsp;Discussion</p><p>Sales rose by $"
        '<ix:nonFraction name="a" '
        'scale="6">140</ix:nonFraction>.<ix:nonNumeric>5 million</ix:nonNumeric>.</p></body></html>'
    )
    path = write(tmp_path / "a.txt", filing(document(f"<XBRL>\n{page}\n</XBRL>")))
    (found,) = read("edgar", path, metadata_fields=["item", "title"])
    assert " ".join(texts([found])[0].split()) == "Item 7. Discussion Sales rose by $140.5 million."
    assert isinstance(found, Document) and found.metadata == {"item": "7", "title": "Discussion"}


@pytest.mark.parametrize(
    ("written", "options"), [("cp1252", {"encoding": "cp1252"}), ("cp1252", {}), ("utf-8", {})]
)
def test_the_header_is_decoded_as_the_text(tmp_path: Path, written: str, options: dict[str, str]) -> None:
    data = filing(document("Made by Société Générale.")).decode().replace("LID WORKS INC", "SOCIÉTÉ GÉNÉRALE")
    path = write(tmp_path / "a.txt", data.encode(written))
    (found,) = read("edgar", path, metadata_fields=["company"], **options)
    assert isinstance(found, Document)
    assert (found.text, found.metadata) == ("Made by Société Générale.", {"company": "SOCIÉTÉ GÉNÉRALE"})


def test_items_of_plain_text(tmp_path: Path) -> None:
    text = "<PAGE>\nCover.\n\nPART I\n\nITEM 1.  FINANCIALS\n\n<TABLE>\n<S> <C>\nCash  7\n</TABLE>\n"
    text += "\nPART II\nItem 1. Legal\nNone."
    (*found,) = read("edgar", write(tmp_path / "a.txt.gz", gzip.compress(filing(document(text)))))
    assert [each.split() for each in texts(found)] == [
        ["Cover."],
        ["PART", "I", "ITEM", "1.", "FINANCIALS", "Cash", "7"],
        ["PART", "II", "Item", "1.", "Legal", "None."],
    ]


def test_a_long_text_behind_the_contents_is_no_item(tmp_path: Path) -> None:
    said = "We make lids. " * 40
    contents = "".join(f"Item {number}. Name {number} .... {number}\n" for number in (1, 2, 3))
    body = "".join(f"Item {number}. Name {number}\n{said}, see\nItem 2 above.\n" for number in (1, 2, 3))
    text = f"Contents\n{contents}Forward-looking statements. {'They may fail. ' * 40}\n{body}"
    found = read("edgar", write(tmp_path / "a.txt", filing(document(text))), metadata_fields=["item"])
    assert [each.metadata.get("item") for each in found if isinstance(each, Document)] == [
        None,
        "1",
        "2",
        "3",
    ]
    assert "They may fail." in texts(found)[0] and texts(found)[3].endswith(", see\nItem 2 above.")
    assert " ".join(texts(found)).split() == text.split()


def test_events_of_a_current_report_are_items(tmp_path: Path) -> None:
    text = "Item 2.02 Results\nThey rose.\nItem 9.01 Exhibits\nOne.\n"
    text += "Item 9.01 is met by them, as we say in many words here."
    found = read("edgar", write(tmp_path / "a.txt", filing(document(text, "8-K"))), metadata_fields=["item"])
    assert [each.metadata["item"] for each in found if isinstance(each, Document)] == ["2.02", "9.01"]
    assert " ".join(texts(found)).split() == text.split()


def test_a_page_alone_and_a_filing_without_items(tmp_path: Path) -> None:
    path = write(tmp_path / "a.htm", b"<html><body><p>A letter to the holders.</p></body></html>")
    (found,) = read("edgar", path)
    assert texts([found]) == ["A letter to the holders."] and found.source == str(path)
    (found,) = read("edgar", write(tmp_path / "a.txt", filing(document("A letter."))), id_field="id")
    assert isinstance(found, Document) and found.document_id == "0000000007-24-000001"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (filing(document("text"))[:-38], "truncated_file"),
        (HEADER.encode(), "not_edgar"),
        (b"no filing", "not_edgar"),
        (b"%PDF-1.7", "not_edgar"),
        (filing(document("<html>" + "<div>" * 3_000)), "nested_too_deeply"),
    ],
)
def test_bad_files_are_told(tmp_path: Path, data: bytes, reason: str) -> None:
    assert only_reject(read("edgar", write(tmp_path / "a.txt", data))).reason == reason


def test_a_filing_that_ends_among_its_exhibits_is_told(tmp_path: Path) -> None:
    data = filing(document("A letter."), document("exhibit " * 9, "EX-1"))[:-60]
    found = read("edgar", write(path := tmp_path / "a.txt", data))
    assert places(path, found)[:2] == [("", "A letter."), ("", "truncated_file")]
    data = gzip.compress(filing(document("A letter."), document("exhibit " * 9, "EX-1")))[:-12]
    found = read("edgar", write(path := tmp_path / "a.txt.gz", data))
    assert [what for _, what in places(path, found)][:2] == ["A letter.", "damaged_file"]


@pytest.mark.parametrize(
    "heading",
    [
        "PART {} \u2014 FINANCIAL AND OTHER",
        "Part {}. Financial and other",
        "PART {} FINANCIAL AND OTHER",
        "PART {}\nFINANCIAL AND OTHER",
        "PART {} | FINANCIAL AND OTHER | 3",
    ],
)
def test_headings_of_parts_may_have_titles_and_begin_their_first_item(tmp_path: Path, heading: str) -> None:
    one, two = heading.format("I"), heading.format("II")
    text = f"{one}\n\nItem 1. Statements\nThey rose.\n{two}\n\nItem 1. Legal\nNone.\nItem 6. Exhibits\nOne."
    path = write(tmp_path / "a.txt", filing(document(text, "10-Q")))
    found = read("edgar", path)
    assert places(path, found) == [
        ("Part I Item 1", f"{one}\n\nItem 1. Statements\nThey rose."),
        ("Part II Item 1", f"{two}\n\nItem 1. Legal\nNone."),
        ("Part II Item 6", "Item 6. Exhibits\nOne."),
    ]


def test_a_sentence_that_begins_with_a_part_is_no_heading(tmp_path: Path) -> None:
    text = "Part I\nItem 1. Business\nLids, see\nPart II of this report.\nItem 2. Properties\nNone."
    path = write(tmp_path / "a.txt", filing(document(text)))
    assert [place for place, _ in places(path, read("edgar", path))] == ["Part I Item 1", "Part I Item 2"]


def test_a_main_document_in_html_needs_no_html_element(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", filing(document("<p>Item 1. Business</p><p>10<sup>6</sup> lids.</p>")))
    assert places(path, read("edgar", path)) == [("Item 1", "Item 1. Business\n\n10^6 lids.")]


def test_each_submission_of_a_file_is_read(tmp_path: Path) -> None:
    one = filing(document("Item 1. Business\nFirst."), document("x", "EX-21"))
    two = filing(document("Item 1. Business\nSecond.")).replace(b"0007-24-000001", b"0007-24-000002")
    path = write(tmp_path / "a.txt", one + two)
    *found, last = read("edgar", path, id_field="id")
    assert [each.document_id for each in found] == [
        "0000000007-24-000001:Item 1",
        "0000000007-24-000002:Item 1",
    ]
    assert places(path, found) == [
        ("Item 1", "Item 1. Business\nFirst."),
        ("2:Item 1", "Item 1. Business\nSecond."),
    ]
    assert last.detail == "1 records that are no documents: 1 EX-21"


def test_items_without_a_header_have_no_id(tmp_path: Path) -> None:
    path = write(
        tmp_path / "a.htm", b"<html><body><p>Cover</p><p>Item 1. Business</p><p>Lids.</p></body></html>"
    )
    found = read("edgar", path, id_field="id")
    assert places(path, found) == [("", "missing_id"), ("Item 1", "missing_id")]
    assert [each.document_id for each in read("edgar", path)] == [str(path), f"{path}:Item 1"]
