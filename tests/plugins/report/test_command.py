"""`tutelage report`: what it takes, what it refuses, what it writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from plugins.commands.main import main

GOLDEN = Path(__file__).parents[2] / "golden"


def test_a_corpus_or_a_manifest_of_it_becomes_a_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "report.html"
    places = [str(GOLDEN / "mined/manifest/000002.json"), f"{GOLDEN}/asked/", f"{GOLDEN}/asked"]
    assert main(["report", *places, "--output", str(output)]) == 0
    assert "about 2 corpora\n" in capsys.readouterr().out
    html = output.read_text("utf-8")
    assert "<h1>Report: mined, asked</h1>" in html
    assert "manifest 2, published" in html


def test_a_run_becomes_a_page(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/metrics.jsonl").write_text('{"step": 0, "time/token": 10, "loss/train/total": 2.5}\n')
    output = tmp_path / "report.html"
    assert main(["report", str(tmp_path / "run"), "--output", str(output), "--title", "Mine"]) == 0
    html = output.read_text("utf-8")
    assert "<h1>Mine</h1>" in html
    assert "run: no evaluation yet." in html


def test_another_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path), "--output", str(tmp_path / "report.html")]) == 2
    assert capsys.readouterr().err == (
        f"ConfigError: {str(tmp_path)!r} is no corpus (it has no manifest/*.json) and no run (it has neither "
        "metrics.jsonl nor scores.jsonl). Name the folder of one of these.\n"
    )
    assert not (tmp_path / "report.html").exists()
