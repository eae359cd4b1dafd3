"""What an SGLang server answers, made into values. Written against 0.4.10, 0.5.1, 0.5.9 and 0.5.23."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import orjson

from schemas.records import Generation, well_formed

_SHOWN_CHARACTERS = 300
_API_PATH = re.compile(r"(/v1)?(/generate|(/chat)?/completions|/models)?/*$")


def parse(body: bytes) -> Any:
    """The JSON value of a body, half emojis included, which strict parsers refuse.

    Raises:
        ValueError: It is no JSON.
    """
    try:
        return orjson.loads(body)
    except ValueError:
        return json.loads(body.decode("utf-8", "replace"))


def base_url_hint(url: str) -> str:
    """What to name instead, where a URL ends in a path that the client adds or that is of another API."""
    base = _API_PATH.sub("", url)
    return "" if base == url.rstrip("/") else f" (give the server's base URL: {base})"


def error_message(body: bytes) -> str:
    """The message in an error body: `{"error": {"message"}}`, `{"error"}`, `{"message"}` or plain text."""
    try:
        value = parse(body)
    except ValueError:
        return body.decode("utf-8", "replace").strip()[:_SHOWN_CHARACTERS] or "no message"
    if isinstance(value, dict):
        inner = value.get("error", value)
        message = inner.get("message") if isinstance(inner, dict) else inner
        if isinstance(message, str) and message:
            return message[:_SHOWN_CHARACTERS]
    return str(value)[:_SHOWN_CHARACTERS]


def generation(value: Any) -> Generation:
    """Read the answer to one `/generate` request.

    Raises:
        ValueError: It is no such answer; the message says what is wrong with it.
    """
    if not isinstance(value, dict) or not isinstance(value.get("text"), str):
        raise ValueError(f"expected an object with a text, found {str(value)[:_SHOWN_CHARACTERS]}")
    meta = value.get("meta_info")
    if not isinstance(meta, dict):
        raise ValueError("the answer has no meta_info")
    reason = meta.get("finish_reason")
    kind = reason.get("type") if isinstance(reason, dict) else reason
    if kind not in ("stop", "length", "abort"):
        raise ValueError(f"finish_reason is {reason!r}, expected stop, length or abort")
    return Generation(
        text=well_formed(value["text"]),
        finish_reason=kind,
        prompt_tokens=_count(meta, "prompt_tokens"),
        completion_tokens=_count(meta, "completion_tokens"),
        cached_tokens=_count(meta, "cached_tokens"),
    )


def input_logprobs(value: Any, token_ids: Sequence[int]) -> list[float]:
    """The log-probabilities of a request's last tokens, of an answer to `return_logprob`.

    Args:
        value: The answer to one `/generate` request.
        token_ids: The tokens asked about, the last ones of the request.

    Raises:
        ValueError: It tells of other tokens, or of none.
    """
    told = value["meta_info"].get("input_token_logprobs") or []
    last = told[len(told) - len(token_ids) :] if len(told) >= len(token_ids) else []
    if [each[1] for each in last] != list(token_ids):
        raise ValueError(
            f"expected the log-probabilities of {len(token_ids)} tokens, found those of {len(told)} or of "
            "others; does the server compute them (return_logprob)?"
        )
    if not all(isinstance(each[0], float | int) for each in last):
        raise ValueError(f"a log-probability is missing among {str(last)[:_SHOWN_CHARACTERS]}")
    return [float(each[0]) for each in last]


def _count(meta: dict[str, Any], name: str) -> int:
    """A number of tokens; versions that do not count leave it out or say null."""
    value = meta.get(name) or 0
    if not isinstance(value, int):
        raise ValueError(f"{name} is {value!r}, expected a number")
    return value
