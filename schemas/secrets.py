"""Keys and passwords in a configuration: found before anything is made of it, and refused.

A configuration is stored with what is made of it (`stats.json`, the identity of a source, jobs on other
machines), and its values stand in messages. So keys come from the environment or from a file: a configuration
names the variable or the file.
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
_NAME = re.compile(
    r"token|(?:.*[-_])?(?:api[-_]?key|access[-_]?key|secret(?:[-_](?:access[-_])?key)?|password|passwd"
    r"|(?:auth|access|api|bearer|hf|hub)[-_]token)",
    re.IGNORECASE,
)

_LOGIN_CURE = (
    "fsspec takes logins from the environment (FSSPEC_…) or ~/.config/fsspec, stores take theirs from their "
    "own variables; a file behind a signed URL can be downloaded first"
)
_NAME_CURE = (
    "put it into an environment variable of the process that uses it (workers and servers inherit theirs), "
    "or name the variable where there is a key for that, as synthesis.options.api_key_env"
)


def find_secrets(values: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield the dotted key of each secret in plain values, with what to do instead."""
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
    """A text with the logins of its URLs, and what their queries hold of keys, as `***`."""
    return _QUERY.sub(r"\1***", _LOGIN.sub("***", text))
