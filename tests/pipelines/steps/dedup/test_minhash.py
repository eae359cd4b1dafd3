"""MinHash signatures and keys: pinned, because corpora store them, and compared with plain counts."""

from __future__ import annotations

import hashlib
import random

import numpy as np
import pytest

from pipelines.steps.dedup.minhash import SCHEMES, MinHasher, similarity
from schemas.corpus_config import NearDedupConfig

MASK = (1 << 64) - 1
STEP, BASE = 0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93


def plain_mix(value: int) -> int:
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 & MASK
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB & MASK
    return value ^ (value >> 31)


def plain_signature(words: list[str], config: NearDedupConfig) -> list[int]:
    """The scheme in Python's own integers."""
    hashes = [
        int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little") for word in words
    ]
    shingles = set()
    for start in range(max(1, len(words) - config.ngram + 1)):
        shingle = 0
        for value in hashes[start : start + config.ngram]:
            shingle = (shingle * BASE + value) & MASK
        shingles.add(plain_mix(shingle) >> 32)
    signature = []
    for number in range(config.bands * config.rows):
        mask, factor = (plain_mix((2 * number + at) * STEP & MASK) >> 32 for at in (1, 2))
        signature.append(min((shingle ^ mask) * (factor | 1) & 0xFFFFFFFF for shingle in shingles))
    return signature


def plain_keys(signature: list[int], config: NearDedupConfig) -> list[int]:
    keys = []
    for band in range(config.bands):
        key = plain_mix((band + 1) * STEP & MASK)
        for value in signature[band * config.rows : (band + 1) * config.rows]:
            key = plain_mix((key ^ value) * BASE & MASK)
        keys.append(key)
    return keys


def words_in(count: int, seed: int) -> list[str]:
    choice = random.Random(seed)
    return [f"w{choice.randrange(5000)}" for _ in range(count)]


def test_signatures_and_keys_are_those_that_corpora_hold() -> None:
    hasher = MinHasher(NearDedupConfig())
    signatures = hasher.sign(
        ["The femoral triangle is bounded above by the inguinal ligament.", "Zwei Wörter"]
    )
    keys = hasher.keys(signatures)
    assert signatures[:, :3].tolist() == [
        [131349349, 353564542, 201231803],
        [495192373, 2108676782, 1870573084],
    ]
    assert keys[:, :2].tolist() == [
        [7816862156513719049, 14700360868917517376],
        [3013719495947805404, 15037113789123131650],
    ]
    digests = [
        hashlib.blake2b(each.astype(kind).tobytes(), digest_size=8).hexdigest()
        for each, kind in ((signatures, "<u4"), (keys, "<u8"))
    ]
    assert digests == ["d22faf8a6df5e34e", "3f9ffbc1e1b13b25"]


def test_words_of_the_first_scheme_are_those_that_corpora_hold() -> None:
    text = "The dose, 2.5 mg, don't! コーヒー １，２ Kranken­haus ผู้ป่วย ๑๒ हिन्दी"
    assert " ".join(SCHEMES["minhash-1"](text)) == (
        "the dose 2 5 mg don t コ ー ヒ ー 1 2 kranken haus ผู้ ป่ ว ย ๑ ๒ हिन्दी"
    )
    assert SCHEMES["minhash-1"]("A dose: 2.5 mg") == ["a", "dose", "2", "5", "mg"]
    signed = [MinHasher(NearDedupConfig(), scheme).sign([text])[0].tolist() for scheme in SCHEMES]
    assert signed[0] == plain_signature(SCHEMES["minhash-1"](text), NearDedupConfig())
    assert signed[0] != signed[1]


@pytest.mark.parametrize("num_words", [1, 4, 5, 6, 300, 1030, 2500])
@pytest.mark.parametrize("config", [NearDedupConfig(), NearDedupConfig(ngram=2, bands=3, rows=2)])
def test_signatures_are_what_plain_integers_give(num_words: int, config: NearDedupConfig) -> None:
    words = words_in(num_words, seed=num_words)
    hasher = MinHasher(config)
    signatures = hasher.sign(["Something before it.", " ".join(words)])
    expected = plain_signature(words, config)
    assert signatures[1].tolist() == expected
    assert hasher.keys(signatures)[1].tolist() == plain_keys(expected, config)


def test_case_punctuation_and_the_form_of_characters_make_no_difference() -> None:
    hasher = MinHasher(NearDedupConfig())
    one, two, other = hasher.sign(
        [
            "The “ﬁrst” dose: 5 mg, twice A DAY!",
            "the first dose 5 MG (twice) a day",
            "the first dose 6 mg twice a day",
        ]
    )
    assert (one == two).all()
    assert (one != other).any()


def test_texts_shorter_than_a_shingle_are_one() -> None:
    one, two, other = MinHasher(NearDedupConfig()).sign(["Two words.", "two WORDS", "words two"])
    assert similarity(one, two) == 1.0
    assert similarity(one, other) == 0.0


def test_texts_without_words_are_compared_as_they_are() -> None:
    one, same, other = MinHasher(NearDedupConfig()).sign(["— — —", "— — —", "* * *"])
    assert similarity(one, same) == 1.0
    assert similarity(one, other) == 0.0


@pytest.mark.parametrize("shared", [200, 400, 600])
def test_the_estimate_is_near_the_share_of_common_shingles(shared: int) -> None:
    """With 112 hashes the standard deviation of one estimate is at most 0.047; the test averages 200."""
    hasher = MinHasher(NearDedupConfig())
    estimates = []
    for pair in range(200):
        both = [f"p{pair}w{at}" for at in range(shared + 4)]
        one = [*both, *(f"p{pair}a{at}" for at in range(800 - shared))]
        two = [*both, *(f"p{pair}b{at}" for at in range(800 - shared))]
        first, second = hasher.sign([" ".join(one), " ".join(two)])
        estimates.append(similarity(first, second))
    true = shared / (1600 - shared)
    assert np.mean(estimates) == pytest.approx(true, abs=0.012)
    assert np.std(estimates) == pytest.approx((true * (1 - true) / 112) ** 0.5, rel=0.2)


def test_permutations_are_as_good_as_independent() -> None:
    """Any two permutations both map a hash into the smallest 2 % with a frequency of 0.04 %."""
    config = NearDedupConfig()
    hasher = MinHasher(config)
    num_texts = 20_000
    texts = [f"x{number}" for number in range(num_texts)]
    small = hasher.sign(texts) < int(0.02 * 2**32)  # one shingle: the signature is the permuted hash
    assert small.mean() == pytest.approx(0.02, rel=0.02)
    together = (small.T.astype(np.float32) @ small.astype(np.float32)) / num_texts
    pairs = together[np.triu_indices(config.bands * config.rows, k=1)]
    assert pairs.mean() == pytest.approx(0.0004, rel=0.05)
    assert pairs.std() == pytest.approx((0.0004 / num_texts) ** 0.5, rel=0.1)


def test_no_two_bands_share_a_key() -> None:
    hasher = MinHasher(NearDedupConfig(bands=14, rows=1))
    same = np.zeros((1, 14), np.uint32)
    assert len(set(hasher.keys(same)[0].tolist())) == 14
