"""A corpus in an object store that limits writes, fails now and then, lists in pages and copies nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.faulty_bucket import serve_faulty_bucket
from tests.trainer.bucket import environment

CORPUS = "gs://bucket/corpus"
ORGANS = ("blood", "liver", "kidney", "heart", "lung", "brain", "skin", "bone")
Store = tuple[str, dict[str, bytes], Counter[str]]


@pytest.fixture
def store() -> Iterator[Store]:
    with serve_faulty_bucket(seed=26) as served:
        yield served


def write_documents(folder: Path, numbers: range) -> None:
    folder.mkdir(exist_ok=True)
    for number in numbers:
        said = (
            f"In study {number}{at} it lowered value {at * number} of the {organ}."
            for at, organ in enumerate(ORGANS)
        )
        path = folder / f"{number}.txt"
        path.write_text(f"Drug{number}al is a medicine of class {number}. {' '.join(said)}")
        os.utime(path, (1_700_000_000, 1_700_000_000))  # old enough to be known again


def start(address: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tutelage", "corpus", *arguments],
        env={**os.environ, **environment(address)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def run(address: str, *arguments: str) -> str:
    process = start(address, *arguments)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err[-3000:]
    return out


@pytest.mark.slow
def test_a_corpus_is_built_killed_resumed_grown_and_compacted_there(
    store: Store, tmp_path: Path, tokenizer_dir: str
) -> None:
    address, objects, counts = store
    write_documents(tmp_path / "documents", range(30))
    config = tmp_path / "corpus.yaml"
    values = {
        "corpus": CORPUS,
        "streams": {"domain": {"synthesize": True, "sources": [{"uri": str(tmp_path / "documents")}]}},
        "synthesis": {"backend": "mined"},
        "tokenizer": {"name": tokenizer_dir},
        "pack": {"seq_len": 256},
    }
    config.write_text(yaml.safe_dump(values))

    killed = start(address, "build", str(config))
    until = time.monotonic() + 120
    while not any(name.startswith("corpus/increments/") for name in list(objects)):
        assert time.monotonic() < until and killed.poll() is None
        time.sleep(0.05)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert not any(name.startswith("corpus/manifest/") for name in objects)
    half_written = {name for name in objects if name.startswith("corpus/increments/")}

    assert "increment 1 published, 30 documents" in run(address, "build", str(config))
    assert half_written.isdisjoint(objects)  # the lease was of this machine, so its leftovers could go
    write_documents(tmp_path / "documents", range(30, 40))
    workers = ("--", "--direct_running_mode=multi_processing", "--direct_num_workers=2")
    assert "increment 2 published, 10 documents" in run(address, "build", str(config), *workers)
    assert "increment 3 published, 40 documents" in run(address, "compact", str(config))
    verified = run(address, "verify", CORPUS)
    pairs = run(address, "export-pairs", CORPUS).splitlines()
    assert f"{len(pairs)} pairs: all sound" in verified and len(pairs) > 30
    # The store did misbehave, and no step copied or renamed an object.
    assert counts["503"] and counts["further pages"] and not counts["copies"], counts
