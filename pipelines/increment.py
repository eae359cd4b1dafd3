"""The pipeline, from files to the shards of one increment.

    files ─► read ─► newest versions ─► clean ─► filter ─► only new ─► dedup ─► decontaminate ─► near dedup
                                                                                  ┌────────────────┘
                                                           synthesize: true ┌─────┴────────────┐ false
        ┌───────────────────────────────────────────────────────────────────┘                  ▼
        └─► split ─► chains ─► synthesize ─► decontaminate            as it is, or pairs: tuning_texts.py
                                                  ▼                            ▼
                                         render and tokenize ───┬────────── tokenize
                                                                ▼
                                         shards ◄─ pack ◄─ shuffle

One such branch for each stream. Every reject of every step lands in `rejects/`, and every document taken
in gets a row in the ledger and, by its band keys, in the index of near copies. Nothing here publishes:
`pipelines/increments/build.py` does, once all of it is done.
`pipelines/planning/plan.py` takes in and splits by the same steps, and writes nothing.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import apache_beam as beam

from pipelines.increments.document_versions import Origin, VersionOrder, file_number
from pipelines.steps.base import REJECTS
from pipelines.steps.clean import CleanDocuments
from pipelines.steps.decontaminate import (
    CONTAMINATIONS,
    DecontaminateDocuments,
    DecontaminatePairs,
    SharedTasks,
    WriteReport,
)
from pipelines.steps.exact_dedup import DropDuplicates, KeepNewestVersions
from pipelines.steps.filter import FilterDocuments
from pipelines.steps.form_chains import FormChains
from pipelines.steps.keep_new import KeepNew, OnlyNew
from pipelines.steps.mark_superseded import SUPERSEDED, MarkSuperseded
from pipelines.steps.near_dedup import DropNearDuplicates
from pipelines.steps.read import FilePart, ReadFiles
from pipelines.steps.render import RenderTexts, raw_text
from pipelines.steps.split_documents import SplitDocuments
from pipelines.steps.synthesize import SynthesizeChains
from pipelines.steps.tokenize import TokenizeTexts
from pipelines.steps.tuning_texts import MakeTuningTexts, MergeContexts, as_answered, by_dataset
from pipelines.steps.write_near_index import WriteNearIndex
from pipelines.steps.write_shards import WriteShards
from pipelines.store.ledger import NO_ORIGIN, ledger_row, write_ledger
from plugins.readers import open_reader
from schemas import storage
from schemas.corpus_config import CorpusConfig
from schemas.corpus_layout import (
    asked_again_uri,
    duplicates_uri,
    increment_name,
    increment_uri,
    journal_uri,
    ledger_uri,
    near_index_uri,
    rejects_uri,
    superseded_uri,
)
from schemas.records import AugmentedText, Document, Reject, SynthesizedDocument, digest, to_json

_BATCH_CHARACTERS = 1 << 22


@dataclasses.dataclass(frozen=True, kw_only=True)
class IncrementSpec:
    """What one increment is made from.

    Attributes:
        config: The corpus.
        number: Number of the increment.
        known: Names of the increments already in.
        files: For each stream, its files, large ones in parts.
        pad_id: Token that fills rows.
        progress_dir: Local folder for progress files, or None.
        attempt: Number of the attempt to ask again for what gave no pairs; 0 asks for nothing again.
        token: Random part of the increment's name.
    """

    config: CorpusConfig
    number: int
    known: tuple[str, ...]
    files: Mapping[str, Sequence[FilePart]]
    pad_id: int
    progress_dir: str | None = None
    attempt: int = 0
    token: str = ""

    def num_files(self, stream: str) -> int:
        """Files of a stream, each counted once however many parts it has."""
        return len(self.origins(stream))

    def origins(self, stream: str) -> tuple[Origin, ...]:
        """Files of a stream, by their numbers."""
        sources = self.config.streams[stream].sources
        return tuple(
            Origin(each.source, sources[each.source].uri, each.uri)
            for each in self.files[stream]
            if each.part.start == 0
        )

    def version_order(self, stream: str) -> VersionOrder:
        """What compares the documents of a stream with those that the corpus holds."""
        return VersionOrder(
            self.origins(stream), [source.uri for source in self.config.streams[stream].sources]
        )

    @property
    def name(self) -> str:
        """What the increment's folders and tables are called."""
        return increment_name(self.number, self.token)

    @property
    def increment(self) -> str:
        """URI of the increment's directory."""
        return increment_uri(self.config.corpus, self.name)

    @property
    def journal(self) -> str:
        """URI of the journal."""
        return journal_uri(self.config.corpus)

    @functools.cached_property
    def tasks(self) -> SharedTasks | None:
        """The evaluation tasks that training text must not overlap with, if any are named."""
        return SharedTasks(self.config.decontaminate) if self.config.decontaminate.tasks else None


