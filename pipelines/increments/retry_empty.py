"""`--retry-empty`: documents without pairs in streams that synthesize, to be asked about again.

    texts ─► current passages ─► documents of which no passage has a pair ─► their names and sources

If some parts of a document have pairs, its other parts are not asked about again. Cost: it reads every text
once.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from pipelines.increments.changed_source_files import SourceFile, SourceFiles
from pipelines.inspect.lineage import text_lines
from pipelines.store.ledger import Newest
from schemas import storage
from schemas.corpus_config import CorpusConfig
from schemas.corpus_layout import asked_again_uri
from schemas.manifest import Manifest

Without = Mapping[str, Mapping[str, str]]
"""By stream, the source of each document without pairs, by its name."""


def documents_without_pairs(config: CorpusConfig, manifest: Manifest) -> Without:
    """Find the documents without pairs in every stream that synthesizes."""
    found: dict[str, dict[str, str]] = {}
    for stream in (name for name, each in config.streams.items() if each.synthesize):
        newest = Newest(config.corpus, stream, manifest.names())
        sources: dict[str, str] = {}
        answered: set[str] = set()
        for each in text_lines(config.corpus, manifest, stream):
            for passage in each.text().passages:
                if not newest.is_current(each.place.increment, passage.document_id, passage.content_hash):
                    continue
                if not passage.num_pairs:
                    sources[passage.document_id] = passage.source.removesuffix(f" part {passage.part}")
                elif passage.part:
                    answered.add(passage.document_id)
        found[stream] = {name: source for name, source in sources.items() if name not in answered}
    return found


def with_their_files(files: SourceFiles, all_files: SourceFiles, without: Without) -> SourceFiles:
    """Add to some files those from which documents without pairs were read."""
    both: dict[str, tuple[SourceFile, ...]] = {}
    for name, group in all_files.items():
        wanted, uris = set(files[name]), _uris(without.get(name, {}).values())
        both[name] = tuple(file for file in group if file in wanted or file.uri in uris)
    return both


def _uris(sources: Iterable[str]) -> set[str]:
    """Possible URIs of sources `uri` or `uri:position`."""
    pieces = (source.split(":") for source in sources)
    return {":".join(each[:length]) for each in pieces for length in range(1, len(each) + 1)}


def write_asked_again(increment: str, without: Without) -> None:
    """Write the names of these documents, so that the steps of the increment take them in once more."""
    for stream, names in without.items():
        if names:
            storage.write_lines_zst(asked_again_uri(increment, stream), map(json.dumps, sorted(names)))
