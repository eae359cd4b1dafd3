"""How much is taken of anything that others wrote; what is beyond a limit is rejected, and the limit named."""

from __future__ import annotations

RECORD_BYTES = 1 << 28
"""Of one record of a source once it is decompressed: a line, a piece of text, an XML record, a whole file."""
