"""Files to documents."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from pipelines.increments.document_versions import first_version
from pipelines.steps.base import StepFn
from plugins.readers import open_reader
from plugins.readers.base import BadRow, Part
from plugins.readers.listing import shown_name
from schemas.corpus_config import SourceConfig
from schemas.errors import InputError
from schemas.records import UNEXPECTED, Reject

_DAMAGED = frozenset({"damaged_file", "truncated_file"})
"""Of BadRows: the file goes on behind it, and cannot be read there."""

_OTHER_FIELDS = frozenset({"missing_field", "not_text", "missing_id"})
"""Of rows without a document: the source names fields that they do not have."""


class FilePart(NamedTuple):
    """What one worker reads at a time: a file, or a byte range of a large one.

    Attributes:
        source: Index of the source in its stream.
        uri: The file.
        part: The range.
        number: Place of the file among all of the stream that a build reads; see
            `pipelines/increments/document_versions.py`.
    """

    source: int
    uri: str
    part: Part
    number: int = 0


class ReadFiles(StepFn):
    """Read the files of one stream.

    Takes FileParts; gives Documents, and Rejects for what could not be read.
    """

    def __init__(self, sources: tuple[SourceConfig, ...], progress_dir: str | None):
        super().__init__("read", progress_dir)
        self.sources = sources

    def process(self, element: FilePart) -> Iterator[Any]:
        index, uri, part, number = element
        reader = open_reader(self.sources[index])
        bad: Reject | None = None
        num_rows = 0
        has_good_rows = False
        try:
            for version, row in reader.versions(uri, part, first_version(number)):
                num_rows += 1
                if isinstance(row, BadRow):
                    self.counters.add("files_cut_short", row.reason == UNEXPECTED)
                    self.counters.add("files_damaged", row.reason in _DAMAGED)
                for record in reader.records(uri, row, version):
                    if isinstance(record, Reject):
                        if isinstance(row, BadRow) or record.reason in _OTHER_FIELDS:
                            bad = bad or record
                        else:
                            has_good_rows = True
                        yield self.pass_on(record)
                    else:
                        has_good_rows = True
                        self.counters.add("documents")
                        yield record
        except OSError as error:
            raise InputError(f"{shown_name(uri)}: cannot be read: {error}. Nothing was published.") from error
        if part.start == 0:
            self.counters.add("files")
            self.counters.add("files_empty", not num_rows)
            # Of a file that others read on, a row as long as this part says nothing of the rest.
            reads_on = part.end is not None and bad is not None and bad.reason == "record_too_long"
            if bad is not None and not has_good_rows and not reads_on:
                self._no_row(reader.source, uri, bad)

    def _no_row(self, source: SourceConfig, uri: str, bad: Reject) -> None:
        """Count a file of which no row could be read, or refuse it."""
        if not source.allow_unreadable:
            raise InputError(
                f"{shown_name(uri)}: no row of it could be read: {bad.reason} ({bad.detail}). Mend it, leave "
                "it out of the uri, or set allow_unreadable: true on its source. Nothing was published."
            )
        self.counters.add("files_unreadable")
