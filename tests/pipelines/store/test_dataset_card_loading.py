"""`datasets.load_dataset` of an increment's directory; needs `tutelage[huggingface]`."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import yaml

from pipelines.store.dataset_card_loading import dataset_configs
from schemas import storage
from schemas.manifest import ShardSet
from schemas.records import AugmentedText, Passage, StoredPair, to_json

needs_datasets = pytest.mark.skipif(
    importlib.util.find_spec("datasets") is None, reason="datasets is not installed"
)


def pair(number: int, *, options: tuple[str, ...] = (), span: tuple[int, ...] = ()) -> StoredPair:
    return StoredPair(
        text_id=f"t{number}",
        document_id=f"d{number}",
        content_hash="00",
        source="a.jsonl:1",
        part="",
        instruction=f"What is {number}?",
        response="It is.",
        options=options,
        rationale="",
        span=span,
        passage_span=(0, 4),
        synthesizer="mined",
        generation="",
    )


def text(number: int, *, prompt_length: int = 0) -> AugmentedText:
    passage = Passage(
        document_id=f"d{number}", content_hash="00", source="a", start=0, end=4, prompt_length=prompt_length
    )
    return AugmentedText(
        text_id=f"t{number}", text="It is", passages=(passage,), num_pairs=1, template="raw", seed=0
    )


def shards(*, pairs: int) -> ShardSet:
    return ShardSet(
        path="p", num_samples=1, num_tokens=1, num_texts=2, num_pairs=pairs, num_stored_pairs=pairs
    )


@pytest.fixture
def increment(tmp_path: Path) -> Path:
    """Streams with shards, texts and pairs; the name of one stream is a prefix of another."""
    folder = tmp_path / "increments" / "000001"
    files = {
        "texts/domain-00000": [text(0)],
        "texts/domain-00001": [text(1)],
        "texts/domain-tuning-00000": [text(2, prompt_length=2)],
        # The pairs of the first file do not show the types of options and spans.
        "pairs/domain-00000": [pair(0)],
        "pairs/domain-00001": [pair(1, options=("a", "b"), span=(1, 3))],
        "pairs/domain-tuning-00000": [pair(2)],
    }
    for name, records in files.items():
        storage.write_lines_zst(f"{folder}/{name}.jsonl.zst", map(to_json, records))
    (folder / "shards/domain/00000").mkdir(parents=True)
    (folder / "shards/domain/index.json").write_text(json.dumps({"version": 2, "shards": []}))
    (folder / "shards/domain/00000/group.json").write_text("{}")
    (folder / "stats.json").write_text(json.dumps({"number": 1}))
    streams = {"domain": shards(pairs=2), "domain-tuning": shards(pairs=1)}
    (folder / "README.md").write_text(f"---\n{yaml.safe_dump(dataset_configs(streams))}---\n\n# A card\n")
    return folder


@needs_datasets
def test_texts_and_pairs_of_an_increment_load_as_configurations(increment: Path, tmp_path: Path) -> None:
    from datasets import List, Value, get_dataset_config_names, load_dataset

    def load(name: str | None = None) -> list[dict[str, object]]:
        return list(load_dataset(str(increment), name, split="train", cache_dir=str(tmp_path / "cache")))

    assert sorted(get_dataset_config_names(str(increment))) == [
        *("pairs-domain", "pairs-domain-tuning", "texts-domain", "texts-domain-tuning")
    ]
    assert [row["text_id"] for row in load()] == ["t0", "t1"]  # the default: texts of the first stream
    rows = load("pairs-domain")
    assert [(row["document_id"], row["options"], row["span"]) for row in rows] == [
        ("d0", [], []),
        ("d1", ["a", "b"], [1, 3]),
    ]
    assert [row["text_id"] for row in load("texts-domain-tuning")] == ["t2"]
    tuning = load_dataset(str(increment), "pairs-domain-tuning", split="train", cache_dir=str(tmp_path / "c"))
    assert tuning.features["options"] == List(Value("string"))
    assert tuning.features["span"] == List(Value("int64"))


def test_a_stream_without_pairs_has_no_configuration_of_them() -> None:
    assert dataset_configs({"general": shards(pairs=0)}) == {
        "configs": [
            {
                "config_name": "texts-general",
                "data_files": "texts/general-[0-9][0-9][0-9][0-9][0-9].jsonl.zst",
                "default": True,
            }
        ]
    }
    assert dataset_configs({}) == {}
