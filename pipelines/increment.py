"""The Beam graph of one increment, from files to shards.

    files ─► read ─► newest versions ─► clean ─► filter ─► only new ─► dedup ─► decontaminate ─► near dedup
                                                                                  ┌────────────────┘
                                                                              hold out ─► held-out documents
                                                                                  │
                                                           synthesize: true ┌─────┴────────────┐ false
        ┌───────────────────────────────────────────────────────────────────┘                  ▼
        └─► split ─► chains ─► synthesize ─► decontaminate ─► verify  as it is, or pairs: tuning_texts.py
                                                               ▼               ▼
                                         render and tokenize ◄─┘ ──┬─────── tokenize
                                                                ▼
                                         shards ◄─ pack ◄─ shuffle

There is one such branch for each stream. The rejects of all steps are written to `rejects/`. Every document
that is taken in gets a row in the ledger and, with `dedup.near`, a row in the near index for each band key.
The same holds for held-out documents, which go no further than `held-out/`.
This module publishes nothing: `pipelines/increments/build.py` does so at the end.
`pipelines/planning/counting_job.py` takes in and splits documents by the same steps, and writes nothing.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import apache_beam as beam

from pipelines.increments.changed_source_files import FilePart
from pipelines.increments.document_versions import Origin, VersionOrder, file_number
from pipelines.steps.base import StepFn, batches_of, outputs_of
from pipelines.steps.clean import CleanDocuments
from pipelines.steps.decontaminate import DecontaminateDocuments, DecontaminatePairs, SharedTasks, WriteReport
from pipelines.steps.dedup.exact import DropDuplicates
from pipelines.steps.dedup.near import DropNearDuplicates, WriteNearIndex
from pipelines.steps.filter import FilterDocuments
from pipelines.steps.form_chains import FormChains
from pipelines.steps.hold_out import HoldOut, WriteHeldOut
from pipelines.steps.new_or_changed import KeepNew, MarkSuperseded
from pipelines.steps.newest_versions import KeepNewestVersions, Seen
from pipelines.steps.read import ReadFiles
from pipelines.steps.render import RenderTexts, raw_text
from pipelines.steps.split_documents import SplitDocuments
from pipelines.steps.synthesize import SynthesizeChains
from pipelines.steps.tokenize import TokenizeTexts
from pipelines.steps.tuning_texts import MakeTuningTexts, MergeContexts, as_answered, by_dataset
from pipelines.steps.verify_pairs import VerifyPairs
from pipelines.steps.write_shards import WriteGroup, WriteShards
from pipelines.store.ledger import DELETED, NO_ORIGIN, Ledger, ledger_row, write_ledger
from pipelines.store.near_index import check_indexes
from plugins.readers import open_reader
from plugins.verifiers import VERIFIERS
from plugins.verifiers.base import ModelVerifier
from plugins.verifiers.rules import rules_of
from schemas import storage
from schemas.config import unset_additions
from schemas.content_hash import digest
from schemas.corpus_config import CorpusConfig
from schemas.corpus_layout import (
    asked_again_uri,
    duplicates_uri,
    held_out_ledger,
    increment_name,
    increment_uri,
    journal_uri,
    ledger_uri,
    near_index_uri,
    rejects_uri,
    superseded_uri,
    versions_ledger,
)
from schemas.records import Document, Reject, SynthesizedDocument, to_json


@dataclasses.dataclass(frozen=True, kw_only=True)
class IncrementSpec:
    """Inputs of one increment."""

    config: CorpusConfig
    number: int
    known: tuple[str, ...]  # names of the increments already in
    files: Mapping[str, Sequence[FilePart]]  # by stream; large files in parts
    pad_id: int  # fills rows
    attempt: int = 0  # number of the retry of answers without pairs; 0 for no retry
    token: str = ""  # random part of the increment's name

    def num_files(self, stream: str) -> int:
        """Count the files of a stream, however many parts each has."""
        return len(self.origins(stream))

    def origins(self, stream: str) -> tuple[Origin, ...]:
        """Return the files of a stream, by their numbers."""
        sources = self.config.streams[stream].sources
        return tuple(
            Origin(each.source, sources[each.source].uri, each.uri)
            for each in self.files[stream]
            if each.part.start == 0
        )

    def version_order(self, stream: str) -> VersionOrder:
        """Return the order of the files of a stream, and of those that its ledgers name."""
        return VersionOrder(self.origins(stream), [each.uri for each in self.config.streams[stream].sources])

    def open_ledger(self, stream: str) -> Callable[[], Ledger]:
        """Return a function that opens the ledger of a stream in all known increments."""
        return functools.partial(Ledger.open, self.config.corpus, stream, self.known)

    @property
    def name(self) -> str:
        """Name of the increment's folders and tables."""
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
        """The evaluation tasks of `decontaminate.tasks`; None without any."""
        return SharedTasks(self.config.decontaminate) if self.config.decontaminate.tasks else None


