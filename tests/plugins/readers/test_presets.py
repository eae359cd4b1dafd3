"""Presets of well-known sets, each tested on rows in the format of the set."""

from __future__ import annotations

import bz2
import gzip
import io
import itertools
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
import zstandard

from plugins.readers import open_reader
from plugins.readers.presets import check_ids, presets, with_preset
from schemas.corpus_config import SourceConfig
from schemas.errors import ConfigError
from schemas.records import Document, Reject
from tests.plugins.readers.reading import read


def jsonl(path: Path, *rows: Any) -> Path:
    data = "".join(f"{json.dumps(row)}\n" for row in rows).encode()
    path.write_bytes(zstandard.ZstdCompressor().compress(data) if path.suffix == ".zst" else data)
    return path


def parquet(path: Path, *rows: Any) -> Path:
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path)
    return path


def only_document(found: list[Document | Reject]) -> Document:
    (document,) = found
    assert isinstance(document, Document), document
    return document


TEN = range(1, 11)


def ten_documents(path: Path, preset: str) -> list[Document]:
    """The documents of a sample of ten records."""
    found = [each for each in read(None, path, preset=preset) if isinstance(each, Document)]
    assert len(found) == len(TEN), read(None, path, preset=preset)
    return found


class TestSets:
    def test_pile(self, tmp_path: Path) -> None:
        row = {"text": "A passage.", "meta": {"pile_set_name": "PubMed Abstracts"}}
        path = jsonl(tmp_path / "00.jsonl.zst", row)
        found = only_document(read(None, path, preset="pile"))
        assert (found.text, found.document_id) == ("A passage.", f"{path}:1")
        assert found.metadata == {"meta.pile_set_name": "PubMed Abstracts"}

    def test_openorca(self, tmp_path: Path) -> None:
        row = {"id": "cot.2", "system_prompt": "Be brief.", "question": "How?", "response": "Thus."}
        found = only_document(read(None, parquet(tmp_path / "1M.parquet", row), preset="openorca"))
        assert (found.text, found.document_id) == ("How? Thus.", "cot.2")

    def test_openorca_system(self, tmp_path: Path) -> None:
        rows = [
            {"id": "niv.1", "system_prompt": "", "question": "Why?", "response": "So."},
            {"id": "cot.2", "system_prompt": "Be brief.", "question": "How?", "response": "Thus."},
        ]
        first, second = read(None, parquet(tmp_path / "1M.parquet", *rows), preset="openorca-system")
        assert isinstance(first, Document) and isinstance(second, Document)
        assert (first.text, first.document_id) == ("Why? So.", "niv.1")
        assert (second.text, second.document_id) == ("Be brief.\nHow? Thus.", "cot.2")

    def test_lima(self, tmp_path: Path) -> None:
        row = {"conversations": ["Why?", "So."], "source": "stackexchange"}
        found = only_document(read(None, jsonl(tmp_path / "train.jsonl", row), preset="lima"))
        assert (found.text, found.metadata) == ("Why?\n\nSo.", {"source": "stackexchange"})

    @pytest.mark.parametrize("reader", ["parquet", "jsonl"])
    def test_wizardlm_evol(self, tmp_path: Path, reader: str) -> None:
        turns = [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}]
        row = {"idx": "eKpXvfg", "conversations": turns}
        path = (parquet if reader == "parquet" else jsonl)(tmp_path / f"a.{reader}", row)
        found = only_document(read(reader, path, preset="wizardlm-evol"))
        assert (found.text, found.document_id) == ("Why?\n\nSo.", "eKpXvfg")

    def test_medicine_instruction_augmented(self, tmp_path: Path) -> None:
        path = jsonl(tmp_path / "00000.jsonl", {"text": "A passage. Question: Why? Answer: So."})
        found = only_document(read(None, path, preset="medicine-instruction-augmented"))
        assert found.text == "A passage. Question: Why? Answer: So."

    def test_squad(self, tmp_path: Path) -> None:
        pair = {"id": "q", "question": "Why?", "answers": [{"text": "So.", "answer_start": 0}]}
        article = {"title": "Nerves", "paragraphs": [{"context": "A passage.", "qas": [pair]}]}
        path = tmp_path / "train-v1.1.json"
        path.write_text(json.dumps({"version": "1.1", "data": [article]}))
        found = only_document(read(None, path, preset="squad"))
        assert (found.text, found.metadata) == ("A passage.", {"title": "Nerves"})
        assert [(pair.instruction, pair.response) for pair in found.pairs] == [("Why?", "So.")]

    def test_squad_hub(self, tmp_path: Path) -> None:
        row = {
            "id": "q",
            "title": "Nerves",
            "context": "A passage.",
            "question": "Why?",
            "answers": {"text": ["So."], "answer_start": [0]},
        }
        found = only_document(read(None, parquet(tmp_path / "train-0.parquet", row), preset="squad-hub"))
        assert (found.text, found.metadata) == ("A passage.", {"title": "Nerves"})
        assert [(pair.instruction, pair.response) for pair in found.pairs] == [("Why?", "So.")]

    def test_ft_instruction_synthesizer_collection(self, tmp_path: Path) -> None:
        row = {
            "context": "A passage.",
            "QA_list": [{"Q": "Why?\nOptions:\n- So.\n- Thus.", "A": "So."}],
            "QA_type": "qa",
            "rc_name": "race",
        }
        path = jsonl(tmp_path / "00000.jsonl", row)
        found = only_document(read(None, path, preset="ft-instruction-synthesizer-collection"))
        assert (found.text, found.dataset) == ("A passage.", "race")
        assert [(pair.instruction, pair.response) for pair in found.pairs] == [
            ("Why?\nOptions:\n- So.\n- Thus.", "So.")
        ]

    def test_pubmed(self, tmp_path: Path) -> None:
        articles = "".join(
            f"<PubmedArticle><MedlineCitation><PMID>{n}</PMID><Article><Journal><JournalIssue><PubDate>"
            f"<Year>1976</Year></PubDate></JournalIssue><Title>Gut</Title></Journal>"
            f"<ArticleTitle>On {n}.</ArticleTitle></Article></MedlineCitation></PubmedArticle>"
            for n in TEN
        )
        path = tmp_path / "pubmed26n0001.xml.gz"
        path.write_bytes(gzip.compress(f"<PubmedArticleSet>{articles}</PubmedArticleSet>".encode()))
        found = ten_documents(path, "pubmed")
        assert (found[2].text, found[2].document_id) == ("On 3.", "3")
        assert found[2].metadata == {"journal": "Gut", "year": "1976"}

    def test_pmc(self, tmp_path: Path) -> None:
        path = tmp_path / "oa_comm_xml.PMC000xxxxxx.baseline.tar.gz"
        with tarfile.open(path, "w:gz") as packed:
            for n in TEN:
                article = (
                    f'<!DOCTYPE article SYSTEM "a.dtd"><article><front><journal-meta><journal-title-group>'
                    f"<journal-title>Gut</journal-title></journal-title-group></journal-meta><article-meta>"
                    f'<article-id pub-id-type="pmc">PMC{n}</article-id>'
                    f"<title-group><article-title>On {n}</article-title></title-group></article-meta></front>"
                    f"<body><p>Body {n}: 10<sup>-6</sup>.</p></body></article>"
                ).encode()
                member = tarfile.TarInfo(f"PMC000xxxxxx/PMC{n}.xml")
                member.size = len(article)
                packed.addfile(member, io.BytesIO(article))
        found = ten_documents(path, "pmc")
        assert found[2].document_id in ("PMC3", "3") and "Body 3: 10^-6." in found[2].text
        assert (found[2].metadata["title"], found[2].metadata["journal"]) == ("On 3", "Gut")

    def test_edgar(self, tmp_path: Path) -> None:
        found = []
        for n in TEN:
            path = tmp_path / f"{n}.txt"
            path.write_text(
                f"<SEC-DOCUMENT>\n<SEC-HEADER>\nACCESSION NUMBER:\t\t000{n}-24-1\n"
                f"CONFORMED SUBMISSION TYPE:\t10-K\nCONFORMED PERIOD OF REPORT:\t20231231\n"
                f"\t\tCOMPANY CONFORMED NAME:\t\tLIDS {n}\n\t\tCENTRAL INDEX KEY:\t\t000{n}\n</SEC-HEADER>\n"
                f"<DOCUMENT>\n<TYPE>10-K\n<SEQUENCE>1\n<TEXT>\n<html><body><p>Item 1. Business</p>"
                f"<p>We make {n} lids.</p></body></html>\n</TEXT>\n</DOCUMENT>\n</SEC-DOCUMENT>\n"
            )
            found.append(only_document(read(None, path, preset="edgar")))
        assert found[2].text.split() == ["Item", "1.", "Business", "We", "make", "3", "lids."]
        assert found[2].document_id == "0003-24-1:Item 1"
        assert found[2].metadata == {"company": "LIDS 3", "cik": "0003", "form": "10-K", "period": "20231231",
                                     "item": "1", "title": "Business"}  # fmt: skip

    def test_courtlistener(self, tmp_path: Path) -> None:
        # As PostgreSQL's COPY with FORCE_QUOTE * and ESCAPE '\\' writes.
        names = "id,date_created,author_str,type,plain_text,html,html_with_citations,cluster_id"
        rows = [
            f'"{n}","2020-01-01","","020lead","","","<p>See <a href=\\"/opinion/1/\\">1 U. S. {n}</a>,\n'
            f'where 10<sup>6</sup> dollars, and C:\\\\x.</p>\n<p>Affirmed.</p>","7{n}"\n'
            for n in TEN
        ]
        path = tmp_path / "opinions-2025-01-31.csv.bz2"
        path.write_bytes(bz2.compress(f"{names}\n{''.join(rows)}".encode()))
        found = ten_documents(path, "courtlistener")
        said = "See 1 U. S. 3, where 10^6 dollars, and C:\\x. Affirmed."
        assert (found[2].text.split(), found[2].document_id) == (said.split(), "3")
        assert found[2].metadata == {"cluster_id": "73", "type": "020lead", "author_str": ""}

    @pytest.mark.parametrize("is_export", [False, True])
    def test_caselaw(self, tmp_path: Path, is_export: bool) -> None:
        def case(n: int) -> dict[str, Any]:
            opinions = [{"type": "majority", "text": f"Opinion {n}."}, {"type": "dissent", "text": "No."}]
            body = {"head_matter": "Syllabus", "opinions": opinions}
            return {
                "id": n,
                "name_abbreviation": f"A v. {n}",
                "decision_date": "1901-02-03",
                "court": {"name": "Supreme Court"},
                "jurisdiction": {"name": "Ill."},
                "casebody": {"status": "ok", "data": body} if is_export else body,
            }

        if is_export:
            found = ten_documents(jsonl(tmp_path / "data.jsonl", *map(case, TEN)), "caselaw")
        else:
            for n in TEN:
                (tmp_path / f"000{n}-01.json").write_text(json.dumps(case(n), indent=2))
            paths = (tmp_path / f"000{n}-01.json" for n in TEN)
            found = [only_document(read(None, path, preset="caselaw")) for path in paths]
        assert (found[2].text, found[2].document_id) == ("Opinion 3.\n\nNo.", "3")
        assert found[2].metadata == {"name_abbreviation": "A v. 3", "decision_date": "1901-02-03",
                                     "court.name": "Supreme Court", "jurisdiction.name": "Ill."}  # fmt: skip

    def test_wikipedia(self, tmp_path: Path) -> None:
        pages = "".join(
            f"<page><title>Lid {n}</title><ns>0</ns><id>{n}</id><revision><id>1</id>"
            f"<timestamp>2024-05-01T10:00:00Z</timestamp><model>wikitext</model>"
            f"<text>'''Lid {n}''' is a [[cover]].{{{{stub}}}}</text></revision></page>"
            for n in TEN
        )
        site = "<siteinfo><base>https://en.example.org/wiki/Main_Page</base></siteinfo>"
        path = tmp_path / "enwiki-20240501-pages-articles-multistream.xml.bz2"
        path.write_bytes(bz2.compress(f"<mediawiki>{site}{pages}</mediawiki>".encode()))
        found = ten_documents(path, "wikipedia")
        assert (found[2].text, found[2].document_id) == ("Lid 3 is a cover.", "3")
        assert found[2].metadata == {
            "title": "Lid 3",
            "url": "https://en.example.org/wiki/Lid_3",
            "date": "2024-05-01T10:00:00Z",
        }

    def test_common_crawl_wet(self, tmp_path: Path) -> None:
        records = [
            f"WARC/1.0\r\nWARC-Type: conversion\r\nWARC-Target-URI: http://example.org/{n}\r\n"
            f"WARC-Date: 2024-05-01T10:00:00Z\r\nWARC-Record-ID: <urn:uuid:{n}>\r\n"
            f"WARC-Identified-Content-Language: eng\r\nContent-Type: text/plain\r\n"
            f"Content-Length: 7\r\n\r\nText {n}\n\r\n\r\n"
            for n in TEN[:-1]
        ]
        records.append(records[0].replace("urn:uuid:1", "urn:uuid:10").replace("Text 1", "Text X"))
        path = tmp_path / "CC-MAIN-20240501-00000.warc.wet.gz"
        path.write_bytes(b"".join(gzip.compress(each.encode()) for each in records))
        found = ten_documents(path, "common-crawl-wet")
        assert (found[2].text, found[2].document_id) == ("Text 3\n", "<urn:uuid:3>")
        assert found[2].metadata == {
            "url": "http://example.org/3",
            "date": "2024-05-01T10:00:00Z",
            "language": "eng",
        }

    def test_fineweb(self, tmp_path: Path) -> None:
        rows = [
            {
                "text": f"A page, {n}.",
                "id": f"<urn:uuid:{n}>",
                "dump": "CC-MAIN-2013-20",
                "url": f"http://example.org/{n}",
                "date": "2013-05-18T05:48:59Z",
                "file_path": "s3://a",
                "language": "en",
                "language_score": 0.9,
                "token_count": 7,
            }
            for n in TEN
        ]
        found = ten_documents(parquet(tmp_path / "000_00000.parquet", *rows), "fineweb")
        assert (found[2].text, found[2].document_id) == ("A page, 3.", "<urn:uuid:3>")
        assert found[2].metadata == {"url": "http://example.org/3", "date": "2013-05-18T05:48:59Z",
                                     "dump": "CC-MAIN-2013-20", "language": "en"}  # fmt: skip

    def test_the_stack_markdown(self, tmp_path: Path) -> None:
        rows = [
            {
                "hexsha": f"{n:040x}",
                "content": f"# Read me {n}\n\nA *text*.\n",
                "ext": "md",
                "lang": "Markdown",
                "max_stars_repo_name": "a/b",
                "max_stars_repo_path": "README.md",
                "max_stars_repo_licenses": ["MIT"],
            }
            for n in TEN
        ]
        found = ten_documents(parquet(tmp_path / "train-0.parquet", *rows), "the-stack-markdown")
        assert (found[2].text, found[2].document_id) == ("# Read me 3\n\nA *text*.\n", f"{3:040x}")
        assert found[2].metadata["max_stars_repo_licenses"] == "['MIT']"