def add_increment(pipeline: beam.Pipeline, spec: IncrementSpec) -> None:
    """Add all that makes one increment to a pipeline."""
    config = spec.config
    taken = {name: take_in(pipeline, spec, name) for name in config.streams}
    rejects = [rejected for found in taken.values() for rejected in found.rejects]
    contaminations = [each for found in taken.values() for each in found.contaminations]
    parts: dict[str, beam.PCollection] = {}
    for name, found in taken.items():
        if config.streams[name].synthesize:
            cut = split(spec, name, found.new)
            parts[name] = cut.ok
            rejects.append(cut[REJECTS])
    num_parts = (
        tuple(parts.values())
        | "AllToSynthesize" >> beam.Flatten(pipeline=pipeline)
        | "CountToSynthesize" >> beam.combiners.Count.Globally()
    )
    for name, found in taken.items():
        _add_ledger(spec, name, found)
        _add_near_copies(spec, name, found)
        if name in parts:
            chains = _synthesize(spec, name, parts[name], num_parts, rejects, contaminations)
            rejects.append(_render(spec, name, chains))
        elif config.streams[name].tuning is not None:
            texts = _make_tuning_texts(spec, name, found.new, rejects, contaminations)
            rejects.append(write_texts(spec, name, texts))
        else:
            texts = found.new | f"{name}/AsItIs" >> beam.Map(raw_text)
            rejects.append(write_texts(spec, name, texts))
    write_rejects(spec, rejects)
    if spec.tasks is not None:
        (
            contaminations
            | "AllContaminations" >> beam.Flatten()
            | "Contaminations" >> WriteReport(spec.tasks, spec.increment)
        )


class TakenIn(NamedTuple):
    """What the files of a stream hold.

    Attributes:
        read: All of its documents.
        new: Those that the corpus does not hold yet, changed ones included.
        superseded: For each changed one, its document_id.
        rejects: Those of each step.
        contaminations: Documents that overlap with evaluation tasks, row by row; none without tasks.
        duplicates: Documents that were dropped as copies, and for which.
        fingerprints: What the index of near copies holds of the new ones; none with `dedup.near: null`.
    """

    read: beam.PCollection
    new: beam.PCollection
    superseded: beam.PCollection
    rejects: tuple[beam.PCollection, ...]
    contaminations: tuple[beam.PCollection, ...]
    duplicates: tuple[beam.PCollection, ...]
    fingerprints: tuple[beam.PCollection, ...]


