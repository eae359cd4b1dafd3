"""API keys: reading the key of a server, and masking it in everything that the server sends back."""

from __future__ import annotations

import html
import json
import os
import re
from typing import Any

from schemas.errors import ConfigError

HIDDEN = "[api key]"
_SHORTEST_SECRET = 8


def read_key(*, variable: str | None, path: str | None) -> str | None:
    """Read the key from an environment variable or a file; None if neither is configured.

    Raises:
        ConfigError: The variable or file holds no key, or characters that a header cannot hold.
    """
    if variable is not None:
        named = f"api_key_env names {variable!r}, which"
        key = os.environ.get(variable, "").strip()
    elif path is not None:
        named = f"api_key_file {path!r}"
        try:
            with open(path, encoding="utf-8", errors="surrogateescape") as file:
                key = file.read().strip()
        except OSError as error:
            raise ConfigError(f"synthesis.options.{named} cannot be read: {error.strerror}.") from error
    else:
        return None
    if not key or not (key.isascii() and key.isprintable()):
        wrong = "holds characters that a header cannot hold" if key else "is not set or empty"
        raise ConfigError(f"synthesis.options.{named} {wrong} on this worker; set it there.")
    return key


class Scrubber:
    """Replaces a key by `[api key]`, also in its JSON, URL and HTML spellings.

    A key of fewer than 8 characters is not replaced: EMPTY is no secret, and occurs in texts.
    """

    def __init__(self, key: str):
        self._spelled: re.Pattern[str] | None = None
        if len(key) >= _SHORTEST_SECRET:
            self._spelled = re.compile("".join(map(_spellings, key)))
            self._spelled_bytes = re.compile(self._spelled.pattern.encode())

    def text(self, text: str) -> str:
        """Mask the key in a text."""
        return self._spelled.sub(HIDDEN, text) if self._spelled else text

    def body(self, body: bytes) -> bytes:
        """Mask the key in a body."""
        return self._spelled_bytes.sub(HIDDEN.encode(), body) if self._spelled else body

    def value(self, value: Any) -> Any:
        """Mask the key in all strings of a JSON value."""
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
    """Pattern of all spellings of a character."""
    code = ord(character)
    escaped = [json.dumps(character)[1:-1], html.escape(character), "\\/" if character == "/" else ""]
    plain = dict.fromkeys(re.escape(each) for each in (character, *escaped) if each)
    coded = rf"(?<!\\)\\u{code:04x}|%{code:02x}|&#{code};|&#x0*{code:x};"
    return f"(?:{'|'.join(plain)}|(?i:{coded}))"
