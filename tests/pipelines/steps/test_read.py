"""Reading of files into documents; workers share the parts of large files."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.testing.test_pipeline import TestPipeline
from apache_beam.testing.util import assert_that, equal_to

from pipelines.increments.changed_source_files import list_files, parts_of
from pipelines.steps.base import REJECTS
from pipelines.steps.read import FilePart, ReadFiles
from plugins.readers import jsonl, open_reader
from plugins.readers.base import WHOLE, Part
from schemas.corpus_config import CorpusConfig, SourceConfig
from schemas.records import Document


@pytest.fixture
def source(tmp_path: Path) -> SourceConfig:
    rows = [json.dumps({"text": f"passage {number}"}) for number in range(100)]
    (tmp_path / "a.jsonl").write_text("\n".join([*rows, "{broken"]))
    (tmp_path / "b.jsonl").write_text(json.dumps({"text": "alone"}))
    return SourceConfig(reader="jsonl", uri=f"{tmp_path}/*.jsonl")


def files_of(source: SourceConfig) -> list[FilePart]:
    config = CorpusConfig.model_validate(
        {"corpus": "c", "streams": {"domain": {"sources": [source]}}, "tokenizer": {"name": "t"}}
    )
    return parts_of(config, list_files(config).files)["domain"]


def test_a_small_file_is_one_part_and_a_large_one_several(
    source: SourceConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = f"{tmp_path}/a.jsonl", f"{tmp_path}/b.jsonl"
    assert files_of(source) == [FilePart(0, a, WHOLE, 0), FilePart(0, b, WHOLE, 1)]
    monkeypatch.setattr(jsonl, "RANGE_BYTES", 1_000)
    assert files_of(source) == [
        FilePart(0, a, Part(0, 1_000), 0),
        FilePart(0, a, Part(1_000, 2_000), 0),
        FilePart(0, a, Part(2_000, None), 0),
        FilePart(0, b, WHOLE, 1),
    ]


@pytest.mark.parametrize("range_bytes", [7, 1_000, 1 << 26])
def test_parts_give_the_documents_and_rejects_of_whole_files(
    source: SourceConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, range_bytes: int
) -> None:
    found = [each for name in "ab" for each in open_reader(source).read(f"{tmp_path}/{name}.jsonl")]
    documents = [each for each in found if isinstance(each, Document)]
    rejects = [each for each in found if not isinstance(each, Document)]
    assert (len(documents), [each.reason for each in rejects]) == (101, ["invalid_json"])
    monkeypatch.setattr(jsonl, "RANGE_BYTES", range_bytes)
    with TestPipeline(runner="FnApiRunner") as pipeline:
        done = (
            pipeline
            | beam.Create(files_of(source))
            | beam.Reshuffle()
            | beam.ParDo(ReadFiles((source,))).with_outputs(REJECTS, main="ok")
        )
        assert_that(done.ok, equal_to(documents), label="documents")
        assert_that(done[REJECTS], equal_to(rejects), label="rejects")


def test_lines_that_a_reader_removes_are_counted_once_a_file(tmp_path: Path) -> None:
    pytest.importorskip("reportlab")
    from tests.plugins.readers.pdf_making import Maker

    made = Maker()
    for number in range(3):
        made.text(60, 800, "Guideline 2024").lines([f"Text {'abc'[number]} of this page."]).page()
    (tmp_path / "a.pdf").write_bytes(made.save())
    source = SourceConfig(reader="pdf", uri=f"{tmp_path}/a.pdf", options={"pages_per_document": 1})
    step = ReadFiles((source,))
    step.setup()
    (part,) = files_of(source)
    assert len([*step.process(part)]) == 3
    assert step.counters.counts["read/removed_lines"] == 3


def test_files_are_numbered_by_source_and_then_by_name_with_digits_as_numbers(tmp_path: Path) -> None:
    for name in ("a/part-10", "a/part-9", "a/Part-11", "a/part-9b", "b/part-1"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).with_suffix(".jsonl").write_text("")
    sources = [SourceConfig(reader="jsonl", uri=f"{tmp_path}/{folder}/*.jsonl") for folder in "ba"]
    config = CorpusConfig.model_validate(
        {"corpus": "c", "streams": {"domain": {"sources": sources}}, "tokenizer": {"name": "t"}}
    )
    found = parts_of(config, list_files(config).files)["domain"]
    names = [each.uri.removeprefix(f"{tmp_path}/").removesuffix(".jsonl") for each in found]
    assert names == ["b/part-1", "a/Part-11", "a/part-9", "a/part-9b", "a/part-10"]
    assert [each.number for each in found] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("range_bytes", [7, 1_000, 1 << 26])
def test_versions_grow_from_row_to_row_and_from_file_to_file(
    source: SourceConfig, monkeypatch: pytest.MonkeyPatch, range_bytes: int
) -> None:
    monkeypatch.setattr(jsonl, "RANGE_BYTES", range_bytes)
    step = ReadFiles((source,))
    step.setup()
    records = [record for part in files_of(source) for record in step.process(part)]
    versions = [record.version for record in records if isinstance(record, Document)]
    assert len(versions) == 101
    assert versions == sorted(set(versions))
    assert (versions[0], versions[-1]) == (0, 1 << 48)


def test_a_file_is_counted_once_however_many_parts_it_has(
    source: SourceConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jsonl, "RANGE_BYTES", 1_000)
    step = ReadFiles((source,))
    step.setup()
    added: list[str] = []
    monkeypatch.setattr(step.counters, "add", lambda name, count=1: added.append(name))
    for part in files_of(source):
        list(step.process(part))
    assert (added.count("files"), added.count("documents")) == (2, 101)


def test_records_that_a_reader_passes_over_are_counted_and_end_no_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mwparserfromhell")
    pages = "".join(f"<page><title>{n}</title><ns>{n}</ns><id>{n}</id></page>" for n in (1, 1, 4))
    (tmp_path / "a.xml").write_text(f"<mediawiki>{pages}</mediawiki>")
    source = SourceConfig(reader="mediawiki", uri=f"{tmp_path}/a.xml")
    step = ReadFiles((source,))
    step.setup()
    added: Counter[str] = Counter()
    monkeypatch.setattr(step.counters, "add", lambda name, count=1: added.update({name: int(count)}))
    (reject,) = step.process(FilePart(0, f"{tmp_path}/a.xml", WHOLE))
    assert reject.value.reason == "passed_over"
    assert +added == {"rejected_passed_over": 1, "passed_over": 3, "files": 1}


def test_rows_whose_encoding_was_guessed_are_counted_by_encoding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    french = "text\nLe café était fermé à midi.\nIl a plu tout l’été.\n"
    (tmp_path / "a.csv").write_bytes(french.encode("cp1252"))
    (tmp_path / "b.csv").write_bytes(french.encode())
    step = ReadFiles((SourceConfig(reader="csv", uri=f"{tmp_path}/*.csv", encoding="auto"),))
    step.setup()
    added: Counter[str] = Counter()
    monkeypatch.setattr(step.counters, "add", lambda name, count=1: added.update({name: int(count)}))
    texts = [
        [record.text for record in step.process(FilePart(0, f"{tmp_path}/{name}.csv", WHOLE))]
        for name in "ab"
    ]
    assert texts == [["Le café était fermé à midi.", "Il a plu tout l’été."]] * 2
    assert +added == {"decoded_as_cp1252": 2, "documents": 4, "files": 2}
