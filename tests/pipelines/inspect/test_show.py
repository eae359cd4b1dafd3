from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.inspect.show import beginning_of
from schemas.corpus_config import CorpusConfig
from schemas.manifest import read_manifest

pytestmark = pytest.mark.slow

GENERAL = "What is water? It is what rivers carry [to] the sea."


@pytest.fixture(scope="module")
def corpus(
    tmp_path_factory: pytest.TempPathFactory, write_jsonl: Any, passages: Any, corpus_config: Any, build: Any
) -> str:
    """A corpus of two streams and two increments; the second increment has only `domain`."""
    root = tmp_path_factory.mktemp("show")
    write_jsonl(root / "domain.jsonl", passages(4))
    write_jsonl(root / "general.jsonl", [{"id": "g", "text": GENERAL}])
    streams = {
        name: {
            "synthesize": name == "domain",
            "sources": [{"reader": "jsonl", "uri": f"{root}/{name}.jsonl", "id_field": "id"}],
        }
        for name in ("domain", "general")
    }
    config: CorpusConfig = corpus_config(root / "corpus", streams=streams, pack={"seq_len": 256})
    build(config)
    write_jsonl(root / "domain.jsonl", passages(5))
    build(config)
    return config.corpus


@pytest.fixture(autouse=True)
def wide_console(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")


def test_a_corpus_is_shown_by_increment_and_stream_with_a_text(
    tutelage: Any, corpus: str, texts_in: Any
) -> None:
    done = tutelage("corpus", "show", corpus)
    assert (done.status, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0].strip() == f"{corpus}, manifest 2"
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if line.count("│") > 3]
    first, second = read_manifest(corpus).increments
    for row, number, name, shards in zip(
        rows,
        "112",
        ("domain", "general", "domain"),
        (first.streams["domain"], first.streams["general"], second.streams["domain"]),
        strict=True,
    ):
        filled = shards.num_tokens / (shards.num_samples * 256)
        assert row == [
            number,
            name,
            f"{shards.num_texts:,}",
            f"{shards.num_samples:,}",
            f"{shards.num_tokens:,}",
            f"{filled:.1%}",
            f"{shards.num_pairs:,}",
            "0 (0.0%)",
            "0",
        ]
    (newest,) = texts_in(corpus, number=2)
    assert newest.document_ids == ("doc-4",)
    assert f" text {newest.text_id[:8]} " in done.out
    assert f" {newest.num_pairs} pairs, {newest.template}, from doc-4 " in done.out
    for line in filter(None, newest.text.splitlines()):
        assert f"│ {line.strip()}" in done.out


def test_a_stream_and_its_rows_are_shown_decoded(tutelage: Any, corpus: str, files_of: Any) -> None:
    before = files_of(corpus)
    done = tutelage("corpus", "show", corpus, "--stream", "general", "--texts", "0", "--rows", "9")
    assert (done.status, done.err) == (0, "")
    shards = read_manifest(corpus).increments[0].streams["general"]
    assert f"│ {GENERAL}<|endoftext|>" in done.out
    assert f"── {shards.num_tokens} tokens ──" in done.out
    assert " general row 0 " in done.out
    assert " general row 1 " not in done.out
    assert f" {256 - shards.num_tokens} of 256 padding " in done.out
    assert files_of(corpus) == before


def test_rows_of_all_increments_are_shown_up_to_the_number_wanted(tutelage: Any, corpus: str) -> None:
    total = sum(shards.num_samples for shards in read_manifest(corpus).shard_sets("domain"))
    for wanted, shown in ((1, 1), (total, total), (total + 5, total)):
        done = tutelage("corpus", "show", corpus, "--texts", "0", "--rows", str(wanted))
        assert done.out.count("domain row ") == shown


def test_json_is_the_manifest_and_an_older_one_can_be_asked_for(tutelage: Any, corpus: str) -> None:
    for arguments, number in (((), 2), (("--manifest", "1"), 1)):
        done = tutelage("corpus", "show", corpus, "--json", *arguments)
        assert (done.status, done.err) == (0, "")
        assert json.loads(done.out) == read_manifest(corpus, number).model_dump(mode="json")


