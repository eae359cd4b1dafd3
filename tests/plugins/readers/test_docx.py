"""Reader `docx`: text, structure, numbers, metadata, limits."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest

from schemas import limits
from schemas.records import Document, Reject
from tests.plugins.readers.reading import only_reject, places, read, texts, write

W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
R = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
WORD = "application/vnd.openxmlformats-officedocument.wordprocessingml"
M = 'xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math"'


def run(text: str, properties: str = "") -> str:
    return f'<w:r><w:rPr>{properties}</w:rPr><w:t xml:space="preserve">{text}</w:t></w:r>'


def script(text: str, kind: str) -> str:
    return run(text, f'<w:vertAlign w:val="{kind}script"/>')


def paragraph(content: str, properties: str = "") -> str:
    return f"<w:p><w:pPr>{properties}</w:pPr>{content}</w:p>"


def table(*rows: tuple[str, ...]) -> str:
    cells = ("".join(f"<w:tc>{paragraph(run(cell))}</w:tc>" for cell in row) for row in rows)
    return f"<w:tbl>{''.join(f'<w:tr>{row}</w:tr>' for row in cells)}</w:tbl>"


def docx(body: str, **parts: str) -> bytes:
    """A file with a body of WordprocessingML; `parts` replaces or adds files by name, `__` for a slash."""
    files = {
        "[Content_Types].xml": f'<Types xmlns="{PACKAGE}/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Default Extension="xml" ContentType="application/xml"/>'
        f'<Override PartName="/word/document.xml" ContentType="{WORD}.document.main+xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{PACKAGE}/relationships">'
        f'<Relationship Id="r1" Type="{R}/officeDocument" Target="word/document.xml"/></Relationships>',
        "word/document.xml": f"<w:document {W} {M}><w:body>{body}</w:body></w:document>",
    }
    files |= {name.replace("__", "/") + ".xml": text for name, text in parts.items()}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return file.getvalue()


def text_of(path: Path, body: str, **parts: str) -> str:
    (text,) = texts(read("docx", write(path / "a.docx", docx(body, **parts))))
    return text


def test_paragraphs_headings_and_tables(tmp_path: Path) -> None:
    body = paragraph(run("Methods"), '<w:pStyle w:val="Heading1"/>')
    body += paragraph(run("We gave ") + run("140 mg", "<w:b/>") + run(" a day."))
    body += table(("Drug", "Dose"), ("aspirin", "100 mg")) + paragraph(run("The end."))
    assert text_of(tmp_path, body) == (
        "Methods\n\nWe gave 140 mg a day.\n\nDrug | Dose\naspirin | 100 mg\n\nThe end."
    )


def test_lists(tmp_path: Path) -> None:
    numbering = (
        f"<w:numbering {W}>"
        '<w:abstractNum w:abstractNumId="0"><w:lvl w:ilvl="0"><w:numFmt w:val="bullet"/></w:lvl>'
        '<w:lvl w:ilvl="1"><w:numFmt w:val="decimal"/></w:lvl></w:abstractNum>'
        '<w:num w:numId="1"><w:abstractNumId w:val="0"/></w:num></w:numbering>'
    )
    relations = (
        f'<Relationships xmlns="{PACKAGE}/relationships">'
        f'<Relationship Id="r1" Type="{R}/numbering" Target="numbering.xml"/></Relationships>'
    )

    def item(text: str, level: int) -> str:
        return paragraph(run(text), f'<w:numPr><w:ilvl w:val="{level}"/><w:numId w:val="1"/></w:numPr>')

    body = paragraph(run("Give:")) + item("aspirin", 0) + item("at night", 1) + item("heparin", 0)
    data = docx(body, word__numbering=numbering)
    file = io.BytesIO(data)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("word/_rels/document.xml.rels", relations)
    (text,) = texts(read("docx", write(tmp_path / "a.docx", file.getvalue())))
    assert text == "Give:\n\n- aspirin\n  1. at night\n- heparin"


@pytest.mark.parametrize(
    ("runs", "text"),
    [
        (run("10") + script("6", "super") + run(" cells"), "10^6 cells"),
        (run("H") + script("2", "sub") + run("O"), "H2O"),
        (run("x") + script("1", "sub") + run("2"), "x_(1)2"),
        (run("10") + run("6", '<w:position w:val="6"/>') + run(" cells"), "10^6 cells"),
        (run("10") + run("6", '<w:position w:val="3pt"/>'), "10^6"),
        (run("10") + run("6", '<w:position w:val="3"/>'), "106"),
        (run("140") + "<w:r><w:br/></w:r>" + run("72"), "140\n72"),
        (run("hy") + "<w:r><w:softHyphen/></w:r>" + run("phen"), "hyphen"),
        (run("140") + "<w:r><w:tab/></w:r>" + run("72"), "140 72"),
        (run("7") + "<w:r><w:cr/></w:r>" + run("8"), "7\n8"),
        (run("7") + '<w:r><w:br w:type="page"/></w:r>' + run("8"), "7\n8"),
        (run("7") + "<w:r><w:ptab/></w:r>" + run("8"), "7 8"),
        (run("10") + run("8", '<w:position w:val="8"/>') + run(" mg"), "10^8 mg"),
        (run("x") + run("1", '<w:position w:val="-6"/>') + run("2"), "x_(1)2"),
        (run("100", "<w:strike/>") + run("250 mg"), "100 250 mg"),
        (run("100", "<w:dstrike/>") + run("250 mg"), "100 250 mg"),
        (run("Table ") + f'<w:fldSimple w:instr="SEQ Table">{run("3")}</w:fldSimple>', "Table 3"),
        (run("5 ") + run("7", '<w:vanish w:val="0"/>'), "5 7"),
    ],
)
def test_no_number_changes(tmp_path: Path, runs: str, text: str) -> None:
    assert text_of(tmp_path, paragraph(runs)) == text


STYLES = (
    f'<w:styles {W}><w:style w:type="character" w:styleId="Up"><w:name w:val="Raised"/>'
    '<w:rPr><w:vertAlign w:val="superscript"/></w:rPr></w:style>'
    '<w:style w:type="character" w:styleId="Red"><w:name w:val="Red"/><w:basedOn w:val="Up"/></w:style>'
    '<w:style w:type="character" w:styleId="A1"><w:name w:val="Subscript"/><w:basedOn w:val="A1"/></w:style>'
    '<w:style w:type="character" w:styleId="Old"><w:name w:val="Old"/><w:rPr><w:strike/></w:rPr></w:style>'
    '<w:style w:type="character" w:styleId="Hid"><w:rPr><w:vanish/></w:rPr></w:style></w:styles>'
)


@pytest.mark.parametrize(
    ("style", "text"),
    [("Up", "10^(6)5"), ("Red", "10^(6)5"), ("A1", "10_(6)5"), ("Old", "10 6 5"), ("no", "1065")],
)
def test_a_character_style_raises_lowers_and_strikes(tmp_path: Path, style: str, text: str) -> None:
    body = paragraph(run("10") + run("6", f'<w:rStyle w:val="{style}"/>') + run("5"))
    assert text_of(tmp_path, body, word__styles=STYLES) == text


def test_a_run_takes_back_what_its_style_raises(tmp_path: Path) -> None:
    level = '<w:rStyle w:val="Up"/><w:vertAlign w:val="baseline"/>'
    assert text_of(tmp_path, paragraph(run("10") + run("6", level)), word__styles=STYLES) == "106"


def test_text_that_a_style_hides_is_told(tmp_path: Path) -> None:
    body = paragraph(run("5 mg") + run(" or 6", '<w:rStyle w:val="Hid"/>'))
    found = read("docx", write(tmp_path / "a.docx", docx(body, word__styles=STYLES)))
    assert places(tmp_path / "a.docx", found) == [("", "5 mg"), ("", "left_out")]


def test_strict_ooxml_is_read_as_the_usual_one(tmp_path: Path) -> None:
    data = docx(paragraph(run("10") + run("6", '<w:position w:val="3pt"/>') + part("oMath", FRACTION)))
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as usual, zipfile.ZipFile(file, "w") as strict:
        for name in usual.namelist():
            text = usual.read(name).decode()
            for kind in ("wordprocessingml", "officeDocument"):
                text = text.replace(
                    f"http://schemas.openxmlformats.org/{kind}/2006/", f"http://purl.oclc.org/ooxml/{kind}/"
                )
            strict.writestr(
                name.replace("document.", "document2."), text.replace("document.xml", "document2.xml")
            )
    assert texts(read("docx", write(tmp_path / "a.docx", file.getvalue()))) == ["10^6 140/72"]


def test_hidden_text_is_left_out_and_told(tmp_path: Path) -> None:
    path = write(tmp_path / "a.docx", docx(paragraph(run("A dose") + run("of 5 mg", "<w:vanish/>"))))
    found = read("docx", path)
    assert places(path, found) == [("", "A dose"), ("", "left_out")]
    assert only_reject(found).detail == "elements that mammoth does not read: 1 of w:hiddenText"


def test_a_formula_between_numbers_stays_apart(tmp_path: Path) -> None:
    body = paragraph(run("5") + "<m:oMath><m:r><m:t>x</m:t></m:r></m:oMath>" + run("7"))
    assert text_of(tmp_path, body) == "5 x 7"


def test_a_table_in_a_cell_does_not_tear_its_row(tmp_path: Path) -> None:
    inner = f"<w:tc>{paragraph(run('10'))}{table(('n1', 'n2'), ('n3', 'n4'))}</w:tc>"
    row = f"<w:tr>{inner}<w:tc>{paragraph(run('11'))}</w:tc></w:tr>"
    outer = table(("Drug", "Dose")).replace("</w:tbl>", f"{row}</w:tbl>")
    assert text_of(tmp_path, outer) == "Drug | Dose\n10 n1 n2 n3 n4 | 11"


def test_damaged_xml_is_a_reject(tmp_path: Path) -> None:
    for name in ("word__document", "word__styles", "docProps__core", "word__footnotes"):
        (found,) = read("docx", write(tmp_path / "a.docx", docx(paragraph(run("a")), **{name: "<a><b></a>"})))
        assert isinstance(found, Reject) and found.reason == "damaged_file"


def test_footnotes_stand_at_the_end(tmp_path: Path) -> None:
    notes = (
        f'<w:footnotes {W}><w:footnote w:id="2">{paragraph(run("See the atlas."))}</w:footnote></w:footnotes>'
    )
    relations = (
        f'<Relationships xmlns="{PACKAGE}/relationships">'
        f'<Relationship Id="r1" Type="{R}/footnotes" Target="footnotes.xml"/></Relationships>'
    )
    reference = '<w:r><w:footnoteReference w:id="2"/></w:r>'
    data = docx(paragraph(run("A dose of 10") + reference + run(" mg.")), word__footnotes=notes)
    file = io.BytesIO(data)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("word/_rels/document.xml.rels", relations)
    (text,) = texts(read("docx", write(tmp_path / "a.docx", file.getvalue())))
    assert text == "A dose of 10[1] mg.\n\n1. See the atlas."


def test_title_and_author_come_from_the_file(tmp_path: Path) -> None:
    core = (
        '<cp:coreProperties xmlns:cp="http://schemas.openxmlformats.org/package/2006/metadata/core-properties"'
        ' xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>On nerves</dc:title>'
        "<dc:creator>A. Writer</dc:creator></cp:coreProperties>"
    )
    path = write(tmp_path / "a.docx", docx(paragraph(run("Text.")), docProps__core=core))
    (found,) = read("docx", path, metadata_fields=["title", "author"])
    assert isinstance(found, Document)
    assert found.metadata == {"title": "On nerves", "author": "A. Writer"}


def part(name: str, *children: str) -> str:
    return f"<m:{name}>{''.join(children)}</m:{name}>"


def math(text: str) -> str:
    return part("r", part("t", text))


SCRIPT = part("sSup", part("e", math("10")), part("sup", math("6")))
FRACTION = part("f", part("num", math("140")), part("den", math("72")))
SUM = part(
    "nary",
    '<m:naryPr><m:chr m:val="∑"/></m:naryPr>',
    part("sub", math("i")),
    part("sup"),
    part("e", math("x")),
)
ROOT = part("rad", part("deg", math("3")), part("e", math("8")))
BRACKETS = part("d", '<m:dPr><m:begChr m:val="["/><m:endChr m:val="]"/></m:dPr>', part("e", FRACTION))
MATRIX = part("m", part("mr", part("e", math("1")), part("e", math("2"))), part("mr", part("e", math("3"))))


@pytest.mark.parametrize(
    ("formula", "text"),
    [
        (SCRIPT, "about 10^6 cells"),
        (FRACTION, "about 140/72 cells"),
        (part("f", part("num", math("a+b")), part("den", math("2"))), "about (a+b)/2 cells"),
        (SUM, "about ∑ix cells"),
        (ROOT, "about ^3√(8) cells"),
        (BRACKETS, "about [140/72] cells"),
        (MATRIX, "about 1 2 3 cells"),
    ],
)
def test_a_formula_of_words_editor_is_readable(tmp_path: Path, formula: str, text: str) -> None:
    assert text_of(tmp_path, paragraph(run("about ") + part("oMath", formula) + run(" cells"))) == text


def test_a_formula_on_a_line_of_its_own_is_a_paragraph(tmp_path: Path) -> None:
    body = paragraph(run("It is")) + paragraph(part("oMathPara", part("oMath", SCRIPT)))
    assert text_of(tmp_path, body) == "It is\n\n10^6"


def test_a_formula_without_end_of_its_depth_is_refused(tmp_path: Path) -> None:
    deep = "<m:e>" * 3_000 + "</m:e>" * 3_000
    (found,) = read("docx", write(tmp_path / "a.docx", docx(paragraph(part("oMath", deep)))))
    assert isinstance(found, Reject) and found.reason == "beyond_limits"


def test_deleted_and_hidden_text_does_not_come(tmp_path: Path) -> None:
    deleted = '<w:del w:id="1"><w:r><w:delText>deleted </w:delText></w:r></w:del>'
    inserted = f'<w:ins w:id="2">{run("added")}</w:ins>'
    shown = run(" seen", '<w:vanish w:val="0"/>')
    body = paragraph(run("kept ") + deleted + inserted + run(" hidden", "<w:vanish/>") + shown)
    path = write(tmp_path / "a.docx", docx(body))
    assert places(path, read("docx", path)) == [("", "kept added seen"), ("", "left_out")]


def test_elements_that_the_library_does_not_read_are_told(tmp_path: Path) -> None:
    path = write(tmp_path / "a.docx", docx(paragraph(run("Area")) + "<w:altChunk/>"))
    found = read("docx", path)
    assert places(path, found) == [("", "Area"), ("", "left_out")]
    assert only_reject(found).detail == "elements that mammoth does not read: 1 of w:altChunk"


def test_a_bomb_is_refused_before_the_library_opens_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MARKUP_BYTES", 1 << 20)
    data = docx(paragraph(run("a" * (limits.MARKUP_BYTES + 1))))
    assert len(data) < limits.MARKUP_BYTES / 200
    (found,) = read("docx", write(tmp_path / "a.docx", data))
    assert isinstance(found, Reject) and found.reason == "beyond_limits"
    assert found.detail.endswith("bytes, more than 1,048,576")


def test_a_bomb_that_is_named_as_a_picture_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MARKUP_BYTES", 1 << 20)
    file = io.BytesIO(docx(paragraph(run("a"))))
    with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/a.png", b" " * (limits.MARKUP_BYTES + 1))
    (found,) = read("docx", write(tmp_path / "a.docx", file.getvalue()))
    assert isinstance(found, Reject) and found.reason == "beyond_limits"


def test_entities_are_refused(tmp_path: Path) -> None:
    text = f'<!DOCTYPE a [<!ENTITY x "ha">]><w:document {W}><w:body/></w:document>'
    (found,) = read("docx", write(tmp_path / "a.docx", docx("", word__document=text)))
    assert isinstance(found, Reject)
    assert (found.reason, found.detail) == ("beyond_limits", "word/document.xml declares entities")


def test_too_many_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ARCHIVE_FILES", 2)
    (found,) = read("docx", write(tmp_path / "a.docx", docx("")))
    assert isinstance(found, Reject) and found.detail == "it has 3 files, more than 2"


def test_deep_nesting_is_refused(tmp_path: Path) -> None:
    deep = "".join(["<w:sdt><w:sdtContent>"] * 5_000) + "".join(["</w:sdtContent></w:sdt>"] * 5_000)
    (found,) = read("docx", write(tmp_path / "a.docx", docx(deep)))
    assert isinstance(found, Reject) and found.reason == "beyond_limits"


def test_an_archive_of_another_format_is_told_and_no_error_of_the_storage(tmp_path: Path) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.txt", "text")
    (found,) = read("docx", write(tmp_path / "a.docx", file.getvalue()))
    assert isinstance(found, Reject) and found.reason == "not_docx"
    assert "Could not find main document part" in found.detail


@pytest.mark.parametrize(
    ("data", "reason", "detail"),
    [
        (
            docx("")[:200],
            "damaged_file",
            "its 200 bytes begin as a zip that is cut off or broken: BadZipFile: File is not a zip file; "
            "copy or download it again",
        ),
        (b"%PDF-1.4", "not_docx", "expected a zip, as every docx is; the file begins with b'%PDF'"),
        (
            b"\xd0\xcf\x11\xe0\xa1",
            "not_docx",
            r"expected a zip, as every docx is; the file begins with b'\xd0\xcf\x11\xe0', as files of "
            "Office 97 do, and files with a password. Save it anew, without one",
        ),
    ],
)
def test_another_or_a_damaged_file_is_told(tmp_path: Path, data: bytes, reason: str, detail: str) -> None:
    (found,) = read("docx", write(tmp_path / "a.docx", data))
    assert isinstance(found, Reject) and (found.reason, found.detail) == (reason, detail)
