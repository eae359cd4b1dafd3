"""Pairs as JSON: how a model is meant to write them, and how they are read whatever it wrote.

Models wrap objects in lists, fences and prose, repeat keys, run on, and stop in the middle. Reading takes
every object that holds a question and an answer, and loses only what holds neither.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from schemas.records import InstructionPair, well_formed

_STRING_MEMBER = re.compile(r'"(\w+)"\s*:\s*"((?:[^"\\]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*)"')
_WRAPPER = re.compile(r'\{\s*"[^"]*"\s*:\s*\[?\s*\{')
"""An object whose first member is another, or a list of others."""
_QUESTION_KEYS = ("question", "instruction", "prompt")
_ANSWER_KEYS = ("answer", "response", "output")


def pairs_schema(max_pairs: int) -> str:
    """The JSON schema of an answer: `{"pairs": [{"question", "options"?, "reasoning"?, "answer"}]}`."""
    text = {"type": "string"}
    pair = {
        "type": "object",
        "properties": {
            "question": text,
            "options": {"type": "array", "items": text},
            "reasoning": text,
            "answer": text,
        },
        "required": ["question", "answer"],
        "additionalProperties": False,
    }
    schema = {
        "type": "object",
        "properties": {"pairs": {"type": "array", "items": pair, "minItems": 1, "maxItems": max_pairs}},
        "required": ["pairs"],
        "additionalProperties": False,
    }
    return json.dumps(schema)  # a grammar keeps the order of the properties


def write_lines(pairs: Sequence[InstructionPair]) -> str:
    """Pairs as one JSON object a line."""
    return "\n".join(json.dumps(_value(pair), ensure_ascii=False) for pair in pairs)


def write_object(pairs: Sequence[InstructionPair]) -> str:
    """Pairs as one object that `pairs_schema` allows."""
    return json.dumps({"pairs": [_value(pair) for pair in pairs]}, ensure_ascii=False)


def _value(pair: InstructionPair) -> dict[str, Any]:
    value: dict[str, Any] = {"question": pair.instruction}
    if pair.options:
        value["options"] = list(pair.options)
    if pair.rationale:
        value["reasoning"] = pair.rationale
    return {**value, "answer": pair.response}


def read_pairs(text: str) -> Iterator[InstructionPair | None]:
    """Every pair in a text; None for an object that is none."""
    return map(_pair, _json_objects(text))


def _json_objects(text: str) -> Iterator[Any]:
    """Every JSON object in a text, whatever stands around them; None for one that holds nothing of use.

    A wrapper such as `{"pairs": [...]}` or a list yields the objects inside it. An object that repeats
    its keys yields one object for each repetition, and one that never ends yields what it holds so far:
    small models run on like that.
    """
    decoder = json.JSONDecoder(strict=False, object_pairs_hook=_unfold)  # strict refuses raw line breaks
    at = text.find("{")
    while at >= 0:
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            if wrapper := _WRAPPER.match(text, at):
                at = wrapper.end() - 1
                continue
            end = text.find("\n{", at + 1) if "\n{" in text[at + 1 :] else len(text)
            strings = _STRING_MEMBER.findall(text[at:end])
            value = _unfold([(key, json.loads(f'"{string}"', strict=False)) for key, string in strings])
        yield from _flat(value)
        at = text.find("{", end)


def _unfold(members: list[tuple[str, Any]]) -> Any:
    """Members of a JSON object as a dict, or as a list of dicts where the first key comes again."""
    dicts: list[dict[str, Any]] = [{}]
    for key, value in members:
        if key in dicts[-1]:
            dicts.append({})
        dicts[-1][key] = value
    return dicts if len(dicts) > 1 else dicts[0]


def _flat(value: Any) -> Iterator[Any]:
    """The objects in a value that may wrap them in lists and objects."""
    waiting = [value]  # not by recursion: a model that runs on may nest deeper than Python's stack
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += reversed(value)
        elif isinstance(value, dict) and _first(value, _QUESTION_KEYS) is None:
            inner = [item for item in value.values() if isinstance(item, (list, dict))]
            if not inner:
                yield None
            waiting += reversed(inner)
        else:
            yield value


def _pair(value: Any) -> InstructionPair | None:
    if not isinstance(value, dict):
        return None
    question, answer = _first(value, _QUESTION_KEYS), _first(value, _ANSWER_KEYS)
    if question is None or answer is None:
        return None
    options = value.get("options")
    choices = tuple(well_formed(str(item).strip()) for item in options) if isinstance(options, list) else ()
    if choices and answer not in choices:
        choices = ()  # an answer that is none of its options makes them noise
    rationale = value.get("reasoning") or value.get("rationale")
    return InstructionPair(
        instruction=question,
        response=answer,
        options=choices,
        rationale=well_formed(rationale.strip()) if isinstance(rationale, str) else "",
    )


def _first(value: dict[str, Any], keys: Sequence[str]) -> str | None:
    for key in keys:
        found = value.get(key)
        if isinstance(found, str) and found.strip():
            return well_formed(found.strip())
    return None
