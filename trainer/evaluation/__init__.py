"""Domain evaluation: is the model getting better at its field, while it trains and after?

```
 names of tasks and domains, YAML tasks, directories of .jsonl / .json / .parquet
   │  lookup.load_tasks
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

| place | holds |
|---|---|
| tasks/ | the papers' thirteen tasks; finding tasks by name, domain or path; files and Hub sets of rows |
| scoring/ | prompts, batches, log-probabilities of options, generation, metrics |
| report/ | tables, comparisons, the trend of a training run, saved results |
| evaluator.py | tasks in, results out, on one process or many (ranks.py, processes.py) |
| evaluate.py | `tutelage eval` |
| callback.py, best_checkpoint.py | scores while a model trains, and the best checkpoint |
| training_overlap.py | rows that stand in the training text |

A task is one declaration and one line in `TASKS`; a metric is one function and one line in `METRICS`.
Rows have AdaptLLM's shape: `input`, `options`, `gold_index` for a choice; `input`, `label` for a
generation. A row that cannot be scored is named in the report and never counts as wrong or right.

Sources: Cheng et al. 2024, arXiv 2309.09530 (prompts, scoring) and arXiv 2406.14491 (the tasks).
"""

from plugins.registry import Registry

DOMAINS = {
    "biomedicine": ("MQP", "PubMedQA", "USMLE", "RCT", "ChemProt"),
    "finance": ("FPB", "FiQA_SA", "Headline", "NER", "ConvFinQA"),
    "law": ("SCOTUS", "CaseHOLD", "UNFAIR_ToS"),
}
"""The papers' domains and their tasks; a domain may be named wherever a task may."""

TASKS = Registry(
    "evaluation task",
    "tutelage.tasks",
    {
        "CaseHOLD": "trainer.evaluation.tasks.law:CASEHOLD",
        "ChemProt": "trainer.evaluation.tasks.biomedicine:CHEMPROT",
        "ConvFinQA": "trainer.evaluation.tasks.finance:CONVFINQA",
        "FPB": "trainer.evaluation.tasks.finance:FPB",
        "FiQA_SA": "trainer.evaluation.tasks.finance:FIQA_SA",
        "Headline": "trainer.evaluation.tasks.finance:HEADLINE",
        "MQP": "trainer.evaluation.tasks.biomedicine:MQP",
        "NER": "trainer.evaluation.tasks.finance:NER",
        "PubMedQA": "trainer.evaluation.tasks.biomedicine:PUBMEDQA",
        "RCT": "trainer.evaluation.tasks.biomedicine:RCT",
        "SCOTUS": "trainer.evaluation.tasks.law:SCOTUS",
        "UNFAIR_ToS": "trainer.evaluation.tasks.law:UNFAIR_TOS",
        "USMLE": "trainer.evaluation.tasks.biomedicine:USMLE",
    },
)
"""Tasks by name; a target is a `task.Task`."""

METRICS = Registry(
    "metric",
    "tutelage.metrics",
    {
        "accuracy": "trainer.evaluation.scoring.metrics:accuracy",
        "entity_f1": "trainer.evaluation.scoring.metrics:entity_f1",
        "exact_match": "trainer.evaluation.scoring.metrics:exact_match",
        "headline_f1": "trainer.evaluation.scoring.metrics:headline_f1",
        "macro_f1": "trainer.evaluation.scoring.metrics:macro_f1",
        "micro_f1": "trainer.evaluation.scoring.metrics:micro_f1",
        "number_match": "trainer.evaluation.scoring.metrics:number_match",
        "token_f1": "trainer.evaluation.scoring.metrics:token_f1",
        "weighted_f1": "trainer.evaluation.scoring.metrics:weighted_f1",
    },
)
"""Metrics by name; a target is a `metrics.Metric`."""
