"""`corpus compact`: increments rewritten as one, without superseded text.

    their texts ─► without outdated passages ─► tokenize ─► shuffle ─► pack ─► shards
    their ledgers ─► rows that no newer row replaces, those of withdrawn documents included ─► one ledger
    their held-out documents ─► current ones
    their indexes of near duplicates ─► entries of current documents ─► one index

It asks no model and reads no source. The next manifest names the new increment in place of the old ones.
They stay for readers that pin an older manifest.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import apache_beam as beam
import numpy as np

from pipelines.increment import Branch, IncrementSpec, write_rejects, write_texts
from pipelines.increments.changed_source_files import carry_over, forget_read
from pipelines.increments.failure_limits import refuse_unexpected
from pipelines.increments.preflight_checks import newest_manifest
from pipelines.increments.publish import drafted
from pipelines.runners.run import make_pipeline, parse_options, run_for_metrics
from pipelines.steps.cut_superseded import CutSuperseded, ReadTexts
from pipelines.steps.hold_out import WriteHeldOut
from pipelines.steps.write_shards import merge_groups
from pipelines.store.held_out import count_held_out, read_held_out
from pipelines.store.ledger import current_rows, write_ledger
from pipelines.store.near_index import merge_index
from pipelines.store.statistics import measured
from schemas.corpus_config import CorpusConfig
from schemas.corpus_layout import (
    held_out_ledger,
    ledger_uri,
    number_of,
    streams_with_versions,
    text_uris,
    versions_ledger,
)
from schemas.errors import CorpusError
from schemas.manifest import Increment, Manifest


def compact(
    config: CorpusConfig, beam_options: Sequence[str] = (), *, quiet: bool = False
) -> Manifest | None:
    """Write all increments of a corpus as one, without superseded text; None if it has one increment only.

    Raises:
        ConfigError: A value or option is refused.
        CorpusError: There is no corpus, or it is damaged, of another tokenizer, or held by another run.
    """
    before = open_corpus(config)
    if len(before.increments) < 2:
        return None
    return rewrite(config, beam_options, before=before, names=before.names(), withdrawn={}, quiet=quiet)


def open_corpus(config: CorpusConfig) -> Manifest:
    """Read the newest manifest of a corpus that must exist.

    Settings that only a build uses (servers, sources, filters, tasks) are not checked.
    """
    before = newest_manifest(config)
    if before is None:
        raise CorpusError(
            f"{config.corpus}: holds no published corpus. Build one with `tutelage corpus build`."
        )
    if missing := sorted({*before.stream_names()} - {*config.streams}):
        raise CorpusError(
            f"{config.corpus}: has a stream {missing[0]!r} that `streams` does not name. "
            "Name all of a corpus's streams, or its rows would be lost."
        )
    return before


def rewrite(
    config: CorpusConfig,
    beam_options: Sequence[str],
    *,
    before: Manifest,
    names: Sequence[str],
    withdrawn: Mapping[str, Sequence[str]],
    quiet: bool,
) -> Manifest:
    """Replace the increments `names`, which alone hold documents of `withdrawn`, by one new increment."""
    started = time.monotonic()
    options = parse_options(beam_options)
    numbers = tuple(map(number_of, names))
    with drafted(config, options, before=before, files={}, quiet=quiet, started=started) as draft:
        spec, view = draft.run.spec, draft.view
        view.say(
            f"Rewriting {'increment' if len(numbers) == 1 else 'increments'} "
            f"{', '.join(map(str, numbers))} of {config.corpus} as increment {spec.number}."
        )
        num_documents = sum(
            _write_tables(spec, each, names, withdrawn.get(each, ())) for each in config.streams
        )
        pipeline = make_pipeline(draft.run.options)
        _add_rewriting(pipeline, spec, before, names, withdrawn)
        with view:
            found = measured(run_for_metrics(pipeline, view.say))
        refuse_unexpected(spec.increment, found.counts, few=0)  # each would be a lost text
        streams = {name: merge_groups(spec.increment, name) for name in config.streams}
        increment = Increment(
            number=spec.number,
            token=spec.token,
            streams={name: shards for name, shards in streams.items() if shards is not None},
            num_documents=num_documents,
            replaces=numbers,
            num_withdrawn=sum(map(len, withdrawn.values())),
            num_held_out=count_held_out(config.corpus, config.streams, spec.name),
            versions=streams_with_versions(config.corpus, config.streams, spec.name),
        )
        kept = [each for each in before.increments if each.number not in numbers]
        draft.publish([*kept, increment], found)
        assert draft.manifest is not None
        if any(withdrawn.values()):
            forget_read(config.corpus)  # the next build may take in copies of withdrawn documents
        else:
            carry_over(config.corpus, before, draft.manifest)
    assert draft.manifest is not None
    return draft.manifest


def _write_tables(spec: IncrementSpec, stream: str, names: Sequence[str], withdrawn: Sequence[str]) -> int:
    """Write the ledgers and the index of near duplicates; return the number of documents."""
    corpus = spec.config.corpus
    for other in (held_out_ledger(stream), versions_ledger(stream)):
        rows, origins, _ = current_rows(corpus, other, spec.known, of=set(names))
        if rows:
            write_ledger(ledger_uri(corpus, other, spec.name), rows, origins)
    rows, origins, num_documents = current_rows(
        corpus, stream, spec.known, of=set(names), withdrawn=withdrawn
    )
    if rows:
        write_ledger(ledger_uri(corpus, stream, spec.name), rows, origins)
    contents = np.sort(np.array([int.from_bytes(row[16:24], "big") for row in rows], dtype=np.uint64))
    merge_index(corpus, stream, names, spec.name, is_current=lambda found: np.isin(found, contents))
    return num_documents


def _add_rewriting(
    pipeline: beam.Pipeline,
    spec: IncrementSpec,
    before: Manifest,
    names: Sequence[str],
    withdrawn: Mapping[str, Sequence[str]],
) -> None:
    corpus = spec.config.corpus
    written = []
    for name, stream in spec.config.streams.items():
        files = [
            (increment.number, uri, increment.streams[name])
            for increment in before.increments
            if increment.name in names and name in increment.streams
            for uri in text_uris(corpus, name, increment.name)
        ]
        cut = CutSuperseded(
            corpus=corpus, stream=name, names=spec.known, into=spec.name, counts_pairs=stream.synthesize
        )
        texts = (
            pipeline
            | f"{name}/TextFiles" >> beam.Create(files)
            | f"{name}/SpreadTextFiles" >> beam.Reshuffle()
            | f"{name}/ReadTexts" >> beam.ParDo(ReadTexts())
            | f"{name}/CutSuperseded" >> beam.ParDo(cut)
        )
        written.append(write_texts(spec, Branch(name, texts)))
        if any(name in each.num_held_out for each in before.increments if each.name in names):
            (
                pipeline
                | f"{name}/HeldOutStream" >> beam.Create([name])
                | f"{name}/ReadHeldOut"
                >> beam.FlatMap(lambda stream: read_held_out(corpus, before, stream, names))
                | f"{name}/StillHeldOut"
                >> beam.Filter(lambda each, gone: each.document_id not in gone, {*withdrawn.get(name, ())})
                | f"{name}/WriteHeldOut" >> WriteHeldOut(spec.increment, name)
            )
    write_rejects(spec, written)