def test_an_option_of_ones_own_leaves_the_others_of_the_preset() -> None:
    source = SourceConfig(preset="courtlistener", uri="a", options={"quote": "'"})
    assert with_preset(source).options == {"quote": "'", "escape": "\\"}


def test_every_preset_is_tried_above() -> None:
    tried = {name.removeprefix("test_") for name in vars(TestSets) if name.startswith("test_")}
    assert {name.replace("-", "_") for name in presets()} == tried


@pytest.mark.parametrize("name", presets())
def test_every_preset_makes_a_whole_source_that_a_reader_takes(name: str) -> None:
    source = with_preset(SourceConfig(preset=name, uri="a"))
    assert source.preset is None and source.reader is not None
    assert open_reader(source).source == source
    assert presets()[name].about and presets()[name].uri


NUMBERED = ("pubmed", "courtlistener", "caselaw", "wikipedia")


def test_sets_whose_ids_are_plain_numbers_are_refused_in_one_stream() -> None:
    sources = {name: with_preset(SourceConfig(preset=name, uri="a")) for name in presets()}
    for name, other in itertools.combinations(NUMBERED, 2):
        with pytest.raises(
            ConfigError, match=rf"^streams\.domain: the ids of {name} and {other} are plain num"
        ):
            check_ids("domain", (sources["fineweb"], sources[name], sources[other]))
    for name in NUMBERED:
        others = [source for other, source in sources.items() if other not in NUMBERED]
        check_ids("domain", (sources[name], sources[name], *others))


