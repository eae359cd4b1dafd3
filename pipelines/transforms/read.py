"""Files to documents."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipelines.transforms.base import StepFn
from plugins.readers import READERS
from schemas.corpus_config import SourceConfig
from schemas.errors import InputError
from schemas.records import Reject


class ReadFiles(StepFn):
    """Read the files of one stream.

    Takes (index of the source, URI); gives Documents, and Rejects for what could not be read.
    """

    def __init__(self, sources: tuple[SourceConfig, ...], progress_dir: str | None):
        super().__init__("read", progress_dir)
        self.sources = sources

    def process(self, element: tuple[int, str]) -> Iterator[Any]:
        index, uri = element
        source = self.sources[index]
        try:
            for record in READERS.load(source.reader)(source).read(uri):
                if isinstance(record, Reject):
                    yield self.pass_on(record)
                else:
                    self.counters.add("documents")
                    yield record
        except OSError as error:
            raise InputError(f"{uri}: cannot be read: {error}. Nothing was published.") from error
        self.counters.add("files")
