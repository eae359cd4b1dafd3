"""Marks of an extracted text beside the known one: F1 of words, and the share of words in their order.
 Words are runs between white space, with their punctuation: a word that keeps its hyphen of a line end, or a
number that loses its exponent, is wrong. Order is the longest common subsequence over the number of known
words (Hyyrö 2004, one row of bits a word).
"""

from __future__ import annotations

import dataclasses
import difflib
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence


@dataclasses.dataclass(frozen=True, slots=True)
class Made:
    """A file with known text."""

    name: str
    features: tuple[str, ...]
    data: bytes
    text: str


@dataclasses.dataclass(frozen=True, slots=True)
class Marks:
    """How a text compares with the known one, each from 0 to 1."""

    f1: float
    order: float


def marks(text: str, known: str) -> Marks:
    """Compare an extracted text with the known one."""
    found, expected = text.split(), known.split()
    common = sum((Counter(found) & Counter(expected)).values())
    f1 = 2 * common / (len(found) + len(expected)) if found or expected else 1.0
    return Marks(f1, common_subsequence(found, expected) / max(1, len(expected)))


def common_subsequence(found: Sequence[str], expected: Sequence[str]) -> int:
    """Return the length of the longest common subsequence."""
    places: dict[str, int] = {}
    for at, word in enumerate(expected):
        places[word] = places.get(word, 0) | 1 << at
    full = (1 << len(expected)) - 1
    row = full
    for word in found:
        matched = row & places.get(word, 0)
        row = ((row + matched) | (row - matched)) & full
    return len(expected) - row.bit_count()


def report(files: Sequence[Made], extractors: Mapping[str, Callable[[bytes], str]], worst: int) -> None:
    """Print the mean marks of each extractor, over all files and by feature; the first is ours."""
    texts: dict[str, list[str]] = {}
    seconds: dict[str, float] = {}
    for name, extract in extractors.items():
        extract(files[0].data)  # loads libraries
        start = time.process_time()
        texts[name] = [extract(file.data) for file in files]
        seconds[name] = time.process_time() - start
    found = {
        name: [marks(text, file.text) for text, file in zip(each, files, strict=True)]
        for name, each in texts.items()
    }
    features = sorted({feature for file in files for feature in file.features})
    print(f"{'':28}" + "".join(f"{name:>24}" for name in extractors))
    print(f"{'':28}" + "".join(f"{'F1':>14}{'order':>10}" for _ in extractors))
    for feature in (None, *features):
        chosen = [at for at, file in enumerate(files) if feature is None or feature in file.features]
        line = f"{feature or 'all':18}{len(chosen):4} files"[:28].ljust(28)
        for name in extractors:
            mean = [found[name][at] for at in chosen]
            f1, order = (sum(each) / len(chosen) for each in ([m.f1 for m in mean], [m.order for m in mean]))
            line += f"{f1:14.3f}{order:10.3f}"
        print(line)
    print(f"{'CPU seconds':28}" + "".join(f"{each:24.2f}" for each in seconds.values()))
    ours = next(iter(extractors))
    lowest = min(range(len(files)), key=lambda at: found[ours][at].f1)
    print(f"lowest F1 of {ours}: {found[ours][lowest].f1:.3f}, {files[lowest].name}")
    for at in sorted(range(len(files)), key=lambda at: found[ours][at].f1 + found[ours][at].order)[:worst]:
        print(f"\n{files[at].name} {files[at].features}: {found[ours][at]}")
        lines = difflib.unified_diff(
            files[at].text.split(), texts[ours][at].split(), "known", "found", n=2, lineterm=""
        )
        print("\n".join(list(lines)[:60]))