class Branch(NamedTuple):
    """The values of one stream at one point of the graph, and all other outputs of the steps before it."""

    stream: str  # the labels of its steps begin with this name
    ok: beam.PCollection  # the values that go on
    rejects: tuple[beam.PCollection, ...] = ()
    contaminations: tuple[beam.PCollection, ...] = ()  # documents and pairs in evaluation tasks, row by row
    duplicates: tuple[beam.PCollection, ...] = ()  # documents dropped as copies, each with the kept one
    superseded: tuple[beam.PCollection, ...] = ()  # document_ids of changed documents
    fingerprints: tuple[beam.PCollection, ...] = ()  # rows of new documents for the near index
    near_scheme: str = ""  # rules of the keys in these rows
    held_out: tuple[beam.PCollection, ...] = ()  # documents that are taken in and kept for evaluation
    versions: tuple[beam.PCollection, ...] = ()  # rows of the ledger of versions
    deleted: tuple[beam.PCollection, ...] = ()  # deletions of documents that the corpus holds

    def then(self, label: str, step: Any, *side_inputs: Any, **resource_hints: str) -> Branch:
        """Apply a StepFn or a transform; its other outputs join those of the steps before it."""
        label = f"{self.stream}/{label}"
        if isinstance(step, StepFn):
            made = outputs_of(self.ok, label, step, *side_inputs, **resource_hints)
        else:
            made = self.ok | label >> step
        if not isinstance(made, dict):
            return self._replace(ok=made)
        others: dict[str, Any] = {tag: (*getattr(self, tag), made[tag]) for tag in made if tag != "ok"}
        return self._replace(ok=made["ok"], **others)

    def taken_in(self) -> beam.PCollection:
        """All documents of a branch that `take_in` made, held-out ones included."""
        return (self.ok, *self.held_out) | f"{self.stream}/TakenIn" >> beam.Flatten()


def add_increment(pipeline: beam.Pipeline, spec: IncrementSpec) -> None:
    """Add all steps of one increment to a pipeline."""
    streams = spec.config.streams
    taken = {name: take_in(spec, read_documents(pipeline, spec, name)) for name in streams}
    parts = {name: split(spec, new) for name, new in taken.items() if streams[name].synthesize}
    num_parts = (
        tuple(part.ok for part in parts.values())
        | "AllToSynthesize" >> beam.Flatten(pipeline=pipeline)
        | "CountToSynthesize" >> beam.combiners.Count.Globally()
    )
    answered = {name: _synthesize(spec, part, num_parts) for name, part in parts.items()}
    if rules_of(spec.config):
        num_pairs = (
            tuple(chains.ok for chains in answered.values())
            | "AllToVerify" >> beam.Flatten(pipeline=pipeline)
            | "PairsOfEach" >> beam.Map(lambda chain: sum(len(done.pairs) for done in chain))
            | "CountToVerify" >> beam.CombineGlobally(sum)
        )
        answered = {name: _verify(spec, chains, num_pairs) for name, chains in answered.items()}
    written = []
    for name, new in taken.items():
        _add_ledger(spec, new)
        _add_held_out(spec, new)
        _add_near_copies(spec, new)
        if name in answered:
            written.append(_render(spec, answered[name]))
        elif streams[name].tuning is not None:
            written.append(write_texts(spec, _make_tuning_texts(spec, new)))
        else:
            written.append(write_texts(spec, new.then("AsItIs", beam.Map(raw_text))))
    write_rejects(spec, written)
    if spec.tasks is not None:
        (
            tuple(each for branch in written for each in branch.contaminations)
            | "AllContaminations" >> beam.Flatten()
            | "Contaminations" >> WriteReport(spec.tasks, spec.increment)
        )