def take_in(pipeline: beam.Pipeline, spec: IncrementSpec, name: str) -> TakenIn:
    """From the files of a stream to its new documents; writes nothing."""
    config, progress = spec.config, spec.progress_dir
    sources = config.streams[name].sources
    read = (
        pipeline
        | f"{name}/Files" >> beam.Create(list(spec.files[name]))
        | f"{name}/SpreadFiles" >> beam.Reshuffle()
        | f"{name}/Read" >> beam.ParDo(ReadFiles(sources, progress)).with_outputs(REJECTS, main="ok")
    )
    documents = read.ok
    if config.streams[name].tuning is not None:
        documents = documents | f"{name}/MergeContexts" >> MergeContexts()
    rejects, duplicates = [read[REJECTS]], []
    newest = documents
    if _may_repeat_names(spec, name):
        by_name = documents | f"{name}/NewestVersions" >> KeepNewestVersions(progress)
        newest = by_name.kept
        rejects.append(by_name.rejects)
        duplicates.append(by_name.duplicates)
    clean = newest | f"{name}/Clean" >> beam.ParDo(CleanDocuments(config.clean, progress)).with_outputs(
        REJECTS, main="ok"
    )
    good = clean.ok
    rejects.append(clean[REJECTS])
    if config.filters:
        filtered = good | f"{name}/Filter" >> beam.ParDo(
            FilterDocuments(config.filters, progress)
        ).with_outputs(REJECTS, main="ok")
        good = filtered.ok
        rejects.append(filtered[REJECTS])
    only_new = OnlyNew(
        config.corpus,
        name,
        spec.known,
        spec.version_order(name),
        progress,
        asked_again_uri(spec.increment, name),
    )
    unknown = good | f"{name}/OnlyNew" >> KeepNew(only_new)
    rejects.append(unknown.rejects)
    exact = unknown.kept | f"{name}/Dedup" >> DropDuplicates(progress)
    new = exact.kept
    rejects.append(exact.rejects)
    duplicates.append(exact.duplicates)
    contaminations: tuple[beam.PCollection, ...] = ()
    if spec.tasks is not None:
        clear = new | f"{name}/Decontaminate" >> beam.ParDo(
            DecontaminateDocuments(spec.tasks, name, progress)
        ).with_outputs(REJECTS, CONTAMINATIONS, main="ok")
        new, contaminations = clear.ok, (clear[CONTAMINATIONS],)
        rejects.append(clear[REJECTS])
    fingerprints: tuple[beam.PCollection, ...] = ()
    if config.dedup.near is not None:
        near = new | f"{name}/NearDedup" >> DropNearDuplicates(
            config.dedup.near, corpus=config.corpus, stream=name, names=spec.known, progress_dir=progress
        )
        new, fingerprints = near.kept, (near.fingerprints,)
        rejects.append(near.rejects)
        duplicates.append(near.duplicates)
    taken = new | f"{name}/MarkSuperseded" >> beam.ParDo(
        MarkSuperseded(config.corpus, name, spec.known, progress)
    ).with_outputs(SUPERSEDED, main="ok")
    return TakenIn(
        read=documents,
        new=taken.ok,
        superseded=taken[SUPERSEDED],
        rejects=tuple(rejects),
        contaminations=contaminations,
        duplicates=tuple(duplicates),
        fingerprints=fingerprints,
    )


def _may_repeat_names(spec: IncrementSpec, name: str) -> bool:
    """Whether two documents may have one name. File and position name one, unless a file is read twice."""
    uris = [origin.uri for origin in spec.origins(name)]
    named = any(open_reader(source).source.id_field for source in spec.config.streams[name].sources)
    return named or len(set(uris)) < len(uris)


def split(spec: IncrementSpec, name: str, documents: beam.PCollection) -> Any:
    """Cut the documents of a stream as its synthesizer and the rows need them: outputs `ok` and `rejects`."""
    step = SplitDocuments(spec.config, spec.progress_dir)
    return documents | f"{name}/Split" >> beam.ParDo(step).with_outputs(REJECTS, main="ok")


