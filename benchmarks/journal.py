"""Journal of a hundred million generations: opening, memory, look-ups and bytes written.

    python -m benchmarks.journal --rows 100000000 --generations 200000      about 5 minutes, 4 GB of disk

Several runs write real generations of 1 KB through the journal's writer, and each run is sealed. Beside them
comes a sealed table with random keys for all other generations: the look-ups read its pages, but the
answers behind its keys do not exist, because 100 GB of text do not fit a test machine. A process of its own
then opens the journal and looks up keys that it has, with their answers, and keys that it has not. Memory is
the kernel's `VmHWM`, first of the imports alone: `ru_maxrss` of a child begins with what its parent had.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from pipelines.store import sorted_table
from pipelines.store.journal import Journal
from pipelines.store.journal_contents import Contents, Snapshot, TableEntry
from pipelines.store.journal_lines import ROW, encoded
from pipelines.store.journal_sealing import seal
from pipelines.store.journal_writer import Writer
from schemas import storage
from schemas.corpus_layout import sealed_uri

_TEXT_BYTES = 1000
_RUNS = 16
_LOOK_UPS = 20_000


def _key(number: int) -> str:
    return random.Random(number).randbytes(16).hex()


def _write_runs(uri: str, count: int) -> dict[str, float]:
    """Write generations in several runs, each sealed; return bytes and seconds."""
    words = [f"{random.Random(number).getrandbits(30):x}" for number in range(5000)]
    rng, written, line_bytes, started = random.Random(1), 0, 0, time.process_time()
    write = storage.write_bytes

    def counted(uri: str, data: bytes) -> None:
        nonlocal written
        written += len(data)
        write(uri, data)

    storage.write_bytes = counted
    for run in range(_RUNS):
        writer = Writer(uri)
        for start in range(run * count // _RUNS, (run + 1) * count // _RUNS, 100):
            lines = []
            for number in range(start, min(start + 100, (run + 1) * count // _RUNS)):
                text = " ".join(rng.choices(words, k=_TEXT_BYTES // 8))
                counts = {"prompt_tokens": 500, "completion_tokens": 250, "cached_tokens": 0}
                fields = {"text": text, "finish_reason": "stop", **counts}
                lines.append(encoded({"generation": fields, "key": _key(number)}))
            writer.write(lines)
            line_bytes += sum(map(len, lines))
        writer.close()
        seal(uri)
    storage.write_bytes = write
    return {
        "generations": count,
        "line_bytes": round(line_bytes / count),
        "bytes_written_per_byte": round((line_bytes + written) / line_bytes, 3),
        "cpu_sec": round(time.process_time() - started, 1),
    }


def _add_table(uri: str, count: int) -> None:
    """Put a table of random keys before the tables of a journal."""
    rng, partitions = np.random.default_rng(1), math.ceil(count / sorted_table.PARTITION_ROWS)

    def rows(number: int) -> sorted_table.Rows:
        made = np.zeros(count // partitions, ROW)
        width = (1 << 64) / partitions
        firsts = number * width + rng.random(len(made)) * width * 0.999
        made["key"] = firsts.astype(np.uint64)
        made["rest"] = rng.integers(0, 1 << 63, len(made), np.uint64)
        made["rank"], made["size"] = 1, _TEXT_BYTES
        return sorted_table.newest(made)

    counts = sorted_table._write(uri, "table-bulk", map(rows, range(partitions)))
    snapshot = Snapshot(uri, print)
    bulk = TableEntry(name="table-bulk", counts=tuple(counts), max_rank=1)
    contents = Contents(files=snapshot.contents.files, tables=(bulk, *snapshot.contents.tables))
    storage.write_bytes(sealed_uri(uri, snapshot.number + 1), contents.model_dump_json().encode())


def _look_up(uri: str, count: int) -> None:
    """Measure one worker; runs in a process of its own."""
    keys = [_key(number) for number in random.Random(2).choices(range(count), k=_LOOK_UPS)]
    absent = [random.Random(f"absent {number}").randbytes(16).hex() for number in range(_LOOK_UPS)]
    before = _peak_mib()
    started = time.perf_counter()
    journal = Journal(uri, print)
    found = {"opening_sec": round(time.perf_counter() - started, 3)}
    for name, asked in (("stored", keys), ("absent", absent)):
        for part in ("cold", "warm"):
            started, wall = time.process_time(), time.perf_counter()
            num_found = sum(journal.find(key) is not None for key in asked)
            assert num_found == (len(asked) if name == "stored" else 0)
            found[f"{name}_{part}_per_cpu_sec"] = round(len(asked) / (time.process_time() - started))
            found[f"{name}_{part}_per_sec"] = round(len(asked) / (time.perf_counter() - wall))
    found["tables"] = len(journal._view.snapshot.tables)
    found["rows"] = sum(map(len, journal._view.snapshot.tables))
    found["imports_mib"] = before
    found["worker_mib"] = _peak_mib()
    print(json.dumps(found), flush=True)


def _peak_mib() -> int:
    """Highest resident memory of this process so far."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) // 1024 if found else 0


def main() -> None:
    """Run the benchmark and print its readings."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=100_000_000)
    parser.add_argument("--generations", type=int, default=200_000)
    parser.add_argument("--look-up", metavar="URI", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.look_up:
        _look_up(arguments.look_up, arguments.generations)
        return
    with tempfile.TemporaryDirectory() as uri:
        written = _write_runs(uri, arguments.generations)
        merges = math.ceil(math.log(max(1, arguments.rows / (1 << 21)), 4)) + 1
        written["extrapolated_to_all_rows"] = round(1 + merges * 36.1 / written["line_bytes"], 3)
        print(json.dumps(written), flush=True)
        _add_table(uri, arguments.rows - arguments.generations)
        command = [sys.executable, "-m", "benchmarks.journal", "--look-up", uri]
        subprocess.run([*command, "--generations", str(arguments.generations)], check=True)
        size = sum(entry.stat().st_size for entry in os.scandir(uri))
        print(json.dumps({"disk_gb": round(size / 1e9, 2)}))


if __name__ == "__main__":
    main()
