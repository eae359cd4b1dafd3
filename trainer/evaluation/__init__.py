"""Domain evaluation: scores of a model on the tasks of its field, while it trains and after.

```
 plugins/tasks: Task ── read_rows ──► ChoiceRow | GenerateRow
                                          │  evaluator: a seeded subset, rank r takes rows r::world_size
                             ┌────────────┴────────────┐
                             ▼                         ▼
 scoring: mean log-probability of each       generation: greedy, up to the
 option, the option with the best score      first newline
                             └────────────┬────────────┘
                                          ▼
 Answer per row ── gather over ranks ──► metrics ──► TaskResult: scores, refused rows, answers
                                                      │
                        callback.DomainEval: at the start, at intervals, at the end of training
                        command.main:        `tutelage eval`, models side by side
```

| place | holds |
|---|---|
| scoring/ | prompts, batches, log-probabilities of options, generation, metrics |
| report/ | tables, comparisons, the trend of a training run, saved results |
| evaluator.py | from tasks and a model to results, on one process or many (ranks.py, processes.py) |
| command.py | `tutelage eval` |
| callback.py, best_checkpoint.py | scores while a model trains, and the best checkpoint |
| training_overlap.py | rows that occur in the training text |

A row that cannot be scored is named in the report and counts neither as wrong nor as right.

Sources: Cheng et al. 2024, arXiv 2309.09530 (prompts, scoring) and arXiv 2406.14491 (the tasks).
"""
