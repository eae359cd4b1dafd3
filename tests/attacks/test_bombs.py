"""Small files that expand when they are read: memory is bounded, and a reject names the limit."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import runpy
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import zstandard

from pipelines.steps.read import FilePart, ReadFiles
from plugins.readers import jsonl, open_reader
from plugins.tasks.decontamination_rows import read_tasks
from plugins.tasks.row_sources import FileRows
from plugins.tasks.rows import RefusedRow
from schemas import limits
from schemas.corpus_config import SourceConfig
from schemas.errors import ConfigError
from schemas.records import Document, Reject

LIMIT = 2_000_000
SIZE = 20 * LIMIT
TOO_LONG = "it has more than 2,000,000 bytes, the most that a record may have"


@pytest.fixture(autouse=True)
def small_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RECORD_BYTES", LIMIT)


@pytest.fixture
def bounded() -> Iterator[None]:
    """Fail if more than half of the bomb is in memory at once."""
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < SIZE / 2


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=1).compress(data)


def read(path: Path, reader: str, **options: str) -> list[Document | Reject]:
    return list(open_reader(SourceConfig(reader=reader, uri=str(path), **options)).read(str(path)))


SHAPES: dict[str, tuple[str, dict[str, str], bytes, bytes]] = {
    "line": ("jsonl", {}, b'{"text": "a"}\n', b'\n{"text": "b"}\n'),
    "array": ("jsonl", {}, b'[{"text": "a"}, {"t": "', b'"}, {"text": "b"}]'),
    "objects": ("jsonl", {}, b'{"text": "a"}{"t": "', b'"}{"text": "b"}'),
    "piece": ("text", {"delimiter": "\n##\n"}, b"a\n##\n", b"\n##\nb"),
    "xml": (
        "medline",
        {},
        b"<PubmedArticleSet><PubmedArticle><MedlineCitation><Article><ArticleTitle>a</ArticleTitle></Article>"
        b"</MedlineCitation></PubmedArticle><PubmedArticle>",
        b"</PubmedArticle><PubmedArticle><MedlineCitation><Article><ArticleTitle>b</ArticleTitle></Article>"
        b"</MedlineCitation></PubmedArticle></PubmedArticleSet>",
    ),
}


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize(
    ("suffix", "compress"),
    [(".bz2", bz2.compress), (".gz", gzip.compress), (".xz", lzma.compress), (".zst", zstd)],
)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_record_that_is_too_long_costs_only_itself(
    tmp_path: Path, shape: str, suffix: str, compress: Callable[[bytes], bytes]
) -> None:
    reader, options, before, after = SHAPES[shape]
    path = tmp_path / f"a{suffix}"
    path.write_bytes(compress(before + b"x" * SIZE + after))
    tracemalloc.reset_peak()
    first, bad, last = read(path, reader, **options)
    assert isinstance(first, Document) and isinstance(last, Document) and isinstance(bad, Reject)
    assert (first.text, bad.reason, last.text) == ("a", "record_too_long", "b")
    assert bad.detail.startswith(TOO_LONG)


def test_a_row_as_long_as_the_first_part_of_a_file_is_no_reason_to_refuse_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jsonl, "RANGE_BYTES", LIMIT)
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"x" * (3 * LIMIT) + b'\n{"text": "b"}\n')
    step = ReadFiles((SourceConfig(reader="jsonl", uri=str(path)),))
    step.setup()
    parts = open_reader(SourceConfig(reader="jsonl", uri=str(path))).parts(str(path))
    assert len(parts) == 4
    found = [each for part in parts for each in step.process(FilePart(0, str(path), part))]
    bad, last = found
    assert (bad.value.reason, last.text) == ("record_too_long", "b")


@pytest.mark.usefixtures("bounded")
@pytest.mark.parametrize("reader", ["text", "squad"])
def test_a_file_that_is_one_record_is_read_no_further_than_the_limit(tmp_path: Path, reader: str) -> None:
    path = tmp_path / "a.bz2"
    path.write_bytes(bz2.compress(b"x" * SIZE))
    tracemalloc.reset_peak()
    (bad,) = read(path, reader)
    assert isinstance(bad, Reject) and bad.reason == "record_too_long"
    assert bad.detail.startswith(TOO_LONG)


def test_a_table_whose_rows_share_one_long_text_is_read_some_rows_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    texts = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 2000, pyarrow.int32()), ["a" * 100_000])
    pyarrow.parquet.write_table(pyarrow.table({"text": texts}), path, compression="zstd")
    del texts
    held = pyarrow.total_allocated_bytes()
    reader = open_reader(SourceConfig(reader="parquet", uri=str(path)))
    sizes = [pyarrow.total_allocated_bytes() - held for _ in reader.read(str(path))]
    assert len(sizes) == 2000
    assert max(sizes) < 50_000_000  # all rows at once take 200 MB


@pytest.mark.usefixtures("bounded")
def test_evaluation_rows_have_the_same_limit(tmp_path: Path) -> None:
    good = b'{"input": "a", "options": ["b", "c"], "gold_index": 0}\n'
    path = tmp_path / "task.jsonl.gz"
    path.write_bytes(gzip.compress(good + b"x" * SIZE + b"\n" + b"[" * 100_000 + b"\n" + good))
    array = tmp_path / "array.json.gz"
    array.write_bytes(gzip.compress(b"[" + b"x" * SIZE))
    tracemalloc.reset_peak()
    rows = list(FileRows((str(path),))())
    assert [isinstance(row, RefusedRow) for row in rows] == [False, True, True, False]
    (task,) = read_tasks([str(path)])
    assert len(task.rows) == 2
    assert str(task.refused[0]) == f"{path}:2: {TOO_LONG}"
    assert task.refused[1].reason.startswith("bad JSON: maximum recursion depth exceeded")
    with pytest.raises(ConfigError, match=r"array\.json\.gz:1: the file cannot be read from here on: it has"):
        read_tasks([str(array)])


def test_the_documentation_has_all_limits_as_they_are() -> None:
    table = Path(__file__, "../../../docs/security.md").resolve().read_text(encoding="utf-8")
    documented = dict(re.findall(r"^\| `(\w+)` \| (\d+) \|", table, re.MULTILINE))
    fresh = runpy.run_path(limits.__file__)
    assert documented == {name: str(value) for name, value in fresh.items() if name.isupper()}