def _synthesize(
    spec: IncrementSpec,
    name: str,
    documents: beam.PCollection,
    num_documents: beam.PCollection,
    rejects: list[beam.PCollection],
    contaminations: list[beam.PCollection],
) -> beam.PCollection:
    """From documents to chains of documents with pairs."""
    config, progress = spec.config, spec.progress_dir
    synthesize = beam.ParDo(
        SynthesizeChains(
            config.synthesis,
            clean=config.clean,
            seed=config.seed,
            journal=spec.journal,
            progress_dir=progress,
            attempt=spec.attempt,
        ),
        beam.pvalue.AsSingleton(num_documents),
    )
    if config.synthesis.accelerator:
        synthesize = synthesize.with_resource_hints(accelerator=config.synthesis.accelerator)
    synthesized = (
        documents
        | f"{name}/Chains" >> FormChains(config.chains, progress)
        | f"{name}/SpreadChains" >> beam.Reshuffle()
        | f"{name}/Synthesize" >> synthesize.with_outputs(REJECTS, main="ok")
    )
    rejects.append(synthesized[REJECTS])
    chains = synthesized.ok | f"{name}/KeepCostlyResults" >> beam.Reshuffle()
    return _decontaminate_pairs(spec, name, chains, rejects, contaminations)


def _make_tuning_texts(
    spec: IncrementSpec,
    name: str,
    documents: beam.PCollection,
    rejects: list[beam.PCollection],
    contaminations: list[beam.PCollection],
) -> beam.PCollection:
    """From documents that came with pairs to texts that a synthesizer is tuned on."""
    config = spec.config
    tuning = config.streams[name].tuning
    assert tuning is not None, "that is why it is called"
    step = MakeTuningTexts(
        tuning,
        config.tokenizer,
        seq_len=config.pack.seq_len,
        seed=config.seed,
        progress_dir=spec.progress_dir,
    )
    answered = documents | f"{name}/AsAnswered" >> beam.Map(as_answered)
    made = (
        _decontaminate_pairs(spec, name, answered, rejects, contaminations)
        | f"{name}/KeyByDataset" >> beam.Map(by_dataset)
        | f"{name}/GroupByDataset" >> beam.GroupByKey()
        | f"{name}/MakeTuningTexts" >> beam.ParDo(step).with_outputs(REJECTS, main="ok")
    )
    rejects.append(made[REJECTS])
    return made.ok


def _decontaminate_pairs(
    spec: IncrementSpec,
    name: str,
    chains: beam.PCollection,
    rejects: list[beam.PCollection],
    contaminations: list[beam.PCollection],
) -> beam.PCollection:
    if spec.tasks is None:
        return chains
    clear = chains | f"{name}/DecontaminatePairs" >> beam.ParDo(
        DecontaminatePairs(spec.tasks, name, spec.progress_dir)
    ).with_outputs(REJECTS, CONTAMINATIONS, main="ok")
    rejects.append(clear[REJECTS])
    contaminations.append(clear[CONTAMINATIONS])
    return clear.ok


def write_texts(spec: IncrementSpec, name: str, texts: beam.PCollection) -> beam.PCollection:
    """From training texts to the shards of a stream; gives the rejects."""
    tokenized = _batches(name, texts, _num_characters) | f"{name}/Tokenize" >> beam.ParDo(
        TokenizeTexts(spec.config.tokenizer, spec.progress_dir)
    ).with_outputs(REJECTS, main="ok")
    _write_shards(spec, name, tokenized.ok)
    return tokenized[REJECTS]


def _render(spec: IncrementSpec, name: str, chains: beam.PCollection) -> beam.PCollection:
    """From chains of documents with pairs to the shards of a stream; gives the rejects."""
    rendered = _batches(name, chains, _chain_characters) | f"{name}/Render" >> beam.ParDo(
        RenderTexts(spec.config, spec.progress_dir)
    ).with_outputs(REJECTS, main="ok")
    _write_shards(spec, name, rendered.ok)
    return rendered[REJECTS]