def read_documents(pipeline: beam.Pipeline, spec: IncrementSpec, name: str) -> Branch:
    """Read the documents of a stream from its files."""
    stream = spec.config.streams[name]
    files = (
        pipeline
        | f"{name}/Files" >> beam.Create(list(spec.files[name]))
        | f"{name}/SpreadFiles" >> beam.Reshuffle()
    )
    read = Branch(name, files).then("Read", ReadFiles(stream.sources))
    return read if stream.tuning is None else read.then("MergeContexts", MergeContexts())


def take_in(spec: IncrementSpec, branch: Branch) -> Branch:
    """Keep the new and changed documents of a stream; writes nothing."""
    config, name = spec.config, branch.stream
    seen: Seen | None = None
    if _may_repeat_names(spec, name):
        seen = _seen_versions(spec, name)
        orders = [config.streams[name].sources[origin.source] for origin in spec.origins(name)]
        is_ordered = [open_reader(source).source.newest is not None for source in orders]
        branch = branch.then("NewestVersions", KeepNewestVersions(is_ordered, seen))
    branch = branch.then("Clean", CleanDocuments(config.clean))
    if config.filters:
        branch = branch.then("Filter", FilterDocuments(config.filters))
    order = spec.version_order(name) if seen is None else None
    open_ledger = spec.open_ledger(name)
    asked_again = asked_again_uri(spec.increment, name)
    branch = branch.then("OnlyNew", KeepNew(open_ledger, order, asked_again, branch.deleted))
    branch = branch.then("Dedup", DropDuplicates())
    if spec.tasks is not None:
        branch = branch.then("Decontaminate", DecontaminateDocuments(spec.tasks, name))
    if config.dedup.near is not None:
        scheme = check_indexes(config.corpus, name, spec.known, config.dedup.near)
        near = DropNearDuplicates(
            config.dedup.near, corpus=config.corpus, stream=name, names=spec.known, scheme=scheme
        )
        branch = branch.then("NearDedup", near)._replace(near_scheme=scheme)
    branch = branch.then("MarkSuperseded", MarkSuperseded(open_ledger))
    held_out = held_out_ledger(name)
    uris = (ledger_uri(config.corpus, held_out, each) for each in spec.known)
    if config.holdout or any(map(storage.exists, uris)):
        branch = branch.then("HoldOut", HoldOut(config.holdout, open_ledger, spec.open_ledger(held_out)))
    return branch


def _may_repeat_names(spec: IncrementSpec, name: str) -> bool:
    """True if two documents of a stream may have one document_id.

    Without an id_field the document_id is file and position, which repeat only if a file is read twice.
    """
    uris = [origin.uri for origin in spec.origins(name)]
    named = any(open_reader(source).source.id_field for source in spec.config.streams[name].sources)
    return named or len(set(uris)) < len(uris)


def _seen_versions(spec: IncrementSpec, name: str) -> Seen | None:
    """The versions of a stream that the corpus has seen; None if no source states any, now or earlier."""
    sources = [open_reader(source).source for source in spec.config.streams[name].sources]
    has_stamps = any(each.version_field or each.newest == "by_time" for each in sources)
    versions = versions_ledger(name)
    has_seen = any(storage.exists(ledger_uri(spec.config.corpus, versions, each)) for each in spec.known)
    if not (has_stamps or has_seen or any(each.deleted_field for each in sources)):
        return None
    return Seen(spec.open_ledger(name), spec.open_ledger(versions), spec.version_order(name), has_stamps)


