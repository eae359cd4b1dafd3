"""Files to documents."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from pipelines.increments.changed_source_files import FilePart
from pipelines.increments.document_versions import first_version
from pipelines.steps.base import StepFn
from plugins.readers import open_reader, text_encoding
from plugins.readers.base import BadRow, Reader, Row
from plugins.readers.listing import shown_name
from plugins.readers.row_versions import MISSING
from schemas.corpus_config import SourceConfig
from schemas.errors import InputError
from schemas.records import UNEXPECTED, Reject

DECODED_AS = "decoded_as_"
"""Begin of the counters of rows whose encoding was guessed; its name follows."""

_DAMAGED = frozenset({"damaged_file", "truncated_file"})
"""Reasons of BadRows behind which the rest of the file cannot be read."""

_OTHER_FIELDS = frozenset({"missing_field", "not_text", "missing_id"})
"""Reasons of rows without a document: the source names fields that the rows do not have."""


@dataclasses.dataclass(eq=False)
class ReadFiles(StepFn):
    """Read FileParts of one stream; gives Documents, and Rejects for rows that cannot be read."""

    step = "read"
    sources: tuple[SourceConfig, ...]

    def process(self, element: FilePart) -> Iterator[Any]:
        index, uri, part, number, stamp = element
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
                    if row.num_passed_over:
                        self.counters.add(row.reason, row.num_passed_over)
                elif guess := text_encoding.guess_in(row.values):
                    self.counters.add(f"{DECODED_AS}{guess}")
                if isinstance(row, Row) and row.num_removed:
                    self.counters.add("removed_lines", row.num_removed)
                for record in reader.records(uri, row, version):
                    if isinstance(record, Reject):
                        if isinstance(row, BadRow):
                            bad = bad or (None if row.num_passed_over else record)
                        elif record.reason in _OTHER_FIELDS:
                            bad = bad or record
                        else:
                            has_good_rows = True
                        yield self.pass_on(record)
                    else:
                        has_good_rows = True
                        self.counters.add("deletions" if record.is_deleted else "documents")
                        self.counters.add("without_version", record.stamp == MISSING)
                        yield dataclasses.replace(record, stamp=stamp) if stamp else record
        except OSError as error:
            raise InputError(f"{shown_name(uri)}: cannot be read: {error}. Nothing was published.") from error
        if part.start > 0:
            self.counters.add("further_parts")
        else:
            self.counters.add("files")
            self.counters.add("files_empty", not num_rows)
            # A row as long as this part says nothing about the parts of the file that other workers read.
            reads_on = part.end is not None and bad is not None and bad.reason == "record_too_long"
            if bad is not None and not has_good_rows and not reads_on:
                self._no_row(reader, uri, bad)

    def _no_row(self, reader: Reader, uri: str, bad: Reject) -> None:
        """Count a file without a readable row, or end the run."""
        if not (reader.source.allow_unreadable or reader.has_mixed_files):
            raise InputError(
                f"{shown_name(uri)}: none of its rows can be read: {bad.reason} ({bad.detail}). Repair it, "
                "leave it out of the uri, or set allow_unreadable: true on its source. Nothing was published."
            )
        self.counters.add("files_unreadable")
