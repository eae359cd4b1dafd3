from __future__ import annotations

import hashlib
import itertools
import random

import numpy as np

from pipelines.steps.dedup.clusters import as_contents, find_clusters, pack_rows, star_edges

A, B, C, D = (bytes([value]) * 15 + b"\0" for value in (1, 2, 3, 4))
"""Contents that end in a zero byte; numpy's strings drop it."""


def rows(*pairs: tuple[int, bytes]) -> bytes:
    keys = np.array([key for key, _ in pairs], np.uint64)
    return pack_rows(keys, as_contents(content for _, content in pairs))


def clusters(*edges: bytes) -> dict[bytes, bytes]:
    return dict(find_clusters(edges))


def test_contents_that_share_a_key_point_to_the_smallest() -> None:
    edges = star_edges(rows((7, C), (7, A), (9, D), (7, B), (8, A)))
    assert edges == B + A + C + A


def test_keys_of_one_content_give_no_edges() -> None:
    assert star_edges(rows((7, A), (8, B))) == b""
    assert star_edges(b"") == b""
    assert clusters(b"", b"") == {}


def test_a_cluster_is_what_hangs_together_and_its_smallest_stays() -> None:
    edges = star_edges(rows((1, B), (1, C), (2, C), (2, D), (3, A), (3, D)))
    assert clusters(edges) == {A: A, B: A, C: A, D: A}
    assert clusters(B + A, D + C) == {A: A, B: A, C: C, D: C}


def test_a_long_chain_in_the_worst_order_is_one_cluster() -> None:
    names = [hashlib.blake2b(bytes([at % 256, at // 256]), digest_size=16).digest() for at in range(2000)]
    edges = b"".join(max(pair) + min(pair) for pair in itertools.pairwise(names))
    assert set(clusters(edges).values()) == {min(names)}


def test_clusters_are_those_that_a_walk_through_the_graph_finds() -> None:
    choice = random.Random(5)
    names = [hashlib.blake2b(bytes([at % 256, at // 256]), digest_size=16).digest() for at in range(3000)]
    pairs = [tuple(choice.sample(names, 2)) for _ in range(1800)]
    near: dict[bytes, set[bytes]] = {}
    for one, two in pairs:
        near.setdefault(one, set()).add(two)
        near.setdefault(two, set()).add(one)
    expected: dict[bytes, bytes] = {}
    for start in sorted(near):
        waiting = [start]
        while waiting:
            node = waiting.pop()
            if node not in expected:
                expected[node] = start
                waiting += near[node]
    blobs = [max(pair) + min(pair) for pair in pairs]
    choice.shuffle(blobs)
    assert clusters(*blobs) == expected


def test_a_key_of_a_hundred_thousand_copies_gives_as_many_edges() -> None:
    contents = [hashlib.blake2b(at.to_bytes(4, "big"), digest_size=16).digest() for at in range(100_000)]
    edges = star_edges(rows(*((7, content) for content in contents)))
    assert len(edges) == 32 * 99_999
    assert set(clusters(edges, edges).values()) == {min(contents)}
