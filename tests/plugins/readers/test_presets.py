"""Presets of well-known sets, each tested on rows in the format of the set."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
import zstandard

from plugins.readers import open_reader
from plugins.readers.presets import presets, with_preset
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
        path = tmp_path / "pubmed26n0001.xml.gz"
        path.write_bytes(
            gzip.compress(
                b"<PubmedArticleSet><PubmedArticle><MedlineCitation><PMID>7</PMID><Article><Journal>"
                b"<JournalIssue><PubDate><Year>1976</Year></PubDate></JournalIssue><Title>Gut</Title>"
                b"</Journal><ArticleTitle>On it.</ArticleTitle></Article></MedlineCitation>"
                b"</PubmedArticle></PubmedArticleSet>"
            )
        )
        found = only_document(read(None, path, preset="pubmed"))
        assert (found.text, found.document_id) == ("On it.", "7")
        assert found.metadata == {"journal": "Gut", "year": "1976"}


def test_every_preset_is_tried_above() -> None:
    tried = {name.removeprefix("test_") for name in vars(TestSets) if name.startswith("test_")}
    assert {name.replace("-", "_") for name in presets()} == tried


@pytest.mark.parametrize("name", presets())
def test_every_preset_makes_a_whole_source_that_a_reader_takes(name: str) -> None:
    source = with_preset(SourceConfig(preset=name, uri="a"))
    assert source.preset is None and source.reader is not None
    assert open_reader(source).source == source
    assert presets()[name].about and presets()[name].uri


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
        "Available: ft-instruction-synthesizer-collection, lima, medicine-instruction-augmented, openorca, "
        "openorca-system, "
        "pile, pubmed, squad, squad-hub, wizardlm-evol."
    )
