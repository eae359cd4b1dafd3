"""Global shuffle of a corpus's texts: deterministic, by hashes, with the memory of one group.

    h = blake2b(seed, text_id) ─► group = h·N >> 64 ─► order within a group: (h, text_id)

The order depends on the texts and the seed alone, not on files or workers. `write_shards.py` packs and writes
the texts of a group in this order; `pack.py` decides which row of the group a text goes to.
"""

from __future__ import annotations

import hashlib
import math


def shuffle_key(seed: int, text_id: str) -> tuple[int, str]:
    """Return the sort key of a text within its group; the first item is uniform in [0, 2⁶⁴)."""
    hashed = hashlib.blake2b(f"{seed}:{text_id}".encode(), digest_size=8).digest()
    return int.from_bytes(hashed, "big"), text_id


def group_of(seed: int, text_id: str, *, num_tokens: int, group_tokens: int) -> int:
    """Return the number of a text's group, of about `group_tokens` of the stream's `num_tokens`."""
    num_groups = max(1, math.ceil(num_tokens / group_tokens))
    return shuffle_key(seed, text_id)[0] * num_groups >> 64
