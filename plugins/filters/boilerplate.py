"""Boilerplate of web pages, recognised by phrases.

All functions take text in lower case: a search for plain strings is several times faster than a pattern that
ignores case.

Source: Raffel et al. 2020, JMLR 21(140), section 2.2 (C4).
"""

from __future__ import annotations

import re

_JAVASCRIPT_NOTICE = re.compile(
    r"(?:enabl|disabl|activat|requir|support|turn(?:ed)? o|must|need|browser).{0,60}javascript"
    r"|javascript.{0,60}(?:enabl|disabl|activat|requir|support|turned o|must|need|browser)"
)
_POLICY = (
    *("terms of use", "privacy policy", "cookie policy"),
    *("uses cookies", "use of cookies", "use cookies"),
)


def asks_for_javascript(lower: str) -> bool:
    """True for "please enable javascript to view this page", false for a text about JavaScript."""
    return "javascript" in lower and _JAVASCRIPT_NOTICE.search(lower) is not None


def is_about_policy(lower: str) -> bool:
    """True for C4's six phrases about cookies, privacy and terms of use."""
    return any(phrase in lower for phrase in _POLICY)


def is_placeholder(lower: str) -> bool:
    """True for placeholder text."""
    return "lorem ipsum" in lower
