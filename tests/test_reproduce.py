"""docs/reproduce.md: each command is read, its figures are those of the dry run, and its script runs."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.config import load_config
from schemas.corpus_config import CorpusConfig
from schemas.manifest import read_manifest
from schemas.train_config import TrainConfig

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs/reproduce.md").read_text(encoding="utf-8")
SCRIPT = (ROOT / "examples/reproduce/run.sh").read_text(encoding="utf-8")
COMPOSER = ["composer", "-n", "8", "-m", "trainer.train"]
LLAMA3_8B = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 8192,
    "rope_theta": 500000.0,
}
"""The published configuration, which is gated on the Hub."""


def commands(text: str) -> Iterator[list[str]]:
    """Words of each command of ours in a text of shell; training is `tutelage train` under any launcher."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True) if re.match(r" *(tutelage|composer) ", line) else []
        if words[: len(COMPOSER)] == COMPOSER:
            words = ["tutelage", "train", *words[len(COMPOSER) :]]
        if words:
            yield words


ON_THE_PAGE = [words for block in re.findall(r"(?s)```bash\n(.*?)```", PAGE) for words in commands(block)]
IN_THE_SCRIPT = list(commands(SCRIPT))


@pytest.mark.parametrize("words", ON_THE_PAGE, ids=lambda words: " ".join(words[:4]))
def test_a_command_of_the_page_is_read(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    overrides = [word for word in words if "=" in word]
    if words[1] == "corpus":
        from pipelines.arguments import make_parser

        parsed = make_parser(None).parse_args(words[2:])
        assert load_config(CorpusConfig, parsed.file, parsed.overrides).pack.seq_len == 4096
    elif words[1] == "train":
        config = load_config(TrainConfig, words[2], overrides)
        assert (config.max_duration, config.global_train_batch_size) == ("4000ba", 64)
    else:
        from trainer.evaluation.command import build_parser

        parsed = build_parser().parse_args(words[2:])
        assert parsed.tasks == Path(parsed.output).parent.name
        runs = [model for model in parsed.models if model.startswith("runs/")]
        assert {str(Path(model).parent.name) for model in runs} < RUN_NAMES


RUN_NAMES = {
    next((word[len("run_name=") :] for word in words if word.startswith("run_name=")), Path(words[2]).stem)
    for words in ON_THE_PAGE
    if words[1] == "train"
}


def test_the_script_has_every_command_of_the_page() -> None:
    assert len(ON_THE_PAGE) == 16
    missing = []
    for words in ON_THE_PAGE:
        wanted = {*words} - {"meta-llama/Meta-Llama-3-8B"}  # in small another model
        if "--dry-run" not in words and not any(wanted <= {*each} for each in IN_THE_SCRIPT):
            missing.append(words)
    assert missing == []


@pytest.mark.slow
def test_hours_and_memory_of_the_page_are_those_of_the_dry_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from trainer import train

    (tmp_path / "config.json").write_text(json.dumps(LLAMA3_8B))
    rows = re.findall(r"(?m)^\| (\d) × (\w+) \| (.*) \|$", PAGE)
    assert len(rows) == 2
    first, *others = re.findall(r"`(llama3-8b-\w+\.yaml)`", PAGE)
    assert others == ["llama3-8b-finance.yaml", "llama3-8b-vanilla.yaml"]
    for name, (gpus, gpu, figures) in [
        *((first, row) for row in rows),
        *((each, rows[0]) for each in others),
    ]:
        command = [str(ROOT / "trainer/yamls" / name), f"model.pretrained_model_name_or_path={tmp_path}"]
        command += ["--dry-run", "--json", "--seq-len", "4096", "--gpus", gpus, "--gpu", gpu]
        assert train.main(command) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["tokens"] == 1_048_576_000
        shown = (
            f"{found['hours']:.1f} | {found['gpu_hours']:.1f} | {found['memory']['total'] / 2**30:.1f} | "
            f"{found['checkpoint_bytes'] / 1e9:.1f} GB | {found['export_bytes'] / 1e9:.1f} GB"
        )
        assert figures == shown, f"{name} on {gpus} × {gpu}: write {shown}"
        assert f"{found['gpu_hours']:.1f} on {gpus} × {gpu}" in PAGE
        if gpu == "a100":  # the paper's machine took a day
            assert f"this work is {0.4 * found['hours'] / 24:.0%}" in PAGE


def test_the_example_of_a_synthesis_adds_up() -> None:
    texts = 524_288_000 / (300 + 5 * 52)
    assert f"{round(texts, -3):,.0f} abstracts" in PAGE
    assert f"{texts * 5 * 52 / 1e6:.0f} million tokens" in PAGE
    assert f"takes {texts / 20 / 3600:.1f} hours" in PAGE.replace("\n", " ")


@pytest.mark.slow
@pytest.mark.parametrize("domain", ["biomedicine", "finance"])
def test_the_script_goes_from_data_to_scores(domain: str, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environment |= {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [str(ROOT / "examples/reproduce/run.sh"), str(tmp_path / "small"), domain],
        env=environment,
        capture_output=True,
        text=True,
        timeout=540,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    runs = tmp_path / "small/runs"
    (built,) = read_manifest(str(runs / domain / "corpus")).increments
    (raw,) = read_manifest(str(runs / domain / "raw-corpus")).increments
    assert built.num_documents == raw.num_documents
    assert built.streams["domain"].num_tokens > raw.streams["domain"].num_tokens  # by the pairs
    assert built.streams["general"].num_texts == raw.streams["general"].num_texts == 160
    saved = json.loads((runs / domain / "scores.json").read_text())
    tasks = {
        "biomedicine": ["MQP", "PubMedQA", "USMLE", "RCT", "ChemProt"],
        "finance": ["FPB", "FiQA_SA", "Headline", "NER", "ConvFinQA"],
    }
    assert len(saved["models"]) == 3
    for model in saved["models"].values():
        assert sorted(each["task"] for each in model["tasks"]) == sorted(tasks[domain])
        assert {(each["rows"], each["error"]) for each in model["tasks"]} == {(9, "")}
