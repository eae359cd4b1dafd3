"""Clusters of near copies, from band keys: the connected components of "shares a key".

    rows (key, content) ─► in order of key ─► of each key's contents the others point to the smallest
         ─► edges ─► components ─► each member and the smallest of its component, which stays

A key that a million documents share gives a million edges, not their pairs. Components are found by letting
every node point to the smallest that it knows of, over and over, until nothing changes: a few passes over the
edges in numpy. Cost: sorting the rows of one partition, 24 bytes each; 32 bytes an edge for the components,
all in one worker, about 14 edges a near copy at most. Texts and names are not needed for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from pipelines.steps.near.minhash import UInt64s, is_shared

CONTENT_BYTES = 16
"""Bytes of a content hash, by which a document is known here."""

Contents = np.ndarray[Any, np.dtype[np.bytes_]]

# Compares like 16 bytes: what numpy leaves out, zeros at the end, is left out on both sides.
_CONTENT = np.dtype(f"S{CONTENT_BYTES}")
_ROW = np.dtype([("key", "<u8"), ("content", _CONTENT)])
_Ints = np.ndarray[Any, np.dtype[np.int64]]


def pack_rows(keys: UInt64s, contents: Contents) -> bytes:
    """Rows of the same length, one for each key and its content, as bytes to be joined with others."""
    rows = np.empty(len(keys), _ROW)
    rows["key"], rows["content"] = keys, contents
    return rows.tobytes()


def as_contents(hashes: Iterable[bytes]) -> Contents:
    """Content hashes of 16 bytes as an array."""
    return np.frombuffer(b"".join(hashes), _CONTENT)


def star_edges(rows: bytes) -> bytes:
    """Edges from all but the smallest content of each key to the smallest, as bytes to be joined.

    Args:
        rows: What `pack_rows` gave, joined, with all rows of each key in it.
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
    """Yield every node of the edges with the smallest node of its component, which is its own for one.

    Args:
        edges: What `star_edges` gave, in any order.
    """
    nodes, ends = np.unique(as_contents(edges), return_inverse=True)
    smallest = _components(len(nodes), ends.reshape(-1, 2))
    data = nodes.tobytes()  # items of the array would lack zeros at their ends
    for node, root in enumerate(smallest.tolist()):
        yield (
            data[node * CONTENT_BYTES : (node + 1) * CONTENT_BYTES],
            data[root * CONTENT_BYTES : (root + 1) * CONTENT_BYTES],
        )


def _components(num_nodes: int, edges: _Ints) -> _Ints:
    """For each node the smallest of its component.

    Args:
        num_nodes: Nodes are numbered from 0 to this.
        edges: Shape (num_edges, 2).
    """
    roots = np.arange(num_nodes)
    while True:
        ends = np.unique(np.sort(roots[edges], axis=1), axis=0)
        edges = ends[ends[:, 0] != ends[:, 1]]
        if not len(edges):
            return roots
        np.minimum.at(roots, edges[:, 1], edges[:, 0])
        while not np.array_equal(roots[roots], roots):
            roots = roots[roots]
