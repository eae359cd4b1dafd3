"""Answers of SGLang servers, parsed and validated. Written against 0.4.10, 0.5.1, 0.5.9 and 0.5.23."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from plugins.servers.json_answers import shown, token_count
from schemas.records import Generation, well_formed

_LEAST_PROBABILITY = 1e-30


def generation(value: Any) -> Generation:
    """Read the answer to one `/generate` request.

    Raises:
        ValueError: The answer is wrong; the message names the fault.
    """
    if not isinstance(value, dict) or not isinstance(value.get("text"), str):
        raise ValueError(f"expected an object with a text, found {shown(value)}")
    meta = value.get("meta_info")
    if not isinstance(meta, dict):
        raise ValueError("the answer has no meta_info")
    reason = meta.get("finish_reason")
    kind = reason.get("type") if isinstance(reason, dict) else reason
    if kind not in ("stop", "length", "abort"):
        raise ValueError(f"finish_reason is {shown(reason)}, expected stop, length or abort")
    return Generation(
        text=well_formed(value["text"]),
        finish_reason=kind,
        prompt_tokens=token_count(meta, "prompt_tokens"),
        completion_tokens=token_count(meta, "completion_tokens"),
        cached_tokens=token_count(meta, "cached_tokens"),
    )


def input_logprobs(value: Any, token_ids: Sequence[int]) -> list[float]:
    """Log-probabilities of `token_ids`, the last tokens of a request with `return_logprob`.

    Raises:
        ValueError: The answer has none, or those of other tokens.
    """
    found = value["meta_info"].get("input_token_logprobs") or []
    last = found[-len(token_ids) :] if isinstance(found, list) else []
    if [each[1] if isinstance(each, list) and len(each) > 1 else None for each in last] != list(token_ids):
        raise ValueError(
            f"expected the log-probabilities of {len(token_ids)} tokens, found those of {len(found)} or of "
            "other tokens; does the server compute them (return_logprob)?"
        )
    if not all(isinstance(each[0], float | int) and math.isfinite(each[0]) for each in last):
        raise ValueError(f"a log-probability is missing among {shown(last)}")
    return [float(each[0]) for each in last]


def choice_logprobs(value: Any, choices: Sequence[Sequence[int]]) -> tuple[float, ...]:
    """Log-probabilities of choices at the first generated token, each given by the tokens that begin it.

    Returns:
        One for each choice, the sum over its tokens; none if the answer lacks them (`token_ids_logprob`).
    """
    steps = value["meta_info"].get("output_token_ids_logprobs")
    if not isinstance(steps, list) or not steps or not isinstance(steps[0], list):
        return ()
    found = {
        each[1]: math.exp(min(each[0], 0.0))
        for each in steps[0]
        if isinstance(each, list)
        and len(each) > 1
        and isinstance(each[0], float | int)
        and math.isfinite(each[0])
        and isinstance(each[1], int)
    }
    sums = [sum(found.get(token, 0.0) for token in tokens) for tokens in choices]
    return tuple(math.log(max(each, _LEAST_PROBABILITY)) for each in sums) if any(sums) else ()
