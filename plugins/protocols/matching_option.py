"""Matching of an answer with the option that it means."""

from __future__ import annotations

import re
from collections.abc import Sequence

_QUOTED = re.compile(r"([\"'“‘])(.+)([\"'”’])\.?", re.DOTALL)
_LETTERED = re.compile(r"\(?([A-Za-z])(?:[.):]+\s*(.*))?", re.DOTALL)
_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’"}


def matching_option(answer: str, options: Sequence[str]) -> str:
    """The only option equal to an answer, ignoring quotes, a final full stop and letter case; or ""."""
    if answer in options:
        return answer
    meant = [option for option in options if _bare(option) == _bare(answer)]
    return meant[0] if len(meant) == 1 else ""


def lettered_option(answer: str, options: Sequence[str]) -> str:
    """The option whose letter the answer gives, such as `B`, `(b)` or `B. heart`; or ""."""
    found = _LETTERED.fullmatch(answer.strip())
    at = ord(found[1].upper()) - ord("A") if found else len(options)
    if found is None or at >= len(options) or (found[2] and _bare(found[2]) != _bare(options[at])):
        return ""
    return options[at]


def _bare(text: str) -> str:
    return " ".join(unquoted(text).removesuffix(".").casefold().split())


def unquoted(text: str) -> str:
    """Remove quotes around the whole text."""
    text = text.strip()
    found = _QUOTED.fullmatch(text)
    if found and _QUOTES[found[1]] == found[3] and not {found[1], found[3]} & set(found[2]):
        return found[2].strip()
    return text
