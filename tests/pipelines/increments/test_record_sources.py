"""A table, a crawl, a wiki and a filing as sources of a corpus: plan, build, trace."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.increments.increment_summary import print_increment
from pipelines.increments.preflight_checks import check_names
from pipelines.inspect.trace import trace_document
from pipelines.planning.plan import plan_increment
from schemas.corpus_config import CorpusConfig
from schemas.errors import ConfigError
from schemas.manifest import Manifest
from tests.published import read_stats

pytestmark = pytest.mark.slow


def test_files_of_many_records_go_through_every_command(
    tmp_path: Path,
    corpus_config: Callable[..., CorpusConfig],
    passages: Any,
    build: Any,
    capsys: pytest.CaptureFixture[str],
) -> None:
    texts = [row["text"] for row in passages(6)]
    with (tmp_path / "a.csv").open("w", newline="") as table:
        csv.writer(table, delimiter=";").writerows([("key", "text"), ("k1", texts[0]), ("k2",)])
    record = "WARC/1.0\r\nWARC-Type: conversion\r\nWARC-Record-ID: <urn:uuid:1>"
    with gzip.open(tmp_path / "b.warc.wet.gz", "wt", newline="") as crawl:
        crawl.write("WARC/1.0\r\nWARC-Type: warcinfo\r\nContent-Length: 1\r\n\r\nx\r\n\r\n")
        crawl.write(f"{record}\r\nContent-Length: {len(texts[1])}\r\n\r\n{texts[1]}\r\n\r\n")
    pages = (
        f"<page><ns>1</ns><id>1</id></page><page><ns>0</ns><id>2</id><redirect/></page>"
        f"<page><ns>0</ns><id>3</id><revision><text>{texts[2]}</text></revision></page>"
    )
    (tmp_path / "c.xml").write_text(f"<mediawiki>{pages}</mediawiki>")
    (tmp_path / "d.txt").write_text(
        f"<SEC-HEADER>\n</SEC-HEADER>\n<DOCUMENT>\n<TYPE>10-K\n<TEXT>\nItem 1. Business\n{texts[3]}\n"
        f"Item 7. Discussion\n{texts[4]}\n</TEXT>\n</DOCUMENT>\n"
    )
    (tmp_path / "e.txt").write_bytes(f"Le café était fermé à midi. {texts[5]}".encode("cp1252"))
    sources = [
        {"reader": "text", "uri": f"{tmp_path}/e.txt", "encoding": "auto"},
        {"reader": "csv", "uri": f"{tmp_path}/a.csv", "id_field": "key"},
        {"reader": "wet", "uri": f"{tmp_path}/b.warc.wet.gz", "id_field": "id"},
        {"reader": "mediawiki", "uri": f"{tmp_path}/c.xml", "id_field": "id"},
        {"reader": "edgar", "uri": f"{tmp_path}/d.txt"},
    ]
    streams = {"domain": {"synthesize": True, "sources": sources}}
    config = corpus_config(tmp_path / "corpus", streams=streams)
    assert plan_increment(config, quiet=True).total.num_new == 6
    manifest: Manifest = build(config)
    assert manifest.increments[-1].num_documents == 6
    print_increment(config, manifest)
    assert "  rows whose encoding was guessed: 1 cp1252 (look at some;" in capsys.readouterr().out
    counts = read_stats(config.corpus, 1)["counts"]
    assert counts["read/passed_over"] == 3
    assert (counts["read/rejected_passed_over"], counts["read/rejected_wrong_number_of_cells"]) == (2, 1)
    for name, position in {
        "k1": f"{tmp_path}/a.csv:2",
        "<urn:uuid:1>": f"{tmp_path}/b.warc.wet.gz:2",
        "3": f"{tmp_path}/c.xml:3",
        f"{tmp_path}/d.txt:Item 7": f"{tmp_path}/d.txt:Item 7",
    }.items():
        found = trace_document(config.corpus, manifest, name)
        assert [entry.state for entry in found.entries] == ["current"]
        assert {each.passage.source for each in found.holdings} == {position}


def test_a_build_refuses_sets_whose_equal_numbers_are_other_documents(
    tmp_path: Path, corpus_config: Callable[..., CorpusConfig]
) -> None:
    sources = [{"preset": name, "uri": f"{tmp_path}/{name}"} for name in ("pubmed", "wikipedia")]
    config = corpus_config(tmp_path / "corpus", streams={"domain": {"sources": sources}})
    with pytest.raises(ConfigError, match=r"^streams\.domain: the ids of pubmed and wikipedia are plain"):
        check_names(config)
    apart = {each["preset"]: {"sources": [each]} for each in sources}
    check_names(corpus_config(tmp_path / "corpus", streams=apart))
