"""From a training configuration to shards that are known to be there.

    TrainConfig ─► pin_manifests ─► resolve_streams ─► verify_shards ─► (data.py reads them)

Streaming ends an epoch early, without an error, when a shard is missing or cut short, and waits for
ever when it reads with worker processes. So every file is checked against its stream's index before
anything heavy is imported: one listing a shard directory, and where the corpus is local also one
read of each file whose index gives a hash (hundreds of MB/s). Files of a remote corpus are hashed
as they are fetched instead, for hashing them here would download the corpus twice.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from schemas import storage
from schemas.errors import ConfigError, CorpusError, TrainingError, unknown_name
from schemas.manifest import Manifest, ShardSet, read_manifest
from schemas.records import digest
from schemas.train_config import DatasetConfig, TrainConfig

_CHUNK_BYTES = 1 << 22


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ShardFile:
    """One file of a shard directory as its index announces it.

    Attributes:
        basename: Name below the directory; may hold one sub-folder.
        num_bytes: Its size.
        hashes: Digests by algorithm; often empty.
    """

    basename: str
    num_bytes: int
    hashes: Mapping[str, str]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedStream:
    """A stream of the training mix, found in a corpus.

    Attributes:
        name: Key under which the configuration lists it.
        corpus: URI of its corpus.
        manifest: The pinned manifest.
        shard_sets: Its shard directories, oldest first; none is empty of rows.
    """

    name: str
    corpus: str
    manifest: Manifest
    shard_sets: tuple[ShardSet, ...]

    @property
    def num_samples(self) -> int:
        """Rows of all increments together."""
        return sum(shard_set.num_samples for shard_set in self.shard_sets)


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
    """Look up every stream in its manifest and see that they fit together.

    Raises:
        ConfigError: A corpus has no stream of the name asked for.
        CorpusError: A manifest is not there.
        TrainingError: Streams differ in row length or tokenizer.
    """
    manifests: dict[tuple[str, int | None], Manifest] = {}
    resolved: list[ResolvedStream] = []
    for name, stream in dataset.streams.items():
        key = (stream.corpus, stream.manifest)
        if key not in manifests:
            manifests[key] = read_manifest(*key)
        manifest = manifests[key]
        wanted = stream.stream or name
        if wanted not in manifest.stream_names():
            shown = f"train_loader.dataset.streams.{name}"
            where = f"{stream.corpus}, manifest {manifest.number}"
            raise ConfigError(f"{shown}: {where}: {unknown_name('stream', wanted, manifest.stream_names())}")
        sets = tuple(shard_set for shard_set in manifest.shard_sets(wanted) if shard_set.num_samples)
        if not sets:
            raise ConfigError(
                f"train_loader.dataset.streams.{name}: stream {wanted!r} of {stream.corpus} has no rows in "
                f"manifest {manifest.number}. Build more of it, or leave it out of the mix."
            )
        resolved.append(ResolvedStream(name=name, corpus=stream.corpus, manifest=manifest, shard_sets=sets))
    first = resolved[0]
    for other in resolved[1:]:
        if other.manifest.seq_len != first.manifest.seq_len:
            raise TrainingError(
                f"streams {first.name} and {other.name} have rows of {first.manifest.seq_len} and "
                f"{other.manifest.seq_len} tokens; one run trains on one length. Rebuild one corpus with the "
                "other's pack.seq_len."
            )
        if other.manifest.tokenizer != first.manifest.tokenizer:
            raise TrainingError(
                f"streams {first.name} and {other.name} were made with different tokenizers, "
                f"{first.manifest.tokenizer_name!r} ({first.manifest.tokenizer}) and "
                f"{other.manifest.tokenizer_name!r} ({other.manifest.tokenizer}). Rebuild one "
                "corpus with the "
                "other's tokenizer."
            )
    return tuple(resolved)


def verify_shards(corpus: str, shard_set: ShardSet) -> None:
    """See that every file the index names is there, of the right size and, if it says so, hash.

    Args:
        corpus: URI of the corpus, on any fsspec file system.
        shard_set: One shard directory of it.

    Raises:
        CorpusError: Names the first shard that is missing or damaged, or an index that disagrees
            with the manifest.
    """
    uri = storage.join(corpus, shard_set.path)
    index = read_index(corpus, shard_set)
    num_samples = sum(int(shard["samples"]) for shard in index["shards"])
    if num_samples != shard_set.num_samples:
        raise CorpusError(
            f"{uri}/index.json: announces {num_samples} rows, the manifest {shard_set.num_samples}. "
            "The directory was changed after it was published: restore it, or rebuild the corpus."
        )
    fs, root = storage.filesystem(uri)
    fs.invalidate_cache()
    found = {path[len(root) :].strip("/"): entry for path, entry in fs.find(root, detail=True).items()}
    for file in stored_files(index):
        name = f"{uri}/{file.basename}"
        cure = "Restore it from a copy, or pin an older manifest."
        if file.basename not in found:
            raise CorpusError(f"{name}: shard is missing. {cure}")
        size = int(found[file.basename]["size"])
        if size != file.num_bytes:
            raise CorpusError(
                f"{name}: shard has {size} bytes, its index says {file.num_bytes}. It is truncated or not "
                f"the one that was published. {cure}"
            )
        if file.hashes and storage.is_local(uri):
            with fs.open(f"{root}/{file.basename}", "rb") as stream:
                check_hash(name, iter(lambda stream=stream: stream.read(_CHUNK_BYTES), b""), file.hashes)  # type: ignore[misc, unused-ignore]


def read_index(corpus: str, shard_set: ShardSet) -> dict[str, Any]:
    """The parsed `index.json` of a shard directory.

    Raises:
        CorpusError: It is missing or not an index.
    """
    uri = storage.join(corpus, shard_set.path, "index.json")
    try:
        index = json.loads(storage.read_bytes(uri))
        index["shards"]
    except FileNotFoundError:
        raise CorpusError(
            f"{uri}: is missing, so its shards cannot be read. Restore it from a copy."
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise CorpusError(f"{uri}: is no index of shards: {error!r}. Restore it from a copy.") from error
    return dict(index)


def stored_files(index: Mapping[str, Any]) -> list[ShardFile]:
    """The files that lie in a shard directory: the compressed ones where there is compression."""
    infos = [shard["zip_data"] or shard["raw_data"] for shard in index["shards"]]
    return [
        ShardFile(basename=info["basename"], num_bytes=int(info["bytes"]), hashes=info.get("hashes") or {})
        for info in infos
    ]


def check_hash(name: str, chunks: Any, hashes: Mapping[str, str]) -> None:
    """Compare bytes with the first of `hashes` whose algorithm is known here.

    Raises:
        CorpusError: The digests differ.
    """
    for algorithm, expected in sorted(hashes.items()):
        state = _hasher(algorithm)
        if state is None:
            continue
        for chunk in chunks:
            state.update(chunk)
        if state.hexdigest() != expected:
            raise CorpusError(
                f"{name}: shard has {algorithm} {state.hexdigest()}, its index says {expected}. "
                "It was damaged: "
                "restore it from a copy, or pin an older manifest."
            )
        return


def _hasher(algorithm: str) -> Any:
    """A running hash of an algorithm by Streaming's name for it, or None."""
    if algorithm in hashlib.algorithms_available:
        return hashlib.new(algorithm)
    import xxhash

    return getattr(xxhash, algorithm)() if algorithm in xxhash.algorithms_available else None


