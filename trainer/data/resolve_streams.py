"""Streams of a training configuration: manifests pinned, streams looked up in them.

    TrainConfig ─► pin_manifests ─► resolve_streams ─► verify_shards.py ─► (row_loader.py reads the rows)

All ranks, and resumed runs, read the same manifests.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from schemas.errors import ConfigError, unknown_name
from schemas.manifest import Manifest, ShardSet, read_manifest
from schemas.shard_index import LOSS_SPANS, read_index
from schemas.train_config import DatasetConfig, TrainConfig, TrainStreamConfig


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedStream:
    """A stream of the training mix, looked up in a corpus.

    Attributes:
        name: Its key in the configuration.
        corpus: URI of its corpus.
        stream: Its name in the corpus.
        manifests: Manifests that the run reads, in order, each with its first epoch; the first epoch is 0.
        shard_sets: Shard directories of all manifests, in the order in which the manifests name them: an
            added manifest leaves the others in place. Directories without rows are left out.
    """

    name: str
    corpus: str
    stream: str
    manifests: tuple[tuple[int, Manifest], ...]
    shard_sets: tuple[ShardSet, ...]

    @property
    def manifest(self) -> Manifest:
        """Return the manifest of the first epoch."""
        return self.manifests[0][1]

    @property
    def num_samples(self) -> int:
        """Count the rows in the manifest of the first epoch."""
        return sum(self.num_samples_at(0))

    def num_samples_at(self, epoch: int) -> list[int]:
        """Count the rows of each shard directory; 0 if the manifest of this epoch does not name it."""
        manifest = [each for first, each in self.manifests if first <= epoch][-1]
        paths = {shard_set.path for shard_set in manifest.shard_sets(self.stream)}
        return [each.num_samples if each.path in paths else 0 for each in self.shard_sets]

    def name_row(self, shard_set: ShardSet, number: int) -> str:
        """Name a row of a shard directory in the words of `corpus show`: stream, number, manifest."""
        for _, manifest in self.manifests:
            shard_sets = manifest.shard_sets(self.stream)
            paths = [each.path for each in shard_sets]
            if shard_set.path in paths:
                number += sum(each.num_samples for each in shard_sets[: paths.index(shard_set.path)])
                return f"{self.stream}:{number} of {self.corpus} (manifest {manifest.number})"
        raise AssertionError(f"no manifest names {shard_set.path}")


def pin_manifests(config: TrainConfig, pinned: Mapping[str, int] | None = None) -> TrainConfig:
    """Fill in the manifest number of every stream, so that all ranks and resumed runs read the same rows.

    Streams whose own number is null get the number in `pinned`, which an earlier part of this run read, or
    the newest one.

    Raises:
        CorpusError: A corpus has no manifest.
    """
    newest: dict[str, int] = {}
    streams = dict(config.train_loader.dataset.streams)
    for name, stream in streams.items():
        number = stream.manifest or (pinned or {}).get(name)
        if number is None:
            # All streams of a corpus read one state of it, even if it grows meanwhile.
            if stream.corpus not in newest:
                newest[stream.corpus] = read_manifest(stream.corpus).number
            number = newest[stream.corpus]
        streams[name] = stream.model_copy(update={"manifest": number})
    dataset = config.train_loader.dataset.model_copy(update={"streams": streams})
    loader = config.train_loader.model_copy(update={"dataset": dataset})
    return config.model_copy(update={"train_loader": loader})


def resolve_streams(dataset: DatasetConfig) -> tuple[ResolvedStream, ...]:
    """Look up every stream in its manifests and check that the streams fit together.

    Raises:
        ConfigError: A corpus has no stream of that name, rows do not name their pairs although only pairs
            shall carry loss, or streams differ in row length or tokenizer.
        CorpusError: A manifest does not exist.
    """
    known: dict[tuple[str, int | None], Manifest] = {}
    resolved = [_resolve(name, stream, known) for name, stream in dataset.streams.items()]
    if dataset.loss_on == "pairs":
        for stream in resolved:
            _check_loss_spans(stream)
    found = [(stream.name, manifest) for stream in resolved for _, manifest in stream.manifests]
    first_name, first = found[0]
    for name, other in found[1:]:
        if other.seq_len != first.seq_len:
            raise ConfigError(
                f"streams {first_name!r} and {name!r} have rows of {first.seq_len} and {other.seq_len} "
                "tokens; one run trains on one length. Rebuild one corpus with the other's pack.seq_len."
            )
        if other.tokenizer != first.tokenizer:
            raise ConfigError(
                f"streams {first_name!r} and {name!r} were made with different tokenizers, "
                f"{first.tokenizer_name!r} ({first.tokenizer}) and {other.tokenizer_name!r} "
                f"({other.tokenizer}). Rebuild one corpus with the other's tokenizer."
            )
    return tuple(resolved)


def _check_loss_spans(stream: ResolvedStream) -> None:
    for shard_set in stream.shard_sets:
        if any(LOSS_SPANS not in file.column_names for file in read_index(stream.corpus, shard_set).shards):
            raise ConfigError(
                f"train_loader.dataset.loss_on is 'pairs', but rows of stream {stream.stream!r} in "
                f"{stream.corpus}/{shard_set.path} do not say which of their tokens are pairs. Build the "
                "stream with `tuning` in the corpus YAML, or set loss_on: all."
            )


def _resolve(
    name: str, config: TrainStreamConfig, known: dict[tuple[str, int | None], Manifest]
) -> ResolvedStream:
    """Look up one stream; `known` caches manifests."""
    key = f"train_loader.dataset.streams.{name}"
    wanted = config.stream or name
    manifests: list[tuple[int, Manifest]] = []
    shard_sets: dict[str, ShardSet] = {}
    for epoch, number in [(0, config.manifest), *((each.epoch, each.manifest) for each in config.later)]:
        at = (config.corpus, number)
        manifest = known[at] if at in known else known.setdefault(at, read_manifest(*at))
        where = f"{config.corpus}, manifest {manifest.number}"
        if manifests and manifest.number <= manifests[-1][1].number:
            raise ConfigError(
                f"{key}.later: manifest {manifest.number} at {epoch}ep is not later than "
                f"{manifests[-1][1].number}, which the run reads before it. Name a later one."
            )
        if wanted not in manifest.stream_names():
            raise ConfigError(f"{key}: {where}: {unknown_name('stream', wanted, manifest.stream_names())}")
        sets = [shard_set for shard_set in manifest.shard_sets(wanted) if shard_set.num_samples]
        if not sets:
            raise ConfigError(
                f"{key}: stream {wanted!r} of {config.corpus} has no rows in manifest {manifest.number}. "
                "Build more of it, or leave it out of the mix."
            )
        manifests.append((epoch, manifest))
        shard_sets |= {each.path: each for each in sets if each.path not in shard_sets}
    return ResolvedStream(
        name=name,
        corpus=config.corpus,
        stream=wanted,
        manifests=tuple(manifests),
        shard_sets=tuple(shard_sets.values()),
    )
