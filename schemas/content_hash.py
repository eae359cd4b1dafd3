"""Content hash: which texts count as equal, in exact dedup, in the ledger and between builds."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from schemas.records import InstructionPair


def digest(*parts: str | bytes, size_bytes: int = 16) -> str:
    """Hex blake2b digest of strings; parts have a length prefix, so ("ab", "c") != ("a", "bc")."""
    state = hashlib.blake2b(digest_size=size_bytes)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        state.update(len(data).to_bytes(8, "little"))
        state.update(data)
    return state.hexdigest()


def content_hash(text: str) -> str:
    """blake2b-128 of the text after NFKC, case folding, and white space runs replaced by one space."""
    return digest(" ".join(unicodedata.normalize("NFKC", text).casefold().split()))


def document_hash(text: str, pairs: Iterable[InstructionPair]) -> str:
    """The content hash of a text; with pairs, a hash of both."""
    parts = [part for pair in pairs for part in (pair.instruction, *pair.options, pair.response)]
    return digest(content_hash(text), *map(content_hash, parts)) if parts else content_hash(text)
