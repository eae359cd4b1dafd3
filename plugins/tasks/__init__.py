"""Evaluation tasks and their rows. Files are read here; models are scored in trainer/evaluation.

    names of tasks and domains, YAML tasks, directories of .jsonl / .json / .parquet
       │  lookup.load_tasks
       ▼
    Task ── read_rows ──► ChoiceRow | GenerateRow | TextRow      bad rows: RefusedRow(file:line, reason)

    decontaminate.tasks ── decontamination_rows.read_tasks ──► the same rows, kept out of a corpus

A row is a JSON object or a Parquet row. The first three shapes are those of AdaptLLM's sets:

    {"input": …, "options": […], "gold_index": 2}                    a choice; gold_index may be a list
    {"input_options": [one per option], "output": …, "gold_index": 2}    one completion of several inputs
    {"input": …, "label": …}                                         a generation; label may be a list
    {"text": …}                                                      a held-out text, scored in bits a byte

A field that is null counts as missing. A row with `options` and with both `input_options` and `output` is
of the second shape. A row may have an `id`, and any other field.

A task is one declaration and one line in `TASKS`; a metric is one function and one line in `METRICS`.
Nothing here imports torch.
"""

from plugins.registry import Registry

DOMAINS = {
    "biomedicine": ("MQP", "PubMedQA", "USMLE", "RCT", "ChemProt"),
    "finance": ("FPB", "FiQA_SA", "Headline", "NER", "ConvFinQA"),
    "law": ("SCOTUS", "CaseHOLD", "UNFAIR_ToS"),
}
"""Domains of the papers and their tasks; a domain may replace a task in every list of tasks."""

TASKS = Registry(
    "evaluation task",
    "tutelage.tasks",
    {name: f"plugins.tasks.adaptllm:{name.upper()}" for names in DOMAINS.values() for name in names},
)
"""Tasks by name; a target is a `task.Task`."""

METRICS = Registry(
    "metric",
    "tutelage.metrics",
    {
        name: f"trainer.evaluation.scoring.metrics:{name}"
        for name in (
            *("accuracy", "bits_per_byte", "entity_f1", "exact_match", "headline_f1", "macro_f1"),
            *("micro_f1", "number_match", "token_f1", "weighted_f1"),
        )
    },
)
"""Metrics by name; a target is a `metrics.Metric`."""
