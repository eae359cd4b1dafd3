"""Overlap of texts with rows of the evaluation tasks, by an index of the rows' word sequences.

    task rows ─► texts ─► words ─► every 13 in a row ─► hashes, sorted ──┐
                                   (a shorter text: all of its words)    ▼
    training text ─► words ─► windows of words that tasks know ─► hashes ─► found? ─► same words? ─► overlap

The rule is GPT-3's: a text that shares 13 consecutive words with a row is contaminated, in lower case and
without punctuation. A row of fewer words is compared as a whole if it has at least 8: GPT-3 measured overlaps
with as few as 8 words for tasks of short rows, and found spurious ones below. The defaults of
`decontaminate:` are these numbers.

Of a row, its inputs and its right answers count. Wrong options do not: they are often names or labels that
occur all over a domain's text. All of a held-out text counts: a document that quotes 13 words of it is
contaminated.

Differences from GPT-3:

- GPT-3 ignored 13-grams that more than 10 training documents share: boilerplate. Here a document's fate must
  not depend on other documents, or increments would differ from one build of all. So rows are counted
  instead: a sequence that more than 10 rows share is the wording of the prompt and is ignored.
- The words that all rows of a task begin with or end in ("Question: … Answer:") are removed where a task has
  more than 10 rows, so that a short row is found without them. Rows of text alone have no prompt.
- GPT-3 cut 200 characters around the overlap and kept the pieces. Here the whole document is rejected, since
  pairs are written about whole documents; one sentence costs a book that is one document. Split it before.
- Words are those of plugins/words.py. In scripts without spaces each letter is one, so a Chinese or Japanese
  row is compared by 26 of them and a Thai, Lao, Khmer or Burmese one by 52; the name of a law is no overlap.

Paraphrases and translations are not found. Documents that the corpus took in before its tasks were named stay
in it.

Cost: 4 bytes a word, 20 a sequence and 150 a distinct word of the tasks in each worker process, some 4 MB for
1,000 rows of 100 words. A text costs its division into words; windows with a word that no task has are not
looked up. Hashes are 64 bits and only find candidates: an overlap is reported after the words are compared.

Source: Brown et al. 2020, arXiv 2005.14165, appendix C.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from plugins.tasks.rows import ChoiceRow, RefusedRow, Row, TextRow, row_number
from plugins.words import letters_per_word, words_of

_Int32s = np.ndarray[Any, np.dtype[np.int32]]
_Int64s = np.ndarray[Any, np.dtype[np.int64]]
_Hashes = np.ndarray[Any, np.dtype[np.uint64]]

_UNKNOWN = -1
_BASE = np.uint64(0x9E3779B97F4A7C15)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TaskRows:
    """The rows of one task.

    Attributes:
        name: The file's stem; its whole URI where two files have one stem.
        uri: The file.
        rows: Its good rows.
        refused: Its other rows.
    """

    name: str
    uri: str
    rows: tuple[Row, ...]
    refused: tuple[RefusedRow, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class IndexedRow:
    """A row in the index: name of its task, its position as file:line, its own id or ""."""

    task: str
    position: str
    row_id: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """A row that a text overlaps with, and the first words they share, single-spaced."""

    row: IndexedRow
    words: str


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """How much of a task is compared.

    Attributes:
        name: The task.
        uri: Its file.
        rows: Its good rows.
        rows_refused: Its other rows.
        rows_too_short: Rows with no text of `min_words` words.
        rows_of_shared_wording: Rows all of whose word sequences occur in more than `max_rows` rows.
        first_refused: Number of the first refused row and the reason, or "".
    """

    name: str
    uri: str
    rows: int
    rows_refused: int
    rows_too_short: int
    rows_of_shared_wording: int
    first_refused: str


class TaskIndex:
    """The word sequences of all tasks.

    Args:
        tasks: The tasks and their rows.
        ngram: Words of a sequence; twice or four times as many letters in scripts without spaces.
        min_words: A text of fewer than `ngram` words is one sequence if it has this many, else none; counted
            in the same way.
        max_rows: Sequences that occur in more rows are ignored.
    """

    def __init__(self, tasks: Sequence[TaskRows], *, ngram: int, min_words: int, max_rows: int):
        self._rows = [
            IndexedRow(
                task=task.name,
                position=row.position,
                row_id="" if row.row_id == row.position else row.row_id,
            )
            for task in tasks
            for row in task.rows
        ]
        self._ids: dict[str, int] = {}
        texts = [
            (row, [self._ids.setdefault(word, len(self._ids)) for word in words], letters_per_word(words))
            for row, words in _numbered_texts(tasks, min_words=min_words, max_rows=max_rows)
        ]
        self._words = np.fromiter(itertools.chain.from_iterable(ids for _, ids, _ in texts), np.int32)
        self._mixed = _mixed(len(self._ids))
        sequences: dict[int, list[tuple[_Int64s, int]]] = {}
        start = 0
        for row, ids, letters in texts:
            length = min(len(ids), ngram * letters)
            starts = np.arange(start, start + len(ids) - length + 1)
            sequences.setdefault(length, []).append((starts, row))
            start += len(ids)
        self._tables = [
            _Table.of(length, found, self._words, self._mixed, max_rows=max_rows)
            for length, found in sorted(sequences.items())
        ]
        self.coverage = _coverage(
            tasks,
            with_text={row for row, *_ in texts},
            compared={row for each in self._tables for row in each.rows},
        )

    def find(self, text: str) -> list[Overlap]:
        """Find every row that the text overlaps with, in the order of the shared words in the text."""
        words = words_of(text)
        ids = np.fromiter(map(self._ids.get, words, itertools.repeat(_UNKNOWN)), np.int32, len(words))
        longest = self._tables[-1].length if self._tables else 0
        unknown = np.ones(len(ids) + longest, bool)  # the words past the end are unknown
        unknown[: len(ids)] = ids == _UNKNOWN
        unknown_before = np.concatenate([[0], np.cumsum(unknown)])
        first: dict[int, tuple[int, int]] = {}
        windows, hashes = np.arange(len(ids)), np.zeros(len(ids), np.uint64)
        hashed = 0
        for table in self._tables:
            length = table.length
            known = unknown_before[windows + length] == unknown_before[windows]
            windows = windows[known]
            if not len(windows):
                break  # no longer window has known words only
            hashes = _hash(hashes[known], ids, windows, range(hashed, length), self._mixed)
            hashed = length
            for row, at in table.find(hashes, ids, windows, self._words).items():
                first[row] = min(first.get(row, (at, length)), (at, length))
        return [
            Overlap(row=self._rows[row], words=" ".join(words[at : at + length]))
            for (at, length), row in sorted((where, row) for row, where in first.items())
        ]


@dataclasses.dataclass(frozen=True, slots=True)
class _Table:
    """Sequences of `length` words in the order of their hashes; one entry for each row that has it.

    Attributes:
        length: Words of a sequence.
        hashes: uint64 of shape (num_entries,), sorted.
        starts: int64 of shape (num_entries,), offsets in the index's words.
        rows: int32 of shape (num_entries,), indices of the index's rows.
    """

    length: int
    hashes: _Hashes
    starts: _Int64s
    rows: _Int32s

    @classmethod
    def of(
        cls,
        length: int,
        found: Sequence[tuple[_Int64s, int]],
        words: _Int32s,
        mixed: _Hashes,
        *,
        max_rows: int,
    ) -> _Table:
        """Make a table from the offsets at which each row's sequences start."""
        starts = np.concatenate([each for each, _ in found])
        rows = np.repeat(
            np.array([row for _, row in found], np.int32), np.array([len(each) for each, _ in found])
        )
        hashes = _hash(np.zeros(len(starts), np.uint64), words, starts, range(length), mixed)
        order = np.lexsort((starts, rows, hashes))
        starts, rows, hashes = starts[order], rows[order], hashes[order]
        # Several inputs of one row have most of their sequences in common.
        once = np.ones(len(rows), bool)
        once[1:] = (hashes[1:] != hashes[:-1]) | (rows[1:] != rows[:-1])
        starts, rows, hashes = starts[once], rows[once], hashes[once]
        _, of_hash, num_rows = np.unique(hashes, return_inverse=True, return_counts=True)
        kept = num_rows[of_hash] <= max_rows
        return cls(length, hashes[kept], starts[kept], rows[kept])

    def find(self, hashes: _Hashes, ids: _Int32s, windows: _Int64s, words: _Int32s) -> dict[int, int]:
        """Find the rows that have one of a text's windows; to each, the offset of the first such window.

        Args:
            hashes: Of the windows' words.
            ids: The text's words.
            windows: Offset of each window in the text, in order.
            words: The index's words.
        """
        begins = np.searchsorted(self.hashes, hashes, side="left")
        ends = np.searchsorted(self.hashes, hashes, side="right")
        found: dict[int, int] = {}
        for which in np.flatnonzero(begins < ends):
            at = int(windows[which])
            for entry in range(begins[which], ends[which]):
                start, row = self.starts[entry], int(self.rows[entry])
                if row not in found and np.array_equal(
                    words[start : start + self.length], ids[at : at + self.length]
                ):
                    found[row] = at
        return found


