"""Documents that are in a corpus without pairs, though its streams synthesize: to be asked about again.

    texts ─► passages that are current ─► no passage of the document has a pair ─► its name, and its source

A part of a document whose other parts have pairs is left as it is. Cost: every text is read once.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from pipelines.increments.source_files import SourceFile, SourceFiles
from pipelines.inspect.lineage import text_lines
from pipelines.steps.cut_superseded import Newest
from pipelines.store.layout import asked_again_uri
from schemas import storage
from schemas.corpus_config import CorpusConfig
from schemas.manifest import Manifest

Without = Mapping[str, Mapping[str, str]]
"""By stream, where each document without pairs was read, by its name."""


def documents_without_pairs(config: CorpusConfig, manifest: Manifest) -> Without:
    """Find them in every stream that synthesizes."""
    found: dict[str, dict[str, str]] = {}
    for stream in (name for name, each in config.streams.items() if each.synthesize):
        newest = Newest(config.corpus, stream, manifest.names())
        sources: dict[str, str] = {}
        answered: set[str] = set()
        for each in text_lines(config.corpus, manifest, stream):
            for passage in each.text().passages:
                if not newest.is_current(each.place.increment, passage):
                    continue
                if not passage.num_pairs:
                    sources[passage.document_id] = passage.source.removesuffix(f" part {passage.part}")
                elif passage.part:
                    answered.add(passage.document_id)
        found[stream] = {name: source for name, source in sources.items() if name not in answered}
    return found


def with_their_files(files: SourceFiles, all_files: SourceFiles, without: Without) -> SourceFiles:
    """Some files, and those of all from which documents without pairs were read."""
    both: dict[str, tuple[SourceFile, ...]] = {}
    for name, group in all_files.items():
        wanted, uris = set(files[name]), _uris(without.get(name, {}).values())
        both[name] = tuple(file for file in group if file in wanted or file.uri in uris)
    return both


def _uris(sources: Iterable[str]) -> set[str]:
    """What each source, `uri` or `uri:position`, may have as its URI."""
    pieces = (source.split(":") for source in sources)
    return {":".join(each[:length]) for each in pieces for length in range(1, len(each) + 1)}


def write_asked_again(increment: str, without: Without) -> None:
    """Have the steps of an increment take these documents in once more."""
    for stream, names in without.items():
        if names:
            storage.write_lines_zst(asked_again_uri(increment, stream), map(json.dumps, sorted(names)))
