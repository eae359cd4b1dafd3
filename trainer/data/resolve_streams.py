"""From a training configuration to shards that are known to be there.

    TrainConfig ─► pin_manifests ─► resolve_streams ─► verify_shards ─► (row_loader.py reads them)

Streaming ends an epoch early, without an error, when a shard is missing or cut short, and waits for
ever when it reads with worker processes. So every file is checked against its stream's index before
anything heavy is imported: one listing a shard directory, and where the corpus is local also one
read of each file whose index gives a hash (hundreds of MB/s). Files of a remote corpus are hashed
as they are fetched instead, for hashing them here would download the corpus twice (`tutelage corpus
verify` does so on purpose, and reads every row). What is cached is hashed when a run first opens it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from schemas import storage
from schemas.errors import ConfigError, unknown_name
from schemas.manifest import Manifest, ShardSet, read_manifest
from schemas.shard_index import LOSS_SPANS, Damage, directory_damage, hash_mismatch, read_index
from schemas.train_config import DatasetConfig, TrainConfig, TrainStreamConfig

_CHUNK_BYTES = 1 << 22


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedStream:
    """A stream of the training mix, found in a corpus.

    Attributes:
        name: Key under which the configuration lists it.
        corpus: URI of its corpus.
        stream: Its name in it.
        manifests: First epoch and manifest of each that is read, in order; the first epoch is 0.
        shard_sets: Shard directories of all of them, in the order in which they come up: a manifest that
            is added leaves the others where they are. None is empty of rows.
    """

    name: str
    corpus: str
    stream: str
    manifests: tuple[tuple[int, Manifest], ...]
    shard_sets: tuple[ShardSet, ...]

    @property
    def manifest(self) -> Manifest:
        """The manifest that the first epoch reads."""
        return self.manifests[0][1]

    @property
    def num_samples(self) -> int:
        """Rows that the first epoch may draw from."""
        return sum(self.num_samples_at(0))

    def num_samples_at(self, epoch: int) -> list[int]:
        """Rows of each shard directory, 0 for those that the manifest of this epoch does not name."""
        manifest = [each for first, each in self.manifests if first <= epoch][-1]
        paths = {shard_set.path for shard_set in manifest.shard_sets(self.stream)}
        return [each.num_samples if each.path in paths else 0 for each in self.shard_sets]

    def name_row(self, shard_set: ShardSet, number: int) -> str:
        """Where a row of a shard directory lies, as `corpus show` takes it: stream, number, manifest."""
        for _, manifest in self.manifests:
            shard_sets = manifest.shard_sets(self.stream)
            paths = [each.path for each in shard_sets]
            if shard_set.path in paths:
                number += sum(each.num_samples for each in shard_sets[: paths.index(shard_set.path)])
                return f"{self.stream}:{number} of {self.corpus} (manifest {manifest.number})"
        raise AssertionError(f"{shard_set.path} is of none of the manifests")


def pin_manifests(config: TrainConfig, pinned: Mapping[str, int] | None = None) -> TrainConfig:
    """Fill in the manifest number of every stream, so that all ranks and a resumed run read the same.

    Args:
        config: The configuration as written.
        pinned: Numbers by stream name that an earlier part of this run settled on. They hold for
            streams whose own number is null.

    Raises:
        CorpusError: A corpus has no manifest.
    """
    newest: dict[str, int] = {}
    streams = dict(config.train_loader.dataset.streams)
    for name, stream in streams.items():
        number = stream.manifest or (pinned or {}).get(name)
        if number is None:
            # Streams of one corpus see one state of it, even if it grows between these lines.
            if stream.corpus not in newest:
                newest[stream.corpus] = read_manifest(stream.corpus).number
            number = newest[stream.corpus]
        streams[name] = stream.model_copy(update={"manifest": number})
    dataset = config.train_loader.dataset.model_copy(update={"streams": streams})
    loader = config.train_loader.model_copy(update={"dataset": dataset})
    return config.model_copy(update={"train_loader": loader})


def resolve_streams(dataset: DatasetConfig) -> tuple[ResolvedStream, ...]:
    """Look up every stream in its manifests and see that they fit together.

    Raises:
        ConfigError: A corpus has no stream of the name asked for, its rows do not name the pairs that
            alone shall carry loss, or streams differ in row length or tokenizer.
        CorpusError: A manifest is not there.
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
    """Look up one stream; `known` keeps the manifests that were read."""
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


