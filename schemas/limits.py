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

LOCK_BYTES = 1 << 16
"""Bytes of a file of a corpus's lock."""

JOURNAL_LINE_BYTES = 1 << 28
"""Bytes of a line of a journal: an answer and its names."""

NEW_TOKEN_CHARACTERS = 256
"""Characters of a token that `tutelage tokenizer extend` adds. A longer line is left out."""

RECORD_BYTES = 1 << 28
"""Bytes of one record of a source, unpacked: a line, a piece of text, an XML record, a whole file."""

ANSWER_BYTES = 16 * 2**20
"""Body of a server's answer. The rest is not read; the request counts as failed and is tried again."""

ERROR_BYTES = 64 * 2**10
"""Body of a server's error. The rest is not read."""

ANSWER_DEPTH = 64
"""Lists and objects inside one another in the JSON of a server's answer. A deeper one is a failed request."""

ANSWER_TOKENS = 2**31 - 1
"""A number of tokens that a server reports. A higher or negative one is a failed request."""

NUMBER_DIGITS = 100
"""Characters of a number in the JSON that a model writes. A longer one counts as missing from its pair."""

JSON_SEARCH_PASSES = 8
"""Search for JSON in a model's text, in multiples of its length. The rest of the text is one bad piece."""
