"""Loading of a causal LM of transformers, all of whose weights must come from its files.

`from_pretrained` gives random values to weights that the files lack, and skips weights that the model lacks.
`load_causal_lm` refuses both, and weights of another shape, unless a pattern allows them.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any

from plugins.adapter_folder import base_of, other_base, put_adapter
from plugins.attention_probe import CannotCopy, differs_from_eager, say
from plugins.hub import hub_options, why
from schemas.errors import ConfigError

_SHOWN = 3
_OF_CONFIG = ("trust_remote_code", "local_files_only")


def load_causal_lm(
    key: str, name: str, *, may_differ: Sequence[str] = (), naming: str, **options: Any
) -> Any:
    """Load a causal LM, or an adapter beside its base model.

    Args:
        key: The key or option that names it, for errors.
        name: Directory or hub name.
        may_differ: Patterns, searched in the names of weights, for weights that may be missing from the
            files, only in the files, or of another shape. A line on stderr lists those that are.
        naming: The key or option that sets `may_differ`.
        **options: Of `from_pretrained`. Without `config`, which sets an attention implementation, the
            default is probed; if it computes another model, `eager` is used and a line on stderr says so.

    Raises:
        ConfigError: It cannot be loaded, or its files do not hold its weights.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    base = base_of(key, name)
    if base is not None:
        if differs := other_base(name, base):
            say(differs)
        of_base = f"{key} {name!r} is an adapter, whose base model"
        model = load_causal_lm(of_base, base, may_differ=may_differ, naming=naming, **options)
        return put_adapter(key, name, model)
    try:
        named = [re.compile(pattern) for pattern in may_differ]
    except re.error as error:
        raise ConfigError(f"{naming}: {error.pattern!r} is no regular expression: {error}.") from error
    try:
        options |= hub_options(name)
        if "config" not in options:
            of_config = {each: value for each, value in options.items() if each in _OF_CONFIG}
            options |= _attention(name, AutoConfig.from_pretrained(name, **of_config), options)
        # Otherwise the error for another shape names no weight.
        model, loading = AutoModelForCausalLM.from_pretrained(
            name, output_loading_info=True, ignore_mismatched_sizes=True, **options
        )
    except Exception as error:  # the loaders of transformers raise many kinds
        raise ConfigError(f"{key} {name!r} cannot be loaded: {why(error, name)}") from error
    differing = {
        "missing from its files, thus random": set(loading["missing_keys"]),
        "in its files alone": set(loading["unexpected_keys"]),
        "of another shape in its files": {
            each if isinstance(each, str) else each[0]  # transformers 5 adds both shapes
            for each in loading["mismatched_keys"]
        },
    }
    refused = {
        how: {name for name in names if not any(pattern.search(name) for pattern in named)}
        for how, names in differing.items()
    }
    if any(refused.values()):
        raise ConfigError(
            f"{key} {name!r}: the weights in its files are not those of {type(model).__name__}: "
            f"{_listed(refused)}.{_wrapped(model, *list(differing.values())[:2])} Give files and a "
            f"configuration that belong together, or, if this is intended, name these weights in {naming}."
        )
    if any(differing.values()):
        say(f"{name}: as {naming} allows, {_listed(differing)}.")
    return model


def _attention(name: str, hf_config: Any, options: dict[str, Any]) -> dict[str, Any]:
    """Return options under which the model computes the same as with `eager`."""
    trust = bool(options.get("trust_remote_code"))
    try:
        differs = differs_from_eager(
            hf_config, implementation=None, row_tokens=sys.maxsize, trust_remote_code=trust
        )
    except CannotCopy as error:
        say(f"{name}: its attention was not compared with eager: {error}.")
        return {}
    if not differs:
        return {}
    say(f"{name}: {differs}; eager is used.")
    return {"attn_implementation": "eager"}


def _listed(differing: dict[str, set[str]]) -> str:
    parts = []
    for how, names in differing.items():
        if names:
            shown = ", ".join(sorted(names)[:_SHOWN])
            more = f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
            parts.append(f"{len(names):,} {how} ({shown}{more})")
    return "; ".join(parts)


def _wrapped(model: Any, missing: set[str], unexpected: set[str]) -> str:
    """Return a sentence on the prefix that a wrapper added to the names in the files, or ""."""
    endings = {name[at:]: name for name in unexpected for at in range(1, len(name)) if name[at - 1] == "."}
    prefixes = Counter(endings[name].removesuffix(name) for name in missing if name in endings).most_common(1)
    if not prefixes or prefixes[0][1] * 2 < len(missing):
        return ""
    prefix = prefixes[0][0]
    own = f"{model.base_model_prefix}."  # transformers adds it to names without it
    prefix = prefix.removeprefix(own) or prefix
    return (
        f" The names in the files begin with {prefix!r}, which a wrapper such as DDP or peft adds: save the "
        "model inside it, or strip the prefix."
    )
