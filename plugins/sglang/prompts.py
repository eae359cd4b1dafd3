"""Prompts of anyone's pipeline, checked and made into what SGLang's `/generate` takes."""

from __future__ import annotations

import dataclasses
import json
import operator
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any

from plugins.synthesizers.generator import GenerationFailure
from schemas.errors import ConfigError
from schemas.records import digest, well_formed

Request = tuple[dict[str, Any], str]
"""A body and its affinity."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SGLangPrompt:
    """A prompt with what is its own.

    Attributes:
        prompt: Text, or token ids.
        sampling_params: By SGLang's names: max_new_tokens, temperature, top_p, stop, json_schema (as text
            or as a mapping), ... They win over those of the handler and of RunInference, key by key.
        affinity: Prompts with the same value go to the same endpoint, where they share its prefix cache.
            Without one, prompts spread over the endpoints.
    """

    prompt: str | Sequence[int]
    sampling_params: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    affinity: str = ""


def request_of(element: Any, defaults: Mapping[str, Any]) -> Request | GenerationFailure:
    """The body and affinity to send for an element; a failure for what is no prompt.

    Without an affinity of its own a prompt gets one, so that prompts spread over the endpoints.
    """
    given = element if isinstance(element, SGLangPrompt) else SGLangPrompt(prompt=element)
    try:
        body = {**_prompt(given.prompt), "sampling_params": _sampling(defaults, given.sampling_params)}
        if not isinstance(given.affinity, str):
            raise ValueError(f"affinity is {reprlib.repr(given.affinity)}; expected a string")
    except ValueError as error:
        return GenerationFailure(reason="bad_prompt", detail=str(error))
    return body, given.affinity or digest(str(given.prompt))


def _prompt(prompt: Any) -> dict[str, Any]:
    found = f"found {type(prompt).__name__} {reprlib.repr(prompt)}"
    if not isinstance(prompt, (str, list, tuple)):
        raise ValueError(f"{found}; expected text, a list or tuple of token ids, or an SGLangPrompt of them")
    if not prompt:
        raise ValueError(f"{found}; a prompt needs at least one token")
    if isinstance(prompt, str):
        return {"text": well_formed(prompt)}
    try:
        ids = [operator.index(token) for token in prompt]
    except TypeError:
        raise ValueError(
            f"{found}; expected whole numbers, which are token ids (for pairs of a key and a prompt, use "
            "KeyedModelHandler)"
        ) from None
    if min(ids) < 0:
        raise ValueError(f"{found}; expected token ids of 0 or more")
    return {"input_ids": ids}


def _sampling(*layers: Any) -> dict[str, Any]:
    """Merge parameters, later ones over earlier ones, and refuse what could only cost attempts."""
    merged: dict[str, Any] = {}
    for layer in layers:
        if not isinstance(layer, Mapping):
            raise ValueError(f"sampling arguments are {reprlib.repr(layer)}; expected a mapping of names")
        merged.update(layer)
    try:
        if isinstance(merged.get("json_schema"), Mapping):  # SGLang wants text
            merged["json_schema"] = json.dumps(dict(merged["json_schema"]))
        json.dumps(merged, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"sampling arguments {reprlib.repr(merged)} are no JSON: {error}") from None
    if merged.get("n") not in (None, 1):
        raise ValueError(f"n is {merged['n']!r}; a prompt gets one answer: for more, give it several times")
    return merged


def checked_params(name: str, params: Any) -> dict[str, Any]:
    """Sampling parameters for many prompts; raises ConfigError for what no prompt could be sent with."""
    try:
        return _sampling(params)
    except ValueError as error:
        raise ConfigError(f"{name}: {error}.") from None
