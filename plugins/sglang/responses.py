"""Answers of SGLang servers, parsed and validated. Written against 0.4.10, 0.5.1, 0.5.9 and 0.5.23."""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Sequence
from typing import Any

import orjson

from schemas.json_records import is_deeper
from schemas.limits import ANSWER_DEPTH, ANSWER_TOKENS
from schemas.records import Generation, well_formed

_SHOWN_CHARACTERS = 300
_LEAST_PROBABILITY = 1e-30


def parse(body: bytes) -> Any:
    """Parse JSON, including lone surrogates, which orjson refuses.

    Raises:
        ValueError: The body is not JSON, or nests deeper than `ANSWER_DEPTH`.
    """
    too_deep = ValueError(f"the answer nests lists and objects deeper than {ANSWER_DEPTH}, the limit")
    try:
        value = orjson.loads(body)
    except ValueError:
        try:
            value = json.loads(body.decode("utf-8", "replace"), parse_int=_whole_number)
        except RecursionError:
            raise too_deep from None
    if is_deeper(value, ANSWER_DEPTH):
        raise too_deep
    return value


def _whole_number(digits: str) -> int | float:
    """Convert as orjson does: more than 64 bits make a float. `int` is slow for many digits."""
    return int(digits) if len(digits) < 20 else float(digits)


def error_message(body: bytes) -> str:
    """Message of an error body: `{"error": {"message"}}`, `{"error"}`, `{"message"}` or plain text."""
    try:
        value = parse(body)
    except ValueError:
        value = None
    if isinstance(value, dict):
        inner = value.get("error", value)
        message = inner.get("message") if isinstance(inner, dict) else inner
        if isinstance(message, str) and message:
            return message
    return body.decode("utf-8", "replace").strip() or "no message"


def shown(value: Any) -> str:
    """Beginning of a value for a message, without formatting the whole of a long or deep value."""
    return reprlib.repr(value)[:_SHOWN_CHARACTERS]


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
        prompt_tokens=_count(meta, "prompt_tokens"),
        completion_tokens=_count(meta, "completion_tokens"),
        cached_tokens=_count(meta, "cached_tokens"),
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


def _count(meta: dict[str, Any], name: str) -> int:
    """A number of tokens; versions that do not count leave it out or send null."""
    value = meta.get(name) or 0
    if not isinstance(value, int) or not 0 <= value <= ANSWER_TOKENS:
        raise ValueError(f"{name} is {shown(value)}, expected a number of tokens up to {ANSWER_TOKENS:,}")
    return value
