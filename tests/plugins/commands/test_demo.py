"""The demo with a tiny random model in place of SmolLM2; all of its processes are real."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.manifest import read_manifest
from tests.tiny import save_bytes, save_llama

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random one-layer Llama over bytes."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_bytes(folder, ["<|end|>"], eos_token="<|end|>", pad_token="<|end|>")
    save_llama(
        folder,
        vocab_size=257,
        seed=0,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=1024,
        bos_token_id=None,
        eos_token_id=0,
    )
    return folder


def run_demo(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "TMPDIR": str(cwd), "COLUMNS": "120", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "plugins.commands.main", "demo", *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=540,
        check=False,
    )


@pytest.mark.slow
def test_demo_goes_from_raw_text_to_a_model_that_loads(tiny_model: Path, tmp_path: Path) -> None:
    done = run_demo("--fast", "--model", str(tiny_model), "--output", "out", cwd=tmp_path)

    assert done.returncode == 0, done.stdout + done.stderr
    manifest = read_manifest(str(tmp_path / "out/corpus"))
    assert manifest.stream_names() == ["domain"]
    assert manifest.increments[0].num_documents == 48

    evaluations = [json.loads(line) for line in (tmp_path / "out/eval/scores.jsonl").read_text().splitlines()]
    assert [evaluation["batch"] for evaluation in evaluations] == [0, 10, 20, 30, 40]
    assert all("handbook_choice/accuracy" in evaluation["scores"] for evaluation in evaluations)

    from transformers import AutoModelForCausalLM, AutoTokenizer

    exported = str(tmp_path / "out/model")
    assert AutoModelForCausalLM.from_pretrained(exported).config.hidden_size == 32
    assert AutoTokenizer.from_pretrained(exported)("ab").input_ids

    for part in (
        "What was made",
        "Held-out scores",
        "before",
        "after",
        "One augmented text",
        "What to run next",
    ):
        assert part in done.stdout
    assert "Traceback" not in done.stderr
    assert "Warning" not in done.stderr, done.stderr


def test_a_model_that_is_no_directory_is_refused_before_anything_runs(tmp_path: Path) -> None:
    done = run_demo("--model", "nowhere", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == (
        "ConfigError: --model nowhere: holds no config.json; give a Hugging Face directory.\n"
    )
    assert list(tmp_path.iterdir()) == []
