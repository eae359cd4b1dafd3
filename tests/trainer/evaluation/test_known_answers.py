"""Questions that a model answers without their text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from schemas.errors import ConfigError
from trainer.evaluation import known_answers
from trainer.evaluation.known_answers import KnownAnswers

ROWS: list[dict[str, Any]] = [
    {"id": "a", "input": "the patient has a", "options": ["fever", "heart lung", "liver"], "gold_index": 0},
    {"id": "b", "input": "which nerve moves", "options": ["the wrist", "yes"], "gold_index": 1},
]


def test_a_row_is_known_if_its_right_option_has_the_best_log_probability_a_token_by_a_margin(
    tiny_model_dir: Path, tokenizer: Any, model: Any, monkeypatch: Any
) -> None:
    def score(row: dict[str, Any], option: str) -> float:
        begin, whole = (
            tokenizer(text, return_tensors="pt").input_ids
            for text in (row["input"], f"{row['input']} {option}")
        )
        with torch.no_grad():
            logprobs = model(whole).logits.float().log_softmax(-1)[0, :-1]
        each = logprobs.gather(1, whole[0, 1:, None])[begin.shape[1] - 1 :, 0]
        return float(each.mean())

    leads = []
    for row in ROWS:
        scores = [score(row, option) for option in row["options"]]
        best = max(range(len(scores)), key=scores.__getitem__)
        leads.append(scores.pop(best) - max(scores))
        row["gold_index"] = best
    known = KnownAnswers("--base-model", str(tiny_model_dir))
    monkeypatch.setattr(known_answers, "_MARGIN", min(leads) - 1e-3)
    assert known.of(ROWS) == {"a", "b"}
    monkeypatch.setattr(known_answers, "_MARGIN", max(leads) + 1e-3)
    assert known.of(ROWS) == set()
    monkeypatch.setattr(known_answers, "_MARGIN", 0.0)
    wrong = [row | {"gold_index": (row["gold_index"] + 1) % 2} for row in ROWS]
    assert known.of(wrong) == set()


def test_a_model_without_a_tokenizer_is_refused_before_it_is_asked(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(ConfigError, match="cannot be loaded"):
        KnownAnswers("--base-model", str(tmp_path))
