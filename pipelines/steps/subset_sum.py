"""Which of some sizes add up closest to a limit.

The sums that the first k sizes can make are the bits of one integer; adding a size shifts it. So 256 sizes
and a limit of 4,096 take 256 shifts of 64 machine words.

Source: the exact dynamic programme for subset sum (Bellman 1957), on bit strings.
"""

from __future__ import annotations

from collections.abc import Sequence


def fullest_subset(sizes: Sequence[int], limit: int) -> list[int]:
    """Indices of sizes whose sum is the largest that does not exceed the limit.

    Of equal sums it is one of the fewest first sizes: what k of them can make is made of those k.

    Args:
        sizes: Each above 0.
        limit: What the sum may be at most.

    Returns:
        Indices into sizes, ascending.
    """
    within = (1 << limit + 1) - 1
    sums = [1]
    for size in sizes:
        sums.append((sums[-1] | sums[-1] << size) & within)
        if sums[-1] >> limit:
            break
    best = sums[-1].bit_length() - 1
    chosen = []
    for index in range(len(sums) - 2, -1, -1):
        if not sums[index] >> best & 1:
            chosen.append(index)
            best -= sizes[index]
    return chosen[::-1]
