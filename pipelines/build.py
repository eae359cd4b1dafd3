"""One increment: plan, claim, run, publish.

    check everything that can be checked ─► claim increments/NNNNNN ─► run the pipeline
        ─► too many failures, or nothing new: remove it, publish nothing
        ─► index each stream ─► stats.json ─► manifest/NNNNNN.json, last

Until the manifest is there the corpus is as it was; what a killed run leaves is removed by the next.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.claim import claim, holds, release
from pipelines.corpus import Plan, add_increment, config_hash
from pipelines.ledger import count_documents
from pipelines.places import remove_ledgers
from pipelines.progress import ProgressView
from pipelines.runner import make_pipeline, our_errors, parse_options, runs_here
from pipelines.statistics import Measured, measured, write_stats
from pipelines.task_rows import read_tasks
from pipelines.transforms.filter import make_filters
from pipelines.transforms.read import FilePart
from pipelines.transforms.shards import GROUP_FILE
from pipelines.transforms.tokenize import ends
from plugins.protocols import PROTOCOLS
from plugins.readers import open_reader
from plugins.synthesizers import SYNTHESIZERS
from plugins.templates import TEMPLATES
from plugins.tokenizers import fingerprint, load_tokenizer, pad_token_id
from schemas import manifest as manifests
from schemas import storage
from schemas.corpus_config import CorpusConfig
from schemas.errors import CorpusError, InputError, SynthesisError
from schemas.manifest import Increment, Manifest, ShardSet
from schemas.records import Reject, from_json

_SHOWN_REJECTS = 3
_BEFORE_SYNTHESIS = ("read", "clean", "filter", "dedup", "decontaminate", "ledger")


def build_increment(
    config: CorpusConfig, beam_options: Sequence[str] = (), *, quiet: bool = False
) -> Manifest | None:
    """Take in what is new in the sources.

    Args:
        config: The corpus.
        beam_options: Options for Beam; without `--runner` it runs on this machine.
        quiet: Show nothing on standard error.

    Returns:
        The new manifest, or None when there is nothing new.

    Raises:
        ConfigError: A name, value or option is refused; nothing was touched.
        InputError: The sources hold nothing that can be used.
        SynthesisError: More documents failed than `synthesis.max_failure_share` allows.
        CorpusError: The corpus is damaged, made with another tokenizer, or held by another run.
    """
    started = time.monotonic()
    options = parse_options(beam_options)
    tokenizer = load_tokenizer(config.tokenizer.name)
    check_names(config)
    ends(tokenizer, config.tokenizer)
    before = newest_manifest(config, fingerprint(tokenizer))
    number = before.number + 1 if before else 1
    with contextlib.ExitStack() as stack:
        progress = None
        if runs_here(options):
            progress = stack.enter_context(tempfile.TemporaryDirectory(prefix="tutelage-progress-"))
        plan = Plan(
            config=config,
            number=number,
            known=tuple(increment.number for increment in before.increments) if before else (),
            files=source_files(config),
            pad_id=pad_token_id(tokenizer),
            progress_dir=progress,
        )
        view = ProgressView(progress, quiet=quiet)
        claimed = claim(plan.increment, is_published=lambda: manifests.newest_number(config.corpus) >= number)
        try:
            remove_ledgers(config.corpus, number)  # what a killed run left behind
            view.say(_opening(plan))
            with view:
                found = _run(plan, options)
            increment = _seal(plan, found.counts)
            if increment is None:
                if any("/rejected_" in name for name in found.counts):
                    view.say(f"Nothing new. First rejects: {_first_rejects(plan, *_BEFORE_SYNTHESIS)}")
                _discard(plan)
                return None
            manifest = Manifest(
                number=number,
                created=_now(),
                seq_len=config.pack.seq_len,
                tokenizer=fingerprint(tokenizer),
                tokenizer_name=config.tokenizer.name,
                pad_token_id=plan.pad_id,
                config_hash=config_hash(config),
                increments=(*(before.increments if before else ()), increment),
            )
            write_stats(plan.increment, config, manifest, found, wall_sec=time.monotonic() - started)
            if not holds(plan.increment, claimed):
                raise CorpusError(
                    f"{plan.increment}: another run took this increment over. Nothing was published; "
                    "make sure that only one run builds this corpus, then build again."
                )
            manifests.publish_manifest(config.corpus, manifest)
            release(plan.increment)
            return manifest
        except BaseException:
            if holds(plan.increment, claimed) and manifests.newest_number(config.corpus) < number:
                _discard(plan)
            raise


def check_names(config: CorpusConfig) -> None:
    """Refuse unknown names, bad options and missing task files before anything starts."""
    for stream in config.streams.values():
        for source in stream.sources:
            open_reader(source)
    if any(stream.synthesize for stream in config.streams.values()):
        TEMPLATES.load(config.templates)
        PROTOCOLS.load(config.synthesis.protocol)
        SYNTHESIZERS.load(config.synthesis.backend)(config.synthesis, seed=config.seed)
    make_filters(config.filters)
    read_tasks(config.decontaminate.tasks)


def source_files(config: CorpusConfig) -> dict[str, list[FilePart]]:
    """List what each stream reads, large files in parts, by the place of the source and the file's name."""
    return {
        name: [
            FilePart(index, uri, part)
            for index, source in enumerate(stream.sources)
            for reader in [open_reader(source)]
            for uri in reader.uris()
            for part in reader.parts(uri)
        ]
        for name, stream in config.streams.items()
    }


