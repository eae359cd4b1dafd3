"""JSON of servers' answers: parsing within limits, messages of errors, counts of tokens."""

from __future__ import annotations

import json
import reprlib
from typing import Any

import orjson

from schemas.json_records import is_deeper
from schemas.limits import ANSWER_DEPTH, ANSWER_TOKENS

_SHOWN_CHARACTERS = 300


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


def token_count(meta: dict[str, Any], name: str) -> int:
    """A number of tokens; versions that do not count leave it out or send null."""
    value = meta.get(name) or 0
    if not isinstance(value, int) or not 0 <= value <= ANSWER_TOKENS:
        raise ValueError(f"{name} is {shown(value)}, expected a number of tokens up to {ANSWER_TOKENS:,}")
    return value
