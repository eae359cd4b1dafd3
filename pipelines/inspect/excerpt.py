"""The beginning of a long text, for a person who looks at several."""

from __future__ import annotations

_SHOWN_CHARACTERS = 2000


def beginning_of(text: str, *, whole: bool) -> str:
    """A text of at most 2,000 characters as it is, else that many and how many follow; all if `whole`."""
    rest = len(text) - _SHOWN_CHARACTERS
    if whole or rest <= 0:
        return text
    return f"{text[:_SHOWN_CHARACTERS]} …\n[{rest:,} characters more; --whole shows them]"
