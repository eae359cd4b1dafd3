"""What a corpus is on disk.

    manifest/000003.json     immutable, written last; the highest number is the corpus
    increments/000003-<token>/   texts/  pairs/  lineage/  shards/<stream>/  rejects/  duplicates/
                             stats.json  README.md
    tokenizer/<fingerprint>/ files of the tokenizer that made the rows
    ledger/000003-<token>.<stream>.ledger   content hashes of what is in, and the files it came from
    dedup/000003-<token>.<stream>/   band keys of the same, by which near duplicates are found
    sources.jsonl.zst        a note of which files were read, and may be removed
    lock/000007.json         which run may write; see pipelines/increments/lease.py

The token is random: each run writes to folders that no other run writes to. The manifest names it, so a
folder without a manifest is no part of the corpus. Increments built before tokens have none in their names.

A manifest names every increment it is made of, so that one file answers what a reader needs.
A reader pins a number; nothing that a manifest names is ever changed.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

import pydantic
import pydantic_core

from schemas import limits, storage
from schemas.errors import CorpusError
from schemas.validation import Count, Name, RelativePath, Strict, explain

FORMAT = 1

Number = Annotated[int, pydantic.Field(ge=1, le=limits.COUNT)]
"""Number of a manifest or an increment."""

_FILE = re.compile(r"[0-9]{6,18}\.json")


class ShardSet(Strict):
    """The shards that one increment adds to one stream.

    Attributes:
        path: Directory relative to the corpus; holds `index.json` as Streaming reads it.
        num_samples: Rows.
        num_tokens: Tokens in them that are not padding.
        num_repeated_tokens: Those of texts that fill a row although they stand in another one.
        num_cut_texts: Texts that go on in another row. Here and below None in older increments, of which
            nobody counted it.
        num_parted_pairs: Pairs that stand in a row without their whole passage.
        num_pairs_asked_first: Pairs about passages whose questions stand before them.
        num_texts: Texts packed into them.
        num_pairs: Instruction pairs in those texts.
        num_stored_pairs: Those that `pairs/` holds; fewer only in texts made before corpora kept them.
    """

    path: RelativePath
    num_samples: Count
    num_tokens: Count
    num_texts: Count
    num_pairs: Count = 0
    num_stored_pairs: Count = 0
    num_repeated_tokens: Count = 0
    num_cut_texts: Count | None = None
    num_parted_pairs: Count | None = None
    num_pairs_asked_first: Count | None = None


class Increment(Strict):
    """One published increment.

    Attributes:
        number: 1 for the first.
        token: Random part of its name; empty in older increments.
        streams: Its shards by stream name; a stream it adds nothing to is absent.
        num_documents: Documents taken in.
        superseded_document_ids: Documents of earlier increments that it replaces.
        replaces: Numbers of the increments whose texts it holds instead of them, rewritten.
        num_withdrawn: Documents that it withdrew from the corpus.
    """

    number: Number
    token: str = pydantic.Field(default="", pattern=r"^[0-9a-f]{0,32}$")
    streams: dict[Name, ShardSet]
    num_documents: Count
    superseded_document_ids: tuple[str, ...] = ()
    replaces: tuple[Number, ...] = ()
    num_withdrawn: Count = 0

    @property
    def name(self) -> str:
        """What its folders and tables are called."""
        return increment_name(self.number, self.token)


class Manifest(Strict):
    """One state of a corpus.

    Attributes:
        format: Version of this layout.
        number: Number of this manifest.
        created: UTC time of publication, ISO 8601.
        seq_len: Tokens a row, the same in all streams and increments.
        tokenizer: Fingerprint of the tokenizer that made the rows.
        tokenizer_name: Its directory or hub name, for messages.
        pad_token_id: What fills a row past its last text.
        opening: Token ids before each text; tuning examples excepted. None in older manifests, like the next.
        closing: Token ids behind each text.
        config_hash: Hash of the configuration that built the newest increment.
        increments: Oldest first.
    """

    format: int = FORMAT
    number: Number
    created: str
    seq_len: int = pydantic.Field(ge=1, le=limits.ROW_TOKENS)
    tokenizer: Name
    tokenizer_name: str
    pad_token_id: int = pydantic.Field(ge=0, lt=1 << 31)
    opening: tuple[Count, ...] | None = None
    closing: tuple[Count, ...] | None = None
    config_hash: str
    increments: tuple[Increment, ...]

    @pydantic.model_validator(mode="after")
    def _numbers_are_different(self) -> Manifest:
        numbers = self.numbers()
        if len(numbers) != len(set(numbers)):
            raise ValueError("two of its increments have one number")
        if any(number > self.number for number in numbers):
            raise ValueError(f"it is number {self.number} and names an increment {max(numbers)}")
        return self

    def numbers(self) -> tuple[int, ...]:
        """Numbers of the increments, oldest first."""
        return tuple(increment.number for increment in self.increments)

    def names(self) -> tuple[str, ...]:
        """Names of the increments, oldest first."""
        return tuple(increment.name for increment in self.increments)

    def stream_names(self) -> list[str]:
        """Names of all streams with at least one row, sorted."""
        return sorted({name for increment in self.increments for name in increment.streams})

    def shard_sets(self, stream: str) -> list[ShardSet]:
        """The shard directories of one stream, oldest first."""
        return [increment.streams[stream] for increment in self.increments if stream in increment.streams]


def manifest_uri(corpus: str, number: int) -> str:
    """Where manifest `number` of a corpus lies."""
    return storage.join(corpus, "manifest", f"{number:06d}.json")


def increment_name(number: int, token: str = "") -> str:
    """What the folders and tables of an increment are called: its number and a random part."""
    return f"{number:06d}-{token}" if token else f"{number:06d}"


def number_of(name: str) -> int:
    """Number of the increment of a name."""
    return int(name.partition("-")[0])


def increment_uri(corpus: str, name: str) -> str:
    """Directory of an increment: its texts, shards, rejects and statistics."""
    return storage.join(corpus, "increments", name)


def text_uris(corpus: str, stream: str, name: str) -> list[str]:
    """The files of texts that an increment holds of a stream, in the order of its shards."""
    folder = storage.join(increment_uri(corpus, name), "texts")
    fs, path = storage.filesystem(folder)
    if not fs.exists(path):
        return []
    files = sorted(entry.rsplit("/", 1)[-1] for entry in fs.ls(path, detail=False))
    return [storage.join(folder, file) for file in files if file.rsplit("-", 1)[0] == stream]


def newest_number(corpus: str) -> int:
    """Number of the newest manifest, or 0 when nothing is published."""
    return max(manifest_numbers(corpus), default=0)


def manifest_numbers(corpus: str) -> list[int]:
    """Numbers of all manifests, in order."""
    fs, path = storage.filesystem(storage.join(corpus, "manifest"))
    if not fs.exists(path):
        return []
    names = [entry.rsplit("/", 1)[-1] for entry in fs.ls(path, detail=False, refresh=True)]
    return sorted(int(name[:-5]) for name in names if _FILE.fullmatch(name))


def read_manifest(corpus: str, number: int | None = None) -> Manifest:
    """Read a manifest; the newest when no number is given.

    Raises:
        CorpusError: There is no such manifest, or it cannot be understood.
    """
    newest = newest_number(corpus)
    wanted = newest if number is None else number
    if not newest:
        raise CorpusError(
            f"{corpus}: holds no published corpus (no manifest/*.json). "
            "Build one with `tutelage corpus build`."
        )
    uri = manifest_uri(corpus, wanted)
    try:
        data = storage.read_bytes(uri, limit=limits.JSON_BYTES)
        values: Any = pydantic_core.from_json(data)
    except FileNotFoundError:
        pruned = ", or no longer" if 0 < wanted < newest else ""
        raise CorpusError(f"{corpus}: has no manifest {wanted}{pruned}; the newest is {newest}.") from None
    except ValueError as error:
        raise CorpusError(f"{uri}: is damaged: {error}. Restore it, or pin an older manifest.") from error
    if isinstance(values, dict) and values.get("format") != FORMAT:
        raise CorpusError(
            f"{uri}: is of format {values.get('format')!r}; this version reads format {FORMAT}. "
            "Use the version of Tutelage that wrote it, or build the corpus anew."
        )
    try:
        manifest = Manifest.model_validate_json(data)
    except pydantic.ValidationError as error:
        raise CorpusError(
            f"{uri}: {explain(error)}. The manifest is damaged: restore it, or pin an older one."
        ) from None
    if manifest.number != wanted:
        raise CorpusError(
            f"{uri}: says that it is manifest {manifest.number}. The manifest is damaged: restore it, or pin "
            "an older one."
        )
    return manifest


def name_of(corpus: str, number: int) -> str:
    """Name of a published increment.

    Raises:
        CorpusError: No manifest names it.
    """
    for newest in reversed(manifest_numbers(corpus)):
        for increment in read_manifest(corpus, newest).increments:
            if increment.number == number:
                return increment.name
    raise CorpusError(f"{corpus}: no manifest names an increment {number}.")


def published_names(corpus: str, newest: int) -> dict[int, str]:
    """Names of the increments that manifests up to a number name, by number; replaced ones are among them."""
    manifests = (read_manifest(corpus, number) for number in manifest_numbers(corpus) if number <= newest)
    return dict(sorted((each.number, each.name) for manifest in manifests for each in manifest.increments))


def publish_manifest(corpus: str, manifest: Manifest) -> None:
    """Write a manifest that must not exist yet.

    Raises:
        CorpusError: Another run has published the same number; nothing was changed.
    """
    uri = manifest_uri(corpus, manifest.number)
    data = manifest.model_dump_json(indent=2).encode() + b"\n"
    if not storage.create_bytes(uri, data):
        raise CorpusError(
            f"{uri}: was published by another run meanwhile. Nothing was changed; run the build again."
        )
