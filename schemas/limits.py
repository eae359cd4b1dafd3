"""Limits of what comes from outside: beyond each, the input is refused and its message names the limit.

Files of a corpus are read to these limits whoever wrote them.
"""

from __future__ import annotations

JSON_BYTES = 1 << 28
"""Bytes of a JSON file of a corpus: a manifest, an index, statistics. Enough to name 400,000 shards."""

JSON_DEPTH = 100
"""Lists and objects inside one another in JSON. Ours need five."""

LINE_BYTES = 1 << 30
"""Bytes of a line of texts, pairs, lineage or rejects, unpacked."""

SHARD_BYTES = (1 << 32) - 1
"""Bytes of a shard file, packed or unpacked: its offsets are numbers of 32 bits."""

COUNT = (1 << 63) - 1
"""Rows, tokens, texts or any other count."""

NUMBER = (1 << 64) - 1
"""A number in a record; seeds have 64 bits."""

ROW_TOKENS = 1 << 24
"""Tokens of a row."""

TOKENIZER_BYTES = 1 << 28
"""Bytes of a file of a tokenizer."""

TOKENIZER_FILES = 100
"""Files of a tokenizer."""

RECORD_BYTES = 1 << 28
"""Bytes of one record of a source, unpacked: a line, a piece of text, an XML record, a whole file."""
