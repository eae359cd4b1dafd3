"""Datasets on disk, written by the library itself; skipped without `tutelage[huggingface]`."""

from __future__ import annotations

import importlib.util
import json
import random
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from plugins.readers import open_reader
from schemas.corpus_config import SourceConfig
from schemas.errors import ConfigError, InputError
from schemas.records import Document, Reject
from tests.plugins.readers.reading import places

needs_datasets = pytest.mark.skipif(
    importlib.util.find_spec("datasets") is None, reason="datasets is not installed"
)

ROWS = [
    {"text": "one", "id": "a", "n": 1},
    {"text": "two", "id": "b", "n": 2},
    {"text": None, "id": "c", "n": 3},
]


def read(uri: Path, **fields: Any) -> list[Document | Reject]:
    reader = open_reader(SourceConfig(reader="huggingface", uri=str(uri), **fields))
    assert reader.listing().files == [str(uri)]
    return list(reader.read(str(uri)))


@pytest.fixture(params=["saved", "saved_splits", "jsonl", "parquet"])
def dataset(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The same rows, in each kind of directory that the library reads."""
    folder = tmp_path / "set"
    if request.param.startswith("saved"):
        from datasets import Dataset, DatasetDict

        rows = Dataset.from_list(ROWS)
        (rows if request.param == "saved" else DatasetDict(train=rows)).save_to_disk(folder)
        return folder
    folder.mkdir()
    if request.param == "jsonl":
        (folder / "train.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in ROWS))
    else:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), folder / "train.parquet")
    return folder


@needs_datasets
class TestRows:
    def test_rows_are_named_by_split_and_number(self, dataset: Path) -> None:
        found = read(dataset)
        assert places(dataset, found) == [
            ("train:0", "one"),
            ("train:1", "two"),
            ("train:2", "missing_field"),
        ]
        assert found == read(dataset)

    def test_fields_are_those_of_every_reader(self, dataset: Path) -> None:
        first, *_ = read(dataset, format="{id}: {text}", id_field="id", metadata_fields=["n"])
        assert isinstance(first, Document)
        assert (first.text, first.document_id, first.metadata) == ("a: one", "a", {"n": "1"})

    def test_an_unknown_split_is_refused_with_the_known_ones(self, dataset: Path) -> None:
        with pytest.raises(InputError) as caught:
            read(dataset, split="trian")
        assert str(caught.value) == (
            f"{dataset}: split 'trian' is unknown. Did you mean 'train'? Available: train. "
            "Name one in the source's `split`."
        )

    def test_a_preset_may_be_read_so(self, tmp_path: Path) -> None:
        from datasets import Dataset

        turns = [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}]
        Dataset.from_list([{"idx": "x", "conversations": turns}]).save_to_disk(tmp_path / "set")
        (found,) = read(tmp_path / "set", preset="wizardlm-evol")
        assert isinstance(found, Document)
        assert (found.text, found.document_id) == ("Why?\n\nSo.", "x")

    def test_one_split_of_several_is_read(self, tmp_path: Path) -> None:
        for name in ("train", "test"):
            (tmp_path / f"{name}.jsonl").write_text(json.dumps({"text": f"of {name}"}))
        assert places(tmp_path, read(tmp_path)) == [("train:0", "of train")]
        assert places(tmp_path, read(tmp_path, split="test")) == [("test:0", "of test")]

    def test_one_configuration_of_several_is_read(self, tmp_path: Path) -> None:
        for name in ("en", "fr"):
            (tmp_path / f"{name}.jsonl").write_text(json.dumps({"text": f"in {name}"}))
        (tmp_path / "README.md").write_text(
            "---\nconfigs:\n- {config_name: en, data_files: en.jsonl}\n"
            "- {config_name: fr, data_files: fr.jsonl}\n---\n"
        )
        assert places(tmp_path, read(tmp_path, config_name="fr")) == [("train:0", "in fr")]
        with pytest.raises(
            InputError, match=r"Available: \['en', 'fr'\]\. Name one in the source's `config_name`"
        ):
            read(tmp_path, config_name="de")

    def test_a_directory_that_is_not_there_is_an_error_of_the_storage(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            read(tmp_path / "nowhere")


@needs_datasets
class TestDamage:
    def test_what_is_no_dataset_is_one_reject(self, tmp_path: Path) -> None:
        (tmp_path / "train.parquet").write_bytes(random.Random(4).randbytes(4_000))
        (found,) = read(tmp_path)
        assert isinstance(found, Reject)
        assert (found.reason, found.source) == ("damaged_dataset", f"{tmp_path}:train:0")
        assert found.detail.endswith("; 0 rows were read before it")

    def test_rows_before_a_damaged_file_are_kept(self, tmp_path: Path) -> None:
        pyarrow.parquet.write_table(pyarrow.table({"text": ["one", "two"]}), tmp_path / "train-0.parquet")
        (tmp_path / "train-1.parquet").write_bytes(b"PAR1" + b"\xff" * 90 + b"PAR1")
        found = read(tmp_path)
        assert places(tmp_path, found) == [
            ("train:0", "one"),
            ("train:1", "two"),
            ("train:2", "damaged_dataset"),
        ]

    def test_a_truncated_saved_dataset_is_one_reject(self, tmp_path: Path) -> None:
        from datasets import Dataset

        Dataset.from_list(ROWS).save_to_disk(tmp_path)
        (path,) = tmp_path.glob("*.arrow")
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        assert places(tmp_path, read(tmp_path)) == [("train:0", "damaged_dataset")]


def test_a_missing_package_is_said_before_anything_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"^reader 'huggingface' needs the package datasets: pip install"):
        open_reader(SourceConfig(reader="huggingface", uri="Open-Orca/OpenOrca"))


def test_a_split_is_refused_where_it_means_nothing() -> None:
    with pytest.raises(ConfigError, match=r"^source 'a' sets split, which reader 'parquet' does not use\."):
        open_reader(SourceConfig(reader="parquet", uri="a", split="train"))
