"""The code of docs/python.md runs as it stands there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

PAGE = Path(__file__).resolve().parents[1] / "docs" / "python.md"


@pytest.mark.slow
def test_the_examples_of_the_page_run_one_after_another(smollm2: Path, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "smollm2-135m").symlink_to(smollm2)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.txt").write_text("Because the dose was doubled, the trial ended early. " * 40)
    (tmp_path / "tasks").mkdir()
    row = {"input": "the cell binds", "options": ["a dose", "the trial"], "gold_index": 0}
    (tmp_path / "tasks" / "questions.jsonl").write_text(json.dumps(row) + "\n")
    training = {
        "run_name": "page",
        "model": {"pretrained_model_name_or_path": "models/smollm2-135m"},
        "train_loader": {
            "num_workers": 0,
            "dataset": {"streams": {"domain": {"corpus": "runs/mine/corpus"}}},
        },
        "max_duration": "1ba",
        "global_train_batch_size": 1,
        "precision": "fp32",
        "callbacks": {"hf_export": {"folder": "runs/mine/model"}},
        "optimizer": {"name": "adamw", "lr": 1.0e-5},
        "scheduler": {"name": "constant_with_warmup", "t_warmup": "0ba"},
        "save_folder": None,
    }
    (tmp_path / "train.yaml").write_text(yaml.safe_dump(training))
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 4
    script = tmp_path / "page.py"
    script.write_text("\n".join(blocks))

    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=580, check=False
    )

    assert done.returncode == 0, done.stderr[-3000:]
    lines = done.stdout.splitlines()
    assert lines[0] == "1"
    assert lines[-1].startswith("questions ")
