"""`corpus withdraw`: removal of documents from the next manifest on; no build takes them in again.

    names, and documents of the named sources ─► increments that hold them ─► rewritten as one

A withdrawn document leaves a row in the ledger. The other documents of its chain keep their texts and pairs,
although its text was in the prompts for these pairs. The next build may take in copies that were rejected as
its duplicates, unless they are withdrawn too. Older manifests and the journal keep the document.

Cost: names need a look-up in the ledgers; sources need one pass over every text and held-out document.
"""

from __future__ import annotations

import fnmatch
import itertools
from collections.abc import Iterable, Sequence

from pipelines.increments.compact import open_corpus, rewrite
from pipelines.inspect.lineage import texts_of
from pipelines.steps.base import Named
from pipelines.store.held_out import read_held_out
from pipelines.store.ledger import WITHDRAWN, Ledger
from plugins.readers.listing import shown_name
from schemas.corpus_config import CorpusConfig
from schemas.errors import CorpusError
from schemas.manifest import Manifest

_SHOWN = 3


def withdraw(
    config: CorpusConfig,
    beam_options: Sequence[str] = (),
    *,
    document_ids: Iterable[str] = (),
    sources: Iterable[str] = (),
    quiet: bool = False,
) -> Manifest:
    """Withdraw documents from every stream that holds them.

    Args:
        document_ids: Names of documents.
        sources: URIs, folders or globs of the files that a build read the documents from.

    Raises:
        ConfigError: A value or option is refused.
        CorpusError: The corpus lacks one of the documents, and nothing was changed. Or it is damaged, made
            with another tokenizer, or held by another run.
    """
    before = open_corpus(config)
    corpus, increments = config.corpus, before.names()
    wanted, patterns = set(document_ids), list(dict.fromkeys(map(shown_name, sources)))
    in_sources, seen = _names_in_sources(config, before, patterns)
    if lost := [pattern for pattern in patterns if pattern not in seen]:
        raise CorpusError(f"{corpus}: holds no document of source {lost[0]!r}. Nothing was changed.")
    withdrawn: dict[str, list[str]] = {}
    affected: set[str] = set()
    for stream in config.streams:
        everything = Ledger.open(corpus, stream, increments)
        names = sorted(
            name
            for name in wanted | in_sources.get(stream, set())
            if everything.content_of(name) not in (None, WITHDRAWN)
        )
        if names:
            withdrawn[stream] = names
        for increment in increments:
            ledger = Ledger.open(corpus, stream, [increment])
            if any(ledger.content_of(name) is not None for name in names):
                affected.add(increment)
    if lost := sorted(wanted.difference(*withdrawn.values())):
        more = f" and {len(lost) - _SHOWN} more" if len(lost) > _SHOWN else ""
        raise CorpusError(
            f"{corpus}: holds no document {', '.join(map(repr, lost[:_SHOWN]))}{more}, or no longer. Nothing "
            "was changed. `tutelage corpus trace` says what became of a document."
        )
    if not withdrawn:
        raise CorpusError(f"{corpus}: all of these documents are withdrawn already. Nothing was changed.")
    replaced = [name for name in increments if name in affected]
    return rewrite(config, beam_options, before=before, names=replaced, withdrawn=withdrawn, quiet=quiet)


def _names_in_sources(
    config: CorpusConfig, manifest: Manifest, patterns: Sequence[str]
) -> tuple[dict[str, set[str]], set[str]]:
    """By stream, the documents of these sources; and the sources that have any.

    A pattern that equals the source of some document is a name, not a glob.
    """
    found: dict[tuple[str, bool], dict[str, set[str]]] = {}
    for stream in config.streams if patterns else ():
        in_texts = (each for text in texts_of(config.corpus, manifest, stream) for each in text.passages)
        held_out: Iterable[Named] = read_held_out(config.corpus, manifest, stream)
        for document in itertools.chain(held_out, in_texts):
            for pattern in patterns:
                for is_glob, matches in ((False, is_in), (True, is_of)):
                    if matches(document.source, pattern):
                        ids = found.setdefault((pattern, is_glob), {}).setdefault(stream, set())
                        ids.add(document.document_id)
                        break
    names: dict[str, set[str]] = {}
    for (pattern, is_glob), by_stream in found.items():
        if not is_glob or (pattern, False) not in found:
            for stream, ids in by_stream.items():
                names.setdefault(stream, set()).update(ids)
    return names, {pattern for pattern, _ in found}


def is_in(source: str, name: str) -> bool:
    """True if a document's source, `uri`, `uri:position` or `uri!/member`, is this file or in this folder."""
    rest = source.removeprefix(name)
    return source.startswith(name) and (not rest or rest[0] in ":/! " or name.endswith("/"))


def is_of(source: str, pattern: str) -> bool:
    """True if a document's source is this file, in this folder, or matches this glob."""
    return is_in(source, pattern) or any(
        fnmatch.fnmatchcase(source, each) for each in (pattern, f"{pattern}:*", f"{pattern}!/*")
    )