def index_fingerprint(index: Mapping[str, Any]) -> str:
    """Hash of an index: tells a rebuilt shard directory from the one that was cached under its name."""
    return digest(json.dumps(index, sort_keys=True))


def rows_per_epoch(dataset: DatasetConfig, streams: Sequence[ResolvedStream]) -> list[list[int]]:
    """How many rows an epoch takes from each increment of each stream.

    Streaming's own `proportion` rounds every sub-stream down and hands the rest out at random. Here
    the rows are divided by largest remainder, first among the streams and then among a stream's
    increments by their size, so the mix is exact to the row whatever the number of increments.
    Rows have one length, so a share of rows is a share of tokens up to the padding at row ends.

    Returns:
        Rows by stream and increment, in the order of `streams` and their `shard_sets`.

    Raises:
        ConfigError: `epoch_size` meets `repeat` or `choose`, which already settle the epoch.
    """
    configs = [dataset.streams[stream.name] for stream in streams]
    sizes = [stream.num_samples for stream in streams]
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
    return [
        _divide(total, [shard_set.num_samples for shard_set in stream.shard_sets])
        for total, stream in zip(totals, streams, strict=True)
    ]


def _divide(total: int, weights: Sequence[float]) -> list[int]:
    """Integers that add up to `total`, in proportion to `weights`, by largest remainder."""
    exact = [total * weight / sum(weights) for weight in weights]
    whole = [int(share) for share in exact]
    by_remainder = sorted(range(len(exact)), key=lambda i: (whole[i] - exact[i], i))
    for i in by_remainder[: total - sum(whole)]:
        whole[i] += 1
    return whole
