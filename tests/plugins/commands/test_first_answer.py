"""Modules that a command without work does not import, each of which takes tenths of a second or more."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]

HEAVY = {"apache_beam", "composer", "pyarrow", "sklearn", "streaming", "tokenizers", "torch", "transformers"}
OF_CONFIGURATIONS = {"fsspec", "importlib.metadata", "numpy", "omegaconf", "pydantic", "rich", "yaml"}

RUN = """
import sys, tutelage
status = tutelage.main()
print(*sys.modules, file=open("modules", "w"))
sys.exit(status)
"""


def imported(*command: str, cwd: Path, status: int) -> set[str]:
    """Run `tutelage …` in a process; return the modules that it imported."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, *command], cwd=cwd, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == status, done.stderr
    return set((cwd / "modules").read_text().split())


def test_help_imports_what_python_itself_brings(tmp_path: Path) -> None:
    assert (HEAVY | OF_CONFIGURATIONS) & imported("--help", cwd=tmp_path, status=0) == set()


@pytest.mark.parametrize(
    "command", [("corpus", "build"), ("corpus", "plan"), ("train",), ("export", "--output=x")]
)
def test_a_wrong_yaml_is_refused_before_heavy_imports(tmp_path: Path, command: tuple[str, ...]) -> None:
    (tmp_path / "wrong.yaml").write_text("streems: {}\n")
    assert HEAVY & imported(*command, "wrong.yaml", cwd=tmp_path, status=2) == set()


def test_a_plan_without_new_files_imports_no_beam(tmp_path: Path) -> None:
    source = tmp_path / "domain.jsonl"
    shutil.copytree(ROOT / "tests/golden/tokenizer", tmp_path / "tokenizer")
    source.write_text('{"text": "The dose was raised to 5 mg in week 2."}\n')
    os.utime(source, (1e9, 1e9))  # a file that has just changed is always read again
    config = {
        "corpus": "corpus",
        "streams": {"domain": {"synthesize": True, "sources": [{"reader": "jsonl", "uri": "domain.jsonl"}]}},
        "tokenizer": {"name": "tokenizer"},
    }
    (tmp_path / "corpus.yaml").write_text(json.dumps(config))
    assert "apache_beam" in imported("corpus", "build", "corpus.yaml", cwd=tmp_path, status=0)
    assert HEAVY & imported("corpus", "plan", "corpus.yaml", cwd=tmp_path, status=0) == set()
    source.write_text('{"text": "The dose was raised to 60 mg in week 3."}\n')
    assert "apache_beam" in imported("corpus", "plan", "corpus.yaml", cwd=tmp_path, status=0)
