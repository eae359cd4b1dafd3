"""Pairs as JSON: the schema and format of answers, and a tolerant parser of them.

Models wrap objects in lists, fences and prose, repeat keys, run on, and stop in the middle. The parser takes
every object with a question and an answer. Quotes may be curly or single; numbers and booleans become text.

A string is read whole or not at all: if the text behind its closing quote cannot follow a string, then a
quote inside the string was not escaped, and the parser drops this member of the object and all later ones.

LaTeX stays LaTeX. Models write `\\frac` and `\\nu` into JSON without doubling the backslash, and JSON reads
that as a form feed or a line end. The parser keeps a backslash, unless it precedes `"`, `\\`, `/`, `u` with
four digits, or an `n`, `r` or `t` that does not begin the name of a LaTeX command: `\\b` and `\\f` are never
control characters, `\\nu` is a letter, `\\nThe` is a line end and a word.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from plugins.protocols.matching_option import lettered_option, matching_option
from schemas.limits import JSON_SEARCH_PASSES, NUMBER_DIGITS
from schemas.records import InstructionPair, well_formed

_OBJECT = re.compile(r"\{\s*(?:[\"“”„'‘]|\w+\s*:)")
"""Beginning of an object with members, with any quotes."""
_TOKEN = re.compile(r'\\.|"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)
_KEY = re.compile(r'\s*"(\w+)"\s*:\s*')
_AFTER_MEMBER = re.compile(r'\s*(?:,(?=\s*(?:"\w+"\s*:|"\w*"?\s*\Z|\}))|(?=\}))')
"""Text behind a member: another member, which may be truncated, or the end of the object."""
_QUOTED = re.compile(
    r"""
    \\.  # otherwise each escaped quote outside a string would start a search for its end
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
"""A backslash with the letters behind it. `\\ne` or `\\nless` before a word is a line end and a word."""
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
"""Cost, in characters, of an attempt to parse an object that nests too deeply for Python."""
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
    return json.dumps(schema)  # the order of the properties is that of answers


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
    """Yield every pair in a text, and None for each other object."""
    return map(_pair, _json_objects(text))


def _json_objects(text: str) -> Iterator[Any]:
    """Yield every JSON object in a text, and None for each object without content.

    A wrapper such as `{"pairs": [...]}` or a list yields the objects inside it. Small models run on: an
    object that repeats its keys yields one object for each repetition, and a truncated object yields its
    whole members.

    The time is linear. After a failed attempt, objects that were open at the failure are not tried again.
    When failed attempts have read `JSON_SEARCH_PASSES` times the text, the rest of the text is one None.
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
    """Offsets of the lists and objects that are open at `end`; a fault there fails all of them."""
    places: list[int] = []
    for token in _TOKEN.finditer(text, start, end):
        if token[0] in "[{":
            places.append(token.start())
        elif token[0] in "]}" and places:
            places.pop()
    return set(places)


class _Text(str):
    """A text without lines; JSONDecodeError would count the lines before its position each time."""

    def count(self, *_: Any) -> int:
        return 0

    def rfind(self, *_: Any) -> int:
        return -1


def _kept_backslash(found: re.Match[str]) -> str:
    """Double a backslash that the model meant literally; see the module's docstring."""
    letters = found["letters"]
    if found["escape"] or (letters and letters[0] in "nrt" and not _LATEX.fullmatch(letters)):
        return found[0]
    return f"\\{found[0]}"


def _in_double_quotes(found: re.Match[str]) -> str:
    """Convert Python's strings and constants, and strings in curly quotes, to JSON."""
    if found[0][0] == "\\":
        return found[0]
    if found["constant"]:
        return _CONSTANTS[found["constant"]]
    inner = next((group for group in found.groups() if group is not None), None)
    if inner is None:
        return found[0].replace("\\'", "'")
    return '"' + re.sub(r'(?<!\\)"', '\\"', inner).replace("\\'", "'") + '"'


def _of_odd_object(piece: str) -> Any:
    """Value of an object at the beginning of a text, or its members up to the first bad one."""
    try:
        value, _ = _DECODER.raw_decode(piece)
        return value
    except (ValueError, RecursionError):
        members = list(_members(piece))
    is_wrapper = piece.rstrip().endswith((":", "["))  # it wraps the next object
    return [] if is_wrapper and not members else _unfold(members)


def _members(piece: str) -> Iterator[tuple[str, Any]]:
    """Members of an object up to the first bad or truncated one."""
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
    """Members of a JSON object as a dict, or as a list of dicts if keys repeat."""
    dicts: list[dict[str, Any]] = [{}]
    for key, value in members:
        if key in dicts[-1]:
            dicts.append({})
        dicts[-1][key] = value
    return dicts if len(dicts) > 1 else dicts[0]


def _number(written: str) -> str | None:
    """Keep a number as written, up to a limit."""
    return written if len(written) <= NUMBER_DIGITS else None


_DECODER = json.JSONDecoder(
    strict=False,  # accept raw line breaks
    object_pairs_hook=_unfold,
    parse_float=_number,
    parse_int=_number,
    parse_constant=lambda name: None,
)


def _flat(value: Any) -> Iterator[Any]:
    """Yield the objects of a value, out of lists and wrapper objects."""
    waiting = [value]  # no recursion: a model that runs on may nest deeper than Python's stack
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
        answer = matching_option(answer, choices) or lettered_option(answer, choices)
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
    """Convert a string, number or boolean to text; "" for other values."""
    return well_formed(str(value).strip()) if isinstance(value, (str, bool)) else ""
