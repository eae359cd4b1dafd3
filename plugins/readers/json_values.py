r"""Rows out of JSON of any layout: the items of arrays, and objects one behind another.

    [{…}, {…}]    an array, or several
    {…}{…}        objects with nothing, white space, commas or RS (RFC 7464, json-seq) between

Python's `json` parses each value where the last one ended, so rows are those of `json.load`, and the layout
of lines means nothing. Memory: one row and a chunk. ijson with its C parser is slower, makes "?" of `\ud800`,
refuses NaN, and ends at the first fault.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from plugins.readers import text_encoding
from plugins.readers.base import BadRow, Row
from plugins.readers.decompression import DAMAGED
from schemas import limits

_SHOWN_CHARACTERS = 120
_TOKEN_CHARACTERS = 16
"""Length of the longest token but strings and numbers. A fault so close to the end may be the end itself."""

_BETWEEN = re.compile(r"[\s\x1e,]*")
_SPACE = re.compile(r"\s*")
_GOES_ON = re.compile(r'\{[ \t]*\r?\n\s*"(?:[^"\\\n]|\\.)*"[ \t]*:')
"""An object whose first key is on the next line. JSON lines hold none, not even in strings."""

_OUTSIDE = re.compile(r'["{}\[\]]')
_INSIDE = re.compile(r'["\\\n]')
"""What ends a string, or hides its end. A line end ends only a broken string: a good one holds none."""

_parse = json.JSONDecoder().raw_decode


class _Fault(Exception):
    """A value is no row. Its arguments: a reason, and details."""


def rows_in(
    found: Iterable[bytes], where: Callable[[int], str], *, is_line: bool = False
) -> Iterator[Row | BadRow]:
    """Yield the rows of a file, or of a line, in UTF-8.

    A fault costs its row if brackets and quotes say where the row ends; otherwise also all rows behind it.

    Args:
        found: Chunks.
        where: Gives the position of a row by its number, from 0.
        is_line: Whether they are one line of a file.
    """
    text, number, is_open = _Text(found), 0, False
    while text.seek_value():
        mark = text.text[text.at]
        if mark == ("]" if is_open else "["):
            is_open, text.at = not is_open, text.at + 1
            continue
        begin = text.text[text.at : text.at + _SHOWN_CHARACTERS]
        try:
            yield Row(where(number), text.take_row())
        except _Fault as fault:
            reason, detail = fault.args
            goes_on = text.is_behind or text.pass_over()
            if reason == "invalid_json":
                detail += f"; the row begins {begin!r}"
                if is_line and begin == "{":
                    detail += "; rows over several lines are read if the file's first megabyte has one"
                if number or not is_line:
                    detail += f"; {number:,} rows were read before it" + (
                        "" if goes_on else ", and none behind it"
                    )
            yield BadRow(where(number), reason, detail)
            if not goes_on:
                return
        number += 1
    if is_open:
        yield BadRow(
            "", "truncated_file", f"no ] ends the array; {number:,} rows of it were read, more may be missing"
        )


def has_a_row_a_line(head: bytes) -> bool:
    """True if a file with such first bytes is JSON lines: no row in them goes on in the next line.

    An array is never JSON lines: a line in it may hold an object inside a row. Nor is a file whose first line
    goes on with a second row.
    """
    text = head.decode("utf-8-sig", "replace")
    at = _end(_BETWEEN, text, 0)
    is_array = text[at : at + 1] == "["
    try:
        if is_array:
            at = _end(_SPACE, text, at + 1)
            if text[at : at + 1] in ("", "{", "[", "]"):
                return False
        elif _GOES_ON.search(text):
            return False
        end = _parse(text, at)[1]
    except (ValueError, RecursionError):
        return True
    behind = _end(_SPACE if is_array else _BETWEEN, text, end)
    if is_array:
        return text[behind : behind + 1] not in ("", ",", "]")  # [2024-01-01] begins no array
    return "\n" not in text[at:end] and (
        "\n" in text[end:behind] or text[behind : behind + 1] not in ("{", "[")
    )


class _Text:
    """The text of chunks from the next value on. A byte that is no UTF-8 is a lone surrogate in it."""

    def __init__(self, found: Iterable[bytes]):
        self.text, self.at = "", 0
        self.is_behind = False  # whether `at` is behind the value with a fault
        self._found = iter(found)
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape")
        self._has_bad_bytes = self._is_complete = False
        self._damage: Exception | None = None

    def seek_value(self) -> bool:
        """Go on to the next character that separates no values; return False at the end."""
        while True:
            self.at = _end(_BETWEEN, self.text, self.at)
            if self.at < len(self.text):
                return True
            if not self._extend():
                return False

    def take_row(self) -> dict[str, Any]:
        """Return the row that begins here, and go behind it.

        Raises:
            _Fault: A piece is no row; `is_behind` says whether it was passed.
        """
        self.is_behind = False
        while True:
            num_held = len(self.text) - self.at
            try:
                value, end = _parse(self.text, self.at)
                # A number may go on in the next chunk.
                if end < len(self.text) or isinstance(value, (dict, list, str)) or not self._extend():
                    break
            except (ValueError, RecursionError) as error:
                fault = getattr(error, "pos", self.at)
                message = getattr(error, "msg", str(error))
                is_cut = message.startswith("Unterminated") or fault >= len(self.text) - _TOKEN_CHARACTERS
                if is_cut and num_held > limits.RECORD_BYTES:
                    raise _too_long() from None
                if not (is_cut and self._extend()):
                    raise _Fault("invalid_json", f"{message}: character {fault - self.at + 1:,}") from None
        begin, self.at, self.is_behind = self.at, end, True
        if end - begin > limits.RECORD_BYTES:
            raise _too_long()
        if self._has_bad_bytes:
            try:
                self.text[begin:end].encode("utf-8", "surrogateescape").decode()
            except UnicodeDecodeError as error:
                raise _Fault("invalid_utf8", text_encoding.undecodable(error, " of the row")) from None
        if not isinstance(value, dict):
            raise _Fault("not_an_object", f"expected a JSON object, found {type(value).__name__}")
        return value

    def pass_over(self) -> bool:
        """Go behind a broken object by its brackets; return whether its end is certain."""
        if self.text[self.at] != "{":
            return False
        depth, is_inside = 0, False
        while True:
            found = (_INSIDE if is_inside else _OUTSIDE).search(self.text, self.at)
            if found is None:
                self.at = len(self.text)
                if not self._extend():
                    return False
                continue
            mark, self.at = found[0], found.end()
            if mark == "\\":
                if self.at == len(self.text):
                    self._extend()
                self.at += 1
            elif is_inside or mark == '"':
                is_inside = not is_inside
            else:
                depth += 1 if mark in "{[" else -1
                if not depth:
                    return not self.seek_value() or self.text[self.at] in "{]"

    def _extend(self) -> bool:
        """Add as much text as there is from here on, or more, which keeps time linear; False at the end.

        Raises:
            The exceptions of DAMAGED: The chunks do, and all text before the damage was added.
        """
        if self._damage is not None:
            raise self._damage
        held = self.text[self.at :]
        added, num_added = [held], 0
        wanted = min(len(held), max(limits.RECORD_BYTES - len(held), 0)) + 1
        try:
            while num_added < wanted and not self._is_complete:
                chunk = next(self._found, None)
                self._is_complete = chunk is None
                text = self._decoder.decode(chunk or b"", final=self._is_complete)
                del chunk  # of a bomb it is many times longer than others
                self._has_bad_bytes = self._has_bad_bytes or not _is_utf8(text)
                added.append(text)
                num_added += len(text)
        except DAMAGED as error:
            self._damage = error
            if not num_added:
                raise
        self.text, self.at = "".join(added), 0
        return num_added > 0


def _too_long() -> _Fault:
    return _Fault(
        "record_too_long", f"it has more than {limits.RECORD_BYTES:,} bytes, the most that a record may have"
    )


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _end(skipped: re.Pattern[str], text: str, at: int) -> int:
    found = skipped.match(text, at)
    assert found is not None
    return found.end()