def test_an_unknown_stream_is_refused_with_the_nearest(tutelage: Any, corpus: str) -> None:
    done = tutelage("corpus", "show", corpus, "--stream", "genral")
    assert (done.status, done.out) == (2, "")
    assert done.err == (
        "ConfigError: stream 'genral' is unknown. Did you mean 'general'? Available: domain, general.\n"
    )


def test_a_manifest_that_is_not_there_is_refused_with_the_newest(tutelage: Any, corpus: str) -> None:
    done = tutelage("corpus", "show", corpus, "--manifest", "7")
    assert (done.status, done.out) == (1, "")
    assert done.err == f"CorpusError: {corpus}: has no manifest 7; the newest is 2.\n"


def test_a_folder_without_a_corpus_is_refused_with_what_to_do(tutelage: Any, tmp_path: Path) -> None:
    done = tutelage("corpus", "show", str(tmp_path))
    assert (done.status, done.out) == (1, "")
    assert done.err == (
        f"CorpusError: {tmp_path}: holds no published corpus (no manifest/*.json). "
        "Build one with `tutelage corpus build`.\n"
    )


def test_of_a_long_text_the_beginning_is_shown_unless_the_whole_is_asked_for(
    tutelage: Any, tmp_path: Path, write_jsonl: Any, corpus_config: Any, build: Any
) -> None:
    text = " ".join(f"sentence{number:06d}" for number in range(1000))
    write_jsonl(tmp_path / "long.jsonl", [{"id": "long", "text": text}])
    corpus = str(tmp_path / "corpus")
    sources = [{"reader": "jsonl", "uri": f"{tmp_path}/long.jsonl", "id_field": "id"}]
    build(corpus_config(corpus, streams={"general": {"sources": sources}}, pack={"seq_len": 32768}))
    asked = (("show", corpus), ("show", corpus, "--row", "0"), ("trace", corpus, "long"))
    for command in (*asked, ("show", corpus, "--texts", "0", "--rows", "1")):
        cut, whole = (tutelage("corpus", *command, *options) for options in ((), ("--whole",)))
        assert (cut.status, whole.status) == (0, 0), cut.err
        assert "sentence000100" in cut.out
        assert "sentence000200" not in cut.out
        assert "characters more; --whole shows them]" in cut.out
        assert "sentence000999" in whole.out
        assert "characters more" not in whole.out
    assert len(text) == 14_999
    assert beginning_of(text, whole=False).endswith(" …\n[12,999 characters more; --whole shows them]")
    assert beginning_of(text[:2000], whole=False) == text[:2000]


@pytest.mark.parametrize("option", ["--texts", "--rows"])
def test_a_negative_number_is_refused(tutelage: Any, corpus: str, option: str) -> None:
    done = tutelage("corpus", "show", corpus, option, "-1")
    assert (done.status, done.err) == (2, f"ConfigError: {option} is -1; expected at least 0.\n")


@pytest.mark.parametrize("number", ["0", "-1"])
def test_a_manifest_of_no_number_is_not_the_newest(tutelage: Any, corpus: str, number: str) -> None:
    done = tutelage("corpus", "show", corpus, "--manifest", number)
    assert (done.status, done.err) == (
        1,
        f"CorpusError: {corpus}: has no manifest {number}; the newest is 2.\n",
    )


def test_a_corpus_is_named_by_its_yaml_too(tutelage: Any, corpus: str, tmp_path: Path) -> None:
    (tmp_path / "corpus.yaml").write_text(
        json.dumps(
            {
                "corpus": corpus,
                "tokenizer": {"name": "t"},
                "streams": {"domain": {"sources": [{"reader": "jsonl", "uri": "x"}]}},
            }
        )
    )
    done = tutelage("corpus", "show", str(tmp_path / "corpus.yaml"))
    assert (done.status, done.out) == (0, tutelage("corpus", "show", corpus).out)
