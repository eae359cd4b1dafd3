"""MinHash signatures and band keys, which texts with nearly the same words share.

    text ─► words ─► shingles: every 5 words in a row ─► a hash of 32 bits each
         ─► 112 permutations of these hashes: the smallest of each is the signature
         ─► 14 bands of 8 hashes each ─► a key of 64 bits for each band

Two texts agree in one hash of a signature with the probability of their Jaccard similarity s, the share of
common shingles. So they agree in at least one key with probability 1 - (1 - s^8)^14:

    s       0.5    0.6    0.7    0.75   0.8    0.85   0.9    0.95
    found    5 %   21 %   56 %   77 %   92 %   99 %  100 %  100 %

Words are those of plugins/words.py: NFKC, case folded, without punctuation, one letter each in scripts
without spaces. Digits stay, since texts that differ in a dose differ in meaning. A text of fewer than 5 words
is one shingle; a text without words is compared as a whole.

The corpus stores keys for good, so they must not depend on a library's version: they are BLAKE2b of words,
then sums, products and shifts modulo 2⁶⁴ and 2³² as written here. `SCHEME` names these rules and changes with
them. A corpus with keys of an older scheme keeps it, so that old and new keys stay comparable. A permutation
is an exclusive or with one constant, then a product with another, odd one.

Cost: a core signs about 4,000 texts of 500 words a second; cutting and hashing words takes half of the time,
permuting the other half. 4 bytes a hash, 8 a key.

Source: Broder 1997, "On the resemblance and containment of documents"; the sizes are FineWeb's (Penedo et al.
2024, arXiv 2406.17557, appendix E).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from pipelines.steps.dedup.minhash_1_words import minhash_1_words
from plugins.words import words_of
from schemas.corpus_config import NearDedupConfig

SCHEME = "minhash-2"
"""Name of the rules above, for new corpora; keys of different schemes are not comparable."""

SCHEMES = {"minhash-1": minhash_1_words, SCHEME: words_of}
"""How each known scheme cuts words; the schemes do not differ in anything else."""

UInt32s = np.ndarray[Any, np.dtype[np.uint32]]
UInt64s = np.ndarray[Any, np.dtype[np.uint64]]

_STEP = np.uint64(0x9E3779B97F4A7C15)
_BASE = np.uint64(0xD6E8FEB86659FD93)
_HIGH = np.uint64(32)
_CHUNK_SHINGLES = 512  # times 112 hashes of 4 bytes: about the cache of a core
_REMEMBERED_WORDS = 1 << 18


class MinHasher:
    """Signs texts; not thread-safe."""

    def __init__(self, config: NearDedupConfig, scheme: str = SCHEME):
        self._words_of = SCHEMES[scheme]
        self._ngram = config.ngram
        self._bands = config.bands
        self._rows = config.rows
        self._words = _WordHashes()
        random = _mixed(np.arange(1, 2 * self.num_hashes + 1, dtype=np.uint64) * _STEP) >> _HIGH
        # Whole matrices, since numpy broadcasts a column at half the speed.
        self._masks_HC = _columns(random[0::2].astype(np.uint32))
        self._factors_HC = _columns(random[1::2].astype(np.uint32) | np.uint32(1))
        self._scratch_HC = np.empty((self.num_hashes, _CHUNK_SHINGLES), np.uint32)

    @property
    def num_hashes(self) -> int:
        """Hashes of a signature."""
        return self._bands * self._rows

    def sign(self, texts: Sequence[str]) -> UInt32s:
        """Return the signatures of texts: uint32 of shape (num_texts, num_hashes)."""
        signatures = np.empty((len(texts), self.num_hashes), np.uint32)
        # One loop after the other, since the hashes of words and the matrices share a core's cache badly.
        for number, shingles in enumerate([self._shingles(text) for text in texts]):
            self._sign(shingles, signatures[number])
        return signatures

    def keys(self, signatures: UInt32s) -> UInt64s:
        """Return the band keys of signatures: uint64 of shape (num_texts, bands); bands share no key."""
        hashes_NBR = signatures.reshape(len(signatures), self._bands, self._rows).astype(np.uint64)
        keys = np.broadcast_to(
            _mixed(np.arange(1, self._bands + 1, dtype=np.uint64) * _STEP), hashes_NBR.shape[:2]
        )
        for row in range(self._rows):
            keys = _mixed((keys ^ hashes_NBR[:, :, row]) * _BASE)
        return keys

    def _shingles(self, text: str) -> UInt32s:
        """A hash of each `ngram` words in a row."""
        words = self._words_of(text) or [text]
        hashes = np.frombuffer(b"".join(map(self._words.__getitem__, words)), "<u8")
        width = min(self._ngram, len(words))
        num_shingles = len(words) - width + 1
        shingles = np.zeros(num_shingles, np.uint64)
        for place in range(width):
            shingles = shingles * _BASE + hashes[place : place + num_shingles]
        return (_mixed(shingles) >> _HIGH).astype(np.uint32)

    def _sign(self, shingles: UInt32s, signature: UInt32s) -> None:
        """Write the smallest of each permutation of the shingles' hashes to `signature`."""
        for start in range(0, len(shingles), _CHUNK_SHINGLES):
            chunk = shingles[start : start + _CHUNK_SHINGLES]
            permuted = self._scratch_HC[:, : len(chunk)]
            np.bitwise_xor(chunk, self._masks_HC[:, : len(chunk)], out=permuted)
            np.multiply(permuted, self._factors_HC[:, : len(chunk)], out=permuted)
            smallest = permuted.min(axis=1)
            signature[:] = np.minimum(signature, smallest) if start else smallest


def similarity(one: UInt32s, other: UInt32s) -> float:
    """Estimate the Jaccard similarity of two texts: the share of hashes that their signatures agree in."""
    return float(np.mean(one == other))


def is_shared(keys: UInt64s) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Mark sorted keys that occur more than once; few do, since most keys belong to one document."""
    same = keys[1:] == keys[:-1]
    shared = np.zeros(len(keys), bool)
    shared[1:] |= same
    shared[:-1] |= same
    return shared


def _columns(values: UInt32s) -> UInt32s:
    return np.repeat(values[:, None], _CHUNK_SHINGLES, axis=1)


class _WordHashes(dict[str, bytes]):
    """Cache of 64-bit hashes of words, as 8 little-endian bytes; a full cache starts again."""

    def __missing__(self, word: str) -> bytes:
        if len(self) >= _REMEMBERED_WORDS:
            self.clear()
        data = word.encode("utf-8", "surrogatepass")
        value = self[word] = hashlib.blake2b(data, digest_size=8).digest()
        return value


def _mixed(values: UInt64s) -> UInt64s:
    """A bijection after which all 64 bits depend on all bits (the finalizer of splitmix64)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    result: UInt64s = values ^ (values >> np.uint64(31))
    return result
