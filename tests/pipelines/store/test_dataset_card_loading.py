"""`datasets.load_dataset` of an increment and of a corpus on the hub; needs `tutelage[huggingface]`."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipelines.store.dataset_card_loading import dataset_configs
from pipelines.store.repository_card import repository_card
from schemas import storage
from schemas.manifest import ShardSet, read_manifest
from schemas.records import AugmentedText, Passage, StoredPair, to_json
from tests.stand_in_hub import Hub

GOLDEN = Path(__file__).resolve().parents[2] / "golden/mined"
LOAD = """
import json, sys
from datasets import get_dataset_config_names, load_dataset

name = "me/leaflets"
rows = {each: list(load_dataset(name, each, split="train")) for each in get_dataset_config_names(name)}
rows["streamed"] = list(load_dataset(name, "pairs-domain", split="train", streaming=True))
json.dump(rows, sys.stdout)
"""

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


@needs_datasets
@pytest.mark.slow
def test_a_corpus_on_the_hub_loads_by_the_name_of_its_repository(hub: Hub, tmp_path: Path) -> None:
    corpus = shutil.copytree(GOLDEN, tmp_path / "corpus")
    for number in ("000003", "000004"):  # two increments, so that configurations have files of both
        (corpus / f"manifest/{number}.json").unlink()
    files = {str(each.relative_to(corpus)): each.read_bytes() for each in corpus.rglob("*") if each.is_file()}
    card = repository_card(str(corpus), read_manifest(str(corpus)), uri="hf://datasets/me/leaflets")
    hub.repos["datasets/me/leaflets"] = [("a" * 40, {**files, "README.md": card})]
    hub.private["datasets/me/leaflets"] = True
    done = subprocess.run(  # datasets reads HF_ENDPOINT when it is imported
        [sys.executable, "-c", LOAD],
        env={**os.environ, "HF_HOME": str(tmp_path / "hf")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    rows = json.loads(done.stdout)
    assert {name: len(found) for name, found in rows.items()} == {
        "texts-domain": 39,
        "pairs-domain": 23,
        "texts-general": 12,
        "texts-tuning": 5,
        "pairs-tuning": 18,
        "streamed": 23,
    }
    for name in ("texts-domain", "pairs-domain", "pairs-tuning", "streamed"):
        kind, stream = ("pairs", "domain") if name == "streamed" else name.split("-")
        assert rows[name] == [
            json.loads(line)
            for number in (1, 2)
            for path in sorted((corpus / f"increments/{number:06d}-{number:012d}/{kind}").iterdir())
            if path.name.startswith(f"{stream}-")
            for line in storage.read_lines_zst(str(path))
        ]
    assert (rows["pairs-domain"][0]["instruction"], rows["pairs-domain"][0]["response"]) == (
        "What explanation does the passage offer for this fact?\nThe cell ended after 60 days.",
        "Because the enzyme binds the acid.",
    )


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
