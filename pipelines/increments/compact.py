"""Increments written anew as one, of what is current in them.

    their texts ─► without passages that are not current ─► tokenize ─► shuffle ─► pack ─► shards
    their ledgers ─► rows that no newer row replaces, those of withdrawn documents included ─► one ledger
    their indexes of near duplicates ─► entries of documents that are current ─► one index

No model is asked, and no source read. The next manifest names the new increment in place of the old ones,
which stay where they are for whoever pins an older manifest.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence

import apache_beam as beam
import numpy as np

from pipelines.increment import Branch, write_rejects, write_texts
from pipelines.increments.after_publishing import Publishing
from pipelines.increments.failure_limits import refuse_unexpected
from pipelines.increments.prechecks import Prepared, newest_manifest, prepared
from pipelines.increments.publish import drafted
from pipelines.increments.source_files import carry_over, forget_read
from pipelines.runners.progress_table import ProgressView
from pipelines.runners.run import make_pipeline, parse_options, run_for_metrics
from pipelines.steps.cut_superseded import CutSuperseded, ReadTexts
from pipelines.steps.write_shards import merge_groups
from pipelines.store.dataset_card import write_card
from pipelines.store.layout import ledger_uri
from pipelines.store.ledger import current_rows, write_ledger
from pipelines.store.near_index import merge_index
from pipelines.store.statistics import measured, write_stats
from schemas.corpus_config import CorpusConfig
from schemas.errors import CorpusError
from schemas.manifest import Increment, Manifest, number_of, text_uris

Withdrawn = Mapping[str, Sequence[str]]
"""By stream, the names of documents to withdraw."""


def compact(
    config: CorpusConfig, beam_options: Sequence[str] = (), *, quiet: bool = False
) -> Manifest | None:
    """Write all increments of a corpus as one, without what is superseded.

    Returns:
        The new manifest, or None where there is nothing to bring together.

    Raises:
        ConfigError: A value or option is refused.
        CorpusError: There is no corpus, or it is damaged, of another tokenizer, or held by another run.
    """
    before = open_corpus(config)
    if len(before.increments) < 2:
        return None
    return rewrite(config, beam_options, before=before, names=before.names(), withdrawn={}, quiet=quiet)


def open_corpus(config: CorpusConfig) -> Manifest:
    """The newest manifest of a corpus that there must be.

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
    withdrawn: Withdrawn,
    quiet: bool,
) -> Manifest:
    """Put one new increment in the place of some.

    Args:
        config: The corpus.
        beam_options: Options for Beam.
        before: The newest manifest.
        names: Increments to be replaced.
        withdrawn: Documents that are no longer served from now on, all of whose increments are among them.
        quiet: Show nothing on standard error.
    """
    started = time.monotonic()
    options = parse_options(beam_options)
    numbers = tuple(map(number_of, names))
    with Publishing(config.corpus) as publishing, contextlib.ExitStack() as stack:
        run = stack.enter_context(prepared(config, options, before=before, files={}))
        spec = run.spec
        view = ProgressView(quiet=quiet)
        draft = stack.enter_context(drafted(config.corpus, spec.number, spec.token, view.say))
        view.say(
            f"Rewriting {'increment' if len(numbers) == 1 else 'increments'} "
            f"{', '.join(map(str, numbers))} of {config.corpus} as increment {spec.number}."
        )
        num_documents = sum(
            _write_tables(run, name, names, withdrawn.get(name, ())) for name in config.streams
        )
        pipeline = make_pipeline(run.options)
        _add_rewriting(pipeline, run, names)
        with view:
            measures = measured(run_for_metrics(pipeline, view.say))
        refuse_unexpected(spec.increment, measures.counts, few=0)  # each would be a text lost
        found = {name: merge_groups(spec.increment, name) for name in config.streams}
        increment = Increment(
            number=spec.number,
            token=spec.token,
            streams={name: shards for name, shards in found.items() if shards is not None},
            num_documents=num_documents,
            replaces=numbers,
            num_withdrawn=sum(map(len, withdrawn.values())),
        )
        kept = [each for each in before.increments if each.number not in numbers]
        manifest = run.manifest([*kept, increment])
        stats = write_stats(
            spec.increment,
            config,
            manifest,
            measures,
            wall_sec=time.monotonic() - started,
        )
        write_card(spec.increment, config, manifest, stats)
        publishing.manifest = manifest
        run.publish(draft, manifest)
        if any(withdrawn.values()):
            forget_read(
                config.corpus
            )  # copies that were refused for a withdrawn document have another chance
        else:
            carry_over(config.corpus, before, manifest)
    return manifest


def _write_tables(run: Prepared, stream: str, names: Sequence[str], withdrawn: Sequence[str]) -> int:
    """Write the ledger and the index of near duplicates; gives the number of documents."""
    corpus, into = run.spec.config.corpus, run.spec.name
    rows, origins, num_documents = current_rows(
        corpus, stream, run.spec.known, of=set(names), withdrawn=withdrawn
    )
    if rows:
        write_ledger(ledger_uri(corpus, stream, into), rows, origins)
    contents = np.sort(np.array([int.from_bytes(row[16:24], "big") for row in rows], dtype=np.uint64))
    merge_index(corpus, stream, names, into, is_current=lambda found: np.isin(found, contents))
    return num_documents


def _add_rewriting(pipeline: beam.Pipeline, run: Prepared, names: Sequence[str]) -> None:
    spec = run.spec
    assert run.before is not None
    corpus = spec.config.corpus
    written = []
    for name, stream in spec.config.streams.items():
        files = [
            (increment.number, uri, increment.streams[name])
            for increment in run.before.increments
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
    write_rejects(spec, written)
