"""Whether a corpus is sound, readable."""

from __future__ import annotations

import argparse
import dataclasses
import json

from pipelines.inspect.verify import Verification, verify_corpus
from schemas.manifest import read_manifest
from schemas.shard_index import CURE


def show_verification(arguments: argparse.Namespace) -> int:
    """Read a whole corpus and print what is wrong with it; exit status 0 for a sound one, 1 else."""
    verification = verify_corpus(arguments.uri, read_manifest(arguments.uri, arguments.manifest))
    if arguments.json:
        print(json.dumps(dataclasses.asdict(verification), ensure_ascii=False))
    else:
        _print(verification)
    return 1 if verification.damages else 0


def _print(verification: Verification) -> None:
    for damage in verification.damages:
        print(f"{damage.file}: {damage.finding}.")
    size = f"{verification.num_files:,} shard files of {verification.num_bytes / 1e6:,.1f} MB"
    head = f"{verification.corpus}, manifest {verification.manifest}: {size}, {verification.num_rows:,} rows"
    if verification.num_pairs:
        head += f", {verification.num_pairs:,} pairs"
    if verification.damages:
        print(f"{head}: {len(verification.damages):,} found wrong. {CURE}")
    else:
        print(f"{head}: all sound.")
