"""What a server sends back, without the key that it was sent."""

from __future__ import annotations

import html
import json
import re
from typing import Any

HIDDEN = "[api key]"
_SHORTEST_SECRET = 8


class Scrubber:
    """Replaces a key by `[api key]`, however JSON, URLs and HTML write its characters.

    Args:
        key: The key. One of fewer than 8 characters is kept: EMPTY is no secret, and a word of texts.
    """

    def __init__(self, key: str):
        self._spelled: re.Pattern[str] | None = None
        if len(key) >= _SHORTEST_SECRET:
            self._spelled = re.compile("".join(map(_spellings, key)))
            self._spelled_bytes = re.compile(self._spelled.pattern.encode())

    def text(self, text: str) -> str:
        """A text without the key."""
        return self._spelled.sub(HIDDEN, text) if self._spelled else text

    def body(self, body: bytes) -> bytes:
        """A body without the key."""
        return self._spelled_bytes.sub(HIDDEN.encode(), body) if self._spelled else body

    def value(self, value: Any) -> Any:
        """A JSON value without the key in any of its strings."""
        if self._spelled is None:
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self.value(each) for each in value]
        if isinstance(value, dict):
            return {self.text(name): self.value(each) for name, each in value.items()}
        return value


def _spellings(character: str) -> str:
    """A pattern of all ways in which a character is written."""
    code = ord(character)
    escaped = [
        json.dumps(character)[1:-1],
        html.escape(character),
        f"\\{character}" if character == "/" else "",
    ]
    plain = dict.fromkeys(re.escape(each) for each in (character, *escaped) if each)
    coded = rf"(?<!\\)\\u{code:04x}|%{code:02x}|&#{code};|&#x0*{code:x};"
    return f"(?:{'|'.join(plain)}|(?i:{coded}))"
