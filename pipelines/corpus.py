"""The pipeline, from files to the shards of one increment.

    files ─► read ─► clean ─► filter ─► dedup ─► decontaminate ─► only new ─► near dedup
                                                                                  │
                                                           synthesize: true ┌─────┴────────────┐ false
        ┌───────────────────────────────────────────────────────────────────┘                  ▼
        └─► split ─► chains ─► synthesize ─► decontaminate ─► render ─────────┬─── as it is, or its own
                                                                              │    pairs: tuning.py
                                                                              ▼
                                      shards ◄─ pack ◄─ shuffle ◄─ tokenize ◄─┘

One such branch for each stream. Every reject of every step lands in `rejects/`, and every document taken
in gets a row in the ledger and, by its band keys, in the index of near copies. Nothing here publishes:
`pipelines/build.py` does, once all of it is done.
`pipelines/plan.py` takes in and splits by the same steps, and writes nothing.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import apache_beam as beam

from pipelines.ledger import ledger_row, write_ledger
from pipelines.near.duplicates import duplicates_uri
from pipelines.pairs import synthesizer_name
from pipelines.places import ledger_uri, near_index_uri
from pipelines.transforms.base import REJECTS
from pipelines.transforms.chains import FormChains
from pipelines.transforms.clean import CleanDocuments
from pipelines.transforms.decontaminate import (
    CONTAMINATIONS,
    DecontaminateDocuments,
    DecontaminatePairs,
    SharedTasks,
    WriteReport,
)
from pipelines.transforms.dedup import DropDuplicates
from pipelines.transforms.filter import FilterDocuments
from pipelines.transforms.near_dedup import DropNearDuplicates
from pipelines.transforms.only_new import OnlyNew
from pipelines.transforms.read import FilePart, ReadFiles
from pipelines.transforms.render import RenderTexts, raw_text
from pipelines.transforms.shards import WriteShards
from pipelines.transforms.split import SplitDocuments
from pipelines.transforms.superseded import SUPERSEDED, MarkSuperseded
from pipelines.transforms.synthesize import SynthesizeChains
from pipelines.transforms.tokenize import TokenizeTexts
from pipelines.transforms.tuning import MakeTuningTexts, MergeContexts, as_answered, by_dataset
from pipelines.transforms.write_near_index import WriteNearIndex
from schemas import storage
from schemas.corpus_config import CorpusConfig
from schemas.manifest import increment_uri
from schemas.records import AugmentedText, Document, Reject, digest, to_json

_BATCH_CHARACTERS = 1 << 22


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What one increment is made from.

    Attributes:
        config: The corpus.
        number: Number of the increment.
        known: Numbers of the increments already in.
        files: For each stream, its files, large ones in parts.
        pad_id: Token that fills rows.
        progress_dir: Local folder for progress files, or None.
    """

    config: CorpusConfig
    number: int
    known: tuple[int, ...]
    files: Mapping[str, Sequence[FilePart]]
    pad_id: int
    progress_dir: str | None = None

    def num_files(self, stream: str) -> int:
        """Files of a stream, each counted once however many parts it has."""
        return sum(1 for each in self.files[stream] if each.part.start == 0)

    @property
    def increment(self) -> str:
        """URI of the increment's directory."""
        return increment_uri(self.config.corpus, self.number)

    @functools.cached_property
    def tasks(self) -> SharedTasks | None:
        """The evaluation tasks that training text must not overlap with, if any are named."""
        return SharedTasks(self.config.decontaminate) if self.config.decontaminate.tasks else None