def verify_shards(corpus: str, shard_set: ShardSet) -> None:
    """See that every file the index names is there, of the right size and, if it says so, hash.

    Args:
        corpus: URI of the corpus, on any fsspec file system.
        shard_set: One shard directory of it.

    Raises:
        CorpusError: Names the first shard that is missing or damaged, or an index that disagrees
            with the manifest.
    """
    index = read_index(corpus, shard_set)
    for damage in directory_damage(corpus, shard_set, index):
        raise damage.error()
    uri = storage.join(corpus, shard_set.path)
    if not storage.is_local(uri):
        return
    fs, root = storage.filesystem(uri)
    for file in index.shards:
        if file.stored.hashes:
            with fs.open(f"{root}/{file.stored.basename}", "rb") as stream:
                chunks = iter(lambda stream=stream: stream.read(_CHUNK_BYTES), b"")  # type: ignore[misc, unused-ignore]
                finding = hash_mismatch(chunks, file.stored.hashes)
                if finding is not None:
                    raise Damage(file=f"{uri}/{file.stored.basename}", finding=finding).error()


def rows_per_epoch(
    dataset: DatasetConfig, streams: Sequence[ResolvedStream], epoch: int = 0
) -> list[list[int]]:
    """How many rows an epoch takes from each shard directory of each stream.

    Streaming's own `proportion` rounds every sub-stream down and hands the rest out at random. Here
    the rows are divided by largest remainder, first among the streams and then among a stream's
    increments by their size, so the mix is exact to the row whatever the number of increments.
    Rows have one length, so a share of rows is a share of tokens up to the padding at row ends.

    Args:
        dataset: How streams are mixed.
        streams: What `resolve_streams` made of it.
        epoch: Which epoch, counted from 0; later ones may read other manifests.

    Returns:
        Rows by stream and shard directory, in the order of `streams` and their `shard_sets`; 0 for a
        directory that this epoch does not read.

    Raises:
        ConfigError: `epoch_size` meets `repeat` or `choose`, which already settle the epoch.
    """
    configs = [dataset.streams[stream.name] for stream in streams]
    parts = [stream.num_samples_at(epoch) for stream in streams]
    sizes = [sum(counts) for counts in parts]
    absolute = [config for config in configs if config.repeat or config.choose]
    if dataset.epoch_size and absolute:
        raise ConfigError(
            f"train_loader.dataset.epoch_size is {dataset.epoch_size}, but repeat or choose of the streams "
            "already settle the epoch. Keep one of the two."
        )
    if absolute:
        totals = [
            config.choose or max(1, round(size * (config.repeat or 1.0)))
            for config, size in zip(configs, sizes, strict=True)
        ]
    else:
        weights = [
            float(size) if config.proportion is None else config.proportion
            for config, size in zip(configs, sizes, strict=True)
        ]
        totals = _divide(dataset.epoch_size or sum(sizes), weights)
    return [_divide(total, counts) for total, counts in zip(totals, parts, strict=True)]


def _divide(total: int, weights: Sequence[float]) -> list[int]:
    """Integers that add up to `total`, in proportion to `weights`, by largest remainder."""
    exact = [total * weight / sum(weights) for weight in weights]
    whole = [int(share) for share in exact]
    by_remainder = sorted(range(len(exact)), key=lambda i: (whole[i] - exact[i], i))
    for i in by_remainder[: total - sum(whole)]:
        whole[i] += 1
    return whole
