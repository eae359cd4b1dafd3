"""Comparison of the pairs file of synthesizer `recorded` with the documents of a corpus.

    documents that the file names ─► in the newest increment │ held out │ of earlier increments │ unknown

The note of files that were read (`changed_source_files.py`) has a digest of the pairs file too. Documents of
earlier increments are found in the ledgers; only if the file names others, all texts are read, because it may
name a document by the last parts of its path.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from pipelines.increments.changed_source_files import SourceFile, unread
from pipelines.store.held_out import stored_in
from pipelines.store.ledger import Ledger
from plugins.synthesizers import SYNTHESIZERS
from plugins.synthesizers.recorded import RecordedSynthesizer, read_pairs, recorded_name
from schemas.corpus_config import CorpusConfig
from schemas.corpus_layout import text_uris
from schemas.errors import ConfigError
from schemas.manifest import Increment, Manifest
from schemas.records import AugmentedText
from schemas.validation import read_records

SHOWN = 5
"""Unknown documents that a message names."""


class PairsFile(NamedTuple):
    """A pairs file that was read whole and is good."""

    file: SourceFile  # its state is a digest of the pairs
    num_pairs: Counter[str]  # by the document that the file names


class UnusedPairs(NamedTuple):
    """Number of pairs by document, for documents of which the newest increment has no text."""

    unknown: Counter[str]
    held_out: Counter[str]
    earlier: Counter[str]


def read_pairs_file(config: CorpusConfig) -> PairsFile | None:
    """Read and check the pairs file of a corpus; None if its synthesizer is another one.

    Raises:
        ConfigError: The file cannot be used; says which line and key is wrong.
    """
    if not config.synthesizes:
        return None
    synthesizer = SYNTHESIZERS.load(config.synthesis.backend)(config.synthesis, seed=config.seed)
    if not isinstance(synthesizer, RecordedSynthesizer):
        return None
    num_pairs: Counter[str] = Counter()
    state = hashlib.blake2b(digest_size=16)
    for pair in read_pairs(synthesizer.uri):
        num_pairs[pair.document_id] += 1
        state.update(repr(pair).encode("utf-8", "surrogatepass"))
    file = SourceFile(
        source=0, uri=synthesizer.uri, read_as="synthesis.options.pairs", state=state.hexdigest()
    )
    return PairsFile(file, num_pairs)


def say_if_changed(
    pairs: PairsFile | None, corpus: str, before: Manifest | None, say: Callable[[str], None]
) -> bool:
    """Say that a corpus keeps its pairs if the last build noted another file; return whether it was said."""
    if pairs is None or before is None or not unread({"": [pairs.file]}, corpus, before)[""]:
        return False
    say(
        f"{pairs.file.uri} is not the pairs file that increment {before.number} of {corpus} noted. Documents "
        "in the corpus keep the pairs that they have; --retry-empty adds pairs to those without any. To use "
        "corrected pairs, build a new corpus: set `corpus` to a new place."
    )
    return True


def refuse_unknown_documents(pairs: PairsFile, config: CorpusConfig, increments: Sequence[Increment]) -> None:
    """Raise a ConfigError if no increment has, or holds out, any document that a pairs file names."""
    unknown = unused_pairs(pairs, config, increments).unknown
    if len(unknown) < len(pairs.num_pairs):
        return
    named, ours = (
        ", ".join(map(repr, each))
        for each in (sorted(unknown)[:SHOWN], sorted({*_documents(config, increments[-1])})[:SHOWN])
    )
    raise ConfigError(
        f"synthesis.options.pairs {pairs.file.uri}: the corpus has none of the {len(unknown):,} documents "
        f"that the file names, such as {named}; nothing was published. This increment has {ours}. Check "
        "document_id in the file, and id_field of the sources."
    )


def unused_pairs(pairs: PairsFile, config: CorpusConfig, increments: Sequence[Increment]) -> UnusedPairs:
    """Find out where the documents are of which the newest of some increments has no text; oldest first."""
    left = set(pairs.num_pairs)

    def found(document_ids: Iterable[str]) -> Counter[str]:
        names = left & {recorded_name(each, pairs.num_pairs) for each in document_ids}
        left.difference_update(names)
        return Counter({name: pairs.num_pairs[name] for name in names})

    *earlier, newest = increments
    found(_documents(config, newest))
    held_out = found(
        document.document_id
        for increment in increments
        for stream in config.streams
        for document in stored_in(config.corpus, increment, stream)
    )
    of_earlier: Counter[str] = Counter()
    for stream in config.streams:
        ledger = Ledger.open(config.corpus, stream, [increment.name for increment in earlier])
        of_earlier += found(name for name in left if ledger.content_of(name) is not None)
    for increment in earlier if left else ():
        of_earlier += found(_documents(config, increment))
    return UnusedPairs(unknown=found(sorted(left)), held_out=held_out, earlier=of_earlier)


def _documents(config: CorpusConfig, increment: Increment) -> Iterator[str]:
    """Yield the documents in the texts of an increment."""
    for stream in increment.streams:
        for uri in text_uris(config.corpus, stream, increment.name):
            for text in read_records(uri, AugmentedText):
                yield from text.document_ids
