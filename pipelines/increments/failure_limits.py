"""Rejects of a run that is not published yet: the first of them in a message, and too many unexpected ones.

One record that leads to an exception costs itself. Exceptions for many records, or for all, are a bug or a
wrong use, and end the run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from schemas import storage
from schemas.errors import InputError
from schemas.records import UNEXPECTED, Reject, from_json

_SHOWN = 3
_FEW = 10
_MOST_SHARE = 0.01


def first_rejects(increment: str, stages: Iterable[str], reason: str | None = None) -> str:
    """The first rejects of some stages, for a message.

    Args:
        increment: URI of the increment's directory.
        stages: Names of steps, in order.
        reason: Only those of a reason; None is any.
    """
    shown: list[str] = []
    for stage in stages:
        uri = storage.join(increment, "rejects", f"{stage}.jsonl.zst")
        if storage.exists(uri):
            for line in storage.read_lines_zst(uri):
                reject = from_json(Reject, line)
                if reason in (None, reject.reason):
                    shown.append(f"{reject.source}: {reject.reason} ({reject.detail})")
    more = f"; and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
    return "; ".join(shown[:_SHOWN]) + more + "."


def refuse_unexpected(increment: str, counts: Mapping[str, int], *, few: int = _FEW) -> None:
    """End a run in which too much was rejected for unexpected exceptions.

    Args:
        increment: URI of the increment's directory.
        counts: Counters by `step/name`.
        few: So many are allowed, if they are not all documents of the run.

    Raises:
        InputError: All documents, or more than `few` and more than 1 % of them, or as many files cut short.
    """
    suffix = f"/rejected_{UNEXPECTED}"
    stages = [name.removesuffix(suffix) for name in counts if name.endswith(suffix)]
    failed = sum(counts[f"{stage}{suffix}"] for stage in stages)
    num_documents = counts.get("read/documents", 0) + counts.get(f"read{suffix}", 0)
    cut_short = counts.get("read/files_cut_short", 0)
    for found, of, what in (
        (failed, num_documents, "documents"),
        (cut_short, counts.get("read/files", 0), "files"),
    ):
        most = max(few, int(_MOST_SHARE * of))
        if found > most or (found and failed >= num_documents):
            raise InputError(
                f"{found} of {of} {what} led to unexpected errors; at most {most} may, and not all. Nothing "
                f"was published. First: {first_rejects(increment, stages, UNEXPECTED)}"
            )
