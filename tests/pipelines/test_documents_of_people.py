"""A folder of PDF files becomes a corpus: built, planned, traced by page, withdrawn."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.increments.watch import Stop, watch
from pipelines.increments.withdraw import withdraw
from pipelines.planning.plan import plan_increment
from pipelines.store.statistics import stats_of
from schemas import storage
from schemas.corpus_config import CorpusConfig
from schemas.manifest import Manifest
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


@pytest.mark.parametrize("reader", ["pdf", "folder"])
def test_a_changed_file_is_one_new_version_and_the_others_are_not_opened(
    reader: str, corpus_config: Callable[..., CorpusConfig], tmp_path: Path, build: Any, texts_in: Any
) -> None:
    folder = tmp_path / "guidelines"
    folder.mkdir()

    def put(name: str, text: str, day: int) -> None:
        (folder / name).write_bytes(Maker().lines([text]).page().save())
        os.utime(folder / name, (day * 86_400, day * 86_400))

    put("obturator.pdf", PAGES[1], 1)
    put("femoral.pdf", PAGES[0], 1)
    streams = {"domain": {"sources": [{"reader": reader, "uri": str(folder)}]}}
    config = corpus_config(tmp_path / "corpus", streams=streams, pack={"seq_len": 128})
    build(config)
    assert plan_increment(config, quiet=True).total.num_files == 0
    put("femoral.pdf", PAGES[0].replace("lumbar", "upper lumbar"), 2)
    total = plan_increment(config, quiet=True).total
    assert (total.num_files, total.num_read, total.num_new, total.num_changed) == (1, 1, 1, 1)
    published: list[Manifest] = []
    watch(config, stop=_Once(), published=published.append, quiet=True, settle_sec=0)
    (manifest,) = published
    assert manifest.increments[-1].num_documents == 1
    assert manifest.increments[-1].superseded_document_ids == (f"{folder}/femoral.pdf",)
    (text,) = texts_in(config.corpus, number=2)
    assert "upper lumbar plexus" in text.text and "obturator" not in text.text
    assert stats_of(config.corpus, manifest.increments[-1].name)["counts"]["read/files"] == 1
    assert plan_increment(config, quiet=True).total.num_files == 0


class _Once(Stop):
    """Stop request after one look."""

    looked = False

    def is_asked(self) -> bool:
        return self.looked

    def wait(self, seconds: float) -> None:
        self.looked = True
