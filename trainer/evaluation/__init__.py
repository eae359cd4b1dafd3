"""Domain evaluation: is the model getting better at its field, while it trains and after?

```
 names, directories of .jsonl / .json / .parquet
   │  task.load_tasks
   ▼
 Task ── read_rows ──► ChoiceRow | GenerateRow          bad rows: RefusedRow(file:line, why)
                          │  evaluator: a seeded subset, rank r takes rows r::world_size
             ┌────────────┴────────────┐
             ▼                         ▼
 scoring: mean log-probability   generation: greedy, to the first newline
 of each option, best one wins         │
             └────────────┬────────────┘
                          ▼
 Answer a row ── gather over ranks ──► metrics ──► TaskResult: scores, refused rows, answers
                                                      │
                        callback.DomainEval: at start, at intervals, at the end of training
                        evaluate.main:       `tutelage eval`, models side by side
```

| file | holds |
|---|---|
| task.py | what a task is, and finding tasks by name or path |
| rows.py, sources.py | what rows are, AdaptLLM's format of them, and the files they lie in |
| model.py | a causal LM as the evaluation sees it: plain, under Composer, sharded |
| ranks.py | this process among its peers |
| encoding.py | rows in tokens, tokens in batches |
| scoring.py | choice tasks |
| generation.py | generation tasks |
| metrics.py | answers to figures, and how sure a figure is |
| evaluator.py | tasks in, results out |
| callback.py, evaluate.py | the two ways in |

A task is one declaration and one line in `TASKS`; a metric is one function and one line in `METRICS`.
Rows have AdaptLLM's shape: `input`, `options`, `gold_index` for a choice; `input`, `label` for a
generation. A row that cannot be scored is named in the report and never counts as wrong or right.

Sources: Cheng et al. 2024, arXiv 2309.09530 (prompts, scoring) and arXiv 2406.14491 (the tasks).
"""

from plugins.registry import Registry

TASKS = Registry("evaluation task", "tutelage.tasks", {})
"""Tasks by name; a target is a `task.Task`."""

METRICS = Registry(
    "metric",
    "tutelage.metrics",
    {
        "accuracy": "trainer.evaluation.metrics:accuracy",
        "exact_match": "trainer.evaluation.metrics:exact_match",
        "macro_f1": "trainer.evaluation.metrics:macro_f1",
        "micro_f1": "trainer.evaluation.metrics:micro_f1",
        "token_f1": "trainer.evaluation.metrics:token_f1",
        "weighted_f1": "trainer.evaluation.metrics:weighted_f1",
    },
)
"""Metrics by name; a target is a `metrics.Metric`."""