def _batches(name: str, values: beam.PCollection, num_characters: Callable[[Any], int]) -> beam.PCollection:
    """Batches of what is tokenized together."""
    return values | f"{name}/Batch" >> beam.BatchElements(
        min_batch_size=_BATCH_CHARACTERS // 64,
        max_batch_size=_BATCH_CHARACTERS,
        element_size_fn=num_characters,
    )


def _write_shards(spec: IncrementSpec, name: str, tokenized: beam.PCollection) -> None:
    config = spec.config
    tokenized | f"{name}/Shards" >> WriteShards(
        spec.increment,
        name,
        seed=config.seed,
        pad_id=spec.pad_id,
        tokenizer=config.tokenizer,
        pack=config.pack,
        shards=config.shards,
        progress_dir=spec.progress_dir,
    )


def write_rejects(spec: IncrementSpec, rejects: Sequence[beam.PCollection]) -> None:
    """Write the rejects of all steps, a file for each."""
    (
        rejects
        | "AllRejects" >> beam.Flatten()
        | "KeyRejects" >> beam.Map(lambda reject: (reject.stage, reject))
        | "GroupRejects" >> beam.GroupByKey()
        | "WriteRejects" >> beam.Map(_write_rejects, spec.increment)
    )


def _add_ledger(spec: IncrementSpec, name: str, found: TakenIn) -> None:
    (
        found.new
        | f"{name}/LedgerRow" >> beam.Map(_ledger_row)
        | f"{name}/GroupLedger" >> beam.GroupByKey()
        | f"{name}/WriteLedger"
        >> beam.Map(
            lambda rows, uri, origins: write_ledger(uri, rows[1], origins),
            ledger_uri(spec.config.corpus, name, spec.name),
            spec.origins(name),
        )
    )
    (
        found.superseded
        | f"{name}/OneSuperseded" >> beam.Map(lambda document_id: (None, document_id))
        | f"{name}/GroupSuperseded" >> beam.GroupByKey()
        | f"{name}/WriteSuperseded"
        >> beam.Map(
            lambda ids, uri: storage.write_lines_zst(uri, sorted(ids[1])),
            superseded_uri(spec.increment, name),
        )
    )


def _add_near_copies(spec: IncrementSpec, name: str, found: TakenIn) -> None:
    (
        found.duplicates
        | f"{name}/AllDuplicates" >> beam.Flatten()
        | f"{name}/OneDuplicate" >> beam.Map(lambda duplicate: (None, to_json(duplicate)))
        | f"{name}/GroupDuplicates" >> beam.GroupByKey()
        | f"{name}/WriteDuplicates"
        >> beam.Map(
            lambda lines, uri: storage.write_lines_zst(uri, sorted(lines[1])),
            duplicates_uri(spec.increment, name),
        )
    )
    for fingerprints in found.fingerprints:
        assert spec.config.dedup.near is not None, "that is where they come from"
        uri = near_index_uri(spec.config.corpus, name, spec.name)
        fingerprints | f"{name}/NearIndex" >> WriteNearIndex(uri, spec.config.dedup.near)


def _num_characters(text: AugmentedText) -> int:
    return len(text.text)


def _chain_characters(chain: Sequence[SynthesizedDocument]) -> int:
    return sum(
        len(done.document.text) + sum(len(pair.instruction) + len(pair.response) for pair in done.pairs)
        for done in chain
    )


def _ledger_row(document: Document) -> tuple[None, bytes]:
    is_named = document.document_id != document.source
    number = file_number(document.version) if is_named else NO_ORIGIN
    return None, ledger_row(document.document_id, document.content_hash, number)


def _write_rejects(group: tuple[str, Iterable[Reject]], increment: str) -> None:
    stage, rejects = group
    lines = sorted(map(to_json, rejects))
    storage.write_lines_zst(rejects_uri(increment, stage), lines)


def config_hash(config: CorpusConfig) -> str:
    """Hash of everything in a configuration."""
    return digest(config.model_dump_json())
