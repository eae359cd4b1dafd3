"""The demo of an installed wheel, with a tiny random model in place of SmolLM2, beside foreign packages."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from plugins.commands.demo import OWN_PAIRS, PLAIN, RECORDED, Arm, Score
from schemas.config import load_config
from schemas.corpus_config import CorpusConfig
from schemas.manifest import read_manifest
from tests.installed import Installed, foreign_packages
from tests.tiny import save_bytes, save_llama
from trainer.evaluation.scoring.metrics import BitsPerByte, RowMean, bootstrap_interval

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random one-layer Llama over bytes."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    turns = "{% for turn in messages %}{{ turn['content'] }}\n{% endfor %}"
    save_bytes(folder, ["<|end|>"], chat_template=turns, eos_token="<|end|>", pad_token="<|end|>")
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


def run_demo(
    installed: Installed, *arguments: str, cwd: Path, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run the demo of an installed wheel."""
    return installed.run("demo", *arguments, cwd=cwd, timeout=540, TMPDIR=str(cwd), **environment)


def test_demo_goes_from_raw_text_to_a_model_that_loads(
    installed: Installed, tiny_model: Path, tmp_path: Path
) -> None:
    foreign_packages(tmp_path)
    arguments = ("--fast", "--model", str(tiny_model), "--output", "out")
    done = run_demo(installed, *arguments, cwd=tmp_path, PYTHONPATH=".")

    assert done.returncode == 0, done.stdout + done.stderr
    folder = tmp_path / "out/recorded"
    increment = read_manifest(str(folder / "corpus")).increments[0]
    assert increment.num_documents == 48
    assert increment.streams["domain"].num_pairs > 0  # bytes are many tokens: not all 240 fit a row

    evaluations = [json.loads(line) for line in (folder / "eval/scores.jsonl").read_text().splitlines()]
    assert [evaluation["batch"] for evaluation in evaluations] == [0, 35, 70, 105, 140]
    last = evaluations[-1]
    share, bits = (
        last["scores"][f"handbook_{name}"] for name in ("choice/accuracy", "passages/bits_per_byte")
    )
    (line,) = (line for line in done.stdout.splitlines() if f" {last['tokens']:,} " in line and "[" in line)
    assert f" {share:.2f} [" in line and f" {bits:.2f} [" in line
    assert (tmp_path / "out/report.html").is_file()
    (built,) = (line for line in done.stdout.splitlines() if line.startswith("   $ tutelage corpus build "))
    assert (tmp_path / built.split()[4]).is_file()  # so that a person can run it again

    from transformers import AutoModelForCausalLM, AutoTokenizer

    exported = str(folder / "model")
    assert AutoModelForCausalLM.from_pretrained(exported).config.hidden_size == 32
    assert AutoTokenizer.from_pretrained(exported)("ab").input_ids

    parts = ("What was trained", "What it learned", "One augmented text", "Where it is", "What to run next")
    assert [part for part in parts if part not in done.stdout] == []
    assert "Traceback" not in done.stderr
    assert "Warning" not in done.stderr, done.stderr


@pytest.mark.parametrize("arm", [PLAIN, OWN_PAIRS, RECORDED], ids=lambda arm: arm.name)
def test_an_arms_overrides_fit_the_handbooks_yaml(arm: Arm) -> None:
    """A random model writes no pairs, so that the full demo runs with a real one only."""
    found = load_config(CorpusConfig, str(ROOT / "pipelines/yamls/handbook.yaml"), arm.overrides)
    assert found.streams["domain"].synthesize == (arm is not PLAIN)
    assert found.synthesis.backend == ("transformers" if arm is OWN_PAIRS else "recorded")


def test_scores_have_the_intervals_of_tutelage_eval() -> None:
    right = [1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0]
    mean = RowMean(lambda _, value: value)
    assert Score.of(right) == pytest.approx((4 / 7, *bootstrap_interval(mean, right, right, seed=17)))
    rows = [SimpleNamespace(num_bytes=1), SimpleNamespace(num_bytes=4), SimpleNamespace(num_bytes=3)]
    interval = bootstrap_interval(BitsPerByte(), rows, [2.0, 4.0, 9.0], seed=17)
    assert Score.of([2.0, 4.0, 9.0], [1, 4, 3]) == pytest.approx((15 / 8, *interval))


def test_a_model_that_is_no_directory_is_refused_before_anything_runs(
    installed: Installed, tmp_path: Path
) -> None:
    done = run_demo(installed, "--model", "nowhere", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == (
        "ConfigError: --model nowhere: holds no config.json; give a Hugging Face directory.\n"
    )
    assert list(tmp_path.iterdir()) == []
