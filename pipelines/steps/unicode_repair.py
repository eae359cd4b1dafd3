"""Text that was decoded wrongly once, decoded rightly: "cafÃ©" becomes "café".

ftfy recognises mojibake by character sequences that no language writes, line by line. Of its many fixes only
those of wrong decoding are on: curly quotes, ligatures, full-width letters, HTML entities and Unicode forms
are how some texts are meant to be, so text that was decoded rightly stays as it is in every language. Quotes
of Windows that were read as Latin-1 ("it\\x92s") were decoded wrongly, too.

Cost: what is ASCII is not looked at, and what holds no mojibake is searched once.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

_NEXT_LINE = re.compile(r"(?<![\x80-\xff])\x85")
"""A line end (NEL) that is no second half of a letter; ftfy would make it an ellipsis."""


def repair_unicode(text: str) -> str:
    """Undo wrong decodings; returns the same text where there are none."""
    if text.isascii():
        return text
    text = _NEXT_LINE.sub("\n", text)
    is_bad, fix = _ftfy()
    if not is_bad(text):
        return text
    # One line's repair must not depend on another's, as it would in a file of several encodings.
    return "\n".join(fix(line) if not line.isascii() else line for line in text.split("\n"))


@functools.cache
def _ftfy() -> tuple[Callable[[str], bool], Callable[[str], str]]:
    import ftfy
    from ftfy.badness import is_bad

    config = ftfy.TextFixerConfig(
        unescape_html=False,
        remove_terminal_escapes=False,
        fix_latin_ligatures=False,
        fix_character_width=False,
        uncurl_quotes=False,
        fix_line_breaks=False,
        fix_surrogates=False,
        remove_control_chars=False,
        normalization=None,
        explain=False,
    )
    return is_bad, lambda line: ftfy.fix_text(line, config)
