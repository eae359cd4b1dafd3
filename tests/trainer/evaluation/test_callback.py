"""DomainEval in a real Composer Trainer: its intervals, its logs, and no effect on training."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from composer import Trainer
from composer.loggers import InMemoryLogger
from composer.models import HuggingFaceModel
from torch.utils.data import DataLoader
from transformers import AutoModelForCausalLM

from plugins.callbacks import CALLBACKS
from plugins.tasks.rows import Kind
from plugins.tasks.task import Task
from schemas.errors import ConfigError
from trainer.evaluation.callback import DomainEval, _best_checkpoint, log_names, readable_line
from trainer.evaluation.evaluator import Evaluator, TaskResult

pytestmark = pytest.mark.slow


def train(
    model_dir: Path, tokenizer: Any, *callbacks: Any, batches: int = 4, **options: Any
) -> dict[str, Any]:
    """Train 4 batches with dropout on; returns losses, weights, logs and the trainer."""
    torch.manual_seed(0)
    rows_BT = torch.randint(2, 400, (batches * 2, 16))
    samples = [{"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids} for ids in rows_BT]
    plain = AutoModelForCausalLM.from_pretrained(model_dir, attention_dropout=0.2)
    model = HuggingFaceModel(plain, tokenizer=tokenizer, use_logits=False)
    memory = InMemoryLogger()
    trainer = Trainer(
        model=model,
        train_dataloader=DataLoader(samples, batch_size=2),  # type: ignore[arg-type]
        max_duration=f"{batches}ba",
        optimizers=torch.optim.AdamW(model.parameters(), lr=1e-2),
        callbacks=list(callbacks),
        loggers=[memory],
        progress_bar=False,
        device="cpu",
        seed=5,
        **options,
    )
    trainer.fit()
    losses = [value for _, value in memory.data["loss/train/total"]]
    weights = {name: value.clone() for name, value in plain.state_dict().items()}
    trainer.close()
    return {"losses": losses, "weights": weights, "logs": memory.data, "random": torch.rand(3)}


def test_training_is_bit_identical_with_and_without_it(
    tiny_model_dir: Path, tokenizer: Any, task_dir: Path
) -> None:
    without = train(tiny_model_dir, tokenizer)
    callback = DomainEval(str(task_dir), tokenizer=tokenizer, interval="1ba", max_new_tokens=5)
    with_it = train(tiny_model_dir, tokenizer, callback)

    assert without["losses"] == with_it["losses"] and len(without["losses"]) == 4
    assert len(set(without["losses"])) == 4
    assert all(torch.equal(value, with_it["weights"][name]) for name, value in without["weights"].items())
    assert torch.equal(without["random"], with_it["random"])


def test_it_evaluates_at_start_interval_and_end_once_each(
    tiny_model_dir: Path,
    tokenizer: Any,
    task_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    write_rows: Callable[..., Path],
) -> None:
    output = tmp_path / "out-{run_name}"
    held = write_rows(
        tmp_path / "held-out" / "held.jsonl", {"text": "a fever rises"}, {"text": "the drug works"}
    )
    callback = DomainEval(
        [str(task_dir), str(held)], interval="0.5dur", max_rows=4, max_new_tokens=5, output=str(output)
    )  # the tokenizer is the model's
    logs = train(tiny_model_dir, tokenizer, callback, run_name="r1")["logs"]

    names = [name for name in logs if name.startswith("metrics/domain_eval/")]
    assert sorted(names) == [
        "metrics/domain_eval/held/bits_per_byte",
        "metrics/domain_eval/mcq/accuracy",
        "metrics/domain_eval/medicine/average",
        "metrics/domain_eval/qa/exact_match",
        "metrics/domain_eval/qa/token_f1",
    ]
    for name in names:
        assert [int(timestamp.batch) for timestamp, _ in logs[name]] == [0, 2, 4]
    folder = tmp_path / "out-r1"
    trend = [json.loads(line) for line in (folder / "scores.jsonl").read_text().splitlines()]
    assert [line["batch"] for line in trend] == [0, 2, 4]
    assert trend[1]["scores"]["mcq/accuracy"] == logs["metrics/domain_eval/mcq/accuracy"][1][1]
    for batch in (0, 2, 4):
        assert len((folder / "eval" / str(batch) / "mcq.jsonl").read_text().splitlines()) == 4
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("domain_eval  ")]
    assert [line.split("  ")[1] for line in lines] == ["batch 0", "batch 2", "batch 4"]
    seconds, shares = ([value for _, value in logs[f"time/domain_eval/{name}"]] for name in ("sec", "share"))
    assert len(seconds) == 3 and all(0 < share <= 1 for share in shares)
    for line, sec, share in zip(lines, seconds, shares, strict=True):
        assert line.endswith(f"  {sec:.1f} s, {share:.1%} of the run's time")
    held_bits = [line["scores"]["held/bits_per_byte"] for line in trend]
    assert f"held bits_per_byte {held_bits[2]:.3f} ({held_bits[2] - held_bits[0]:+.3f}, lower" in lines[2]
    first = trend[0]["scores"]["mcq/accuracy"]
    change = trend[2]["scores"]["mcq/accuracy"] - first
    assert f"mcq accuracy {first:.3f} (+0.000)" in lines[0]
    assert f"mcq accuracy {first + change:.3f} ({change:+.3f})" in lines[2]


def test_bits_a_byte_are_averaged_with_nothing() -> None:
    def task(name: str, domain: str, kind: Kind, metric: str) -> Task:
        return Task(name=name, domain=domain, kind=kind, metrics=(metric,), source=lambda: [])

    tasks = [
        task("quiz", "medicine", "choice", "accuracy"),
        task("journal", "medicine", "perplexity", "bits_per_byte"),
        task("web", "general", "perplexity", "bits_per_byte"),
    ]
    scores = {"quiz": 0.5, "journal": 0.75, "web": 1.25}
    results = [TaskResult(task=each, scores={each.metrics[0]: scores[each.name]}) for each in tasks]
    assert log_names(results) == {
        "metrics/domain_eval/quiz/accuracy": 0.5,
        "metrics/domain_eval/journal/bits_per_byte": 0.75,
        "metrics/domain_eval/web/bits_per_byte": 1.25,
        "metrics/domain_eval/medicine/average": 0.5,
    }
    assert readable_line(3, results, {"quiz": 0.25, "journal": 1.0, "web": 1.0}) == (
        "domain_eval  batch 3  quiz accuracy 0.500 (+0.250)  journal bits_per_byte 0.750 (-0.250, lower is "
        "better)  web bits_per_byte 1.250 (+0.250, lower is better)"
    )
    best = _best_checkpoint("journal/bits_per_byte", tasks, "out")
    for bits, expected in ((0.9, 0.9), (1.1, 0.9), (0.8, 0.8)):
        best.consider({"journal/bits_per_byte": bits})
        assert best.score == expected
    with pytest.raises(ConfigError, match="general/average' is unknown"):
        _best_checkpoint("general/average", tasks, "out")


def fragile(name: str) -> Task:
    def source() -> Any:
        raise OSError("the disk is gone")

    return Task(name=name, domain="medicine", kind="choice", metrics=("accuracy",), source=source)


def test_a_failing_task_is_reported_and_training_goes_on(
    tiny_model_dir: Path, tokenizer: Any, task_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    callback = DomainEval(str(task_dir / "mcq.jsonl"), tokenizer=tokenizer, interval="4ba")
    callback._evaluator.tasks.append(fragile("gone"))  # type: ignore[union-attr]

    logs = train(tiny_model_dir, tokenizer, callback)["logs"]

    printed = capsys.readouterr().out
    assert "gone failed  " in printed
    assert "domain_eval: gone failed: OSError: the disk is gone" in printed
    assert len(logs["metrics/domain_eval/mcq/accuracy"]) == 2
    assert "metrics/domain_eval/medicine/average" not in logs


def test_a_failing_task_ends_training_if_asked(tiny_model_dir: Path, tokenizer: Any, task_dir: Path) -> None:
    callback = DomainEval(str(task_dir / "mcq.jsonl"), tokenizer=tokenizer, fail_training=True)
    callback._evaluator.tasks.append(fragile("gone"))  # type: ignore[union-attr]

    with pytest.raises(OSError, match="the disk is gone"):
        train(tiny_model_dir, tokenizer, callback)


def test_a_resumed_run_repeats_no_evaluation_and_keeps_the_first_scores(
    tiny_model_dir: Path, tokenizer: Any, task_dir: Path, tmp_path: Path
) -> None:
    def callback() -> DomainEval:
        return DomainEval(str(task_dir / "mcq.jsonl"), tokenizer=tokenizer, interval="2ba")

    saved = callback()
    folder = str(tmp_path / "checkpoints")
    train(tiny_model_dir, tokenizer, saved, save_folder=folder, save_interval="2ba")
    resumed = callback()
    logs = train(tiny_model_dir, tokenizer, resumed, load_path=f"{folder}/ep0-ba2-rank0.pt")["logs"]

    timestamps = [int(timestamp.batch) for timestamp, _ in logs["metrics/domain_eval/mcq/accuracy"]]
    assert timestamps == [4]
    assert resumed._first_scores == saved._first_scores


def scripted(monkeypatch: pytest.MonkeyPatch, by_batch: list[float]) -> None:
    """Let the evaluations of a run return these accuracies, one after the other."""
    scores = iter(by_batch)

    def run(self: Any, model: Any, **_: Any) -> list[TaskResult]:
        return [TaskResult(task=self.tasks[0], scores={"accuracy": next(scores)})]

    monkeypatch.setattr(Evaluator, "run", run)


def test_the_best_checkpoint_is_kept_and_can_be_loaded(
    tiny_model_dir: Path, tokenizer: Any, task_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The untrained model's score, 0.9, does not count; batch 3 is the best, batch 4 only equals it.
    scripted(monkeypatch, [0.9, 0.2, 0.1, 0.5, 0.5])
    callback = DomainEval(
        str(task_dir / "mcq.jsonl"),
        tokenizer=tokenizer,
        interval="1ba",
        output=str(tmp_path / "{run_name}"),
        keep_best="mcq/accuracy",
    )

    trained = train(tiny_model_dir, tokenizer, callback, run_name="r1")

    folder = tmp_path / "r1" / "best"
    assert sorted(path.name for path in folder.iterdir()) == ["ba3-rank0.pt", "best-rank0.pt"]
    saved = torch.load(folder / "best-rank0.pt", weights_only=False)["state"]
    assert saved["timestamp"]["Timestamp"]["batch"] == 3
    assert not torch.equal(saved["model"]["model.lm_head.weight"], trained["weights"]["lm_head.weight"])


def test_a_best_score_at_the_very_end_is_kept_too_and_a_resumed_run_knows_the_mark(
    tiny_model_dir: Path, tokenizer: Any, task_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def callback() -> DomainEval:
        return DomainEval(
            str(task_dir / "mcq.jsonl"),
            tokenizer=tokenizer,
            interval="3ba",
            output=str(tmp_path / "out"),
            keep_best="medicine/average",
        )

    best, checkpoints = tmp_path / "out" / "best", str(tmp_path / "checkpoints")
    scripted(monkeypatch, [0.1, 0.4, 0.7])  # batches 0, 3, and the end of training at 4
    train(tiny_model_dir, tokenizer, callback(), save_folder=checkpoints, save_interval="3ba")
    assert sorted(path.name for path in best.iterdir()) == ["ba4-rank0.pt", "best-rank0.pt"]

    scripted(monkeypatch, [0.3])  # batch 4 again, no better than batch 3
    resumed = callback()
    train(tiny_model_dir, tokenizer, resumed, load_path=f"{checkpoints}/ep0-ba3-rank0.pt")
    assert resumed._best is not None and resumed._best.score == 0.4


def test_training_is_bit_identical_while_the_best_is_kept(
    tiny_model_dir: Path, tokenizer: Any, task_dir: Path, tmp_path: Path
) -> None:
    without = train(tiny_model_dir, tokenizer)
    callback = DomainEval(
        str(task_dir / "mcq.jsonl"),
        tokenizer=tokenizer,
        interval="1ba",
        output=str(tmp_path / "out"),
        keep_best="mcq/accuracy",
    )
    with_it = train(tiny_model_dir, tokenizer, callback)

    assert (tmp_path / "out" / "best" / "best-rank0.pt").exists()
    assert without["losses"] == with_it["losses"]
    assert all(torch.equal(value, with_it["weights"][name]) for name, value in without["weights"].items())
    assert torch.equal(without["random"], with_it["random"])


def test_it_comes_from_a_training_configuration(tokenizer: Any, task_dir: Path) -> None:
    callback = CALLBACKS.load("domain_eval").from_config(
        {"tasks": [str(task_dir)], "interval": "10ba", "max_rows": 2}, config=None, tokenizer=tokenizer
    )

    assert [task.name for task in callback.tasks] == ["mcq", "qa"]
    for arguments, message in (
        (
            {"tasks": [], "intervall": "1ba"},
            "key 'callbacks.domain_eval.intervall' is unknown. Did you mean 'interval'",
        ),
        ({"interval": "1ba"}, "key 'callbacks.domain_eval.tasks' is missing"),
        (
            {"tasks": str(task_dir), "interval": "often"},
            "domain_eval.interval is 'often'; expected a time such as",
        ),
        ({"tasks": "/nowhere/at/all"}, "evaluation tasks '/nowhere/at/all': no such file or directory"),
        ({"tasks": str(task_dir), "batch_tokens": 0}, "batch_tokens is 0, expected at least 1"),
        (
            {"tasks": str(task_dir), "output": "out", "keep_best": "mcq/acuracy"},
            "score 'domain_eval.keep_best: mcq/acuracy' is unknown. Did you mean 'mcq/accuracy'",
        ),
        ({"tasks": str(task_dir), "keep_best": "mcq/accuracy"}, "output is None; give a local folder"),
        ({"tasks": "law", "tasks_root": str(task_dir)}, "task SCOTUS: found neither SCOTUS.jsonl"),
    ):
        with pytest.raises(ConfigError) as error:
            DomainEval.from_config(arguments, config=None, tokenizer=tokenizer)
        assert message in str(error.value)


def test_scores_on_rows_that_training_text_does_not_hold_stand_beside(
    tiny_model_dir: Path,
    tokenizer: Any,
    task_dir: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = {"mcq": {f"{task_dir}/mcq.jsonl:{line}": "the words" for line in (2, 3)}}
    monkeypatch.setattr("trainer.evaluation.callback.find_rows", lambda *_: found)
    callback = DomainEval(str(task_dir / "mcq.jsonl"), tokenizer=tokenizer, interval="4ba")
    callback._training_text = [object()]  # type: ignore[list-item]

    logs = train(tiny_model_dir, tokenizer, callback)["logs"]

    ((_, unseen), _) = logs["metrics/domain_eval/mcq/unseen/accuracy"]
    printed = capsys.readouterr().out
    assert f", {unseen:.3f} on 5 unseen rows" in printed
    assert (
        "domain_eval: mcq: 2 rows occur in the training text; the first: "
        f"{task_dir}/mcq.jsonl:2: 'the words'" in printed
    )
