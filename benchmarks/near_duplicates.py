"""Near duplicates: the index of a large corpus, and our step beside datatrove's on the same text.

    python -m benchmarks.near_duplicates index                             3 minutes, 3 GB of disk
    python -m benchmarks.near_duplicates rival --python PYTHON             3 minutes

index: made-up band keys of a large corpus (uniform random numbers, like real keys), written as one index and
as the indexes of ten increments. A process of its own opens each and looks up the keys of documents, 2,000 at
a time; the index holds one in ten of them. Memory is the resident memory of that process. It includes mapped
files, and the operating system may reclaim these.

rival: texts of words with Zipf frequencies, a quarter of them planted copies with a share of their words
replaced, and a tenth as many files of /usr/share/doc. Both sides read them from the same JSON lines, one
after the other, each in one process held to one core:

    ours        words, signatures, keys, edges, clusters: what the Beam step calls, without Beam
    datatrove   MinhashDedupSignature, MinhashDedupBuckets for each of 14 buckets, MinhashDedupCluster

Both use the same sizes (5 words, 14 bands of 8), and each its own rules for words. A planted copy counts as
found unless both it and its original stay. PYTHON is the interpreter of a separate environment:

    uv venv --python 3.11 DIR
    uv pip install --python DIR/bin/python 'datatrove[processing]==0.10.1' spacy
"""

from __future__ import annotations

import argparse
import collections
import itertools
import json
import multiprocessing
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from pipelines.steps.dedup.clusters import as_contents, find_clusters, pack_rows, star_edges
from pipelines.steps.dedup.minhash import MinHasher
from pipelines.store.near_index import (
    NearIndex,
    num_partitions,
    partition_of,
    write_index,
    write_partition,
)
from schemas.content_hash import content_hash
from schemas.corpus_config import NearDedupConfig
from schemas.corpus_layout import near_index_uri

_CONFIG = NearDedupConfig()
_BATCH = 2_000
_BATCHES = 50
_HELD = 10
_RIVAL = Path(__file__).with_name("datatrove_minhash.py")


def _write(corpus: str, number: int, num_documents: int, seed: int) -> None:
    """Write an index of made-up keys, a partition at a time."""
    count = num_partitions(num_documents * _CONFIG.bands)
    uri = near_index_uri(corpus, "domain", f"{number:06d}")
    entries = []
    for partition in range(count):
        numbers = np.random.default_rng([seed, partition])
        num_rows = num_documents * _CONFIG.bands // count
        low = (partition << 64) // count + (1 << 32)
        high = ((partition + 1) << 64) // count - (1 << 32)
        keys = numbers.integers(low, high, num_rows, np.uint64, endpoint=False)
        assert (partition_of(keys, count) == partition).all()
        contents = numbers.integers(0, 1 << 64, num_rows, np.uint64, endpoint=False)
        entries.append(write_partition(uri, partition, keys, contents))
    write_index(uri, _CONFIG, entries, count=count)


def _keys(seed: int, num_documents: int) -> np.ndarray:
    """Keys to look up; the index of this seed holds those of every tenth document."""
    keys = np.random.default_rng(7).integers(0, 1 << 64, (_BATCH, _CONFIG.bands), np.uint64, endpoint=False)
    count = num_partitions(num_documents * _CONFIG.bands)
    low, high = 1 << 32, (1 << 64) // count - (1 << 32)
    held = np.random.default_rng([seed, 0]).integers(low, high, _BATCH, np.uint64, endpoint=False)
    keys[::_HELD, 3] = held[::_HELD]
    return keys


def _memory_mib(name: str) -> float:
    found = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) / 1024 if found else 0.0


