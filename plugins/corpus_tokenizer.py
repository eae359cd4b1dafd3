"""Tokenizer of a corpus: copies of its files in the corpus, and their hashes.

    tokenizer/<fingerprint>/tokenizer.json, tokenizer_config.json, …    as `load_tokenizer` found them
    tokenizer/<fingerprint>/files.json                                  a hash of each, written last

A corpus holds no code: builds refuse tokenizers with their own. Corpora of earlier versions hold no
tokenizer; for them it is loaded by its name, and the next build adds its files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import pydantic

from plugins.tokenizers import fingerprint, load_tokenizer, tokenizer_files, write_files
from schemas import limits, storage
from schemas.content_hash import digest
from schemas.corpus_layout import TOKENIZER_LISTING, tokenizer_uri
from schemas.errors import ConfigError, CorpusError
from schemas.manifest import Manifest
from schemas.scratch_folder import scratch
from schemas.shard_index import Damage
from schemas.validation import read_json

_NAME = re.compile(r"(additional_chat_templates/)?\w[\w.-]*")
_Listing = Annotated[dict[str, str], pydantic.Field(max_length=limits.TOKENIZER_FILES)]


def files_to_keep(name: str, tokenizer: Any) -> dict[str, bytes]:
    """Return the files of a tokenizer that a corpus holds; `load_tokenizer` has loaded it by that name.

    Raises:
        ConfigError: These files alone give other token ids.
    """
    # config.json names the class where tokenizer_config.json does not.
    files = tokenizer_files(name, tokenizer, "config.json")
    if fingerprint(_load(files)) != fingerprint(tokenizer):
        raise ConfigError(
            f"tokenizer {name!r} cannot be kept with the corpus: {', '.join(files)} alone give other ids. "
            "Write it with its save_pretrained, and name that directory."
        )
    return files


def keep_tokenizer(corpus: str, fingerprint: str, files: Mapping[str, bytes]) -> None:
    """Write a tokenizer's files into a corpus; the listing, written last, makes them valid."""
    folder = tokenizer_uri(corpus, fingerprint)
    for name, data in files.items():
        storage.write_bytes(storage.join(folder, name), data)
    listing = json.dumps({name: digest(data) for name, data in files.items()}, indent=2)
    storage.write_bytes(storage.join(folder, TOKENIZER_LISTING), listing.encode() + b"\n")


def is_kept(corpus: str, fingerprint: str) -> bool:
    """True if a corpus holds a tokenizer."""
    return storage.exists(storage.join(tokenizer_uri(corpus, fingerprint), TOKENIZER_LISTING))


def load_corpus_tokenizer(corpus: str, manifest: Manifest) -> Any:
    """Load the tokenizer that made the rows of a manifest.

    Raises:
        CorpusError: One of its files is missing or damaged, or it gives other token ids.
        ConfigError: The corpus holds no tokenizer, and its name cannot be loaded.
    """
    if is_kept(corpus, manifest.tokenizer):
        files, where = {}, tokenizer_uri(corpus, manifest.tokenizer)
        for name, data, finding in _read(corpus, manifest.tokenizer):
            if finding:
                raise CorpusError(f"{where}/{name}: {finding}. Restore it.")
            files[name] = data
        tokenizer = _load(files)
        tokenizer.name_or_path = manifest.tokenizer_name
    else:
        try:
            tokenizer, where = load_tokenizer(manifest.tokenizer_name), manifest.tokenizer_name
        except ConfigError as error:
            raise ConfigError(
                f"{corpus} holds no tokenizer, as corpora of earlier versions (the next build adds it), and "
                f"{error}"
            ) from error
    if (found := fingerprint(tokenizer)) != manifest.tokenizer:
        raise CorpusError(
            f"{where}: is not the tokenizer that made the rows of {corpus}: its fingerprint is {found}, the "
            f"manifest says {manifest.tokenizer}. Restore it."
        )
    return tokenizer


def tokenizer_damage(corpus: str, manifest: Manifest) -> Iterator[Damage]:
    """Yield the damage of the files of a corpus's tokenizer; nothing if the corpus holds none."""
    if is_kept(corpus, manifest.tokenizer):
        for name, _, finding in _read(corpus, manifest.tokenizer):
            if finding:
                yield Damage(file=f"{tokenizer_uri(corpus, manifest.tokenizer)}/{name}", finding=finding)


def _read(corpus: str, fingerprint: str) -> Iterator[tuple[str, bytes, str]]:
    """Yield name, content and damage ("" for none) of each file."""
    folder = tokenizer_uri(corpus, fingerprint)
    listing = storage.join(folder, TOKENIZER_LISTING)
    try:
        hashes: dict[str, str] = read_json(listing, _Listing)
    except CorpusError as error:
        yield TOKENIZER_LISTING, b"", str(error).removeprefix(f"{listing}: ").rstrip(".")
        return
    for name, expected in hashes.items():
        if not _NAME.fullmatch(name):
            yield TOKENIZER_LISTING, b"", f"names a file {name!r}, which no tokenizer has"
            continue
        try:
            data = storage.read_bytes(storage.join(folder, name), limit=limits.TOKENIZER_BYTES)
        except FileNotFoundError:
            yield name, b"", "is missing"
            continue
        except CorpusError as error:
            yield name, b"", str(error).removeprefix(f"{storage.join(folder, name)}: ").rstrip(".")
            continue
        found = digest(data)
        yield name, data, "" if found == expected else f"is damaged: its hash is {found}, expected {expected}"


def _load(files: Mapping[str, bytes]) -> Any:
    with scratch("tokenizer") as folder, storage.naming(folder):
        write_files(folder, files)
        return load_tokenizer(folder)