def add_increment(pipeline: beam.Pipeline, plan: Plan) -> None:
    """Add all that makes one increment to a pipeline."""
    config = plan.config
    taken = {name: take_in(pipeline, plan, name) for name in config.streams}
    rejects = [rejected for found in taken.values() for rejected in found.rejects]
    contaminations = [each for found in taken.values() for each in found.contaminations]
    parts = {
        name: split(plan, name, found.new) for name, found in taken.items() if config.streams[name].synthesize
    }
    num_parts = (
        tuple(parts.values())
        | "AllToSynthesize" >> beam.Flatten(pipeline=pipeline)
        | "CountToSynthesize" >> beam.combiners.Count.Globally()
    )
    for name, found in taken.items():
        _add_ledger(plan, name, found)
        _add_near_copies(plan, name, found)
        if name in parts:
            texts = _synthesize(plan, name, parts[name], num_parts, rejects, contaminations)
        elif config.streams[name].tuning is not None:
            texts = _make_tuning_texts(plan, name, found.new, rejects, contaminations)
        else:
            texts = found.new | f"{name}/AsItIs" >> beam.Map(raw_text)
        rejects.append(write_texts(plan, name, texts))
    write_rejects(plan, rejects)
    if plan.tasks is not None:
        (
            contaminations
            | "AllContaminations" >> beam.Flatten()
            | "Contaminations" >> WriteReport(plan.tasks, plan.increment)
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


def take_in(pipeline: beam.Pipeline, plan: Plan, name: str) -> TakenIn:
    """From the files of a stream to its new documents; writes nothing."""
    config, progress = plan.config, plan.progress_dir
    sources = config.streams[name].sources
    read = (
        pipeline
        | f"{name}/Files" >> beam.Create(list(plan.files[name]))
        | f"{name}/SpreadFiles" >> beam.Reshuffle()
        | f"{name}/Read" >> beam.ParDo(ReadFiles(sources, progress)).with_outputs(REJECTS, main="ok")
    )
    documents = read.ok
    if config.streams[name].tuning is not None:
        documents = documents | f"{name}/MergeContexts" >> MergeContexts()
    clean = documents | f"{name}/Clean" >> beam.ParDo(CleanDocuments(config.clean, progress)).with_outputs(
        REJECTS, main="ok"
    )
    good, rejects = clean.ok, [read[REJECTS], clean[REJECTS]]
    if config.filters:
        filtered = good | f"{name}/Filter" >> beam.ParDo(
            FilterDocuments(config.filters, progress)
        ).with_outputs(REJECTS, main="ok")
        good = filtered.ok
        rejects.append(filtered[REJECTS])
    exact = good | f"{name}/Dedup" >> DropDuplicates(progress)
    distinct, duplicates = exact.kept, [exact.duplicates]
    rejects.append(exact.rejects)
    contaminations: tuple[beam.PCollection, ...] = ()
    if plan.tasks is not None:
        clear = distinct | f"{name}/Decontaminate" >> beam.ParDo(
            DecontaminateDocuments(plan.tasks, name, progress)
        ).with_outputs(REJECTS, CONTAMINATIONS, main="ok")
        distinct, contaminations = clear.ok, (clear[CONTAMINATIONS],)
        rejects.append(clear[REJECTS])
    unknown = distinct | f"{name}/OnlyNew" >> beam.ParDo(
        OnlyNew(config.corpus, name, plan.known, progress)
    ).with_outputs(REJECTS, main="ok")
    new = unknown.ok
    rejects.append(unknown[REJECTS])
    fingerprints: tuple[beam.PCollection, ...] = ()
    if config.dedup.near is not None:
        near = new | f"{name}/NearDedup" >> DropNearDuplicates(
            config.dedup.near, corpus=config.corpus, stream=name, numbers=plan.known, progress_dir=progress
        )
        new, fingerprints = near.kept, (near.fingerprints,)
        rejects.append(near.rejects)
        duplicates.append(near.duplicates)
    taken = new | f"{name}/MarkSuperseded" >> beam.ParDo(
        MarkSuperseded(config.corpus, name, plan.known, progress)
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


def split(plan: Plan, name: str, documents: beam.PCollection) -> beam.PCollection:
    """Cut the documents of a stream as its synthesizer needs them."""
    step = SplitDocuments(plan.config.synthesis, seed=plan.config.seed, progress_dir=plan.progress_dir)
    parts: beam.PCollection = documents | f"{name}/Split" >> beam.ParDo(step)
    return parts


def _synthesize(
    plan: Plan,
    name: str,
    documents: beam.PCollection,
    num_documents: beam.PCollection,
    rejects: list[beam.PCollection],
    contaminations: list[beam.PCollection],
) -> beam.PCollection:
    """From documents to training texts with pairs in them."""
    config, progress = plan.config, plan.progress_dir
    synthesize = beam.ParDo(
        SynthesizeChains(
            config.synthesis,
            seed=config.seed,
            journal=storage.join(config.corpus, "journal"),
            progress_dir=progress,
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
    chains = _decontaminate_pairs(plan, name, chains, rejects, contaminations)
    texts: beam.PCollection = chains | f"{name}/Render" >> beam.ParDo(
        RenderTexts(
            config.templates,
            synthesizer=synthesizer_name(config.synthesis),
            seed=config.seed,
            progress_dir=progress,
        )
    )
    return texts


def _make_tuning_texts(
    plan: Plan,
    name: str,
    documents: beam.PCollection,
    rejects: list[beam.PCollection],
    contaminations: list[beam.PCollection],
) -> beam.PCollection:
    """From documents that came with pairs to texts that a synthesizer is tuned on."""
    config = plan.config
    tuning = config.streams[name].tuning
    assert tuning is not None, "that is why it is called"
    step = MakeTuningTexts(
        tuning,
        config.tokenizer,
        seq_len=config.pack.seq_len,
        seed=config.seed,
        progress_dir=plan.progress_dir,
    )
    answered = documents | f"{name}/AsAnswered" >> beam.Map(as_answered)
    made = (
        _decontaminate_pairs(plan, name, answered, rejects, contaminations)
        | f"{name}/KeyByDataset" >> beam.Map(by_dataset)
        | f"{name}/GroupByDataset" >> beam.GroupByKey()
        | f"{name}/MakeTuningTexts" >> beam.ParDo(step).with_outputs(REJECTS, main="ok")
    )
    rejects.append(made[REJECTS])
    return made.ok


def _decontaminate_pairs(
    plan: Plan,
    name: str,
    chains: beam.PCollection,
    rejects: list[beam.PCollection],
    contaminations: list[beam.PCollection],
) -> beam.PCollection:
    if plan.tasks is None:
        return chains
    clear = chains | f"{name}/DecontaminatePairs" >> beam.ParDo(
        DecontaminatePairs(plan.tasks, name, plan.progress_dir)
    ).with_outputs(REJECTS, CONTAMINATIONS, main="ok")
    rejects.append(clear[REJECTS])
    contaminations.append(clear[CONTAMINATIONS])
    return clear.ok


def write_texts(plan: Plan, name: str, texts: beam.PCollection) -> beam.PCollection:
    """From training texts to the shards of a stream; gives the rejects."""
    config, progress = plan.config, plan.progress_dir
    tokenized = (
        texts
        | f"{name}/Batch"
        >> beam.BatchElements(
            min_batch_size=_BATCH_CHARACTERS // 64,
            max_batch_size=_BATCH_CHARACTERS,
            element_size_fn=_num_characters,
        )
        | f"{name}/Tokenize"
        >> beam.ParDo(TokenizeTexts(config.tokenizer, progress)).with_outputs(REJECTS, main="ok")
    )
    tokenized.ok | f"{name}/Shards" >> WriteShards(
        plan.increment,
        name,
        seed=config.seed,
        pad_id=plan.pad_id,
        pack=config.pack,
        shards=config.shards,
        progress_dir=progress,
    )
    return tokenized[REJECTS]


def write_rejects(plan: Plan, rejects: Sequence[beam.PCollection]) -> None:
    """Write the rejects of all steps, a file for each."""
    (
        rejects
        | "AllRejects" >> beam.Flatten()
        | "KeyRejects" >> beam.Map(lambda reject: (reject.stage, reject))
        | "GroupRejects" >> beam.GroupByKey()
        | "WriteRejects" >> beam.Map(_write_rejects, plan.increment)
    )


def _add_ledger(plan: Plan, name: str, found: TakenIn) -> None:
    (
        found.new
        | f"{name}/LedgerRow" >> beam.Map(_ledger_row)
        | f"{name}/GroupLedger" >> beam.GroupByKey()
        | f"{name}/WriteLedger"
        >> beam.Map(
            lambda rows, uri: write_ledger(uri, rows[1]), ledger_uri(plan.config.corpus, name, plan.number)
        )
    )
    (
        found.superseded
        | f"{name}/OneSuperseded" >> beam.Map(lambda document_id: (None, document_id))
        | f"{name}/GroupSuperseded" >> beam.GroupByKey()
        | f"{name}/WriteSuperseded"
        >> beam.Map(
            lambda ids, uri: storage.write_lines_zst(uri, sorted(ids[1])),
            storage.join(plan.increment, f"superseded-{name}.zst"),
        )
    )


def _add_near_copies(plan: Plan, name: str, found: TakenIn) -> None:
    (
        found.duplicates
        | f"{name}/AllDuplicates" >> beam.Flatten()
        | f"{name}/OneDuplicate" >> beam.Map(lambda duplicate: (None, to_json(duplicate)))
        | f"{name}/GroupDuplicates" >> beam.GroupByKey()
        | f"{name}/WriteDuplicates"
        >> beam.Map(
            lambda lines, uri: storage.write_lines_zst(uri, sorted(lines[1])),
            duplicates_uri(plan.increment, name),
        )
    )
    for fingerprints in found.fingerprints:
        assert plan.config.dedup.near is not None, "that is where they come from"
        uri = near_index_uri(plan.config.corpus, name, plan.number)
        fingerprints | f"{name}/NearIndex" >> WriteNearIndex(uri, plan.config.dedup.near)


def _num_characters(text: AugmentedText) -> int:
    return len(text.text)


def _ledger_row(document: Document) -> tuple[None, bytes]:
    return None, ledger_row(document.document_id, document.content_hash)


def _write_rejects(group: tuple[str, Iterable[Reject]], increment: str) -> None:
    stage, rejects = group
    lines = sorted(map(to_json, rejects))
    storage.write_lines_zst(storage.join(increment, "rejects", f"{stage}.jsonl.zst"), lines)


def config_hash(config: CorpusConfig) -> str:
    """Hash of everything in a configuration."""
    return digest(config.model_dump_json())
