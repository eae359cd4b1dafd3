"""Repair of mojibake, text that was decoded with the wrong encoding: "cafÃ©" becomes "café".

ftfy recognises mojibake by character sequences that no language writes, line by line. Only its fixes of
wrong decodings are on. Curly quotes, ligatures, full-width letters, HTML entities and Unicode forms may be
intended, so text with the right encoding stays as it is in every language. Windows quotes that were read as
Latin-1 ("it\\x92s") count as mojibake.

Cost: lines in ASCII are skipped; others are searched, at about 6 MB a second.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

_NEXT_LINE = re.compile(r"(?<![\x80-\xff])\x85")
"""A line end (NEL) outside of mojibake; ftfy would turn it into an ellipsis."""


def repair_unicode(text: str) -> str:
    """Undo wrong decodings; text without them stays as it is."""
    if text.isascii():
        return text
    is_bad, fix = _ftfy()
    # Line by line, since a file may mix several encodings, and since the search for mojibake is slow.
    lines = _NEXT_LINE.sub("\n", text).split("\n")
    return "\n".join(line if line.isascii() or not is_bad(line) else fix(line) for line in lines)


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
