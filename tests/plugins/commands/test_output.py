"""Output of commands on a terminal that cannot show every character."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
NAME = "naïve – 心 😀"
"""Of Latin-1, of three bytes in UTF-8, and beyond U+FFFF."""


def corpus_named(folder: Path) -> Path:
    """A corpus without rows whose tokenizer has a name that ASCII lacks."""
    (folder / "manifest").mkdir(parents=True)
    manifest = {
        **{"format": 1, "number": 1, "created": "2026-01-01T00:00:00+00:00", "seq_len": 8},
        **{
            "tokenizer": "0" * 16,
            "tokenizer_name": NAME,
            "pad_token_id": 0,
            "config_hash": "",
            "increments": [],
        },
    }
    (folder / "manifest/000001.json").write_text(json.dumps(manifest))
    return folder


def run(*argv: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *argv],
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=ROOT,
        timeout=120,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize("start", [("plugins.commands.main", "corpus"), ("pipelines.command",)])
@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    ],
)
def test_an_ascii_terminal_shows_what_it_lacks_escaped(
    tmp_path: Path, start: tuple[str, ...], environment: dict[str, str]
) -> None:
    corpus = corpus_named(tmp_path / "corpus")
    found = run("-m", *start, "show", str(corpus), "--json", **environment)
    assert found.returncode == 0, found.stderr
    assert '"tokenizer_name": "na\\u00efve \\u2013 \\u5fc3 \\ud83d\\ude00"' in found.stdout
    assert json.loads(found.stdout)["tokenizer_name"] == NAME
    assert found.stdout.isascii()
    table = run("-m", *start, "show", str(corpus), **environment)
    assert (table.returncode, "increment" in table.stdout, table.stdout.isascii()) == (0, True, True), (
        table.stderr
    )
    helped = run("-m", *start, "show", "--help", **environment)
    assert helped.returncode == 0, helped.stderr


def test_a_file_name_that_is_no_utf8_is_shown_escaped(tmp_path: Path) -> None:
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/\xff")
    corpus_named(Path(folder))
    found = run("-m", "pipelines.command", "show", folder, PYTHONIOENCODING="utf-8")
    assert found.returncode == 0, found.stderr
    assert f"{tmp_path}/\\udcff, manifest 1" in found.stdout
