"""A directory of mixed files, and archives in it."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from plugins.readers import READERS, open_reader
from plugins.readers import jsonl as jsonl_reader
from plugins.readers.file_kinds import KINDS, kind_of
from schemas import limits
from schemas.corpus_config import SourceConfig
from schemas.errors import ConfigError
from schemas.records import Document, Reject
from tests.plugins.readers.pdf_making import pdf_of
from tests.plugins.readers.reading import COMPRESS, jsonl, only_reject, places, read, write
from tests.plugins.readers.test_docx import docx, paragraph, run
from tests.plugins.readers.test_epub import epub

PAGE = b"<!DOCTYPE html><html><body><main><p>A page of some words, and more of them.</p></main></body></html>"
JATS = b'<?xml version="1.0"?><!DOCTYPE article><article><body><p>An article</p></body></article>'
MEDLINE = (
    b"<!DOCTYPE PubmedArticleSet><PubmedArticleSet><PubmedArticle><MedlineCitation><Article><ArticleTitle>"
    b"An abstract</ArticleTitle></Article></MedlineCitation></PubmedArticle></PubmedArticleSet>"
)


def zipped(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return packed.getvalue()


def tarred(*members: tuple[str, bytes] | tarfile.TarInfo) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                archive.addfile(info, io.BytesIO(member[1]))
    return packed.getvalue()


def read_all(uri: Path | str, **options: object) -> list[tuple[str, str]]:
    """Place, below the folder, and text or reason of each record of a source without a reader."""
    reader = open_reader(SourceConfig(uri=str(uri), **options))
    found = [
        each
        for file in reader.listing().files
        for part in reader.parts(file)
        for each in reader.read(file, part)
    ]
    return [(place.removeprefix("/"), said) for place, said in places(uri, found)]


def test_each_file_is_read_by_its_kind_at_any_depth(tmp_path: Path) -> None:
    write(tmp_path / "a.html", PAGE)
    write(tmp_path / "b/c.jsonl", jsonl({"text": "one"}, {"text": "two"}))
    write(tmp_path / "b/d/notes.txt", b"Notes")
    write(tmp_path / "README", b"Read me")
    write(tmp_path / "pmc.xml", JATS)
    write(tmp_path / "z.xml.zst", COMPRESS[".zst"](MEDLINE))
    write(tmp_path / "pubmed.xml.gz", gzip.compress(MEDLINE))
    write(tmp_path / "page-without-extension", b"\n<!-- saved --> <html>" + PAGE[21:])
    write(tmp_path / ".hidden", b"hidden")
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a row"]}), tmp_path / "t.parquet")
    page = "A page of some words, and more of them."
    assert read_all(tmp_path) == [
        ("README", "Read me"),
        ("a.html", page),
        ("b/c.jsonl:@0", "one"),
        ("b/c.jsonl:@16", "two"),
        ("b/d/notes.txt", "Notes"),
        ("page-without-extension", page),
        ("pmc.xml:1", "An article"),
        ("pubmed.xml.gz:1", "An abstract"),
        ("t.parquet:0", "a row"),
        ("z.xml.zst:1", "An abstract"),
    ]
    assert open_reader(SourceConfig(uri=str(tmp_path))).listing().hidden == 1


def test_every_kind_that_has_a_reader_is_read_by_it_with_its_defaults(tmp_path: Path) -> None:
    files = {
        "a.pdf": pdf_of("A guideline"),
        "b.docx": docx(paragraph(run("A protocol"))),
        "c.epub": epub("<p>A book</p>", "<p>of two chapters</p>"),
        "d.md": b"# A page\n\nof *Markdown*",
        "e.rst": b"Of *docutils*",
        "f.html": PAGE,
        "g.csv": b"text;n\n140;72\n",
        "h.tsv": b"text\tn\n72\t1\n",
        "i.xml": b"<mediawiki><page><revision><text>A ''wiki''</text></revision></page></mediawiki>",
        "j.warc": b"WARC/1.0\r\nWARC-Type: conversion\r\nContent-Length: 5\r\n\r\ncrawl",
        "k.txt": b"<SEC-HEADER>\n</SEC-HEADER>\n<DOCUMENT>\n<TEXT>\nA filing\n</TEXT>\n</DOCUMENT>",
        "l.xml": JATS,
        "m.xml": MEDLINE,
        "n.json": b'[{"text": "a row"}]',
        "o": b"Text",
    }
    for name, data in files.items():
        write(tmp_path / name, data)
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a row"]}), tmp_path / "p.parquet")
    assert read_all(tmp_path) == [
        ("a.pdf", "A guideline"),
        ("b.docx", "A protocol"),
        ("c.epub", "A book\n\nof two chapters"),
        ("d.md", "A page\n\nof Markdown"),
        ("e.rst", "Of docutils"),
        ("f.html", "A page of some words, and more of them."),
        ("g.csv:2", "140"),
        ("h.tsv:2", "72"),
        ("i.xml:1", "A wiki"),
        ("j.warc:1", "crawl"),
        ("k.txt", "A filing"),
        ("l.xml:1", "An article"),
        ("m.xml:1", "An abstract"),
        ("n.json:[0]", "a row"),
        ("o", "Text"),
        ("p.parquet:0", "a row"),
    ]
    read_here = {KINDS[kind_of(name, data)].reader for name, data in files.items() if data[:2] != b"PK"}
    without_kind = {"folder", "huggingface", "squad", "wet", "docling"}
    assert read_here | {"docx", "epub", "parquet"} == set(READERS.names()) - without_kind


def test_options_are_those_of_readers_by_name(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", b"1,one\n2,two\n")
    write(tmp_path / "b.md", b"# A *page*")
    write(tmp_path / "c.rst", b"*Emphasis*")
    pdf = zipped(("d.pdf", pdf_of("A guideline")))
    write(tmp_path / "d.zip", pdf)
    options = {
        "csv": {"columns": ["n", "text"]},
        "markdown": {"keep_markup": True},
        "pdf": {"pages_per_document": 1},
    }
    assert read_all(tmp_path, options=options) == [
        ("a.csv:1", "one"),
        ("a.csv:2", "two"),
        ("b.md", "# A *page*"),
        ("c.rst", "Emphasis"),
        ("d.zip!/d.pdf:page 1", "A guideline"),
    ]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"pfd": {}}, "options of a folder: reader 'pfd' is unknown. Did you mean 'pdf'? Available: csv, "),
        ({"squad": {}}, "options of a folder: reader 'squad' is unknown. "),
        ({"pdf": {"pages": 1}}, "options of reader 'pdf': key 'pages' is unknown. "),
        ({"csv": {"quote": "ab"}}, "options of reader 'csv': quote is 'ab': string should have at most 1 "),
        ({"csv": 3}, "options of reader 'csv': is 3: input should be a mapping of keys"),
        ({"keep_markup": True}, "options of a folder: reader 'keep_markup' is unknown. "),
    ],
)
def test_an_option_that_no_reader_of_a_folder_has_is_refused(options: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_reader(SourceConfig(uri="nowhere", options=options))
    assert str(caught.value).startswith(f"source 'nowhere': {told}")


def test_a_delimiter_of_texts_is_none_of_tables(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", b"one<|end|>two")
    write(tmp_path / "b.csv", b"text;n\n140;72\n")
    assert read_all(tmp_path, delimiter="<|end|>") == [
        ("a.txt:1", "one"),
        ("a.txt:2", "two"),
        ("b.csv:2", "140"),
    ]


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("a.png", b"\x89PNG\r\n\x1a\n\x00", "image"),
        ("a.py", b"print()", "text with the extension .py"),
        ("a.doc", b"\xd0\xcf\x11\xe0\xa1", "office_97"),
        ("a", bytes(range(256)), "binary"),
        ("a.xml", b"<?xml version='1.0'?><feed/>", "xml"),
        ("a.txt.lz", b"\xfd7zXZ\x00", "xz"),
        ("a.xlsx", zipped(("xl/workbook.xml", b"")), "xlsx"),
    ],
)
def test_a_kind_without_a_reader_is_a_reject_that_names_it(
    tmp_path: Path, name: str, data: bytes, kind: str
) -> None:
    reject = only_reject(read(None, write(tmp_path / name, data)))
    assert reject.reason == "no_reader" and reject.source == str(tmp_path / name)
    assert kind in reject.detail


@pytest.mark.parametrize(
    ("name", "head", "kind"),
    [
        ("wrong.txt", b"%PDF-1.7", "pdf"),
        ("a.md", b"<h1>Title</h1>\n\ntext", "markdown"),
        ("a", b"WARC/1.0\r\n", "warc"),
        ("a.txt", b"\n<SEC-DOCUMENT>0001.txt", "edgar"),
        ("dump.xml", b"<mediawiki xmlns='x'>", "mediawiki"),
        ("a.html", b"<article><p>x", "html"),
        ("a.nxml", b"<article><front>", "jats"),
        ("a", b'{"text": "x"}', "json"),
        ("a", b'[\n  {"text": "x"}]', "json"),
        ("a.txt", b"{ not json", "text"),
        ("a.txt", "text".encode("utf-16"), "text"),
        ("a.tsv.gz", b"a\tb", "tsv"),
        ("Section 1.2 in words", b"text", "text"),
        ("a.tar.gz", tarred(("a", b"")), "tar"),
    ],
)
def test_content_comes_before_the_extension(name: str, head: bytes, kind: str) -> None:
    assert kind_of(name, head) == kind


def test_members_of_archives_are_read_by_their_kind_in_archives_too(tmp_path: Path) -> None:
    inner = zipped(("2024/asthma.html", PAGE), ("rows.jsonl", jsonl({"text": "a row"})))
    write(tmp_path / "a.zip", zipped(("docs/", b""), ("inner.zip", inner), ("x.png", b"\x89PNG")))
    found = [
        ("!/inner.zip!/2024/asthma.html", "A page of some words, and more of them."),
        ("!/inner.zip!/rows.jsonl:@0", "a row"),
        ("!/x.png", "no_reader"),
    ]
    assert places(tmp_path / "a.zip", read(None, tmp_path / "a.zip")) == found
    for name, data in (
        ("a.tar", tarred(("./b/c.txt", b"in a tar"))),
        ("a.tar.gz", gzip.compress(tarred(("b/c.txt", b"in a tar")))),
        ("a.tgz", gzip.compress(tarred(("b/c.txt", b"in a tar")))),
        ("a.tar.bz2", bz2.compress(tarred(("b/c.txt", b"in a tar")))),
        ("a.tar.xz", lzma.compress(tarred(("b/c.txt", b"in a tar")))),
    ):
        assert places(tmp_path / name, read(None, write(tmp_path / name, data))) == [
            ("!/b/c.txt", "in a tar")
        ]


def test_links_odd_names_and_encrypted_members_are_refused(tmp_path: Path) -> None:
    link, hard = tarfile.TarInfo("link"), tarfile.TarInfo("hard")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    hard.type, hard.linkname = tarfile.LNKTYPE, "a.txt"
    data = tarred(("a.txt", b"good"), link, hard, ("../up.txt", b"x"), ("/abs.txt", b"x"), (".git/x", b"x"))
    write(tmp_path / "in/a.tar", data)
    assert places(tmp_path / "in/a.tar", read(None, tmp_path / "in/a.tar")) == [
        ("!/a.txt", "good"),
        ("!/link", "not_a_file"),
        ("!/hard", "not_a_file"),
        ("!/../up.txt", "unsafe_name"),
        ("!//abs.txt", "unsafe_name"),
        ("!/.git/x", "hidden_member"),
    ]
    symlink = zipfile.ZipInfo("link")
    symlink.external_attr = 0o120777 << 16
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(symlink, "/etc/passwd")
        archive.writestr("b.txt", "good")
    locked = bytearray(packed.getvalue())
    for at in (locked.rindex(b"PK\x01\x02") + 8,):  # the flag of encryption, of the last member
        locked[at] |= 1
    path = write(tmp_path / "in/a.zip", bytes(locked))
    assert places(path, read(None, path)) == [("!/link", "not_a_file"), ("!/b.txt", "not_a_file")]
    assert sorted(each.name for each in tmp_path.rglob("*")) == ["a.tar", "a.zip", "in"]


def test_a_member_of_a_thousand_times_its_size_is_refused_and_the_others_are_read(tmp_path: Path) -> None:
    bomb = zipped(("bomb.txt", b"a" * 30_000_000), ("good.txt", b"good"))
    assert len(bomb) < 31_000
    path = write(tmp_path / "a.zip", bomb)
    found = read(None, path)
    assert places(path, found) == [("!/bomb.txt", "archive_limit"), ("!/good.txt", "good")]
    assert "become more than 200 times as many" in only_reject(found).detail
    for name in ("a.tar.gz", "a.tgz"):
        data = gzip.compress(tarred(("good.txt", b"good"), ("bomb.txt", b"a" * 30_000_000)))
        *_, last = read(None, write(tmp_path / name, data))
        assert isinstance(last, Reject) and last.reason == "archive_limit"
        assert last.source == str(tmp_path / name) and "times as many" in last.detail


def test_archives_inside_archives_share_one_limit(tmp_path: Path) -> None:
    inner = zipped(*((f"{number}.txt", b"a" * 900_000) for number in range(8)))  # each 900 bytes
    for _ in range(2):
        inner = zipped(*((f"{number}.zip", inner) for number in range(8)))
    assert len(inner) < 5_000
    path = write(tmp_path / "a.zip", inner)
    found = read(None, path)
    assert sum(isinstance(each, Document) for each in found) == 1  # of 512, up to a megabyte
    assert places(path, found)[-1] == ("", "archive_limit")


def test_members_and_nesting_have_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = zipped(*((f"{number}.txt", b"x") for number in range(4)))
    monkeypatch.setattr(limits, "ARCHIVE_MEMBERS", 2)
    path = write(tmp_path / "a.zip", data)
    assert places(path, read(None, path)) == [("!/0.txt", "x"), ("!/1.txt", "x"), ("", "archive_limit")]
    monkeypatch.setattr(limits, "ARCHIVE_DEPTH", 2)
    for _ in range(2):
        data = zipped(("in.zip", data))
    path = write(tmp_path / "b.zip", data)
    assert places(path, read(None, path)) == [("!/in.zip!/in.zip", "archive_limit")]


def test_a_damaged_archive_keeps_the_members_before_the_damage(tmp_path: Path) -> None:
    data = tarred(("a.txt", b"good"), ("b.txt", b"x" * 20_000))
    path = write(tmp_path / "a.tar", data[:5_000])
    found = read(None, path)
    assert places(path, found) == [("!/a.txt", "good"), ("", "damaged_file")]
    packed = bytearray(zipped(("a.txt", b"one"), ("b.txt", b"two"), method=zipfile.ZIP_STORED))
    packed[packed.index(b"one")] ^= 1
    path = write(tmp_path / "a.zip", bytes(packed))
    assert places(path, read(None, path)) == [("!/a.txt", "damaged_file"), ("!/b.txt", "two")]
    path = write(tmp_path / "b.zip", bytes(packed[:40]))
    assert places(path, read(None, path)) == [("", "damaged_file")]


def test_large_files_are_cut_as_their_reader_cuts_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jsonl_reader, "RANGE_BYTES", 20)
    path = write(tmp_path / "a.jsonl", jsonl(*({"text": str(number)} for number in range(5))))
    reader = open_reader(SourceConfig(uri=str(tmp_path)))
    assert len(reader.parts(str(path))) > 2
    assert [text for _, text in read_all(tmp_path)] == ["0", "1", "2", "3", "4"]


def test_fields_of_the_source_reach_the_readers_that_use_them(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "één\f二".encode("utf-16"))
    write(tmp_path / "b.jsonl", jsonl({"body": "row", "text": "no"}))
    found = read_all(tmp_path, encoding="auto", delimiter="\f", text_field="body")
    assert found == [("a.txt:1", "één"), ("a.txt:2", "二"), ("b.jsonl:1", "row")]


def test_links_that_are_broken_or_lead_out_or_round_are_passed_over_and_told(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    write(folder / "b/a.txt", b"text")
    write(tmp_path / "out/secret.txt", b"secret")
    for name, target in {
        "gone.txt": "nowhere",
        "up": "..",
        "b/round": ".",
        "out.txt": "../out/secret.txt",
    }.items():
        (folder / name).symlink_to(target)
    (folder / "out").symlink_to(tmp_path / "out")
    (folder / "same.txt").symlink_to("b/a.txt")
    found = open_reader(SourceConfig(uri=str(folder))).listing()
    assert found.files == [f"{folder}/b/a.txt", f"{folder}/same.txt"] and not found.unreadable
    assert {path.removeprefix(f"{folder}/"): why for path, why in found.links.items()} == {
        "gone.txt": "is a broken link",
        "up": "is a link that leads out of the folder",
        "out": "is a link that leads out of the folder",
        "out.txt": "is a link that leads out of the folder",
        "b/round": "is a link to a folder, which is read in its own place",
    }
    (tmp_path / "way").symlink_to(folder)
    assert open_reader(SourceConfig(uri=str(tmp_path / "way"))).listing().files == [
        f"{tmp_path}/way/b/a.txt",
        f"{tmp_path}/way/same.txt",
    ]


OF_FIELDS = {
    "a.jats.xml": b"<article><front><article-meta><abstract><p>An abstract</p></abstract></article-meta>"
    b"</front><body><p>An article</p></body></article>",
    "b.jats.xml": JATS,
    "c.txt": b"Notes",
    "d.htm": b"<SEC-HEADER>\n</SEC-HEADER>\n<DOCUMENT>\n<TYPE>8-K\n<TEXT>\nA filing\n</TEXT>\n</DOCUMENT>",
    "e.jsonl": jsonl({"abstract": "A row", "text": "no"}, {"text": "Another row"}),
    "f.medline.xml": MEDLINE.replace(
        b"</ArticleTitle>", b"</ArticleTitle><Abstract><AbstractText>Ends</AbstractText></Abstract>"
    ),
    "g.wiki.xml": b"<mediawiki><page><title>T</title><revision><text>A page</text></revision></page>"
    b"</mediawiki>",
    "h.wet": b"WARC/1.0\r\nWARC-Type: conversion\r\nContent-Length: 7\r\n\r\nCrawled",
}


def test_a_field_of_the_text_is_that_of_all_rows_and_a_row_without_it_is_a_reject(tmp_path: Path) -> None:
    for name, data in OF_FIELDS.items():
        write(tmp_path / name, data)
    assert read_all(tmp_path, text_field="abstract") == [
        ("a.jats.xml:1", "An abstract"),
        ("b.jats.xml:1", "missing_field"),
        ("c.txt", "Notes"),  # a document without fields
        ("d.htm", "missing_field"),
        ("e.jsonl:@0", "A row"),
        ("e.jsonl:@36", "missing_field"),
        ("f.medline.xml:1", "Ends"),
        ("g.wiki.xml:1", "missing_field"),
        ("h.wet:1", "missing_field"),
    ]
    (reject,) = read(None, tmp_path / "g.wiki.xml", text_field="abstract")
    assert isinstance(reject, Reject)
    assert reject.detail == "no field 'abstract' in a row of removed_templates, text, title"


def test_a_format_reads_rows_of_several_fields(tmp_path: Path) -> None:
    for name in ("c.txt", "d.htm", "g.wiki.xml", "h.wet"):
        write(tmp_path / name, OF_FIELDS[name])
    write(tmp_path / "i.jsonl", jsonl({"body": "A row"}))
    found = [said for _, said in read_all(tmp_path, format="{body}{text}")]
    assert found == ["Notes", "A filing", "A page", "Crawled", "A row"]


def test_a_path_with_the_characters_of_globs_is_a_folder(tmp_path: Path) -> None:
    write(tmp_path / "[x]*/a.txt", b"one")
    write(tmp_path / "xy/b.txt", b"two")
    assert read_all(tmp_path / "[x]*") == [("a.txt", "one")]
    assert read_all(f"{tmp_path}/*/*.txt") == [
        (f"{tmp_path}/[x]*/a.txt".removeprefix("/"), "one"),
        (f"{tmp_path}/xy/b.txt".removeprefix("/"), "two"),
    ]


def test_a_backslash_in_a_members_name_is_no_reason_to_refuse_it_unless_it_leads_out(tmp_path: Path) -> None:
    members = [(name, b"text") for name in ("x\\y.txt", "..\\up.txt", "C:\\abs.txt", "\\abs.txt", ".git\\x")]
    path = write(tmp_path / "a.zip", zipped(*members))
    assert places(path, read(None, path)) == [
        ("!/x\\y.txt", "text"),
        ("!/..\\up.txt", "unsafe_name"),
        ("!/C:\\abs.txt", "unsafe_name"),
        ("!/\\abs.txt", "unsafe_name"),
        ("!/.git\\x", "hidden_member"),
    ]


def test_a_wrong_offset_in_an_archive_costs_its_member(tmp_path: Path) -> None:
    packed = bytearray(zipped(("a.txt", b"one"), ("b.txt", b"two")))
    at = packed.index(b"PK\x01\x02")
    packed[at + 42 : at + 46] = b"\xff\xff\xff\x7f"  # where the first member begins
    nested = zipped(("in.zip", bytes(packed)), ("c.txt", b"three"))
    path, outer = write(tmp_path / "a.zip", bytes(packed)), write(tmp_path / "b.zip", nested)
    assert places(path, read(None, path)) == [("!/a.txt", "damaged_file"), ("!/b.txt", "two")]
    assert places(outer, read(None, outer)) == [
        ("!/in.zip!/a.txt", "damaged_file"),
        ("!/in.zip!/b.txt", "two"),
        ("!/c.txt", "three"),
    ]
    end = packed.index(b"PK\x05\x06")
    packed[end + 16 : end + 20] = b"\xff\xff\xff\x7f"  # where the list of members begins: before the file
    path.write_bytes(bytes(packed))  # so that members begin before the file, too
    assert places(path, read(None, path)) == [("!/a.txt", "damaged_file"), ("!/b.txt", "damaged_file")]


def test_a_word_file_without_its_main_part_is_one_reject(tmp_path: Path) -> None:
    data = zipped(("[Content_Types].xml", b"<Types/>"), ("word/styles.xml", b"<a/>"))
    for name, reason in (("a.docx", "not_docx"), ("a.epub", "not_epub")):
        assert only_reject(read(None, write(tmp_path / name, data))).reason == reason


def test_an_empty_file_is_a_reject(tmp_path: Path) -> None:
    found = read(None, write(tmp_path / "a.txt", b""))
    assert only_reject(found).reason == "empty" and not any(isinstance(each, Document) for each in found)
