"""A folder of PDF files becomes a corpus: built, planned, traced by page, withdrawn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.increments.withdraw import withdraw
from schemas import storage
from schemas.corpus_config import CorpusConfig
from tests.plugins.readers.pdf_making import Maker

pytestmark = pytest.mark.slow

PAGES = (
    "The femoral nerve arises from the lumbar plexus and supplies the quadriceps.",
    "A lesion of the obturator nerve weakens the adductors, so that walking is hard.",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A file of two pages with text and one without."""
    made = Maker().lines(PAGES[:1]).page().picture().page().lines(PAGES[1:]).page()
    path = tmp_path / "guidelines" / "guideline.pdf"
    path.parent.mkdir()
    path.write_bytes(made.save())
    return path.parent


def config_of(
    make: Callable[..., CorpusConfig], tmp_path: Path, folder: Path, **options: Any
) -> CorpusConfig:
    source = {"reader": "pdf", "uri": str(folder), "options": options}
    streams = {"domain": {"sources": [source]}}
    return make(tmp_path / "corpus", streams=streams, pack={"seq_len": 128})


def test_a_page_is_traced_and_withdrawn_by_its_file(
    corpus_config: Callable[..., CorpusConfig], tmp_path: Path, folder: Path, build: Any, tutelage: Any
) -> None:
    config = config_of(corpus_config, tmp_path, folder, pages_per_document=1)
    build(config)
    traced = tutelage("corpus", "trace", config.corpus, f"{folder}/guideline.pdf:page 3")
    assert traced.status == 0
    assert "guideline.pdf:page 3" in traced.out and "A lesion of the obturator nerve" in traced.out
    manifest = withdraw(config, sources=[f"{folder}/guideline.pdf"], quiet=True)
    assert manifest.number == 2
    traced = tutelage("corpus", "trace", config.corpus, f"{folder}/guideline.pdf:page 3")
    assert "withdrawn" in traced.out


def test_a_file_is_a_document_and_its_bad_page_a_reject(
    corpus_config: Callable[..., CorpusConfig], tmp_path: Path, folder: Path, build: Any, tutelage: Any
) -> None:
    config = config_of(corpus_config, tmp_path, folder)
    build(config)
    traced = tutelage("corpus", "trace", config.corpus, f"{folder}/guideline.pdf")
    assert all(page.split(",")[0] in traced.out for page in PAGES)
    (rejects,) = Path(config.corpus).glob("increments/*/rejects/read*")
    (line,) = storage.read_lines_zst(str(rejects))
    assert '"no_text_layer"' in line and "guideline.pdf:page 2" in line