def newest_manifest(config: CorpusConfig, tokenizer: str) -> Manifest | None:
    if not manifests.newest_number(config.corpus):
        return None
    before = manifests.read_manifest(config.corpus)
    if before.seq_len != config.pack.seq_len:
        raise CorpusError(
            f"{config.corpus}: has rows of {before.seq_len} tokens, pack.seq_len is {config.pack.seq_len}. "
            "Keep the corpus's value, or build a new corpus."
        )
    if before.tokenizer != tokenizer:
        raise CorpusError(
            f"{config.corpus}: was tokenised by {before.tokenizer_name!r}, which differs from tokenizer "
            f"{config.tokenizer.name!r}. Use the corpus's tokenizer, or build a new corpus."
        )
    return before


def _opening(plan: Plan) -> str:
    config = plan.config
    num_files = sum(map(plan.num_files, plan.files))
    synthesized = any(stream.synthesize for stream in config.streams.values())
    model = f" with {config.synthesis.model}" if config.synthesis.model else ""
    return (
        f"Building increment {plan.number} of {config.corpus} from {num_files:,} "
        f"{'file' if num_files == 1 else 'files'} ({', '.join(config.streams)}); "
        + (f"pairs by {config.synthesis.backend}{model}." if synthesized else "no synthesis.")
    )


def _run(plan: Plan, options: PipelineOptions) -> Measured:
    pipeline = make_pipeline(options)
    add_increment(pipeline, plan)
    with our_errors():
        result = pipeline.run()
        result.wait_until_finish()
    return measured(result.metrics())


def _seal(plan: Plan, counts: Counter[str]) -> Increment | None:
    """Check the outcome and write each stream's index; None when nothing new came through."""
    fs, _ = storage.filesystem(plan.increment)
    fs.invalidate_cache()  # workers elsewhere wrote what an object store's listing here may not know
    asked, failed = counts["synthesize/documents"], counts["synthesize/failed_documents"]
    allowed = plan.config.synthesis.max_failure_share
    if asked and failed / asked > allowed:
        raise SynthesisError(
            f"{failed} of {asked} documents failed, more than synthesis.max_failure_share {allowed:g}; "
            f"nothing was published. First failures: {_first_rejects(plan, 'synthesize')}"
        )
    # Not a counter: bundles that were tried twice may have counted twice.
    num_documents = sum(
        count_documents(plan.config.corpus, name, plan.number) for name in plan.config.streams
    )
    if not num_documents:
        if not counts["ledger/unchanged"] and not plan.known:
            if not counts["read/documents"] and not any("/rejected_" in name for name in counts):
                raise InputError("the sources hold no documents; nothing was published.")
            raise InputError(
                "no document of the sources can be used; nothing was published. First rejects: "
                + _first_rejects(plan, *_BEFORE_SYNTHESIS)
            )
        return None
    streams = {}
    for name in plan.config.streams:
        shards = _index_stream(plan, name)
        if shards is not None:
            streams[name] = shards
    superseded: list[str] = []
    for name in plan.config.streams:
        uri = storage.join(plan.increment, f"superseded-{name}.zst")
        if storage.exists(uri):
            superseded += storage.read_lines_zst(uri)
    return Increment(
        number=plan.number,
        streams=streams,
        num_documents=num_documents,
        superseded_document_ids=tuple(sorted(superseded)),
    )


def _index_stream(plan: Plan, name: str) -> ShardSet | None:
    """Merge the indexes of a stream's groups into one, in the order of the groups."""
    uri = storage.join(plan.increment, "shards", name)
    fs, path = storage.filesystem(uri)
    if not fs.exists(path):
        return None
    shards: list[dict[str, Any]] = []
    sizes: Counter[str] = Counter()
    for group in sorted(entry.rsplit("/", 1)[-1] for entry in fs.ls(path, detail=False)):
        sizes.update(json.loads(storage.read_bytes(storage.join(uri, group, GROUP_FILE))))
        index = json.loads(storage.read_bytes(storage.join(uri, group, "index.json")))
        for shard in index["shards"]:
            for part in ("raw_data", "zip_data"):
                if shard.get(part):
                    shard[part]["basename"] = f"{group}/{shard[part]['basename']}"
            shards.append(shard)
    storage.write_bytes(
        storage.join(uri, "index.json"),
        json.dumps({"version": 2, "shards": shards}, sort_keys=True).encode(),
    )
    return ShardSet(
        path=f"increments/{plan.number:06d}/shards/{name}",
        num_samples=sizes["num_samples"],
        num_tokens=sizes["num_tokens"],
        num_texts=sizes["num_texts"],
    )


def _first_rejects(plan: Plan, *stages: str) -> str:
    shown: list[str] = []
    for stage in stages:
        uri = storage.join(plan.increment, "rejects", f"{stage}.jsonl.zst")
        if storage.exists(uri):
            for line in storage.read_lines_zst(uri):
                reject = from_json(Reject, line)
                shown.append(f"{reject.source}: {reject.reason} ({reject.detail})")
    more = f"; and {len(shown) - _SHOWN_REJECTS} more" if len(shown) > _SHOWN_REJECTS else ""
    return "; ".join(shown[:_SHOWN_REJECTS]) + more + "."


def _discard(plan: Plan) -> None:
    """Remove all that an unpublished increment wrote."""
    remove_ledgers(plan.config.corpus, plan.number)
    storage.remove_tree(plan.increment)


def _now() -> str:
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
