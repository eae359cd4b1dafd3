"""How much is taken of what others wrote; what is beyond a limit is refused, with the limit's figure."""

from __future__ import annotations

RECORD_BYTES = 1 << 28
"""Of one record of a source once it is decompressed: a line, a piece of text, an XML record, a whole file."""
