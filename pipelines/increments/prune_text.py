"""What a prune removed, or would remove, in lines for a person."""

from __future__ import annotations

from pipelines.increments.prune import Pruned


def print_pruned(pruned: Pruned, *, dry_run: bool) -> None:
    """Say what goes, how large it is, and what stays."""
    lines = []
    if pruned.increments:
        lines.append(f"  increments {_list(pruned.increments)}, which no kept manifest names")
    if pruned.manifests:
        lines.append(f"  manifests {_list(pruned.manifests)}: runs that pin them cannot go on")
    if pruned.leftovers:
        lines.append(f"  left by killed runs: {_list(pruned.leftovers)}")
    if pruned.journal:
        lines.append("  the journal: what is synthesized once more is asked for once more")
    size = f"{pruned.num_bytes / 1e6:,.1f} MB"
    head = f"{'would remove' if dry_run else 'removed'} {size}" if lines else "nothing to remove"
    print(f"{pruned.corpus}: {head}; manifests kept: {_list(pruned.kept)}.")
    for line in lines:
        print(line)


def _list(values: tuple[object, ...]) -> str:
    return ", ".join(map(str, values))
