"""Clusters of near copies: the connected components of documents that share a band key.

    rows (key, content) ─► sort by key ─► edges from all contents of a key to the smallest
         ─► components ─► each member and the smallest of its component, which stays

A key that a million documents share gives a million edges, not all their pairs. To find components, every
node points to the smallest node that it knows, until nothing changes: a few passes over the edges in numpy.
Cost: sorting the rows of one partition, 24 bytes each; for the components 32 bytes an edge in one worker, at
most about 14 edges a near copy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from pipelines.steps.dedup.minhash import UInt64s, is_shared

CONTENT_BYTES = 16
"""Bytes of a content hash; a document goes by it in this module."""

Contents = np.ndarray[Any, np.dtype[np.bytes_]]

# Compares like 16 bytes: numpy drops trailing zeros on both sides.
_CONTENT = np.dtype(f"S{CONTENT_BYTES}")
_ROW = np.dtype([("key", "<u8"), ("content", _CONTENT)])
_Ints = np.ndarray[Any, np.dtype[np.int64]]


def pack_rows(keys: UInt64s, contents: Contents) -> bytes:
    """Pack keys and their contents into rows of one length, as bytes that can be joined."""
    rows = np.empty(len(keys), _ROW)
    rows["key"], rows["content"] = keys, contents
    return rows.tobytes()


def as_contents(hashes: Iterable[bytes]) -> Contents:
    """Make an array of content hashes of 16 bytes."""
    return np.frombuffer(b"".join(hashes), _CONTENT)


def star_edges(rows: bytes) -> bytes:
    """Return edges from all other contents of each key to the smallest, as bytes that can be joined.

    `rows` is joined output of `pack_rows`, with all rows of each key.
    """
    table = np.frombuffer(rows, _ROW)
    table = table[np.argsort(table["key"], kind="stable")]
    table = table[is_shared(table["key"])]
    table = table[np.lexsort((table["content"], table["key"]))]
    is_first = np.ones(len(table), bool)
    is_first[1:] = table["key"][1:] != table["key"][:-1]
    firsts = table["content"][is_first][np.cumsum(is_first) - 1]
    edges: Contents = np.stack([table["content"][~is_first], firsts[~is_first]], axis=1)
    return edges.tobytes()


def find_clusters(edges: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Yield every node of the edges, which are in any order, with the smallest node of its component."""
    nodes, ends = np.unique(as_contents(edges), return_inverse=True)
    smallest = _components(len(nodes), ends.reshape(-1, 2))
    data = nodes.tobytes()  # items of the array lack trailing zeros
    for node, root in enumerate(smallest.tolist()):
        yield (
            data[node * CONTENT_BYTES : (node + 1) * CONTENT_BYTES],
            data[root * CONTENT_BYTES : (root + 1) * CONTENT_BYTES],
        )


def _components(num_nodes: int, edges: _Ints) -> _Ints:
    """Return the smallest node of each node's component; `edges` has the shape (num_edges, 2)."""
    roots = np.arange(num_nodes)
    while True:
        ends = np.unique(np.sort(roots[edges], axis=1), axis=0)
        edges = ends[ends[:, 0] != ends[:, 1]]
        if not len(edges):
            return roots
        np.minimum.at(roots, edges[:, 1], edges[:, 0])
        while not np.array_equal(roots[roots], roots):
            roots = roots[roots]