def _look_up(
    corpus: str, numbers: tuple[int, ...], known: np.ndarray, answers: multiprocessing.Queue
) -> None:
    before = {name: _memory_mib(name) for name in ("VmRSS", "RssFile")}
    started = time.perf_counter()
    index = NearIndex.open(corpus, "domain", [f"{number:06d}" for number in numbers], _CONFIG)
    opened = time.perf_counter() - started
    hits = index.find(known)
    assert len(set(hits.query.tolist())) == _BATCH // _HELD, "what is in must be found"
    batches = [
        np.random.default_rng([8, at]).integers(0, 1 << 64, known.shape, np.uint64, endpoint=False)
        for at in range(_BATCHES)
    ]
    for batch in batches:
        batch[::_HELD] = known[::_HELD]
    started = time.perf_counter()
    for batch in batches:
        index.find(batch)
    looked_up = time.perf_counter() - started
    answers.put(
        {
            "open_sec": opened,
            "documents_per_sec": _BATCH * _BATCHES / looked_up,
            "resident_mib": _memory_mib("VmRSS") - before["VmRSS"],
            "of_that_files_mib": _memory_mib("RssFile") - before["RssFile"],
        }
    )


def _index(num_documents: int, folder: str) -> None:
    context = multiprocessing.get_context("spawn")
    for num_increments in (1, 10):
        with tempfile.TemporaryDirectory(dir=folder) as corpus:
            each = num_documents // num_increments
            numbers = tuple(range(1, num_increments + 1))
            started = time.perf_counter()
            for number in numbers:
                _write(corpus, number, each, seed=number)
            written = time.perf_counter() - started
            size = sum(path.stat().st_size for path in Path(corpus).rglob("*") if path.is_file())
            answers: multiprocessing.Queue = context.Queue()
            process = context.Process(target=_look_up, args=(corpus, numbers, _keys(1, each), answers))
            process.start()
            found = answers.get(timeout=300)
            process.join()
            print(
                f"{num_documents:,} documents in {num_increments} increments: "
                f"{size / 1e9:.2f} GB on disk, {size / num_documents:.0f} bytes a document, written in "
                f"{written:.0f} s; opened in {found['open_sec'] * 1000:.0f} ms; "
                f"{found['documents_per_sec']:,.0f} documents/s "
                f"({found['documents_per_sec'] * _CONFIG.bands:,.0f} look-ups/s); "
                f"{found['resident_mib']:,.0f} MiB resident, {found['of_that_files_mib']:,.0f} of it mapped",
                flush=True,
            )


def _texts(num_documents: int) -> Iterator[tuple[str, str]]:
    """Names and texts: originals such as `p7`, planted copies such as `p7+0.80`, files of this machine."""
    choice = random.Random(11)
    letters = str.maketrans("0123456789", "etaoinshrl")
    vocabulary = [f"{rank:05d}".translate(letters) for rank in range(50_000)]  # datatrove maps digits to 0
    cumulative = np.cumsum([1 / (rank + 3) for rank in range(50_000)]).tolist()
    for number in range(num_documents):
        words = choice.choices(vocabulary, cum_weights=cumulative, k=choice.randint(150, 600))
        yield f"p{number}", " ".join(words)
        if number % 3 == 0:
            share = choice.choice((0.01, 0.02, 0.04, 0.08))
            copy = [choice.choice(vocabulary) if choice.random() < share else word for word in words]
            yield f"p{number}+{share}", " ".join(copy)
    files = sorted(Path("/usr/share/doc").rglob("*"))
    choice.shuffle(files)
    num_files = 0
    for path in files:
        if num_files == num_documents // 10:
            return
        if path.is_file() and not path.is_symlink() and path.suffix not in {".gz", ".png", ".html"}:
            text = path.read_text(encoding="utf-8", errors="replace")
            if 200 < len(text) < 100_000:
                num_files += 1
                yield str(path), text


def _ours(source: str, target: str) -> None:
    """Write the names of the kept documents and the seconds of the run."""
    started = time.perf_counter()
    hasher = MinHasher(_CONFIG)
    names, contents, rows = [], [], []
    with open(source, encoding="utf-8") as file:
        while lines := list(itertools.islice(file, 1_000)):
            batch = [json.loads(line) for line in lines]
            texts = [row["text"] for row in batch]
            keys = hasher.keys(hasher.sign(texts))
            hashes = [bytes.fromhex(content_hash(text)) for text in texts]
            rows.append(pack_rows(keys.ravel(), np.repeat(as_contents(hashes), keys.shape[1])))
            names += [row["id"] for row in batch]
            contents += hashes
    signed = time.perf_counter()
    smallest = dict(find_clusters([star_edges(b"".join(rows))]))
    first = {content: name for content, name in zip(contents[::-1], names[::-1], strict=True)}
    kept = [name for content, name in first.items() if smallest.get(content, content) == content]
    done = time.perf_counter()
    Path(target).write_text(
        json.dumps({"signed_sec": signed - started, "sec": done - started, "kept": kept}), encoding="utf-8"
    )


