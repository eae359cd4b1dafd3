"""Pairs as JSON: how a model is meant to write them, and how they are read whatever it wrote.

Models wrap objects in lists, fences and prose, repeat keys, run on, and stop in the middle. Reading takes
every object that holds a question and an answer, and loses only what holds neither. Quotes may be curly or
single, and numbers and booleans are text.

A string is read whole or not at all: where what follows its closing quote cannot follow a string, a quote
inside it was not escaped, and this member and those behind it in the object are refused.

LaTeX stays LaTeX. Models write `\\frac` and `\\nu` into JSON without doubling the backslash, which JSON reads
as a form feed or a line end. A backslash is therefore taken as itself unless `"`, `\\`, `/` or `u` with four
digits follows, or `n`, `r`, `t` that do not begin the name of a LaTeX command: `\\b` and `\\f` are never
control characters, `\\nu` is a letter, `\\nThe` is a line end and a word.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from plugins.protocols.option_meant import lettered_option, option_meant
from schemas.limits import JSON_SEARCH_PASSES, NUMBER_DIGITS
from schemas.records import InstructionPair, well_formed

_OBJECT = re.compile(r"\{\s*(?:[\"“”„'‘]|\w+\s*:)")
"""How an object with members begins, whatever its quotes."""
_TOKEN = re.compile(r'\\.|"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)
_KEY = re.compile(r'\s*"(\w+)"\s*:\s*')
_AFTER_MEMBER = re.compile(r'\s*(?:,(?=\s*(?:"\w+"\s*:|"\w*"?\s*\Z|\}))|(?=\}))')
"""What follows a member: another one, which may be cut off, or the end of the object."""
_QUOTED = re.compile(
    r"""
    \\.  # else each escaped quote outside a string would be searched for an end of its string
    | "(?:[^"\\]|\\.)*"
    | [“”„](?P<curly>(?:[^“”„\\]|\\.)*)[“”]
    | '(?P<single>(?:[^'\\]|\\.|(?<=\w)'(?=\w))*)'
    | ‘(?P<curly_single>(?:[^‘’\\]|\\.|(?<=\w)’(?=\w))*)’
    | \b(?P<constant>True|False|None)\b
    """,
    re.VERBOSE | re.DOTALL,
)
_CONSTANTS = {"True": "true", "False": "false", "None": "null"}
_BACKSLASH = re.compile(
    r"""\\(?:(?P<escape>u[0-9a-fA-F]{4}|["'\\/]
        |n(?=(?:[ei]|less|mid|exists|parallel)\s+[^\W\d_]{2}|(?:eg|mid|less)\b[.,]))|(?P<letters>[A-Za-z]+))?""",
    re.VERBOSE,
)
"""A backslash with what it may belong to. `\\ne` or `\\nless` before a word are a line end and a word."""
_LATEX = re.compile(
    r"n(?:abla|atural|cong|earrow|eg?|eq|ewcommand|ewline|ewpage|exists|geq|geqq|geqslant|gtr|i|icefrac|[lL]eftarrow"
    r"|[lL]eftrightarrow|leq|leqq|leqslant|less|mid|obreak|oindent|olimits|onumber|ormalsize|ot|otag|otin|parallel"
    r"|prec|preceq|[rR]ightarrow|shortmid|sim|subseteq|succ|succeq|supseteq|triangleleft|trianglelefteq"
    r"|triangleright|trianglerighteq|u|vdash|vDash|warrow)"
    r"|r(?:aisebox|angle|brace|brack|ceil|ef|enewcommand|esizebox|floor|ho|ight|ightarrow|ightarrowtail"
    r"|ightharpoon(?:up|down)|ightleftarrows|ightleftharpoons|ightrightarrows|ightsquigarrow|lap|m|oot|times|ule"
    r"|[vV]ert)"
    r"|t(?:ag|anh?|au|binom|ext[A-Za-z]*|frac|herefore|heta|hetasym|hick(?:approx|sim|space)|hinspace|ilde|imes|iny"
    r"|op?|oprule|riangle|riangle(?:down|left|lefteq|right|righteq|q)|wohead(?:left|right)arrow)"
)
"""LaTeX commands that begin like JSON's `\\n`, `\\r` and `\\t`."""
_DEEP = 8_192
"""Characters that an attempt at an object nested too deeply for Python counts as."""
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

    The time is linear. An attempt that fails is not made again for the objects inside that were open where it
    failed; once failed attempts have read `JSON_SEARCH_PASSES` times the text, its rest is one None.
    """
    text = _Text(_BACKSLASH.sub(_kept_backslash, text))
    found = _OBJECT.search(text)
    left = JSON_SEARCH_PASSES * (len(text) + _DEEP)
    endless: set[int] = set()
    while found is not None:
        at = found.start()
        try:
            if at in endless:
                raise ValueError
            value, end = _DECODER.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            if at not in endless:
                reached = error.pos if isinstance(error, json.JSONDecodeError) else at + _DEEP
                endless = _open_brackets(text, at, reached)
                left -= reached - at
            if left < 0:
                yield None
                return
            following = _OBJECT.search(text, at + 1)
            end = following.start() if following is not None else len(text)
            value = _of_odd_object(_QUOTED.sub(_in_double_quotes, text[at:end]))
        yield from _flat(value)
        found = _OBJECT.search(text, end)


def _open_brackets(text: str, start: int, end: int) -> set[int]:
    """Where the lists and objects begin that are open at `end`: what cannot be read there ends them all."""
    places: list[int] = []
    for token in _TOKEN.finditer(text, start, end):
        if token[0] in "[{":
            places.append(token.start())
        elif token[0] in "]}" and places:
            places.pop()
    return set(places)


class _Text(str):
    """A text without lines: JSONDecodeError counts those before its place, however many there are."""

    def count(self, *_: Any) -> int:
        return 0

    def rfind(self, *_: Any) -> int:
        return -1


def _kept_backslash(found: re.Match[str]) -> str:
    """A backslash as JSON has to have it; see the module's rule."""
    letters = found["letters"]
    if found["escape"] or (letters and letters[0] in "nrt" and not _LATEX.fullmatch(letters)):
        return found[0]
    return f"\\{found[0]}"


def _in_double_quotes(found: re.Match[str]) -> str:
    """A string or constant of Python, or a string in curly quotes, as JSON has it."""
    if found[0][0] == "\\":
        return found[0]
    if found["constant"]:
        return _CONSTANTS[found["constant"]]
    inner = next((group for group in found.groups() if group is not None), None)
    if inner is None:
        return found[0].replace("\\'", "'")
    return '"' + re.sub(r'(?<!\\)"', '\\"', inner).replace("\\'", "'") + '"'


def _of_odd_object(piece: str) -> Any:
    """The value of a text that begins with an object, or what its members say up to the first bad one."""
    try:
        value, _ = _DECODER.raw_decode(piece)
        return value
    except (ValueError, RecursionError):
        members = list(_members(piece))
    is_wrapper = piece.rstrip().endswith((":", "["))  # of the object behind it
    return [] if is_wrapper and not members else _unfold(members)


def _members(piece: str) -> Iterator[tuple[str, Any]]:
    """Members of an object up to the first one that is not whole."""
    at = 1
    while key := _KEY.match(piece, at):
        try:
            value, end = _DECODER.raw_decode(piece, key.end())
        except (ValueError, RecursionError):
            return
        after = _AFTER_MEMBER.match(piece, end)
        if after is None:
            return
        yield key[1], value
        at = after.end()


def _unfold(members: list[tuple[str, Any]]) -> Any:
    """Members of a JSON object as a dict, or as a list of dicts where the first key comes again."""
    dicts: list[dict[str, Any]] = [{}]
    for key, value in members:
        if key in dicts[-1]:
            dicts.append({})
        dicts[-1][key] = value
    return dicts if len(dicts) > 1 else dicts[0]


def _number(written: str) -> str | None:
    """A number is text as it is written, up to a limit."""
    return written if len(written) <= NUMBER_DIGITS else None


_DECODER = json.JSONDecoder(
    strict=False,  # else raw line breaks are refused
    object_pairs_hook=_unfold,
    parse_float=_number,
    parse_int=_number,
    parse_constant=lambda name: None,
)


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
    options = value.get("options") or value.get("choices") or []
    if isinstance(options, dict):  # {"A": "lung", "B": "heart"}
        answer = _text(options.get(answer)) or answer
        options = list(options.values())
    if not isinstance(options, list):
        return None
    choices = tuple(map(_text, options))
    if choices:
        answer = option_meant(answer, choices) or lettered_option(answer, choices)
        if not answer or "" in choices:
            return None
    return InstructionPair(
        instruction=question,
        response=answer,
        options=choices,
        rationale=_text(value.get("reasoning") or value.get("rationale")),
    )


def _first(value: dict[str, Any], keys: Sequence[str]) -> str | None:
    return next((text for key in keys if (text := _text(value.get(key)))), None)


def _text(value: Any) -> str:
    """A string, number or boolean as text; "" for all else."""
    return well_formed(str(value).strip()) if isinstance(value, (str, bool)) else ""
