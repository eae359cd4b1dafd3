"""`evaluate` from Python: what `tutelage eval` does, also for a loaded model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from plugins.adapter_folder import tokenizer_of
from plugins.tasks.lookup import load_tasks
from schemas.errors import ConfigError
from trainer.evaluation.command import load_for_evaluation
from trainer.startup.config_checks import check_model_name

if TYPE_CHECKING:
    from trainer.evaluation.evaluator import TaskResult


def evaluate(
    model: Any,
    tasks: str | Sequence[str],
    *,
    tokenizer: Any = None,
    tasks_root: str | None = None,
    max_rows: int | None = None,
    max_new_tokens: int = 100,
    batch_tokens: int = 8192,
    chat_template: bool | str = False,
    system: str | None = None,
    add_bos: bool | None = None,
    dtype: str | None = None,
    device: str | None = None,
    trust_remote_code: bool = False,
    seed: int = 17,
) -> list[TaskResult]:
    """Score a causal LM on tasks; `tutelage eval`.

    Args:
        model: Directory or hub name of a Hugging Face model or adapter, or a loaded model.
        tasks: Names of tasks or domains, task files or directories.
        tokenizer: Tokenizer of a loaded model; None loads that of the named model.
        tasks_root: Rows of named tasks, as DIR/TASK.jsonl; None takes them from the Hub.
        max_rows: Rows per task, chosen by `seed`; None takes all.
        max_new_tokens: Longest generated answer, in tokens.
        batch_tokens: Padded tokens of a forward pass.
        chat_template: True makes rows turns of the tokenizer's chat template; or another one's name or file.
        system: Text of the system turn.
        add_bos: Whether prompts open with BOS; None as the tokenizer does.
        dtype: `float32` or `bfloat16`; None is bfloat16 on a GPU.
        device: Such as `cpu` or `cuda:0`; None is a GPU if there is one.
        trust_remote_code: Run code that comes with the model.
        seed: Of the choice of rows and of the intervals.

    Returns:
        One result for each task, with `headline`, `summary()` and `predictions()`.

    Raises:
        ConfigError: There is no such model or task, a number is below 1, or a loaded model comes without its
            tokenizer or with options of loading.
        TutelageError: A task fails.
    """
    from plugins.tokenizers import load_tokenizer
    from trainer.evaluation.evaluator import Evaluator

    found = load_tasks([tasks] if isinstance(tasks, str) else list(tasks), tasks_root)
    if isinstance(model, (str, Path)):
        name = str(model)
        check_model_name("model", name, may_be_adapter=True)
        tokenizer = tokenizer or load_tokenizer(
            tokenizer_of("model", name), trust_remote_code=trust_remote_code
        )
        model = load_for_evaluation(name, dtype=dtype, device=device, trust_remote_code=trust_remote_code)
    elif tokenizer is None:
        raise ConfigError("a loaded model needs tokenizer=…; Tutelage's load_tokenizer reads one.")
    elif dtype is not None or device is not None:
        raise ConfigError("dtype and device are for a model to load; this one is loaded. Leave them out.")
    evaluator = Evaluator(
        found,
        tokenizer,
        add_bos=add_bos,
        chat_template=chat_template,
        system=system,
        batch_tokens=batch_tokens,
        max_new_tokens=max_new_tokens,
        max_rows=max_rows,
        seed=seed,
        intervals=True,
    )
    return evaluator.run(model, is_whole=True)
