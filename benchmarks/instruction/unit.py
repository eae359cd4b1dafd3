"""One unit of the study: an arm of a seed, from the domain's files to `seed-N/ARM.json`.

The result file is written last and atomically, so a stopped unit leaves none and begins anew. The folder of
the unit stays for a look: corpus, YAMLs and all answers, without weights.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from benchmarks.instruction.arms import (
    ARMS,
    ROWS_A_STEP,
    Settings,
    corpus_config,
    steps_for,
    times_seen,
    tokens_a_row,
    train_config,
)
from benchmarks.instruction.domain import write_domain
from benchmarks.instruction.measures import read_measures
from schemas import storage
from schemas.errors import ConfigError
from schemas.process import python_command


def result_path(output: Path, seed: int, arm: str) -> Path:
    """Path of a unit's result."""
    return output / f"seed-{seed}" / f"{arm}.json"


def read_result(output: Path, seed: int, arm: str, settings: Settings) -> dict[str, Any] | None:
    """Return the result of a finished unit, or None.

    Raises:
        ConfigError: It has other settings, or is no result.
    """
    path = result_path(output, seed, arm)
    if not path.exists():
        return None
    try:
        result: dict[str, Any] = json.loads(path.read_text("utf-8"))
        found = dict(result["settings"])
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path}: is not a result of this study ({error!r}). Delete it.") from error
    for key, expected in dataclasses.asdict(settings).items():
        if found.get(key) != expected:
            raise ConfigError(
                f"{path}: {key} is {found.get(key)!r}, expected {expected!r}. Results of different settings "
                "cannot be compared: give the same options, or another --output."
            )
    return result


def run_unit(output: Path, seed: int, arm: str, settings: Settings) -> None:
    """Build the corpus of an arm, train on it with evaluations, and write the result.

    Raises:
        ConfigError: A command failed; its own message stands above.
    """
    began = time.monotonic()
    domain, folder = output / f"seed-{seed}" / "domain", output / f"seed-{seed}" / arm
    write_domain(domain, drugs=settings.drugs, seed=seed)
    if folder.exists():
        print(f"{folder}: an unfinished unit is deleted; it begins anew", file=sys.stderr)
        shutil.rmtree(folder)
    build = corpus_config(ARMS[arm], folder, domain=domain, settings=settings, seed=seed)
    _tutelage("corpus", "build", _write_yaml(folder / "corpus.yaml", build))
    corpus = str(folder / "corpus")
    steps = steps_for(settings.tokens, corpus)
    train = train_config(ARMS[arm], folder, domain=domain, settings=settings, seed=seed, steps=steps)
    build_seconds = time.monotonic() - began
    training = json.loads(
        _tutelage("train", _write_yaml(folder / "train.yaml", train), "--json").splitlines()[-1]
    )
    a_step = ROWS_A_STEP * tokens_a_row(corpus)
    trend = [json.loads(line) for line in (folder / "scores.jsonl").read_text("utf-8").splitlines()]
    points = [
        {
            "share": evaluation["batch"] / steps,
            "tokens": round(evaluation["batch"] * a_step),
            "measures": read_measures(folder / "eval" / str(evaluation["batch"])),
        }
        for evaluation in trend
    ]
    result = {
        "arm": arm,
        "seed": seed,
        "settings": dataclasses.asdict(settings),
        "steps": steps,
        "times_seen": times_seen(corpus, steps=steps),
        "loss": training["loss"],
        "build_seconds": round(build_seconds),
        "seconds": round(time.monotonic() - began),
        "points": points,
    }
    data = json.dumps(result, indent=1, allow_nan=False)
    storage.write_bytes(str(result_path(output, seed, arm)), f"{data}\n".encode())


def _write_yaml(path: Path, config: dict[str, Any]) -> str:
    storage.write_bytes(str(path), yaml.safe_dump(config, sort_keys=False).encode())
    return str(path)


def _tutelage(*arguments: str) -> str:
    print(f"$ tutelage {' '.join(arguments)}", file=sys.stderr, flush=True)
    done = subprocess.run(
        python_command("plugins.commands.main", *arguments), stdout=subprocess.PIPE, text=True, check=False
    )
    print(done.stdout, file=sys.stderr, flush=True)
    if done.returncode:
        raise ConfigError(
            f"tutelage {' '.join(arguments)}: ended with exit status {done.returncode}; its message stands "
            "above. The same command continues with this unit."
        )
    return done.stdout
