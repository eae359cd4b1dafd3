"""What a server sends back, without the key that it was sent."""

from __future__ import annotations

import html
import json
import urllib.parse

HIDDEN = "[api key]"
_SHORTEST_SECRET = 8


class Scrubber:
    """Replaces a key by `[api key]`, as it is and as JSON, URLs and HTML write it.

    Args:
        key: The key. One of fewer than 8 characters is kept: EMPTY is no secret, and a word of texts.
    """

    def __init__(self, key: str):
        forms = {key, json.dumps(key)[1:-1], urllib.parse.quote(key, ""), html.escape(key)}
        # The longest first: a key may be part of how it is written elsewhere.
        self._forms = sorted(forms, key=len, reverse=True) if len(key) >= _SHORTEST_SECRET else []

    def text(self, text: str) -> str:
        """A text without the key."""
        for form in self._forms:
            text = text.replace(form, HIDDEN)
        return text

    def body(self, body: bytes) -> bytes:
        """A body without the key."""
        for form in self._forms:
            body = body.replace(form.encode(), HIDDEN.encode())
        return body
