"""Arms of the study: the corpus YAML and the training YAML of each, and its number of steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from schemas.manifest import read_manifest

SEQ_LEN = 384
ROWS_A_STEP = 1
"""Rows of 192 tokens would reject 17 of 144 pairs of a seed and part 109 from their passages."""

EVALUATIONS = 5
"""Besides the one before the first step."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """Training text of an arm.

    Attributes:
        title: What its rows hold, for tables.
        pairs: Pairs about the texts: `half` and `all` are those of the domain; None has none.
        templates: Template family: whether the model reads the pairs without their text, or after it.
        has_general: True takes half of the rows from general questions and answers.
    """

    title: str
    pairs: Literal["half", "all", "mined", "model"] | None = None
    templates: str = "pairs_apart"
    has_general: bool = False


ARMS: Mapping[str, Arm] = {
    "plain": Arm(title="plain text"),
    "instruction-half": Arm(title="pairs about half of the facts", pairs="half"),
    "plain-general": Arm(title="plain text, 1:1 with general questions and answers", has_general=True),
    "half-after-text": Arm(
        title="the same pairs after their text", pairs="half", templates="reading_comprehension"
    ),
    "instruction-all": Arm(title="pairs about all facts", pairs="all"),
    "mixed": Arm(title="instruction-half, 1:1 with general instructions", pairs="half", has_general=True),
    "mined": Arm(title="pairs mined by rules", pairs="mined"),
    "small-model": Arm(title="pairs by the small model itself", pairs="model"),
}
"""In the order in which they are trained: the arms of the primary measure come first."""

BASE = "base"
"""The model before the first step: the first point of every arm; it needs no training."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of all units; results of other settings are not mixed with them.

    Attributes:
        drugs: Drugs of a seed, a multiple of 12, the number of values of an attribute.
        tokens: Tokens of a training, without padding.
        learning_rate: Peak learning rate.
        model: Directory of the model.
    """

    drugs: int = 12
    tokens: int = 38_400
    learning_rate: float = 1e-3
    model: str = "models/smollm2-135m"


def corpus_config(arm: Arm, folder: Path, *, domain: Path, settings: Settings, seed: int) -> dict[str, Any]:
    """Corpus YAML of an arm.

    Args:
        arm: The arm.
        folder: The unit's folder; the corpus lies in `corpus/`.
        domain: Folder of `write_domain`.
        settings: Of the study.
        seed: Of the unit.
    """
    source = {"reader": "jsonl", "uri": str(domain / "texts.jsonl"), "id_field": "id"}
    streams: dict[str, Any] = {"domain": {"sources": [source], "synthesize": arm.pairs is not None}}
    if arm.has_general:
        general = {"reader": "jsonl", "uri": str(domain / "general.jsonl"), "id_field": "id"}
        streams["general"] = {"sources": [general]}
    config: dict[str, Any] = {
        "corpus": str(folder / "corpus"),
        "seed": seed,
        "streams": streams,
        "dedup": {"near": None},  # texts about different drugs share most of their wording
        "decontaminate": {"tasks": [str(domain / "tasks")]},
        "chains": {"max_documents": 2},
        "tokenizer": {"name": settings.model},
        "pack": {"seq_len": SEQ_LEN},
    }
    if arm.pairs is not None:
        config["synthesis"] = _synthesis(arm.pairs, domain, settings)
        config["templates"] = arm.templates
    return config


def _synthesis(pairs: str, domain: Path, settings: Settings) -> dict[str, Any]:
    if pairs == "mined":
        return {"backend": "mined"}
    if pairs == "model":  # as in pipelines/yamls/demo.yaml
        return {
            "backend": "transformers",
            "protocol": "chat",
            "model": settings.model,
            "max_new_tokens": 80,
            "context_tokens": 2048,
            "max_in_flight": 32,
            "options": {"batch_size": 16},
        }
    return {"backend": "recorded", "options": {"pairs": str(domain / f"pairs-{pairs}.jsonl")}}


def train_config(
    arm: Arm, folder: Path, *, domain: Path, settings: Settings, seed: int, steps: int
) -> dict[str, Any]:
    """Training YAML of an arm; the arms differ in their streams alone."""
    corpus = str(folder / "corpus")
    names = ("domain", "general") if arm.has_general else ("domain",)
    streams = {name: {"corpus": corpus, "proportion": 1 / len(names)} for name in names}
    return {
        "run_name": "unit",
        "seed": seed,
        "model": {"pretrained_model_name_or_path": settings.model},
        "train_loader": {"dataset": {"shuffle_seed": seed, "streams": streams}},
        "max_duration": f"{steps}ba",
        "global_train_batch_size": ROWS_A_STEP,
        "device_train_microbatch_size": ROWS_A_STEP,
        "precision": "fp32",
        "optimizer": {"name": "decoupled_adamw", "lr": settings.learning_rate, "betas": [0.9, 0.95]},
        "scheduler": {"name": "cosine_with_warmup", "t_warmup": "0.1dur", "alpha_f": 0.1},
        "algorithms": {"gradient_clipping": {"clipping_type": "norm", "clipping_threshold": 1.0}},
        "callbacks": {
            "domain_eval": {
                "tasks": [str(domain / "tasks")],
                "interval": f"{1 / EVALUATIONS}dur",
                "output": str(folder),
                "batch_tokens": 4096,
                "max_new_tokens": 8,  # the longest right answer has 5 tokens, `250 mg`
                "fail_training": True,
            }
        },
        "save_folder": None,
        "progress_bar": False,
    }


def steps_for(tokens: int, corpus: str) -> int:
    """Number of steps of `ROWS_A_STEP` rows that hold `tokens` tokens; a stream's last row may be padded."""
    return max(EVALUATIONS, round(tokens / (ROWS_A_STEP * tokens_a_row(corpus))))


def tokens_a_row(corpus: str) -> float:
    """Mean tokens of a row without padding; each stream gives as many rows as the others."""
    manifest = read_manifest(corpus)
    means = []
    for name in manifest.stream_names():
        sets = manifest.shard_sets(name)
        means.append(sum(each.num_tokens for each in sets) / sum(each.num_samples for each in sets))
    return sum(means) / len(means)


def times_seen(corpus: str, *, steps: int) -> dict[str, float]:
    """Number of times that a training of `steps` steps sees each stream of a corpus."""
    manifest = read_manifest(corpus)
    names = list(manifest.stream_names())
    rows = {name: sum(each.num_samples for each in manifest.shard_sets(name)) for name in names}
    return {name: steps * ROWS_A_STEP / len(names) / rows[name] for name in names}
