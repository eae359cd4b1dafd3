"""URLs of servers: validation, masking for messages, and proxies."""

from __future__ import annotations

import ipaddress
import re
import urllib.parse
import urllib.request

from schemas.errors import ConfigError

_API_PATH = re.compile(r"(/v1)?(/generate|(/chat)?/completions|/models)?/*$")
_USERINFO = re.compile(r"^((?:[a-z+.-]*:)?//)?.*@", re.IGNORECASE | re.DOTALL)


def check_endpoint(url: str, key: str) -> str:
    """Validate a server's base URL; return it without a slash at its end. Messages name its `key`.

    Raises:
        ConfigError: It is not an http or https URL, or holds a secret, which would be logged.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # no port number, or half an IPv6 address
        is_url = False
    if not is_url:
        raise ConfigError(f"{key} holds {shown_url(url)!r}; expected a URL with http:// or https://.")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ConfigError(
            f"{key} holds {shown_url(url)!r} with a user name, password, query or fragment, which would be "
            "logged; remove it. Put a key into an environment variable, and name the variable in "
            "synthesis.options.api_key_env."
        )
    return url.rstrip("/")


def shown_url(url: str) -> str:
    """Remove the parts of a URL that may be secret: user, password, query and fragment."""
    return re.split(r"[?#]", _USERINFO.sub(r"\1", url), maxsplit=1)[0]


def base_url_hint(url: str) -> str:
    """Hint at the base URL, if a URL ends in a path that the client adds or that belongs to another API."""
    base = _API_PATH.sub("", url)
    return "" if base == url.rstrip("/") else f" (give the server's base URL: {base})"


def proxy_of(url: str) -> str | None:
    """Proxy for a URL from the environment; none for loopback addresses."""
    parts = urllib.parse.urlsplit(url)
    host = parts.hostname or ""
    try:
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = host == "localhost"
    if is_loopback or urllib.request.proxy_bypass(host):
        return None
    return urllib.request.getproxies().get(parts.scheme)