def split(spec: IncrementSpec, branch: Branch) -> Branch:
    """Cut the documents of a stream into parts that fit its synthesizer and the rows."""
    return branch.then("Split", SplitDocuments(spec.config))


def _synthesize(spec: IncrementSpec, branch: Branch, num_documents: beam.PCollection) -> Branch:
    """Form chains of documents and write pairs about them."""
    config = spec.config
    synthesize = SynthesizeChains(
        config.synthesis, clean=config.clean, seed=config.seed, journal=spec.journal, attempt=spec.attempt
    )
    chains = (
        branch.then("Chains", FormChains(config.chains))
        .then("SpreadChains", beam.Reshuffle())
        .then("Synthesize", synthesize, beam.pvalue.AsSingleton(num_documents), **_hints(config))
        .then("KeepCostlyResults", beam.Reshuffle())
    )
    return _decontaminate_pairs(spec, chains)


def _verify(spec: IncrementSpec, chains: Branch, num_pairs: beam.PCollection) -> Branch:
    """Drop pairs that a rule refuses, after decontamination: no request is sent about a contaminated pair."""
    config = spec.config
    rules = rules_of(config)
    verify = VerifyPairs(config.synthesis, rules=rules, seed=config.seed, journal=spec.journal)
    asks = any(issubclass(VERIFIERS.load(name), ModelVerifier) for name in rules)
    return chains.then(
        "Verify", verify, beam.pvalue.AsSingleton(num_pairs), **(_hints(config) if asks else {})
    ).then("KeepVerdicts", beam.Reshuffle())


def _hints(config: CorpusConfig) -> dict[str, str]:
    """Resource hints of a step that asks the model of synthesis."""
    return {"accelerator": config.synthesis.accelerator} if config.synthesis.accelerator else {}


def _make_tuning_texts(spec: IncrementSpec, branch: Branch) -> Branch:
    """Make tuning texts of documents that came with pairs."""
    config = spec.config
    tuning = config.streams[branch.stream].tuning
    assert tuning is not None
    step = MakeTuningTexts(tuning, config.tokenizer, seq_len=config.pack.seq_len, seed=config.seed)
    return (
        _decontaminate_pairs(spec, branch.then("AsAnswered", beam.Map(as_answered)))
        .then("KeyByDataset", beam.Map(by_dataset))
        .then("GroupByDataset", beam.GroupByKey())
        .then("MakeTuningTexts", step)
    )


def _decontaminate_pairs(spec: IncrementSpec, chains: Branch) -> Branch:
    if spec.tasks is None:
        return chains
    return chains.then("DecontaminatePairs", DecontaminatePairs(spec.tasks, chains.stream))


def write_texts(spec: IncrementSpec, texts: Branch) -> Branch:
    """Tokenize the training texts of a stream and write its shards."""
    batches = texts.then("Batch", batches_of(lambda text: len(text.text)))
    return _write_shards(spec, batches.then("Tokenize", TokenizeTexts(spec.config.tokenizer)))


def _render(spec: IncrementSpec, chains: Branch) -> Branch:
    """Render chains of documents with pairs as training texts and write the shards of the stream."""
    batches = chains.then("Batch", batches_of(_chain_characters))
    return _write_shards(spec, batches.then("Render", RenderTexts(spec.config)))


def _write_shards(spec: IncrementSpec, tokenized: Branch) -> Branch:
    config = spec.config
    write = WriteGroup(
        increment=spec.increment,
        stream=tokenized.stream,
        seed=config.seed,
        pad_id=spec.pad_id,
        tokenizer=config.tokenizer,
        pack=config.pack,
        shards=config.shards,
    )
    return tokenized.then("Shards", WriteShards(write))


def write_rejects(spec: IncrementSpec, written: Iterable[Branch]) -> None:
    """Write the rejects of all streams, a file for each step."""
    (
        tuple(rejects for branch in written for rejects in branch.rejects)
        | "AllRejects" >> beam.Flatten()
        | "KeyRejects" >> beam.Map(lambda reject: (reject.stage, reject))
        | "GroupRejects" >> beam.GroupByKey()
        | "WriteRejects" >> beam.Map(_write_rejects, spec.increment)
    )


