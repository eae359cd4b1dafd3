"""Lineage of packed rows on real corpora: texts, documents, files and generations."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.inspect.lineage import Place, find_row, rows_of, text_lines, texts_of
from pipelines.store.packed_rows import read_rows
from plugins.tokenizers import load_tokenizer
from schemas import storage
from schemas.corpus_config import CorpusConfig
from schemas.manifest import Manifest, read_manifest
from tests.tiny import located

pytestmark = pytest.mark.slow

Config = Callable[..., CorpusConfig]


@pytest.fixture(scope="module", params=["best_fit", "concat"])
def corpus(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    passages: Any,
    write_jsonl: Any,
    corpus_config: Config,
    build: Any,
) -> CorpusConfig:
    """Two increments of several groups, with texts longer than a row, and a stream without synthesis."""
    root = tmp_path_factory.mktemp("lineage")
    streams = {
        name: {
            "synthesize": name == "domain",
            "sources": [{"reader": "jsonl", "uri": f"{root}/{name}.jsonl", "id_field": "id"}],
        }
        for name in ("domain", "general")
    }
    config = corpus_config(
        root / "corpus",
        streams=streams,
        pack={"seq_len": 256, "method": request.param},
        shards={"group_tokens": 2048, "size_limit_bytes": 4096},
    )
    short = [{"id": f"g-{number}", "text": f"Water {number} runs down to the sea."} for number in range(30)]
    long = {"id": "long", "text": "It is a long way from the hills down to the sea. " * 30}
    write_jsonl(root / "general.jsonl", [*short, long])
    write_jsonl(root / "domain.jsonl", passages(30))
    build(config)
    write_jsonl(root / "domain.jsonl", passages(36))
    build(config)
    return config


def stored_rows(config: CorpusConfig, manifest: Manifest, stream: str) -> list[list[list[int]]]:
    """The rows of a stream in the trainer's order: the tokens of each segment."""
    rows = []
    for shards in manifest.shard_sets(stream):
        for sample in read_rows(config.corpus, shards):
            at, segments = 0, []
            for length in sample["segment_lengths"].tolist():
                segments.append(sample["tokens"][at : at + length].tolist())
                at += length
            rows.append(segments)
    return rows


@pytest.mark.parametrize("stream", ["domain", "general"])
def test_each_row_is_made_of_the_tokens_of_its_texts(corpus: CorpusConfig, stream: str) -> None:
    manifest = read_manifest(corpus.corpus)
    tokenizer = load_tokenizer(corpus.tokenizer.name)
    expected = stored_rows(corpus, manifest, stream)
    held: dict[Place, list[tuple[int, int]]] = {}
    for index, segments in enumerate(expected):
        row = find_row(corpus.corpus, manifest, stream, index)
        assert (row.stream, row.index) == (stream, index)
        for segment, tokens in zip(row.segments, segments, strict=True):
            whole = [
                *tokenizer(segment.text.text, add_special_tokens=False).input_ids,
                tokenizer.eos_token_id,
            ]
            assert len(whole) == segment.num_tokens
            assert whole[segment.start : segment.end] == tokens
            held.setdefault(segment.place, []).append((segment.start, segment.end))
    lines = {each.place for each in text_lines(corpus.corpus, manifest, stream)}
    assert set(held) == lines  # every text is in a row


def test_the_corpus_has_rows_of_every_kind(corpus: CorpusConfig) -> None:
    manifest = read_manifest(corpus.corpus)
    assert [sorted(each.streams) for each in manifest.increments] == [["domain", "general"], ["domain"]]
    rows = [
        find_row(corpus.corpus, manifest, stream, index)
        for stream in manifest.stream_names()
        for index in range(sum(shards.num_samples for shards in manifest.shard_sets(stream)))
    ]
    segments = [segment for row in rows for segment in row.segments]
    assert any(len(row.segments) > 1 for row in rows)
    assert any(segment.num_tokens > 256 for segment in segments)
    assert any(segment.start > 0 for segment in segments)
    assert len({segment.place.group for segment in segments}) > 1
    assert {segment.place.increment for segment in segments} == {1, 2}
    if corpus.pack.method == "concat":
        assert any(0 < segment.num_tokens < 256 and segment.start for segment in segments)


def test_rows_of_texts_are_found_again(corpus: CorpusConfig) -> None:
    manifest = read_manifest(corpus.corpus)
    places = [each.place for each in text_lines(corpus.corpus, manifest, "domain")]
    num_rows = sum(shards.num_samples for shards in manifest.shard_sets("domain"))
    expected: dict[Place, list[int]] = {place: [] for place in places}
    for index in range(num_rows):
        for segment in find_row(corpus.corpus, manifest, "domain", index).segments:
            expected[segment.place].append(index)
    assert rows_of(corpus.corpus, manifest, "domain", places) == expected
    assert rows_of(corpus.corpus, manifest, "domain", places[:1]) == {places[0]: expected[places[0]]}