def _hash(hashes: _Hashes, ids: _Int32s, starts: _Int64s, offsets: range, mixed: _Hashes) -> _Hashes:
    """Extend polynomial hashes modulo 2**64 by the ids at these offsets from each start."""
    for offset in offsets:
        hashes = hashes * _BASE + mixed[ids[starts + offset]]
    return hashes


def _mixed(count: int) -> _Hashes:
    """A 64-bit number for each id that looks random and is the same everywhere (splitmix64)."""
    mixed = np.arange(1, count + 1, dtype=np.uint64) * _BASE
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    result: _Hashes = mixed ^ (mixed >> np.uint64(31))
    return result


def _numbered_texts(
    tasks: Sequence[TaskRows], *, min_words: int, max_rows: int
) -> Iterator[tuple[int, list[str]]]:
    """Yield the index of each row over all tasks with the words of each of its texts that is long enough."""
    first = 0
    for task in tasks:
        parted = [_inputs_and_answers(row) for row in task.rows]
        inputs = [(first + at, words_of(text)) for at, (texts, _) in enumerate(parted) for text in texts]
        if len(task.rows) > max_rows and not all(isinstance(row, TextRow) for row in task.rows):
            inputs = _without_frame(inputs)
        answers = [(first + at, words_of(text)) for at, (_, texts) in enumerate(parted) for text in texts]
        yield from (
            (row, words)
            for row, words in [*inputs, *answers]
            if len(words) >= min_words * letters_per_word(words)
        )
        first += len(task.rows)


