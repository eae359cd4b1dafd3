"""Manifests: the states of a corpus, one immutable JSON file each.

    publish_manifest   writes manifest/000003.json last of all, and never replaces one
    read_manifest      reads one by its number, or the newest

A manifest names every increment of its state, so one file answers what a reader needs. A reader pins its
number; no run changes a file that a manifest names. A folder that no manifest names is no part of the corpus.
The paths are in schemas/corpus_layout.py.
"""

from __future__ import annotations

from typing import Annotated, Any

import pydantic
import pydantic_core

from schemas import limits, storage
from schemas.corpus_layout import increment_name, manifest_numbers, manifest_uri
from schemas.errors import CorpusError
from schemas.validation import Count, Name, RelativePath, Strict, explain

FORMAT = 1

Number = Annotated[int, pydantic.Field(ge=1, le=limits.COUNT)]
"""Number of a manifest or an increment."""


class ShardSet(Strict):
    """The shards that one increment adds to one stream.

    Attributes:
        path: Directory relative to the corpus; holds `index.json` as Streaming reads it.
        num_samples: Rows.
        num_tokens: Tokens without padding.
        num_texts: Texts in the rows.
        num_pairs: Instruction pairs in the texts.
        num_stored_pairs: Pairs in `pairs/`; fewer only in increments older than that folder.
        num_repeated_tokens: Tokens of texts that fill up a row and are in another row already.
        num_cut_texts: Texts that continue in another row. Older increments did not count this and the next
            two, and have None.
        num_parted_pairs: Pairs in a row without their whole passage.
        num_pairs_asked_first: Pairs whose questions come before their passage.
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
        streams: Its shards by stream name; streams without new rows are absent.
        num_documents: Documents taken in.
        superseded_document_ids: Documents of earlier increments that it replaces.
        replaces: Numbers of the increments that it rewrites and takes the place of.
        num_withdrawn: Documents that it withdrew from the corpus.
        num_held_out: Documents that it keeps for evaluation, by stream; absent without any.
        versions: Streams with a ledger of versions; absent without any.
    """

    number: Number
    token: str = pydantic.Field(default="", pattern=r"^[0-9a-f]{0,32}$")
    streams: dict[Name, ShardSet]
    num_documents: Count
    superseded_document_ids: tuple[str, ...] = ()
    replaces: tuple[Number, ...] = ()
    num_withdrawn: Count = 0
    num_held_out: dict[Name, Count] = pydantic.Field(default_factory=dict)
    versions: tuple[Name, ...] = ()

    @pydantic.model_serializer(mode="wrap")
    def _without_empty(self, serialize: pydantic.SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = serialize(self)
        return {k: v for k, v in values.items() if v or k not in ("num_held_out", "versions")}

    @property
    def name(self) -> str:
        """Name of its folders and tables."""
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
        pad_token_id: Token that fills a row after its last text.
        opening: Token ids before each text, except tuning examples; None in older manifests.
        closing: Token ids after each text; None in older manifests.
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


def newest_number(corpus: str) -> int:
    """Number of the newest manifest; 0 if nothing is published."""
    return max(manifest_numbers(corpus), default=0)


def find_manifest(corpus: str) -> Manifest | None:
    """Read the newest manifest; None if nothing is published.

    Raises:
        CorpusError: It is damaged.
    """
    newest = newest_number(corpus)
    return _read(corpus, newest, newest) if newest else None


def read_manifest(corpus: str, number: int | None = None) -> Manifest:
    """Read a manifest, by default the newest.

    Raises:
        CorpusError: There is no such manifest, or it is damaged.
    """
    newest = newest_number(corpus)
    if not newest:
        cure = (
            "Name hf://datasets/OWNER/NAME. If it is private, log in with `hf auth login`, or set HF_TOKEN."
            if corpus.startswith(
                "hf://"
            )  # a repository that may not be read looks like one that is not there
            else "Build one with `tutelage corpus build`."
        )
        raise CorpusError(f"{corpus}: holds no published corpus (no manifest/*.json). {cure}")
    return _read(corpus, newest if number is None else number, newest)


def _read(corpus: str, number: int, newest: int) -> Manifest:
    uri = manifest_uri(corpus, number)
    try:
        data = storage.read_bytes(uri, limit=limits.JSON_BYTES)
        values: Any = pydantic_core.from_json(data)
    except FileNotFoundError:
        pruned = ", or no longer" if 0 < number < newest else ""
        raise CorpusError(f"{corpus}: has no manifest {number}{pruned}; the newest is {newest}.") from None
    except ValueError as error:
        raise CorpusError(f"{uri}: is damaged: {error}. Restore it, or pin an older manifest.") from error
    if isinstance(values, dict) and values.get("format") != FORMAT:
        raise CorpusError(
            f"{uri}: is of format {values.get('format')!r}; this version reads format {FORMAT}. "
            "Use the version of Tutelage that wrote it, or build the corpus anew."
        )
    cure = "The manifest is damaged: restore it, or pin an older one."
    try:
        manifest = Manifest.model_validate_json(data)
    except pydantic.ValidationError as error:
        raise CorpusError(f"{uri}: {explain(error)}. {cure}") from None
    if manifest.number != number:
        raise CorpusError(f"{uri}: says that it is manifest {manifest.number}. {cure}")
    return manifest


def published_names(corpus: str, newest: int) -> dict[int, str]:
    """Names, by number, of all increments that a manifest up to `newest` names; replaced ones included."""
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
            f"{uri}: another run published this number meanwhile. Nothing was changed; run the build again."
        )