def test_texts_are_given_newest_increment_first(corpus: CorpusConfig, texts_in: Any) -> None:
    manifest = read_manifest(corpus.corpus)
    assert list(texts_of(corpus.corpus, manifest, "domain")) == [
        text for number in (2, 1) for text in texts_in(corpus.corpus, number=number)
    ]


@pytest.fixture(autouse=True)
def wide_console(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")


def test_a_row_is_shown_with_its_texts_and_documents(
    tutelage: Any, corpus: CorpusConfig, tmp_path: Path, files_of: Any
) -> None:
    manifest, before = read_manifest(corpus.corpus), files_of(corpus.corpus)
    index = sum(shards.num_samples for shards in manifest.shard_sets("domain")) - 1  # a row of increment 2
    done = tutelage("corpus", "show", corpus.corpus, "--row", f"domain:{index}")
    assert (done.status, done.err) == (0, "")
    assert f" domain row {index} " in done.out
    row = find_row(corpus.corpus, manifest, "domain", index)
    (source,) = corpus.streams["domain"].sources
    for segment in row.segments:
        assert segment.place.increment == 2
        text = segment.text
        assert (
            f"── tokens {segment.start} to {segment.end} of {segment.num_tokens} of text {text.text_id} ──"
            in (done.out)
        )
        assert (
            f"{text.template}, {text.num_pairs} pairs; increment 2, group {segment.place.group}" in done.out
        )
        for passage in text.passages:
            assert f"{passage.document_id} from {source.uri}:@" in done.out
    assert files_of(corpus.corpus) == before


def test_json_of_a_row_holds_all_of_it(tutelage: Any, corpus: CorpusConfig) -> None:
    manifest = read_manifest(corpus.corpus)
    done = tutelage("corpus", "show", corpus.corpus, "--row", "general:1", "--json")
    shown = json.loads(done.out)
    row = find_row(corpus.corpus, manifest, "general", 1)
    rows = stored_rows(corpus, manifest, "general")
    tokenizer = load_tokenizer(corpus.tokenizer.name)
    assert (shown["stream"], shown["index"]) == ("general", 1)
    assert [each["decoded"] for each in shown["segments"]] == [tokenizer.decode(each) for each in rows[1]]
    assert shown["padding"] == 256 - sum(map(len, rows[1]))
    for each, segment in zip(shown["segments"], row.segments, strict=True):
        assert each["text"]["text_id"] == segment.text.text_id
        assert each["text"]["template"] == "raw"
        (passage,) = each["text"]["passages"]
        (document_id,) = segment.text.document_ids
        assert passage["document_id"] == document_id
        assert segment.text.text == f"Water {document_id[2:]} runs down to the sea."


def test_a_row_without_a_stream_is_of_the_first(tutelage: Any, corpus: CorpusConfig) -> None:
    both = [
        tutelage("corpus", "show", corpus.corpus, "--row", row, "--json").out for row in ("2", "domain:2")
    ]
    assert both[0] == both[1]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("domain", "--row is 'domain'; expected STREAM:INDEX, such as domain:17."),
        ("domain:-1", "--row is 'domain:-1'; expected STREAM:INDEX, such as domain:17."),
        ("domian:1", "stream 'domian' is unknown. Did you mean 'domain'? Available: domain, general."),
        ("domain:99999", "--row domain:99999 does not exist; stream 'domain' has rows 0 to {last}."),
    ],
)
def test_a_row_that_is_not_there_is_refused(
    tutelage: Any, corpus: CorpusConfig, row: str, message: str
) -> None:
    manifest = read_manifest(corpus.corpus)
    last = sum(shards.num_samples for shards in manifest.shard_sets("domain")) - 1
    done = tutelage("corpus", "show", corpus.corpus, "--row", row)
    assert (done.status, done.out) == (2, "")
    assert done.err == f"ConfigError: {message.format(last=last)}\n"


def test_a_missing_lineage_is_named(tutelage: Any, corpus: CorpusConfig, tmp_path: Path) -> None:
    copy = shutil.copytree(corpus.corpus, tmp_path / "copy")
    lineage = located(copy, "increments/000001/lineage")
    shutil.rmtree(lineage)
    done = tutelage("corpus", "show", str(copy), "--row", "domain:0")
    assert done.status == 1
    assert done.err.startswith(f"CorpusError: {lineage}/domain-00000.jsonl.zst: is missing")


def test_a_lineage_that_does_not_fit_its_rows_is_refused(
    tutelage: Any, corpus: CorpusConfig, tmp_path: Path
) -> None:
    copy = shutil.copytree(corpus.corpus, tmp_path / "copy")
    uri = str(located(copy, "increments/000001/lineage/domain-00000.jsonl.zst"))
    lines = list(storage.read_lines_zst(uri))
    storage.write_lines_zst(uri, ["[[0,0,1]]", *lines[1:]])
    done = tutelage("corpus", "show", str(copy), "--row", "domain:0")
    assert done.status == 1
    assert "its lineage says [1]. One of the two is damaged" in done.err