def _inputs_and_answers(row: Row) -> tuple[Sequence[str], Sequence[str]]:
    """The texts that the model reads, each once, and the right answers."""
    if isinstance(row, TextRow):
        return (row.text,), ()
    if not isinstance(row, ChoiceRow):
        return (row.input,), row.labels
    right = row.gold or range(len(row.options))  # without gold_index all options are the one output
    return list(dict.fromkeys(row.inputs)), list(dict.fromkeys(row.options[at] for at in right))


def _without_frame(inputs: list[tuple[int, list[str]]]) -> list[tuple[int, list[str]]]:
    """Remove the words that all inputs begin with, and those that all end in."""
    begin = _num_common([words for _, words in inputs])
    end = _num_common([words[begin:][::-1] for _, words in inputs])
    return [(row, words[begin : len(words) - end]) for row, words in inputs]


def _num_common(texts: Sequence[list[str]]) -> int:
    """Number of words that all texts begin with; the first and the last in order differ the soonest."""
    same = zip(min(texts), max(texts), strict=False)
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], same))


def _coverage(tasks: Sequence[TaskRows], *, with_text: set[int], compared: set[int]) -> tuple[Coverage, ...]:
    coverage = []
    first = 0
    for task in tasks:
        rows = set(range(first, first + len(task.rows)))
        refused = [f"{row_number(row.position)}: {row.reason}" for row in task.refused[:1]]
        coverage.append(
            Coverage(
                name=task.name,
                uri=task.uri,
                rows=len(rows),
                rows_refused=len(task.refused),
                rows_too_short=len(rows - with_text),
                rows_of_shared_wording=len((rows & with_text) - compared),
                first_refused="".join(refused),
            )
        )
        first += len(rows)
    return tuple(coverage)
