"""A `datasets` dataset: a directory, or a name on the Hugging Face hub.

    uri: my-data/saved                 written by `save_to_disk`, memory-mapped
    uri: my-data/folder                a folder of parquet, jsonl, csv … files, streamed
    uri: Open-Orca/OpenOrca            on the hub, streamed without a download of the whole

A dataset is one unit of work, and its name is no glob: one worker reads it from end to end. If you can name
files, use `parquet` or `jsonl`, which read several files in parallel, also on the hub
(hf://datasets/OWNER/NAME/**/*.parquet), and name a damaged file.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pyarrow

from plugins.readers.base import BadRow, Reader, Row, means_damage
from plugins.readers.decompression import DAMAGED
from plugins.readers.documents import fields_of
from plugins.readers.field_paths import columns_of
from plugins.readers.listing import Listing
from schemas import storage
from schemas.corpus_config import SourceConfig
from schemas.errors import ConfigError, InputError, unknown_name

_SPLIT = "train"
_SAVED = ("dataset_dict.json", "state.json")
"""Files that `save_to_disk` writes for several splits, and for one."""


class HuggingfaceReader(Reader):
    """Reads a dataset's split. Positions are its name and the row number from 0: `train:17`.

    Raises:
        ConfigError: The package `datasets` is not installed.
    """

    own_fields = frozenset({"extract", "config_name", "split"})

    def __init__(self, source: SourceConfig):
        super().__init__(source)
        if source.newest == "by_time":
            raise ConfigError(
                f"source {source.uri!r} sets newest: by_time, but reader 'huggingface' knows no times of "
                "change. Set version_field, or name the files and read them with parquet or jsonl."
            )
        if importlib.util.find_spec("datasets") is None:
            raise ConfigError(
                "reader 'huggingface' needs the package datasets: pip install 'tutelage[huggingface]'. "
                "Readers parquet and jsonl read files of the hub without it: hf://datasets/OWNER/NAME/*.parquet."
            )

    def listing(self) -> Listing:
        return Listing([self.source.uri])

    def state(self, uri: str) -> str | None:
        return None  # a dataset has many files, or lies on the hub

    def rows(self, uri: str) -> Iterator[Row | BadRow]:
        split, number = self.source.split or _SPLIT, 0
        try:
            for number, values in enumerate(self._dataset(uri, split)):
                yield Row(f"{split}:{number}", values)
                number += 1
        except (*DAMAGED, pyarrow.ArrowException, UnicodeDecodeError, OSError) as error:
            if isinstance(error, OSError) and not means_damage(error):
                raise
            detail = f"{type(error).__name__}: {error}; {number} rows were read before it"
            yield BadRow(f"{split}:{number}", "damaged_dataset", detail)

    def _dataset(self, uri: str, split: str) -> Iterable[Mapping[str, Any]]:
        splits = self._splits(uri)
        if split not in splits:
            unknown = unknown_name("split", split, splits)
            raise InputError(f"{uri}: {unknown} Name one in the source's `split`.")
        dataset = splits[split]
        columns = columns_of(dataset.column_names or (), fields_of(self.source))
        # Other columns, such as images, take time to decode. A stream may not know its columns.
        rows: Iterable[Mapping[str, Any]] = dataset.select_columns(columns) if columns else dataset
        return rows

    def _splits(self, uri: str) -> Mapping[str, Any]:
        import datasets

        if any(storage.exists(storage.join(uri, name)) for name in _SAVED):
            loaded = datasets.load_from_disk(uri)
            return dict(loaded) if isinstance(loaded, dict) else {str(loaded.split or _SPLIT): loaded}
        try:
            found = datasets.load_dataset(uri, name=self.source.config_name, streaming=True)
        except ValueError as error:
            if isinstance(error, pyarrow.ArrowException):
                raise
            raise InputError(f"{uri}: {error}. Name one in the source's `config_name`.") from error
        return dict(found)
