"""10,000 damages of a stranger's corpus: each one is named in a message, or the data read is right.

Meanwhile nothing is written outside the cache, and no code of the corpus runs.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from pipelines.increments.changed_source_files import _read_note
from pipelines.inspect.lineage import find_row, rows_of, text_lines
from pipelines.inspect.trace import trace_document
from pipelines.store.duplicate_records import find_clusters
from pipelines.store.journal import Journal, find_generations
from pipelines.store.ledger import Ledger, check_ledger
from pipelines.store.near_index import check_indexes, check_near_index
from pipelines.store.packed_rows import read_rows
from pipelines.store.pair_files import read_texts
from pipelines.store.statistics import stats_of
from plugins.corpus_tokenizer import tokenizer_damage
from schemas.corpus_config import NearDedupConfig
from schemas.corpus_layout import text_uris
from schemas.errors import TutelageError
from schemas.manifest import Manifest, read_manifest
from schemas.records import AugmentedText
from schemas.shard_index import directory_damage, read_index
from tests.attacks.conftest import KEY
from tests.attacks.mutations import mutate_bytes, mutate_json, mutate_lines, mutate_zst
from tests.attacks.sandbox import Sandbox
from trainer.evaluation.training_overlap import TrainingText

SLOWEST_SEC = 20.0
PLAIN_PATH = re.compile(r"[\w-][\w.-]*(/[\w-][\w.-]*)*", re.ASCII)


class Corpus(NamedTuple):
    """Input of the readers: the corpus, and its manifest from before the damage."""

    uri: str
    manifest: Manifest

    @property
    def first(self) -> str:
        """The folder of the first increment."""
        return self.manifest.names()[0]

    @property
    def shards(self) -> Any:
        return self.manifest.shard_sets("domain")[0]


def _manifest(corpus: Corpus) -> None:
    found = read_manifest(corpus.uri)
    assert found.number == 2
    for name in (found.tokenizer, *found.stream_names()):
        assert PLAIN_PATH.fullmatch(name)
    for stream in found.stream_names():
        for shards in found.shard_sets(stream):
            assert PLAIN_PATH.fullmatch(shards.path)
            assert 0 <= shards.num_samples < 2**63


def _index(corpus: Corpus) -> None:
    index = read_index(corpus.uri, corpus.shards)
    damages = list(directory_damage(corpus.uri, corpus.shards, index))
    for shard in index.shards:
        assert PLAIN_PATH.fullmatch(shard.raw_data.basename)
        assert set(shard.column_encodings) == {"ndarray:int32"}
    if not damages:
        _rows(corpus)


def _rows(corpus: Corpus) -> Any:
    return [
        {name: values.tolist() for name, values in row.items()}
        for row in read_rows(corpus.uri, corpus.shards)
    ]


def _ledger(corpus: Corpus) -> Any:
    ledger = Ledger.open(corpus.uri, "domain", [corpus.first])
    found = [ledger.content_of("doc-3"), ledger.content_of("nothing")]
    try:
        found.append(ledger.origin_of("doc-3"))
    finally:
        check_ledger(f"{corpus.uri}/ledger/{corpus.first}.domain.ledger")
    return found


def _near(corpus: Corpus) -> None:
    check_indexes(corpus.uri, "domain", [corpus.first], NearDedupConfig())
    check_near_index(f"{corpus.uri}/dedup/{corpus.first}.domain")


def _texts(corpus: Corpus) -> None:
    for uri in text_uris(corpus.uri, "domain", corpus.first):
        for text in read_texts(uri, corpus.shards):
            _is_text(text)


def _is_text(text: AugmentedText) -> None:
    assert type(text.text) is type(text.text_id) is str
    assert all(type(each.start) is int and type(each.document_id) is str for each in text.passages)
    assert all(type(each.response) is str and type(each.options) is tuple for each in text.pairs)


def _lineage(corpus: Corpus) -> None:
    find_row(corpus.uri, corpus.manifest, "domain", 0)
    places = {each.place for each in text_lines(corpus.uri, corpus.manifest, "domain")}
    for rows in rows_of(corpus.uri, corpus.manifest, "domain", places).values():
        assert all(type(row) is int for row in rows)


def _trace(corpus: Corpus) -> None:
    found = trace_document(corpus.uri, corpus.manifest, "copy")
    assert all(type(each.reject.reason) is str for each in found.refusals)


def _duplicates(corpus: Corpus) -> None:
    for cluster in find_clusters(corpus.uri, corpus.first, "domain", 10):
        assert all(each.kind in ("exact", "near") for each in cluster.copies)


def _stats(corpus: Corpus) -> None:
    stats = stats_of(corpus.uri, corpus.first)
    assert all(type(count) is int and count >= 0 for count in stats["counts"].values())


def _report(corpus: Corpus) -> None:
    settings = TrainingText(corpus.uri, read_manifest(corpus.uri, 1)).settings()
    assert all(type(value) is int and value > 0 for value in settings.values())


def _note(corpus: Corpus) -> None:
    noted = _read_note(corpus.uri, corpus.manifest)  # a damaged note counts as absent: files are read again
    assert all(type(each) is str for pair in noted.items() for each in pair)


def _journal(corpus: Corpus) -> None:
    for generation in find_generations(f"{corpus.uri}/journal", {KEY}).values():
        assert type(generation.text) is str and type(generation.prompt_tokens) is int
    Journal(f"{corpus.uri}/journal")  # a damaged line costs one request


def _tokenizer(corpus: Corpus) -> None:
    damages = list(tokenizer_damage(corpus.uri, corpus.manifest))
    if damages:
        raise TutelageError(f"{damages[0].file}: {damages[0].finding}")


KINDS: dict[str, tuple[str, Callable[..., bytes], Callable[[Corpus], Any], int]] = {
    "manifest": ("manifest/000002.json", mutate_json, _manifest, 1500),
    "index": ("increments/000001*/shards/domain/index.json", mutate_json, _index, 2000),
    "shard": ("increments/000001*/shards/domain/00000/shard.00000.mds.zstd", mutate_bytes, _rows, 500),
    "ledger": ("ledger/000001*.domain.ledger", mutate_bytes, _ledger, 1000),
    "near index": ("dedup/000001*.domain/index.json", mutate_json, _near, 500),
    "near keys": ("dedup/000001*.domain/00000.near", mutate_bytes, _near, 300),
    "texts": ("increments/000001*/texts/domain-00000.jsonl.zst", mutate_zst, _texts, 600),
    "pairs": ("increments/000001*/pairs/domain-00000.jsonl.zst", mutate_zst, _texts, 400),
    "lineage": ("increments/000001*/lineage/domain-00000.jsonl.zst", mutate_zst, _lineage, 1000),
    "rejects": ("increments/000001*/rejects/dedup.jsonl.zst", mutate_zst, _trace, 300),
    "duplicates": ("increments/000001*/duplicates/domain.jsonl.zst", mutate_zst, _duplicates, 300),
    "statistics": ("increments/000001*/stats.json", mutate_json, _stats, 300),
    "decontamination": ("increments/000001*/decontamination.json", mutate_json, _report, 300),
    "sources": ("sources.jsonl.zst", mutate_zst, _note, 400),
    "journal": ("journal/1-x-0001.jsonl", mutate_lines, _journal, 400),
    "tokenizer": ("tokenizer/*/files.json", mutate_json, _tokenizer, 200),
}
"""Path, damage, reader and number of damages for each kind of file."""

SEALED = ("shard", "ledger", "near keys")
"""Kinds with a digest of their bytes: readers return the written data or raise an error."""


def test_there_are_ten_thousand_of_them() -> None:
    assert sum(count for *_, count in KINDS.values()) == 10_000


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_is_named_or_read_right(kind: str, sandbox: Sandbox) -> None:
    pattern, mutate, read, count = KINDS[kind]
    (victim,) = sandbox.corpus.glob(pattern)
    corpus = Corpus(str(sandbox.corpus), read_manifest(str(sandbox.corpus)))
    sound = victim.read_bytes()
    right = _outcome(read, corpus)
    assert not isinstance(right, TutelageError)
    rng = random.Random(f"{kind} 1")
    num_refused = 0
    for number in range(count):
        damaged = mutate(rng, sound)
        sandbox.put(victim, damaged)
        started = time.monotonic()
        found = _outcome(read, corpus)
        assert time.monotonic() - started < SLOWEST_SEC, f"{kind} {number} takes long"
        if isinstance(found, TutelageError):
            num_refused += 1
            assert str(sandbox.corpus) in str(found), f"{kind} {number}: {found}"
            assert len(str(found)) < 2000
        elif kind in SEALED and damaged != sound:
            assert found == right, f"{kind} {number}"
    sandbox.put(victim, sound)
    sandbox.check()
    assert num_refused > count / 4 or kind in ("sources", "journal")


def _outcome(read: Callable[[Corpus], Any], corpus: Corpus) -> Any:
    try:
        return read(corpus)
    except TutelageError as error:
        return error
