"""JSON lines by two parsers: orjson reads rows as Python's `json` does, or leaves them to it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from plugins.readers import jsonl
from plugins.readers.base import BadRow, Row
from tests.plugins.readers.reading import read, write

DEEP = 5_000
LINES = (
    b'{"text": "plain", "n": 1}',
    b'{"n": 18446744073709551615}',
    b'{"n": 18446744073709551616}',
    b'{"n": -9223372036854775808}',
    b'{"n": -9223372036854775809}',
    b'{"n": [{"deep": 123456789012345678901234567890}]}',
    b'{"n": 1234567890123456789012345678901234567890.5}',
    b'{"n": 1e30, "m": -1e30}',
    b'{"n": 1e400, "m": -1e400, "k": 1e-400}',
    b'{"n": ' + b"7" * 400 + b"}",
    b'{"n": ' + b"7" * 5_000 + b"}",
    b'{"n": 0.1, "m": 1.0, "k": -0.0, "j": -0, "i": 1E5}',
    b'{"n": 2.5000000000000001, "m": 179769313486231570000000000000000000000.0}',
    b'{"n": NaN}',
    b'{"n": Infinity, "m": -Infinity}',
    b'{"n": 01}',
    b'{"n": 1.}',
    b'{"text": "\\ud83d"}',
    b'{"text": "\\ud83d\\ude00 \\u00e9 \\/ \\b"}',
    b'{"\\ud83d": "key"}',
    b'{"text": "\xed\xa0\xbd"}',
    b'{"text": "caf\xe9"}',
    b'{"text": "caf\xc3\xa9 \xf0\x9f\x98\x80"}',
    b'{"text": "a\x00b"}',
    b'{"text": "a\tb"}',
    b'{"text": "a\x7fb\xc2\x85c"}',
    b'{"text": "\\x41"}',
    b'{"text": "one", "text": "two", "a": 1}',
    b'{"a": 1, "a": {"b": 1, "b": 2}}',
    b'\xef\xbb\xbf{"text": "marked"}',
    b'{"text": "one"}\xef\xbb\xbf',
    b'{"text": "one"} {"text": "two"}',
    b'{"text": "one"}{"text": 18446744073709551616}',
    b'{"text": "one"} and more',
    b'{"text": "one"},',
    b'{"text": "one"}\x0c',
    b'{"text": "one",}',
    b"{'text': 'one'}",
    b'{"text": "one" // said\n}',
    b'{ "text" : "spaces" }\t\r',
    b'  {\n    "text": "pretty",\n    "n": 18446744073709551616\n  }\r',
    b'\t{\n    "text": "pretty"\n\t}\r\n',
    b'\x0c{"text": "one"}',
    b'\x1e {"text": "one"}',
    b'{"text": "tw',
    b'{"a": ' * 300 + b"1" + b"}" * 300,
    b'{"a": ' + b"[" * DEEP + b"]" * DEEP + b"}",
    b'{"a": ' + b"[" * 1_010 + b"]" * 1_010 + b"}",
    b"{}",
    b"[]",
    b"7",
    b"",
    b'[{"text": "one"}, {"n": 18446744073709551616}]',
)


def shown(row: Row | BadRow) -> tuple[object, ...]:
    """A row with the types of its numbers: 1 == 1.0, and NaN is unlike itself."""
    return (row.position, repr(dict(row.values))) if isinstance(row, Row) else (row.position, row)


@pytest.mark.parametrize("line", LINES, ids=lambda line: repr(line[:40]))
def test_a_line_gives_the_rows_and_rejects_of_pythons_own_parser(
    line: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [shown(row) for row in jsonl._rows_on(line, "@0")]
    monkeypatch.setattr(jsonl, "_one_row", lambda line: None)
    assert found == [shown(row) for row in jsonl._rows_on(line, "@0")]


_NUMBERS = some.integers() | some.integers(2**62, 2**66) | some.integers(-(2**66), -(2**62)) | some.floats()
_VALUES = some.recursive(
    some.none() | some.booleans() | _NUMBERS | some.text(),
    lambda inner: some.lists(inner) | some.dictionaries(some.text(), inner),
)


@settings(deadline=None)
@given(some.dictionaries(some.text(), _VALUES), some.booleans())
def test_any_row_is_that_of_pythons_own_parser(row: dict[str, object], escapes: bool) -> None:
    line = json.dumps(row, ensure_ascii=escapes).encode("utf-8", "surrogatepass")
    found = jsonl._one_row(line)
    assert found is None or repr(found) == repr(json.loads(line))


def test_ordinary_rows_are_read_by_the_quick_parser() -> None:
    assert jsonl._one_row(b'{"a": {"b": [1, 2.5, null, true, "x"]}, "n": 18446744073709551615}') == {
        "a": {"b": [1, 2.5, None, True, "x"]},
        "n": 18446744073709551615,
    }
    assert jsonl._one_row(b'{"n": 18446744073709551616}') is None


def test_ids_of_more_than_64_bits_keep_every_digit(tmp_path: Path) -> None:
    numbers = [2**63, 2**64 - 1, 2**64, 2**64 + 1, -(2**63) - 1, 10**40 + 7]
    lines = "".join(f'{{"text": "Text.", "id": {number}}}\n' for number in numbers)
    found = read("jsonl", write(tmp_path / "a.jsonl", lines.encode()), id_field="id")
    assert [each.document_id for each in found] == [
        "9223372036854775808",
        "18446744073709551615",
        "18446744073709551616",
        "18446744073709551617",
        "-9223372036854775809",
        "10000000000000000000000000000000000000007",
    ]
