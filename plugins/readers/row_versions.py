"""Stamps: versions of rows, as strings of 32 hexadecimal digits in the order of the versions.

    10…        a row without a version: the oldest
    20 number  integers and decimals, as 10^-12 units
    30 time    dates and times, as ns since 1970; a time without a zone is in UTC
    f0…        a deletion without a version: the order of files compares it

Numbers and times do not compare. A stamp of the one kind is still before each of the other, so that the same
rows leave the same document in any order; the steps that compare two kinds report it.
"""

from __future__ import annotations

import datetime
import decimal
import re
from collections.abc import Mapping
from typing import Any

MISSING = "10" + "0" * 30
UNDATED_DELETION = "f0" + "0" * 30

_NUMBER, _TIME = "20", "30"
_OFFSET = 1 << 119  # the smallest value is 0; 15 bytes hold the largest
_UNITS = decimal.Context(prec=100)
_DATE = re.compile(
    r"(\d{4})-(\d\d)(?:-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?\s*(Z|[+-]\d\d:?\d\d)?)?)?"
)
_EXPECTED = "expected a number, or an ISO date such as 2025-03-01 or 2025-03-01T12:30:00Z"
_YES, _NO = frozenset({"true", "yes", "1", "1.0"}), frozenset({"false", "no", "0", "0.0", ""})


def stamp_of(value: Any) -> str:
    """Return the stamp of a row's value; that of null and "" is MISSING.

    Raises:
        ValueError: The value is no version; says what was found and expected.
    """
    if isinstance(value, bytes):
        value = value.decode()
    if isinstance(value, Mapping):  # PubMed's parts
        value = "-".join(str(value.get(part, "")).zfill(2) for part in ("Year", "Month", "Day"))
    if value is None or (isinstance(value, str) and not value.strip()):
        return MISSING
    if isinstance(value, datetime.date):
        value = value.isoformat()
    text = str(value).strip()
    try:
        if date := _DATE.fullmatch(text):
            return time_stamp(_nanoseconds(*date.groups()))
        if not isinstance(value, (str, int, float, decimal.Decimal)) or isinstance(value, bool):
            raise ValueError
        scaled = decimal.Decimal(text).scaleb(12, _UNITS)
        if scaled.adjusted() > 36 or scaled != int(scaled):
            raise ValueError
        return _stamp(_NUMBER, int(scaled))
    except (ValueError, ArithmeticError):
        raise ValueError(f"holds {value!r}, {_EXPECTED}") from None


def time_stamp(nanoseconds: int) -> str:
    """Return the stamp of a time in ns since 1970."""
    return _stamp(_TIME, nanoseconds)


def means_deleted(value: Any) -> bool:
    """True if a value of `deleted_field` marks a deletion: true, 1, "yes" or a date.

    Raises:
        ValueError: The value means neither.
    """
    if isinstance(value, bytes):
        value = value.decode()
    text = "" if value is None else str(value).strip()
    if text.lower() in _YES | _NO:
        return text.lower() in _YES
    if isinstance(value, datetime.date) or _DATE.fullmatch(text):
        return True
    raise ValueError(f"holds {value!r}, expected true or false, or the date of a deletion")


def are_unlike(one: str, other: str) -> bool:
    """True if one stamp is of a number and the other of a time."""
    return {one[:2], other[:2]} == {_NUMBER, _TIME}


def shown(stamp: str) -> str:
    """Return the version of a stamp as text."""
    value = int(stamp[2:] or "0", 16) - _OFFSET
    if stamp.startswith(_NUMBER):
        return f"{decimal.Decimal(value).scaleb(-12, _UNITS).normalize(_UNITS):f}"
    if stamp.startswith(_TIME):
        seconds, rest = divmod(value, 10**9)
        at = datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=seconds)
        fraction = f".{rest:09d}".rstrip("0") if rest else ""
        return at.isoformat().removesuffix("T00:00:00") if not rest else at.isoformat() + fraction
    return "deletion" if stamp == UNDATED_DELETION else "none"


def _stamp(kind: str, value: int) -> str:
    return kind + (value + _OFFSET).to_bytes(15, "big").hex()  # OverflowError beyond 15 bytes


def _nanoseconds(year: str, month: str, day: str | None, *time: str | None) -> int:
    hour, minute, second, fraction, zone = time
    hours, minutes, seconds = (int(part or "0") for part in (hour, minute, second))
    at = datetime.datetime(int(year), int(month), int(day or "1"), hours, minutes, seconds)
    if zone and zone != "Z":
        shift = datetime.timedelta(hours=int(zone[1:3]), minutes=int(zone[-2:]))
        at += -shift if zone[0] == "+" else shift
    since = at - datetime.datetime(1970, 1, 1)
    return (since.days * 86_400 + since.seconds) * 10**9 + int((fraction or "").ljust(9, "0"))
