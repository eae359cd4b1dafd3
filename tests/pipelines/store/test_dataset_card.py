"""Dataset card: its front matter parses, its numbers match the statistics, hostile names do not break it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from markdown_it import MarkdownIt

from pipelines.increments.compact import compact
from pipelines.store.dataset_card import _front_matter, _introduction, _sources, write_card
from pipelines.store.dataset_card_loading import how_to_read
from pipelines.store.packed_rows import read_rows
from schemas.corpus_config import CorpusConfig, SourceConfig, StreamConfig
from schemas.manifest import Increment, Manifest, ShardSet, publish_manifest, read_manifest
from schemas.records import StoredPair
from tests.published import name_of, read_stats
from tests.tiny import located

pytestmark = pytest.mark.slow

Config = Callable[..., CorpusConfig]
GROUP = "[0-9][0-9][0-9][0-9][0-9].jsonl.zst"
HOSTILE = 'a|b`c`<script>"](y)*_$ ñ.jsonl'


@pytest.fixture(scope="module")
def corpus(
    tmp_path_factory: pytest.TempPathFactory,
    passages: Any,
    write_jsonl: Any,
    corpus_config: Config,
    build: Any,
) -> CorpusConfig:
    """Two increments of two streams, with rejects, a task row in a document, and a hostile file name."""
    root = tmp_path_factory.mktemp("card")
    rows = passages(6)
    streams = {
        "domain": {
            "synthesize": True,
            "sources": [{"reader": "jsonl", "uri": f"{root}/{HOSTILE}", "id_field": "id"}],
        },
        "general": {"sources": [{"reader": "jsonl", "uri": f"{root}/g.jsonl", "id_field": "id"}]},
    }
    held_out = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
    write_jsonl(root / "task.jsonl", [{"input": held_out, "options": ["a", "b"], "gold_index": 0}])
    config = corpus_config(
        root / "my corpus",
        streams=streams,
        filters={"language": {"keep": ["en", "de"], "min_probability": 0.0}},
        decontaminate={"tasks": [f"{root}/task.jsonl"]},
        pack={"seq_len": 256},
    )
    write_jsonl(root / HOSTILE, [*rows, {"id": "short", "text": "Few words."}, {"id": "x", "text": held_out}])
    write_jsonl(root / "g.jsonl", [{"id": "g", "text": "Water runs down from the hills to the sea."}])
    build(config)
    write_jsonl(root / HOSTILE, [*rows, {"id": "new", "text": "A new text about the cells of a patient."}])
    build(config)
    return config


def card(config: CorpusConfig, number: int) -> tuple[dict[str, Any], str]:
    text = (located(config.corpus, f"increments/{number:06d}/README.md")).read_text("utf-8")
    opening, front, body = text.split("---\n", 2)
    assert opening == ""
    return yaml.safe_load(front), body


def tables(body: str) -> dict[str, list[list[str]]]:
    """Rendered cells of each table, by the heading above the table."""
    found: dict[str, list[list[str]]] = {}
    heading, wants = "", ""
    for token in MarkdownIt("gfm-like", {"linkify": False}).parse(body):
        if token.type in ("heading_open", "td_open"):
            wants = token.type
        elif token.type == "tr_open" and heading:
            found.setdefault(heading, []).append([])
        elif token.type == "inline" and wants:
            shown = "".join(child.content for child in token.children or () if child.type != "html_inline")
            if wants == "heading_open":
                heading = shown
            else:
                found[heading][-1].append(shown)
            wants = ""
    return {name: [row for row in rows if row] for name, rows in found.items()}


def test_the_front_matter_has_what_hugging_face_reads(corpus: CorpusConfig) -> None:
    front, _ = card(corpus, 2)
    assert front == {
        "pretty_name": "my corpus",
        "language": ["en", "de"],
        "license": "unknown",
        "task_categories": ["text-generation"],
        "tags": ["tutelage", "instruction-pre-training", "mosaicml-streaming", "synthetic"],
        "size_categories": ["n<1K"],
        "configs": [{"config_name": "texts-domain", "data_files": f"texts/domain-{GROUP}", "default": True}],
    }


def test_the_front_matter_says_where_texts_and_pairs_of_the_increment_lie(corpus: CorpusConfig) -> None:
    front, body = card(corpus, 1)
    assert front["configs"] == [
        {"config_name": "texts-domain", "data_files": f"texts/domain-{GROUP}", "default": True},
        {"config_name": "pairs-domain", "data_files": f"pairs/domain-{GROUP}"},
        {"config_name": "texts-general", "data_files": f"texts/general-{GROUP}"},
    ]
    (declared,) = front["dataset_info"]
    assert declared["config_name"] == "pairs-domain"
    columns = {column.pop("name"): column for column in declared["features"]}
    assert [*columns, "verdicts"] == [field.name for field in dataclasses.fields(StoredPair)]
    assert columns["response"] == {"dtype": "string"}
    assert columns["options"] == {"list": "string"}
    assert columns["span"] == {"list": "int64"}
    name = name_of(corpus.corpus, 1)
    assert f'load_dataset("…/increments/{name}", "pairs-domain", split="train")' in body


def test_sources_with_a_preset_tell_its_license(corpus_config: Config, tmp_path: Path) -> None:
    named = (
        {"preset": "fineweb", "uri": "a"},
        {"preset": "pile", "uri": "b"},
        {"preset": "fineweb", "uri": "c"},
    )
    found = tables(_sources(corpus_config(tmp_path, streams={"web": {"sources": list(named)}})))["Sources"]
    assert found[-1] == ["fineweb", "ODC-By-1.0; Common Crawl's terms of use"]
    assert [row[0] for row in found] == ["web", "web", "web", "fineweb"]


@pytest.mark.parametrize(
    ("presets", "license", "told"),
    [
        ((None,), "unknown", "which Tutelage does not know"),
        (
            ("pubmed", None, "wikipedia"),
            "unknown",
            "of which those of 2 in 3 are listed under Sources, as their publishers say",
        ),
        (("pubmed", "wikipedia"), "other", "listed under Sources as their publishers say"),
    ],
)
def test_it_says_how_many_licenses_it_lists(
    corpus: CorpusConfig, presets: tuple[str | None, ...], license: str, told: str
) -> None:
    streams = {
        f"s{number}": StreamConfig(sources=(SourceConfig(preset=name, uri="a"),))
        for number, name in enumerate(presets)
    }
    config, manifest = corpus.model_copy(update={"streams": streams}), read_manifest(corpus.corpus)
    assert _front_matter(config, manifest, has_verdicts=False)["license"] == license
    assert _introduction(config, manifest).endswith(
        f"**License.** The texts keep the licenses of their sources, {told}. Put the right one in place of "
        f"`{license}` above before this card is published."
    )


def test_its_numbers_are_those_of_manifest_and_statistics(corpus: CorpusConfig, texts_in: Any) -> None:
    manifest, stats = read_manifest(corpus.corpus), read_stats(corpus.corpus, 1)
    _, first = card(corpus, 1)
    _, second = card(corpus, 2)
    expected = []
    for increment, stream, num_documents in ((1, "domain", 6), (1, "general", 1), (2, "domain", 1)):
        shards = manifest.increments[increment - 1].streams[stream]
        pairs = sum(text.num_pairs for text in texts_in(corpus.corpus, stream, increment))
        assert shards.num_pairs == pairs
        filled = f"{shards.num_tokens / (shards.num_samples * 256):.1%}"
        numbers = (num_documents, shards.num_texts, pairs, shards.num_samples, shards.num_tokens)
        expected.append(
            [str(increment), stream, *(f"{number:,}" for number in numbers), filled, "0 (0.0%)", "0"]
        )
    assert tables(first)["What is in it"] == expected[:2]
    assert tables(second)["What is in it"] == expected
    lost = stats["counts"]["render/rejected_pairs_beyond_row"]
    assert int(expected[0][4]) == stats["counts"]["synthesize/pairs"] - lost > 0
    rejected = {
        tuple(name.split("/rejected_")): count
        for name, count in stats["counts"].items()
        if "/rejected_" in name
    }
    shown = tables(first)["What increment 1 refused"]
    assert {(stage, reason): int(count) for stage, reason, count in shown} == rejected
    assert ("clean", "too_short") in rejected and len(rejected) >= 2
    assert tables(first)["Evaluation rows found in the sources, and kept out"] == [
        [name, str(task["rows"]), str(task["rows_found"])] for name, task in stats["decontamination"].items()
    ]
    assert [task["rows_found"] for task in stats["decontamination"].values()] == [1]
    assert dict(tables(first)["Versions"]) == stats["versions"]


def test_it_says_how_the_corpus_was_made(corpus: CorpusConfig) -> None:
    _, body = card(corpus, 2)
    made = dict(tables(body)["How it was made"])
    assert made["pairs written by"] == "mined"
    assert made["documents of a chain"] == "at most 2"
    assert made["templates"] == "reading_comprehension"
    assert made["filters"] == "language"
    assert made["packing"] == "best_fit, rows of 256 tokens, topped up with texts of other rows"
    assert made["near copies"] == "dropped: MinHash, 14 bands of 8, shingles of 5 words"
    assert made["seed"] == "17"


def test_a_source_of_any_name_is_shown_as_it_is_and_breaks_nothing(corpus: CorpusConfig) -> None:
    _, body = card(corpus, 2)
    assert "<script>" not in body
    assert tables(body)["Sources"] == [
        ["domain", "yes", "jsonl", corpus.streams["domain"].sources[0].uri],
        ["general", "no", "jsonl", corpus.streams["general"].sources[0].uri],
    ]


def test_the_code_that_it_shows_reads_all_rows_in_batches(corpus: CorpusConfig, tmp_path: Path) -> None:
    pytest.importorskip("streaming")
    _, body = card(corpus, 2)
    code = body.split("```python\n")[1].split("```")[0]
    code = code.replace('"…"', json.dumps(corpus.corpus)).replace("/tmp/corpus", str(tmp_path))
    code += "    seen.append(batch)\n"
    names: dict[str, Any] = {"seen": []}
    exec(code, names)
    manifest = read_manifest(corpus.corpus)
    shards = [each for name in ("domain", "general") for each in manifest.shard_sets(name)]
    assert len(names["streams"]) == len(shards) == 3
    assert len(names["rows"]) == sum(each.num_samples for each in shards)
    assert len(names["seen"][0]["input_ids"]) > 1
    batches = {name: np.concatenate([each[name] for each in names["seen"]]) for name in names["seen"][0]}
    lengths = {
        row["tokens"].tobytes(): row["segment_lengths"].tolist()
        for each in shards
        for row in read_rows(corpus.corpus, each)
    }
    assert len({len(each) for each in lengths.values()}) > 1  # lengths of different counts cannot be stacked
    for tokens, texts, labels in zip(
        *(batches[name] for name in ("input_ids", "texts", "labels")), strict=True
    ):
        found = lengths[tokens.astype(np.int32).tobytes()]
        assert np.bincount(texts[texts >= 0]).tolist() == found
        end = sum(found)
        assert labels.tolist() == [*tokens[:end].tolist(), *[-100] * (256 - end)]


def test_in_streams_for_tuning_only_what_is_answered_carries_loss() -> None:
    pytest.importorskip("torch")
    shards = ShardSet(path="p", num_samples=1, num_tokens=6, num_texts=1)
    manifest = Manifest(
        number=1,
        created="",
        seq_len=8,
        tokenizer="0" * 32,
        tokenizer_name="t",
        pad_token_id=0,
        config_hash="",
        increments=(Increment(number=1, streams={"tuning": shards}, num_documents=1),),
    )
    code = how_to_read(manifest).split("```python\n")[1].split("```")[0]
    names: dict[str, Any] = {}
    exec(code[: code.index("rows = StreamingDataset")].replace('local="', 'local="/nowhere/'), names)
    row = {"tokens": np.arange(8), "segment_lengths": np.array([4, 2]), "loss_spans": np.array([1, 3, 5, 6])}
    batch = names["collate"]([row, row])
    assert batch["labels"].tolist() == [[-100, 1, 2, -100, -100, 5, -100, -100]] * 2
    assert batch["texts"].tolist() == [[0, 0, 0, 0, 1, 1, -1, -1]] * 2


@pytest.mark.parametrize(
    ("num_rows", "expected"),
    [(999, "n<1K"), (1_000, "1K<n<10K"), (2_500_000, "1M<n<10M"), (10**12, "n>1T")],
)
def test_the_size_is_that_of_all_rows(
    corpus: CorpusConfig, num_rows: int, expected: str, tmp_path: Path
) -> None:
    shards = ShardSet(path="p", num_samples=num_rows, num_tokens=num_rows, num_texts=1)
    manifest: Manifest = read_manifest(corpus.corpus).model_copy(
        update={"increments": (Increment(number=1, streams={"domain": shards}, num_documents=1),)}
    )
    bare = corpus.model_copy(update={"corpus": str(tmp_path), "filters": {}})
    write_card(f"{tmp_path}/increments/000001", bare, manifest, read_stats(corpus.corpus, 1))
    publish_manifest(str(tmp_path), manifest)
    front, _ = card(bare, 1)
    assert front["size_categories"] == [expected]
    assert "language" not in front


def test_a_compacted_increment_says_what_it_replaces(corpus: CorpusConfig) -> None:
    compact(corpus, quiet=True)
    front, body = card(corpus, 3)
    assert front["pretty_name"] == "my corpus"
    assert "Increment 3 stands in the place of 1, 2; 0 documents were withdrawn." in body
    assert [row[:3] for row in tables(body)["What is in it"]] == [["3", "domain", "7"], ["3", "general", "1"]]
