"""Scores of options by a model that is named, not loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from trainer.evaluation.option_scores import option_scores

ROWS = [
    {"id": "a", "input": "the patient has a", "options": ["fever", "heart lung", "liver"], "gold_index": 0},
    {"id": "b", "input": "which nerve moves", "options": ["the wrist", "yes"], "gold_index": 1},
]


def test_each_option_gets_the_mean_log_probability_of_its_tokens(
    tiny_model_dir: Path, tokenizer: Any, model: Any
) -> None:
    import torch

    scores = option_scores("--base-model", str(tiny_model_dir), ROWS)
    assert {name: len(found) for name, found in scores.items()} == {"a": 3, "b": 2}
    for row in ROWS:
        for option, score in zip(row["options"], scores[row["id"]], strict=True):  # type: ignore[arg-type,call-overload]
            begin, whole = (
                tokenizer(text, return_tensors="pt").input_ids
                for text in (row["input"], f"{row['input']} {option}")
            )
            with torch.no_grad():
                logprobs = model(whole).logits.float().log_softmax(-1)[0, :-1]
            each = logprobs.gather(1, whole[0, 1:, None])[begin.shape[1] - 1 :, 0]
            assert score == pytest.approx(each.mean().item(), abs=1e-4)
