"""Documents and megabytes a second and core of each reader, beside the plain library and datatrove's reader.

Each side reads the same made-up file in a process of its own, held to one core; sides take turns, and the
median of CPU seconds counts. Megabytes are those of the text that went into the file. Rivals give rows; our
documents also have the content hash by which a build knows them again, which takes most of their time where
rows are cheap. `same texts` names the rivals that give the same: those of pages differ, because each lays out
text in its own way.

PYTHON is the interpreter of a separate environment:

    uv venv --python 3.11 DIR
    uv pip install --python DIR/bin/python 'datatrove[io,processing]==0.10.1' spacy orjson faust-cchardet \\
        python-magic warcio trafilatura
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.readers.made_files import ENDINGS, make

KINDS = tuple(ENDINGS)
_SLOW = {"warc", "mediawiki", "html", "edgar", "jats"}
_OF_DATATROVE = {"csv", "jsonl", "parquet", "warc", "wet", "html"}
_RIVAL = Path(__file__).with_name("datatrove_side.py")
_COLUMNS = (
    *("kind", "documents/s", "MB/s of documents", "of rows", "of plain", "of datatrove"),
    *("rows/plain", "rows/datatrove", "same texts"),
)
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def measure(kinds: Sequence[str], megabytes: float, num_rounds: int, datatrove: str | None) -> None:
    """Print a row of a table for each kind."""
    print(f"| {' | '.join(_COLUMNS)} |\n{'|---' * len(_COLUMNS)}|")
    for kind in kinds:
        num_bytes = int(megabytes * 1e6 / (10 if kind in _SLOW else 1))
        with tempfile.TemporaryDirectory(prefix="readers-") as folder:
            path = make(kind, Path(folder), num_bytes)
            sides = {side: [sys.executable, "-m", "benchmarks.readers.sides", side, kind] for side in _OURS}
            if datatrove and kind in _OF_DATATROVE:
                sides["datatrove"] = [datatrove, str(_RIVAL), kind]
            runs: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
            for _ in range(num_rounds):
                for side, command in sides.items():
                    runs[side].append(_run([*command, str(path)]))
            print(_row(kind, runs, num_bytes), flush=True)


_OURS = ("ours", "rows", "plain")


def _run(command: list[str]) -> dict[str, Any]:
    held = [taskset, "-c", "0"] if (taskset := shutil.which("taskset")) else []
    done = subprocess.run(
        [*held, *command], check=True, capture_output=True, text=True, env={**os.environ, **_ONE_THREAD}
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _row(kind: str, runs: dict[str, list[dict[str, Any]]], num_bytes: int) -> str:
    seconds = {side: statistics.median(run["cpu_sec"] for run in each) for side, each in runs.items()}
    rates = {side: num_bytes / 1e6 / each for side, each in seconds.items()}
    first = {side: each[0] for side, each in runs.items()}
    same = [side for side in ("plain", "datatrove") if side in first and _is_same(first[side], first["ours"])]
    rival = rates.get("datatrove")
    cells = (
        kind,
        f"{first['ours']['num_documents'] / seconds['ours']:,.0f}",
        *(f"{rates[side]:.1f}" for side in _OURS),
        f"{rival:.1f}" if rival else "none",
        f"{rates['rows'] / rates['plain']:.2f}",
        f"{rates['rows'] / rival:.2f}" if rival else "",
        ", ".join(same) or "no",
    )
    return f"| {' | '.join(cells)} |"


def _is_same(found: dict[str, Any], other: dict[str, Any]) -> bool:
    return (found["num_documents"], found["digest"]) == (other["num_documents"], other["digest"])
