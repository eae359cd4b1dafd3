"""Traces of PDF files: pages of documents, parts and raw texts; names by the last part of their path."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from schemas.corpus_config import CorpusConfig
from tests.plugins.readers.pdf_making import Maker

pytestmark = pytest.mark.slow

NUM_PAGES = 4


def guideline(kind: str) -> bytes:
    made = Maker()
    for page in range(1, NUM_PAGES + 1):
        made.lines(f"Page {'abcde'[page]} has sentence {line} of a {kind}." for line in range(20)).page()
    return made.save()


@pytest.fixture
def corpus(tmp_path: Path, corpus_config: Callable[..., CorpusConfig], build: Any) -> str:
    """PDF files in two folders: whole in a stream with pairs, and in one without; a file of pages."""
    for name in ("old/guideline.pdf", "new/guideline.pdf", "new/leaflet.pdf"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(guideline(name.replace("/", " ")))
    by_page = {"reader": "pdf", "options": {"pages_per_document": 1}}
    streams = {
        "domain": {"synthesize": True, "sources": [{"reader": "pdf", "uri": f"{tmp_path}/in/old/*.pdf"}]},
        "pages": {"sources": [{**by_page, "uri": f"{tmp_path}/in/new/leaflet.pdf"}]},
        "raw": {"sources": [{"uri": f"{tmp_path}/in/new/guideline.pdf"}]},
    }
    made = corpus_config(
        tmp_path / "corpus",
        streams=streams,
        synthesis={"backend": "mined"},
        pack={"seq_len": 512},
    )
    build(made)
    return str(tmp_path / "corpus")


def test_a_trace_names_pages(
    corpus: str, tmp_path: Path, tutelage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    name = f"{tmp_path}/in/old/guideline.pdf"
    done = tutelage("corpus", "trace", corpus, "old/guideline.pdf")
    assert done.out.startswith(f"document {name}, pages 1 to {NUM_PAGES}\n")
    holdings = json.loads(tutelage("corpus", "trace", corpus, name, "--json").out)["holdings"]
    parts = [holding["passage"]["part"] for holding in holdings]
    assert parts == [f"{number}/{len(parts)}" for number in range(1, len(parts) + 1)] and len(parts) > 1
    for holding in holdings:
        passage = holding["passage"]
        seen = [page for page in range(1, NUM_PAGES + 1) if f"Page {'abcde'[page]} has" in holding["text"]]
        first, last = seen[0], seen[-1]
        assert passage["pages"] == (str(first) if first == last else f"{first}-{last}")
        told = f"page {first}" if first == last else f"pages {first} to {last}"
        assert f" part {passage['part']}, {told} of guideline.pdf, from {name}" in done.out


def test_the_last_part_of_a_path_names_a_document_or_those_that_it_may_mean(
    corpus: str, tmp_path: Path, tutelage: Any
) -> None:
    done = tutelage("corpus", "trace", corpus, "guideline.pdf")
    assert (done.status, done.err) == (
        1,
        f"CorpusError: {corpus}: guideline.pdf is the end of the names of 2 documents: "
        f"{tmp_path}/in/new/guideline.pdf, {tmp_path}/in/old/guideline.pdf. "
        "Give one of their names, or more of it.\n",
    )
    done = tutelage("corpus", "trace", corpus, "leaflet.pdf:page 3")
    assert done.out.startswith(f"document {tmp_path}/in/new/leaflet.pdf:page 3, page 3\n")
    assert "page 3 of leaflet.pdf, from" in done.out.replace("\n", " ").replace("│", "").replace("  ", " ")
    pages = ", ".join(f"{tmp_path}/in/new/leaflet.pdf:page {page}" for page in range(1, NUM_PAGES + 1))
    assert f"4 documents: {pages}." in tutelage("corpus", "trace", corpus, "leaflet.pdf").err
    done = tutelage("corpus", "trace", corpus, "new/guideline.pdf")
    assert done.out.startswith(f"document {tmp_path}/in/new/guideline.pdf, pages 1 to {NUM_PAGES}\n")