def test_the_refusal_says_what_to_do_and_sees_sources_without_a_preset() -> None:
    pubmed = SourceConfig(reader="medline", uri="a", id_field="pmid")
    pages = SourceConfig(reader="mediawiki", uri="b", id_field="id")
    with pytest.raises(ConfigError) as refused:
        check_ids("domain", (pubmed, pages))
    assert str(refused.value) == (
        "streams.domain: the ids of pubmed and wikipedia are plain numbers, so a document of wikipedia would "
        "take the place of another one of pubmed with the same number. Put them into streams of their own, "
        "or set another id_field than 'id' on one of them."
    )
    check_ids("domain", (pubmed, pages.model_copy(update={"id_field": "url"})))
    check_ids("domain", (pubmed, pages.model_copy(update={"id_field": None})))


def test_every_preset_is_named_where_a_source_is_described() -> None:
    assert [name for name in presets() if name not in (SourceConfig.__doc__ or "")] == []


class TestOwnFields:
    @pytest.fixture
    def row(self, tmp_path: Path) -> Iterator[Path]:
        yield parquet(
            tmp_path / "a.parquet", {"id": "a", "key": "k", "question": "Why?", "response": "So.", "n": 1}
        )

    def test_what_a_source_sets_itself_stays(self, row: Path) -> None:
        found = only_document(read(None, row, preset="openorca", id_field="key", metadata_fields=["n"]))
        assert (found.text, found.document_id, found.metadata) == ("Why? So.", "k", {"n": "1"})

    def test_null_is_a_value_that_stays(self, row: Path) -> None:
        assert only_document(read(None, row, preset="openorca", id_field=None)).document_id == f"{row}:0"

    def test_an_own_text_field_takes_the_place_of_the_format(self, row: Path) -> None:
        assert only_document(read(None, row, preset="openorca", text_field="question")).text == "Why?"

    def test_an_own_format_takes_the_place_of_the_text_field(self, tmp_path: Path) -> None:
        path = jsonl(tmp_path / "a.jsonl", {"conversations": ["Why?", "So."], "source": "wikihow"})
        found = only_document(read(None, path, preset="lima", format="{source}: {conversations}"))
        assert found.text == "wikihow: Why?\n\nSo."

    def test_a_list_that_is_no_conversation_is_a_reject(self, tmp_path: Path) -> None:
        (found,) = read(None, jsonl(tmp_path / "a.jsonl", {"conversations": ["Why?", 7]}), preset="lima")
        assert isinstance(found, Reject)
        assert (found.reason, found.detail) == (
            "not_text",
            "field 'conversations' holds a list whose turn 2 is int; "
            "expected a string, or an object with a string 'value'",
        )


