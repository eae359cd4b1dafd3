"""Limits of foreign input: larger input is refused, and the message names the limit.

They hold for every corpus, our own included.
"""

from __future__ import annotations

JSON_BYTES = 1 << 28
"""Bytes of a JSON file of a corpus: a manifest, an index, statistics. Enough to name 400,000 shards."""

JSON_DEPTH = 100
"""Nesting depth of JSON in a corpus. Our files need five."""

LINE_BYTES = 1 << 30
"""Bytes of a line of texts, pairs, lineage or rejects, decompressed."""

SHARD_BYTES = (1 << 32) - 1
"""Bytes of a shard file, compressed or not: the format has 32-bit offsets."""

COUNT = (1 << 63) - 1
"""Any count of a corpus: rows, tokens, texts."""

NUMBER = (1 << 64) - 1
"""Any number in a record; seeds have 64 bits."""

ROW_TOKENS = 1 << 24
"""Tokens of a row."""

TOKENIZER_BYTES = 1 << 28
"""Bytes of a tokenizer's file."""

TOKENIZER_FILES = 100
"""Files of a tokenizer."""

LOCK_BYTES = 1 << 16
"""Bytes of a corpus's lock file."""

JOURNAL_LINE_BYTES = 1 << 28
"""Bytes of a journal's line: one answer."""

NEW_TOKEN_CHARACTERS = 256
"""Characters of a token that `tutelage tokenizer extend` adds. A longer line is left out."""

RECORD_BYTES = 1 << 28
"""Bytes of one record of a source, decompressed: a line, a piece of text, an XML record, a whole file."""

HTML_CHARACTERS = 1 << 25
"""Characters of an HTML page. A tree takes some tens of bytes for each; a longer page is a reject."""

ARCHIVE_MEMBERS = 100_000
"""Entries of an archive that are read. The rest of it is a reject."""

ARCHIVE_BYTES = 1 << 36
"""Bytes of all members of an archive, decompressed. The rest of it is a reject."""

ARCHIVE_RATIO = 200
"""Decompressed bytes for each byte of an archive or member, beyond a megabyte. Text has up to twenty."""

ARCHIVE_DEPTH = 3
"""Archives inside one another. An archive in the innermost is a reject."""
PDF_PAGES = 20_000
"""Pages of a PDF; a file may announce more than it has. The reader does not read the rest."""

PDF_DAMAGED_PAGES = 1_000
"""Pages of a PDF that cannot be loaded, beyond those that can; then the reader stops."""

PDF_PAGE_CHARACTERS = 500_000
"""Characters of a page of a PDF. A page of small print has some 10,000."""

PDF_STREAM_BYTES = 1 << 26
"""Bytes of a stream of a PDF, decompressed; RECORD_BYTES for an image. A page takes some 50 KB."""

ARCHIVE_FILES = 20_000
"""Files in an archive that is a document, such as docx and epub."""

MARKUP_BYTES = 1 << 26
"""Bytes of a document's markup, decompressed, all parts together. Parsed, it takes twenty times as much."""

ANSWER_BYTES = 16 * 2**20
"""Bytes of a server's answer. A longer answer is a failed attempt, and the client retries."""

ERROR_BYTES = 64 * 2**10
"""Bytes of a server's error message. The client does not read the rest."""

ANSWER_DEPTH = 64
"""Nesting depth of a server's answer in JSON. A deeper answer is a failed attempt."""

ANSWER_TOKENS = 2**31 - 1
"""Number of tokens that a server reports. A higher or negative number is a failed attempt."""

NUMBER_DIGITS = 100
"""Characters of a number in a model's JSON. A longer number counts as missing."""

JSON_SEARCH_PASSES = 8
"""Passes over a model's text in search of JSON. The rest of the text is then one bad piece."""
