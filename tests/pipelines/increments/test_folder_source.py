"""A folder of mixed files as the source of a corpus: plan, build, trace, watch, withdraw."""

from __future__ import annotations

import html
import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.increments.watch import Stop, watch
from pipelines.increments.withdraw import withdraw
from pipelines.inspect.trace import trace_document
from pipelines.planning.plan import plan_increment
from schemas.corpus_config import CorpusConfig
from schemas.manifest import Manifest, newest_number, read_manifest
from tests.plugins.readers.test_docx import docx, paragraph, run
from tests.plugins.readers.test_epub import epub
from tests.published import read_stats

pytestmark = pytest.mark.slow

LONG_AGO = 1_700_000_000


def put(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    os.utime(path, (LONG_AGO, LONG_AGO))


@pytest.fixture
def folder(tmp_path: Path, passages: Any) -> Path:
    """A text, a page, lines of JSON in a zip, a picture, a Word file, a book."""
    texts = [row["text"] for row in passages(6)]
    put(tmp_path / "in/a.txt", texts[0].encode())
    put(tmp_path / "in/pages/b.html", f"<html><body><main><p>{texts[1]}</p></main></body></html>".encode())
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("rows/c.jsonl", "".join(json.dumps({"text": text}) + "\n" for text in texts[2:4]))
    put(tmp_path / "in/c.zip", packed.getvalue())
    put(tmp_path / "in/f.docx", docx(paragraph(run(html.escape(texts[4])))))
    put(tmp_path / "in/g.epub", epub(f"<p>{html.escape(texts[5])}</p>"))
    put(tmp_path / "in/d.png", b"\x89PNG\r\n\x1a\n")
    return tmp_path / "in"


@pytest.fixture
def config(tmp_path: Path, folder: Path, corpus_config: Callable[..., CorpusConfig]) -> CorpusConfig:
    streams = {"domain": {"synthesize": True, "sources": [{"uri": str(folder)}]}}
    return corpus_config(tmp_path / "corpus", streams=streams)


class Twice(Stop):
    """Stop after two looks."""

    looks = 0

    def is_asked(self) -> bool:
        return self.looks > 1

    def wait(self, seconds: float) -> None:
        self.looks += 1


def test_a_folder_of_mixed_files_goes_through_every_command(
    config: CorpusConfig, folder: Path, build: Any, passages: Any
) -> None:
    assert plan_increment(config, quiet=True).total.num_new == 6
    manifest: Manifest = build(config)
    assert manifest.increments[-1].num_documents == 6
    counts = read_stats(config.corpus, 1)["counts"]
    assert (counts["read/files"], counts["read/files_unreadable"]) == (6, 1)
    assert counts["read/rejected_no_reader"] == 1

    member = f"{folder}/c.zip!/rows/c.jsonl:@0"
    trace = trace_document(config.corpus, manifest, member)
    assert [entry.state for entry in trace.entries] == ["current"]
    assert {each.passage.source for each in trace.holdings} == {member}

    build(config)
    assert newest_number(config.corpus) == 1  # nothing is new

    put(folder / "pages/e.txt", passages(7)[6]["text"].encode())
    published: list[Manifest] = []
    watch(config, stop=Twice(), published=published.append, quiet=True, settle_sec=0)
    assert [each.increments[-1].num_documents for each in published] == [1]

    withdraw(config, sources=[f"{folder}/c.zip"], quiet=True)
    newest = read_manifest(config.corpus, newest_number(config.corpus))
    assert trace_document(config.corpus, newest, member).entries[-1].state == "withdrawn"
    assert trace_document(config.corpus, newest, f"{folder}/a.txt").entries[-1].state == "current"
