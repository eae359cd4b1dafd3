"""Seconds until a command that does no work has answered and its process has ended.

    python -m benchmarks.first_answer                              # 1 minute
    python -m benchmarks.first_answer --rival OTHER/bin/tutelage   # beside another installation, in turn

Medians over ten starts, after one that is not counted: wall time, and CPU time of the process, which the load
of the machine changes less. The corpus is that of tests/golden, built anew. --no-bytecode compiles all that a
command imports at each start, as with PYTHONDONTWRITEBYTECODE.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.golden.build_golden import CONFIGS, HERE

OURS = Path(sys.executable).with_name("tutelage")

COMMANDS = {
    "--help": ("--help",),
    "corpus --help": ("corpus", "--help"),
    "corpus show": ("corpus", "show", "corpus"),
    "corpus plan, nothing new": ("corpus", "plan", "corpus.yaml"),
    "corpus build, wrong YAML": ("corpus", "build", "wrong.yaml"),
    "train, wrong YAML": ("train", "wrong.yaml"),
}


def make_corpus(folder: Path, environment: dict[str, str]) -> None:
    """Make a corpus, its YAML and a wrong YAML."""
    for part in ("sources", "tokenizer"):
        shutil.copytree(HERE / part, folder / part)
    (folder / "corpus.yaml").write_text(json.dumps(CONFIGS["mined"]))
    (folder / "wrong.yaml").write_text("streems: {}\n")
    built = [str(OURS), "corpus", "build", "corpus.yaml"]
    subprocess.run(built, cwd=folder, env=environment, check=True, capture_output=True)


def start(command: list[str], folder: Path, environment: dict[str, str]) -> tuple[float, float]:
    """Run a command to its end; return seconds of wall time, and of CPU."""
    begun = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, _, used = os.wait4(process.pid, 0)
    process.returncode = 0  # it is reaped
    return time.perf_counter() - begun, used.ru_utime + used.ru_stime


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--starts", type=int, default=10, help="counted starts of each command (10)")
    parser.add_argument("--rival", help="`tutelage` of another installation")
    parser.add_argument("--no-bytecode", action="store_true", help="with PYTHONDONTWRITEBYTECODE")
    arguments = parser.parse_args()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    sides = {"ours": str(OURS), **({"rival": arguments.rival} if arguments.rival else {})}
    table = Table("command", *(f"{side}, {kind}" for side in sides for kind in ("seconds", "CPU")))
    with tempfile.TemporaryDirectory() as folder:
        make_corpus(Path(folder), environment)
        if arguments.no_bytecode:
            environment |= {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPYCACHEPREFIX": f"{folder}/none"}
        for name, words in COMMANDS.items():
            measured: dict[str, list[tuple[float, float]]] = {side: [] for side in sides}
            for _ in range(1 + arguments.starts):
                for side, command in sides.items():
                    measured[side].append(start([command, *words], Path(folder), environment))
            medians = [
                statistics.median(each) for side in sides for each in zip(*measured[side][1:], strict=True)
            ]
            table.add_row(name, *(f"{seconds:.2f}" for seconds in medians))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