def _rival(python: str, num_documents: int, folder: str) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as work:
        source = os.path.join(work, "texts.jsonl")
        names = []
        with open(source, "w", encoding="utf-8") as file:
            for name, text in _texts(num_documents):
                names.append(name)
                file.write(json.dumps({"id": name, "text": text}) + "\n")
        size = os.path.getsize(source)
        print(f"{len(names):,} documents, {size / 1e6:.0f} MB")
        one_core = [shutil.which("taskset") or "taskset", "-c", "0"]
        threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        kept = {}
        ours = [sys.executable, "-m", "benchmarks.near_duplicates", "ours"]
        for side, command in (("datatrove", [python, str(_RIVAL)]), ("ours", ours)):
            target = os.path.join(work, f"{side}.json")
            subprocess.run(
                [*one_core, *command, source, target],
                check=True,
                env={**os.environ, **threads},
                stderr=subprocess.DEVNULL,
            )
            found = json.loads(Path(target).read_text(encoding="utf-8"))
            kept[side] = set(found["kept"])
            print(
                f"{side}: {len(names) / found['sec']:,.0f} documents/s, "
                f"{size / 1e6 / found['sec']:.2f} MB/s, {found['sec']:.1f} s, of which signatures "
                f"{found['signed_sec']:.1f}; "
                f"{len(names) - len(kept[side]):,} dropped"
            )
        _compare(names, kept)


def _compare(names: list[str], kept: dict[str, set[str]]) -> None:
    """Print each side's share of planted copies found, and its dropped files and texts without a copy."""
    planted: dict[str, list[str]] = collections.defaultdict(list)
    for name in names:
        if "+" in name and not name.startswith("/"):
            planted[name.split("+")[1]].append(name)
    for share, copies in sorted(planted.items()):
        found = {
            side: sum(not {copy, copy.split("+")[0]} <= stayed for copy in copies) / len(copies)
            for side, stayed in kept.items()
        }
        print(
            f"  {float(share):.0%} of words replaced: " + ", ".join(f"{k} {v:.1%}" for k, v in found.items())
        )
    files = [name for name in names if name.startswith("/")]
    copied = {copy.split("+")[0] for copies in planted.values() for copy in copies}
    alone = [name for name in names if name[0] != "/" and "+" not in name and name not in copied]
    for side, stayed in kept.items():
        files_lost, alone_lost = (sum(name not in stayed for name in group) for group in (files, alone))
        print(
            f"  {side}: {files_lost:,} of {len(files):,} files dropped, "
            f"{alone_lost:,} of {len(alone):,} texts without a copy"
        )


def main() -> None:
    """Run `index` or `rival`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parts = parser.add_subparsers(dest="part", required=True)
    index = parts.add_parser("index")
    index.add_argument("--documents", type=int, default=10_000_000)
    rival = parts.add_parser("rival")
    rival.add_argument("--python", required=True, help="an interpreter with datatrove")
    rival.add_argument("--documents", type=int, default=6_000)
    for part in (index, rival):
        part.add_argument("--folder", default=tempfile.gettempdir(), help="where there is room")
    ours = parts.add_parser("ours")
    ours.add_argument("source")
    ours.add_argument("target")
    arguments = parser.parse_args()
    if arguments.part == "index":
        _index(arguments.documents, arguments.folder)
    elif arguments.part == "rival":
        _rival(arguments.python, arguments.documents, arguments.folder)
    else:
        _ours(arguments.source, arguments.target)


if __name__ == "__main__":
    main()
