"""Made-up files of the readers' benchmark, and its sides."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.readers.made_files import ENDINGS, make
from benchmarks.readers.sides import PLAIN, ours, report, rows

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("kind", ENDINGS)
def test_our_reader_and_the_plain_library_read_every_kind(kind: str, tmp_path: Path) -> None:
    path = str(make(kind, tmp_path, 20_000))
    documents, plain = list(ours(kind, path)), list(PLAIN[kind](path))
    assert documents == list(rows(kind, path))
    if kind in ("csv", "jsonl", "parquet", "wet"):
        assert documents == plain and len(plain) > 1
    elif kind != "edgar":  # one document of the plain library, 15 items
        assert len(documents) == len(plain)


def test_a_report_has_the_same_digest_for_the_same_texts_in_any_order() -> None:
    first = report(lambda _: iter(["a", "b"]), "")
    second = report(lambda _: iter(["b ", "a"]), "")
    assert first["digest"] == second["digest"] != report(lambda _: iter(["a", "c"]), "")["digest"]
    assert first["num_documents"] == 2
