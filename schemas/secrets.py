"""Keys and passwords in a configuration: finding them, and masking them in messages.

A configuration with a secret is refused, because its values are stored in corpora (`stats.json`), sent to
other machines and shown in messages. Keys come from the environment or from a file; the configuration names
the variable or the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

_LOGIN = re.compile(r"(?<=://)(?:[^/\s@]*:[^/\s@]+|(?<=http://)[^/\s@]+|(?<=https://)[^/\s@]+)(?=@)")
_QUERY = re.compile(
    r"(?<=[?&])((?:[\w-]*[-_])?"
    r"(?:sig|signature|(?:api|access)?[-_]?key|token|secret|password|passwd|credentials?)=)[^&#\s'\"]+",
    re.IGNORECASE,
)
_USER = re.compile(r"(?<=://)[^/@\s]*@")
_QUESTION = re.compile(r"(?<=\S)\?\S*")
_NAME = re.compile(
    r"token|(?:.*[-_])?(?:api[-_]?key|access[-_]?key|secret(?:[-_](?:access[-_])?key)?|password|passwd"
    r"|(?:auth|access|api|bearer|hf|hub)[-_]token)",
    re.IGNORECASE,
)

_LOGIN_CURE = (
    "give logins to fsspec in the environment (FSSPEC_…) or in ~/.config/fsspec, and to a store in its own "
    "variables; download a file behind a signed URL first"
)
_NAME_CURE = (
    "put it into an environment variable of the process that uses it (workers and servers inherit "
    "variables), and name that variable if there is a key for it, such as synthesis.options.api_key_env"
)


def find_secrets(values: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield the dotted key of each secret in a configuration, with the cure."""
    if isinstance(values, dict):
        for name, value in values.items():
            inside = f"{key}.{name}" if key else str(name)
            if isinstance(value, str | int) and value != "" and _NAME.fullmatch(str(name)):
                yield inside, _NAME_CURE
            else:
                yield from find_secrets(value, inside)
    elif isinstance(values, list):
        for place, value in enumerate(values):
            yield from find_secrets(value, f"{key}.{place}")
    elif isinstance(values, str) and masked(values) != values:
        yield key, _LOGIN_CURE


def masked(text: str) -> str:
    """Replace logins in URLs and keys in their queries by `***`."""
    return _QUERY.sub(r"\1***", _LOGIN.sub("***", text))


def public_uri(uri: str) -> str:
    """A URI for a card or report that others read: without logins, and without the query of a URL."""
    bare = _USER.sub("", uri)
    return _QUESTION.sub("", bare) if bare.startswith(("http://", "https://")) else bare