def test_an_unknown_preset_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(ConfigError) as caught:
        open_reader(SourceConfig(preset="openorka", uri="a"))
    assert str(caught.value) == (
        "preset 'openorka' is unknown. Did you mean 'openorca'? "
        "Available: caselaw, common-crawl-wet, courtlistener, edgar, fineweb, "
        "ft-instruction-synthesizer-collection, lima, medicine-instruction-augmented, openorca, "
        "openorca-system, pile, pmc, pubmed, squad, squad-hub, the-stack-markdown, wikipedia, wizardlm-evol."
    )


def test_fallbacks_of_the_text_exclude_a_format_and_go_with_the_text_field_of_the_preset() -> None:
    with pytest.raises(ValueError, match="has both format and text_fallbacks"):
        SourceConfig(reader="jsonl", uri="a", format="{a}", text_fallbacks=("b",))
    assert with_preset(SourceConfig(preset="courtlistener", uri="a", format="{html}")).text_fallbacks == ()
    own = with_preset(SourceConfig(preset="courtlistener", uri="a", text_fallbacks=("b",)))
    assert (own.text_field, own.text_fallbacks) == ("html_with_citations", ("b",))


def test_a_row_without_any_text_names_all_its_fields(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", {"b": "", "c": "text"}, {"a": "", "b": ""}, {"d": 1})
    first, *others = read("jsonl", path, text_field="a", text_fallbacks=("b", "c"))
    assert isinstance(first, Document) and first.text == "text"
    assert [(each.reason, each.detail) for each in others if isinstance(each, Reject)] == [
        ("empty", "field 'a' is empty"),
        ("missing_field", "no field 'a' or 'b' or 'c' in a row of d"),
    ]


def test_courtlistener_takes_the_first_column_with_text(tmp_path: Path) -> None:
    names = "id,plain_text,html,html_with_citations,cluster_id,type,author_str"
    rows = '"1","Plain\n 10 < 20","","","7","",""\n"2","Plain","<p>Of <b>html</b></p>","","7","",""\n'
    path = tmp_path / "opinions-2025-01-31.csv.bz2"
    path.write_bytes(bz2.compress(f"{names}\n{rows}".encode()))
    found = read(None, path, preset="courtlistener")
    assert [each.text for each in found if isinstance(each, Document)] == ["Plain\n 10 < 20", "Of html"]
