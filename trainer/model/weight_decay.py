"""Optimizer's parameter groups: parameters with weight decay, and parameters without.

`optimizer.no_decay` selects the parameters without decay, by kind or by regular expression. The default
follows the published recipe as far as it is documented: for continual pre-training its authors name
LLaMA-Factory, which trains with transformers' Trainer. That decays neither norms nor biases; embeddings decay
like all other matrices.

Parameters have the names that transformers gives them, without a wrapper's prefix. A parameter with several
names, such as tied embeddings, counts once, and each of its names can match.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from schemas.errors import ConfigError
from schemas.train_config import NO_DECAY_KINDS
from trainer.checkpoints.checkpoint_files import parameter_groups_in
from trainer.reporting.announce import announce

_WRAPPERS = re.compile(r"^base_model\.model\.")
"""Prefix that peft puts before the names."""
_OUTER = re.compile(r"^(module\.)?model\.|_checkpoint_wrapped_module\.")
"""Prefixes that Composer puts before and into the names."""
_SHOWN = 3


def parameter_groups(model: torch.nn.Module, no_decay: Sequence[str]) -> list[dict[str, Any]]:
    """Divide a model's trainable parameters into decayed and not decayed ones, and announce their numbers.

    Returns:
        The optimizer's groups without empty ones; the second has `weight_decay` 0.
    """
    names: dict[torch.nn.Parameter, list[str]] = {}
    kinds: dict[torch.nn.Parameter, set[str]] = {}
    for prefix, module in model.named_modules(remove_duplicate=False):
        for last, parameter in module.named_parameters(recurse=False, remove_duplicate=False):
            name = _WRAPPERS.sub("", f"{prefix}.{last}" if prefix else last)
            names.setdefault(parameter, []).append(name)
            kinds.setdefault(parameter, set()).update(_kinds(module, name))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    kept: dict[torch.nn.Parameter, None] = {}
    counts = []
    for entry in no_decay:
        if entry in NO_DECAY_KINDS:
            found = [parameter for parameter in trained if entry in kinds[parameter]]
        else:
            found = [parameter for parameter in trained if any(re.search(entry, n) for n in names[parameter])]
            if not found:
                raise _nothing(entry, [name for parameter in trained for name in names[parameter]])
        counts.append(f"{entry} {len(found)}")
        kept |= dict.fromkeys(found)
    decayed = [parameter for parameter in trained if parameter not in kept]
    if no_decay:
        announce(
            f"optimizer.no_decay: not decayed are {_count(list(kept))}: {', '.join(counts)}; decayed "
            f"{_count(decayed)}."
        )
    groups: list[dict[str, Any]] = [{"params": decayed}, {"params": list(kept), "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def check_same_groups(path: str, model: torch.nn.Module, groups: Sequence[Mapping[str, Any]]) -> None:
    """Refuse a checkpoint whose optimizer has other parameter groups than the configuration.

    torch loads groups as far as their names match: it would continue to decay norms, or not to decay weights.
    """
    names = {parameter: _OUTER.sub("", name) for name, parameter in model.named_parameters()}
    now = [{names[each] for each in group["params"]} for group in groups]
    before = [{_OUTER.sub("", name) for name in group} for group in parameter_groups_in(path)]
    both = set().union(*before) & set().union(*now)
    kept_before, kept_now = (both.intersection(set().union(*each[1:])) for each in (before, now))
    parts = [
        f"{len(found)} {what} ({', '.join(sorted(found)[:_SHOWN])}{', …' * (len(found) > _SHOWN)})"
        for found, what in (
            (kept_now - kept_before, "that it decayed are not decayed now"),
            (kept_before - kept_now, "that it did not decay are decayed now"),
        )
        if found
    ]
    if not parts:
        return
    raise ConfigError(
        f"the checkpoint {path} was written with another optimizer.no_decay; of its parameters "
        f"{'; '.join(parts)}. The run would mix both. Set it to the value of that run, or to [] if the run "
        "is older than this key and decayed all parameters; or begin another run with its weights alone: a "
        "save_folder of its own, load_path, and load_weights_only: true."
    )


def _kinds(module: torch.nn.Module, name: str) -> list[str]:
    holds = {
        "norms": "norm" in type(module).__name__.lower(),
        "biases": "bias" in name,
        "embeddings": isinstance(module, torch.nn.Embedding),
    }
    assert tuple(holds) == NO_DECAY_KINDS
    return [kind for kind, is_it in holds.items() if is_it]


def _count(parameters: Sequence[torch.nn.Parameter]) -> str:
    plural = "s" * (len(parameters) != 1)
    return f"{len(parameters)} tensor{plural} ({sum(each.numel() for each in parameters):,} parameters)"


def _nothing(pattern: str, names: Sequence[str]) -> ConfigError:
    parts = {part: name for name in reversed(names) for part in (name, *name.split("."))}
    near = difflib.get_close_matches(pattern, [*parts, *NO_DECAY_KINDS], n=3, cutoff=0.5)
    shown = list(dict.fromkeys(parts.get(each, each) for each in near)) or list(names[:3])
    return ConfigError(
        f"optimizer.no_decay: {pattern!r} matches no parameter that is trained. Near: {', '.join(shown)}. "
        f"Kinds: {', '.join(NO_DECAY_KINDS)}; any other entry is a regular expression that may match "
        "anywhere in a name."
    )
