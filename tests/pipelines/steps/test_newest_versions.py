"""The newest row of an id: one state, whatever the order of files and their division into builds."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest

from pipelines.increments.document_versions import Origin, VersionOrder, first_version
from pipelines.steps import newest_versions
from pipelines.steps.newest_versions import Seen
from pipelines.store.ledger import DELETED, Ledger, ledger_row, write_ledger
from plugins.readers.row_versions import UNDATED_DELETION, stamp_of
from schemas.corpus_layout import ledger_uri
from schemas.records import Document, Reject

Row = tuple[str, Any, str]
"""Document, version, text; a text "" is a deletion, and its version "" one without a version."""

DATED: dict[str, list[Row]] = {
    "f1": [("a", 5, "five"), ("b", 1, "one"), ("c", "", "unversioned"), ("d", 3, ""), ("e", 2, "same")],
    "f2": [("a", 3, "three"), ("b", 2, ""), ("c", 1, "one"), ("d", 2, "two"), ("e", 4, "same")],
    "f3": [("a", 4, "four"), ("b", 3, "three"), ("c", "", "later"), ("d", 1, "one"), ("e", 3, "between")],
    "f10": [("a", 5, "tied"), ("b", 3, ""), ("c", 1, "tied"), ("f", "2025-01-01", "date"), ("f", 7, "n")],
}
DATED_STATE = {"a": "tied", "c": "tied", "e": "same", "f": "date"}

UNDATED: dict[str, list[Row]] = {
    "f1": [("a", 9, "old"), ("b", 1, "old"), ("c", 1, "old")],
    "f2": [("a", "", ""), ("b", "", ""), ("c", 5, "high")],
    "f3": [("a", 2, "back"), ("c", "", ""), ("c", 1, "after")],
    "f10": [("a", 1, "older"), ("c", 2, "last")],
}
UNDATED_STATE = {"a": "back", "c": "last"}


class _Counters:
    def __init__(self) -> None:
        self.found: Counter[str] = Counter()

    def add(self, name: str, by: int = 1) -> None:
        self.found[name] += by


class _Corpus:
    """Ledgers of a corpus, and builds that do what the steps of a build do with them."""

    def __init__(self, folder: Path, files: dict[str, list[Row]]):
        self._uri, self._files = str(folder), files
        self._arrived: set[str] = set()
        self._names: list[str] = []
        self.texts: dict[str, str] = {}
        self.raised = 0

    def _open(self, stream: str) -> Callable[[], Ledger]:
        return lambda: Ledger.open(self._uri, stream, self._names)

    def build(self, *new: str, alone: bool = False) -> list[Reject]:
        """Take in new files, and later ones that arrived before, like `with_later_files`, unless `alone`."""
        names = list(self._files)
        self._arrived |= {*new}
        first = min(map(names.index, new))
        files = [name for name in names[first:] if name in (new if alone else self._arrived)]
        origins = [Origin(0, "in/*", f"in/{name}") for name in files]
        order = VersionOrder(origins, ["in/*"])
        seen = Seen(self._open("s"), self._open("s.versions"), order, has_stamps=True)
        step = newest_versions._KeepNewestSeen((True,) * len(files), seen)
        step.setup()
        step.counters = counters = _Counters()  # type: ignore[assignment]
        found = sorted(_documents(self._files, files), key=lambda each: each.document_id)
        known = self._open("s")()
        rows: dict[str, list[bytes]] = {"s": [], "s.versions": []}
        rejects = []
        for group in itertools.groupby(found, key=lambda each: each.document_id):
            for made in step.process(group):
                value = made.value if isinstance(made, beam.pvalue.TaggedOutput) else made
                if isinstance(value, bytes):
                    rows["s.versions"].append(value)
                elif isinstance(value, Reject):
                    rejects.append(value)
                elif isinstance(value, Document):
                    content = DELETED if value.is_deleted else value.content_hash
                    if known.content_of(value.document_id) != content:
                        rows["s"].append(ledger_row(value.document_id, content, value.version >> 48))
                    self.texts[value.document_id] = value.text
        self._names.append(f"{len(self._names) + 1:06d}")
        for stream, written in rows.items():
            if written:
                write_ledger(ledger_uri(self._uri, stream, self._names[-1]), written, origins)
        self.raised = counters.found[newest_versions.RAISED]
        return rejects

    def state(self) -> dict[str, str]:
        return {name: text for name, text in self.texts.items() if text}


def _documents(files: dict[str, list[Row]], names: Sequence[str]) -> Iterator[Document]:
    for number, name in enumerate(names):
        for position, (document_id, version, text) in enumerate(files[name]):
            stamp = stamp_of(version)
            yield Document.of(
                document_id,
                text,
                source=f"in/{name}:{position}",
                version=first_version(number) + position,
                stamp=UNDATED_DELETION if not text and version == "" else stamp,
                is_deleted=not text,
            )


def _divisions(names: Sequence[str]) -> Iterator[list[tuple[str, ...]]]:
    """Every order of files, divided into builds in every way."""
    for order in itertools.permutations(names):
        for cuts in itertools.product([False, True], repeat=len(names) - 1):
            starts = [0, *(at for at, cut in enumerate(cuts, start=1) if cut), len(names)]
            yield [order[start:end] for start, end in itertools.pairwise(starts)]


@pytest.mark.slow
@pytest.mark.parametrize(("files", "expected"), [(DATED, DATED_STATE), (UNDATED, UNDATED_STATE)])
def test_every_order_of_files_and_every_division_into_builds_gives_one_state(
    files: dict[str, list[Row]], expected: dict[str, str], tmp_path: Path
) -> None:
    divisions = list(_divisions(list(files)))
    assert len(divisions) == 24 * 8
    for number, builds in enumerate(divisions):
        corpus = _Corpus(tmp_path / str(number), files)
        for each in builds:
            corpus.build(*each)
        assert corpus.state() == expected, builds
        corpus.build(*files)  # everything once more
        assert (corpus.state(), corpus.raised) == (expected, 0), builds
        for name in files if files is DATED else ():  # later files are gone
            corpus.build(name, alone=True)
            assert corpus.state() == expected, (builds, name)


def test_rejects_name_both_versions_and_both_places(tmp_path: Path) -> None:
    corpus = _Corpus(tmp_path, DATED)
    details = {(each.reason, each.document_id, each.source): each.detail for each in corpus.build(*DATED)}
    assert details["older_version", "a", "in/f2:0"] == "version 3; kept version 5 at in/f10:0"
    assert details["older_version", "a", "in/f1:0"] == "kept the later version at in/f10:0"
    assert details["unlike_versions", "f", "in/f10:4"] == "version 7; kept version 2025-01-01 at in/f10:3"
    other = _Corpus(tmp_path / "other", DATED)
    other.build("f10")
    (reject,) = [each for each in other.build("f1") if each.source == "in/f1:1"]
    assert (reject.reason, reject.detail) == ("older_version", "version 1; kept version 3 at in/f10:1")


def test_a_late_row_says_what_the_corpus_has_seen_and_of_which_file(tmp_path: Path) -> None:
    files: dict[str, list[Row]] = {
        "f1": [("a", 5, "five"), ("b", 9, "")],
        "f2": [("a", 3, "x"), ("b", 8, "y")],
    }
    corpus = _Corpus(tmp_path, files)
    corpus.build("f1")
    assert [(each.document_id, each.detail) for each in corpus.build("f2")] == [
        ("a", "version 3; the corpus has seen version 5 of in/f1"),
        ("b", "version 8; the corpus has seen version 9 of in/f1"),
    ]