@beam.ptransform_fn
def _WriteTogether(values: beam.PCollection, write: Callable[[Iterable[Any]], None]) -> beam.PCollection:
    """Bring all values to one worker, which writes them; without values it writes nothing."""
    return (
        values
        | "Key" >> beam.Map(lambda value: (None, value))
        | "Group" >> beam.GroupByKey()
        | "Write" >> beam.Map(lambda group: write(group[1]))
    )


def _add_ledger(spec: IncrementSpec, new: Branch) -> None:
    name = new.stream
    uri, origins = ledger_uri(spec.config.corpus, name, spec.name), spec.origins(name)
    uri_of_superseded = superseded_uri(spec.increment, name)
    taken_in = new.taken_in()
    if new.deleted:
        taken_in = (taken_in, *new.deleted) | f"{name}/TakenInOrDeleted" >> beam.Flatten()
    versions_uri = ledger_uri(spec.config.corpus, versions_ledger(name), spec.name)
    for versions in new.versions:
        versions | f"{name}/WriteVersions" >> _WriteTogether(
            lambda rows: write_ledger(versions_uri, rows, origins)
        )
    (
        taken_in
        | f"{name}/LedgerRow" >> beam.Map(_ledger_row)
        | f"{name}/WriteLedger" >> _WriteTogether(lambda rows: write_ledger(uri, rows, origins))
    )
    for superseded in new.superseded:
        superseded | f"{name}/WriteSuperseded" >> _WriteTogether(
            lambda ids: storage.write_lines_zst(uri_of_superseded, sorted(ids))
        )


def _add_held_out(spec: IncrementSpec, new: Branch) -> None:
    name = new.stream
    uri = ledger_uri(spec.config.corpus, held_out_ledger(name), spec.name)
    for documents in new.held_out:
        (
            documents
            | f"{name}/HeldOutRow" >> beam.Map(_held_out_row)
            | f"{name}/WriteHeldOutLedger" >> _WriteTogether(lambda rows: write_ledger(uri, rows, ()))
        )
        documents | f"{name}/WriteHeldOut" >> WriteHeldOut(spec.increment, name)


def _add_near_copies(spec: IncrementSpec, new: Branch) -> None:
    name, near = new.stream, spec.config.dedup.near
    uri = duplicates_uri(spec.increment, name)
    (
        new.duplicates
        | f"{name}/AllDuplicates" >> beam.Flatten()
        | f"{name}/WriteDuplicates"
        >> _WriteTogether(lambda copies: storage.write_lines_zst(uri, sorted(map(to_json, copies))))
    )
    for fingerprints in new.fingerprints:
        assert near is not None
        index_uri = near_index_uri(spec.config.corpus, name, spec.name)
        fingerprints | f"{name}/NearIndex" >> WriteNearIndex(index_uri, near, new.near_scheme)


def _chain_characters(chain: Sequence[SynthesizedDocument]) -> int:
    return sum(
        len(done.document.text) + sum(len(pair.instruction) + len(pair.response) for pair in done.pairs)
        for done in chain
    )


def _ledger_row(document: Document) -> bytes:
    is_named = document.document_id != document.source
    number = file_number(document.version) if is_named else NO_ORIGIN
    content = DELETED if document.is_deleted else document.content_hash
    return ledger_row(document.document_id, content, number)


def _held_out_row(document: Document) -> bytes:
    return ledger_row(document.content_hash, document.content_hash, NO_ORIGIN)


def _write_rejects(group: tuple[str, Iterable[Reject]], increment: str) -> None:
    stage, rejects = group
    storage.write_lines_zst(rejects_uri(increment, stage), sorted(map(to_json, rejects)))


def config_hash(config: CorpusConfig) -> str:
    """Hash a whole configuration, without the keys that later versions added and that are not set."""
    return digest(config.model_dump_json(exclude=unset_additions(config)))
