"""One increment: check, lock, run, publish.

list the sources ─► no file is new or changed: nothing to do
    ─► check everything that can be checked ─► take the lease ─► run the pipeline
    ─► too many failures, or nothing new in the files: publish nothing
    ─► index each stream ─► stats.json, README.md ─► manifest/NNNNNN.json, last
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections import Counter
from collections.abc import Callable, Sequence

from pipelines.increment import IncrementSpec, add_increment
from pipelines.increments.after_publishing import Publishing
from pipelines.increments.failure_limits import first_rejects, refuse_unexpected
from pipelines.increments.prechecks import (
    asks_a_model,
    check_names,
    check_protocol,
    newest_manifest,
    prepared,
)
from pipelines.increments.publish import drafted
from pipelines.increments.retry_empty import documents_without_pairs, with_their_files, write_asked_again
from pipelines.increments.source_files import (
    SourceFile,
    list_files,
    note_read,
    parts_of,
    unread,
    with_later_files,
)
from pipelines.runners.progress_table import ProgressView
from pipelines.runners.run import make_pipeline, parse_options, run_to_end
from pipelines.steps.write_shards import merge_groups
from pipelines.store.dataset_card import write_card
from pipelines.store.journal import attempt_at
from pipelines.store.ledger import count_documents
from pipelines.store.statistics import measured, write_stats
from schemas import storage
from schemas.corpus_config import CorpusConfig
from schemas.errors import InputError, SynthesisError
from schemas.manifest import Increment, Manifest

_TOO_FEW_TO_JUDGE = 50
_BEFORE_SYNTHESIS = ("read", "clean", "filter", "dedup", "decontaminate", "ledger", "tuning")


def build_increment(
    config: CorpusConfig,
    beam_options: Sequence[str] = (),
    *,
    quiet: bool = False,
    reread: bool = False,
    retry_empty: bool = False,
    wanted: Callable[[SourceFile], bool] = lambda file: True,
) -> Manifest | None:
    """Take in what is new in the sources.

    Args:
        config: The corpus.
        beam_options: Options for Beam; without `--runner` it runs on this machine.
        quiet: Show nothing on standard error.
        reread: Read files again that are known to be unchanged.
        retry_empty: Ask again for documents that are in without pairs, and where a stored answer gives none.
        wanted: Which of the new or changed files to take in now.

    Returns:
        The new manifest, or None when there is nothing new.

    Raises:
        ConfigError: A name, value or option is refused; nothing was touched.
        InputError: The sources hold nothing that can be used, or too much of them led to unexpected errors.
        SynthesisError: More documents failed than `synthesis.max_failure_share` allows, or are without pairs
            than `synthesis.max_empty_share` allows.
        CorpusError: The corpus is damaged, made with another tokenizer, or held by another run.
    """
    started = time.monotonic()
    options = parse_options(beam_options)
    tasks = check_names(config)
    before = newest_manifest(config)
    listed = list_files(config, tasks=tasks)
    all_files = listed.files
    files = all_files if reread else unread(all_files, config.corpus, before)
    without = documents_without_pairs(config, before) if retry_empty and before is not None else {}
    files = with_their_files(files, all_files, without)
    left_for_later = {file for group in files.values() for file in group if not wanted(file)}
    files = {name: [file for file in group if file not in left_for_later] for name, group in files.items()}
    known = {
        name: [file for file in group if file not in left_for_later] for name, group in all_files.items()
    }
    files = with_later_files(config, files, known)
    for line in listed.left_out:
        ProgressView(quiet=quiet).say(line)
    if before is not None and not any(files.values()):
        ProgressView(quiet=quiet).say(
            f"No file is new or changed since increment {before.number} of {config.corpus}."
        )
        return None
    check_protocol(config, options)
    with Publishing(config.corpus) as publishing, contextlib.ExitStack() as stack:
        run = stack.enter_context(prepared(config, options, before=before, files=parts_of(config, files)))
        spec = run.spec
        view = ProgressView(quiet=quiet)
        draft = stack.enter_context(drafted(config.corpus, spec.number, spec.token, view.say))
        if retry_empty:
            write_asked_again(spec.increment, without)
            spec = dataclasses.replace(spec, attempt=stack.enter_context(attempt_at(spec.journal)))
        view.say(_opening(spec))
        pipeline = make_pipeline(run.options)
        add_increment(pipeline, spec)
        with view:
            metrics = run_to_end(pipeline, view.say)
        if metrics is None:
            view.say("Dry run: the job was built; nothing was sent, run or published.")
            return None
        found = measured(metrics)
        found.counts.update(listed.counts)
        if num_without := sum(map(len, without.values())):
            view.say(
                f"{found.counts['ledger/asked_again']:,} of {num_without:,} documents without pairs were "
                "found again in the files and asked about. --reread reads all files."
            )
        increment = _seal(spec, found.counts)
        manifest = None
        if increment is not None:
            manifest = run.manifest([*(before.increments if before else ()), increment])
            stats = write_stats(spec.increment, config, manifest, found, wall_sec=time.monotonic() - started)
            write_card(spec.increment, config, manifest, stats)
            publishing.manifest = manifest
            run.publish(draft, manifest)
        elif any("/rejected_" in name for name in found.counts):
            view.say(f"Nothing new. First rejects: {first_rejects(spec.increment, _BEFORE_SYNTHESIS)}")
        if draft.is_ours():
            note_read(
                config.corpus,
                manifest or before,
                (file for group in all_files.values() for file in group if file not in left_for_later),
            )
        return manifest
    return publishing.manifest


def _opening(spec: IncrementSpec) -> str:
    config = spec.config
    num_files = sum(map(spec.num_files, spec.files))
    model = f" with {config.synthesis.model}" if asks_a_model(config) else ""
    return (
        f"Building increment {spec.number} of {config.corpus} from {num_files:,} "
        f"{'file' if num_files == 1 else 'files'} ({', '.join(config.streams)}); "
        + (f"pairs by {config.synthesis.backend}{model}." if config.synthesizes else "no synthesis.")
    )


def _seal(spec: IncrementSpec, counts: Counter[str]) -> Increment | None:
    """Check the outcome and write each stream's index; None when nothing new came through."""
    fs, _ = storage.filesystem(spec.increment)
    fs.invalidate_cache()  # workers elsewhere wrote what an object store's listing here may not know
    asked, failed = counts["synthesize/documents"], counts["synthesize/failed_documents"]
    allowed = spec.config.synthesis.max_failure_share
    if asked and failed / asked > allowed:
        raise SynthesisError(
            f"{failed} of {asked} documents failed, more than synthesis.max_failure_share {allowed:g}; "
            f"nothing was published. First failures: {first_rejects(spec.increment, ['synthesize'])}"
        )
    refuse_unexpected(spec.increment, counts)
    # Not a counter: bundles that were tried twice may have counted twice.
    num_documents = sum(count_documents(spec.config.corpus, name, spec.name) for name in spec.config.streams)
    if not num_documents:
        if not counts["ledger/unchanged"] and not spec.known:
            if not counts["read/documents"] and not any("/rejected_" in name for name in counts):
                raise InputError("the sources hold no documents; nothing was published.")
            raise InputError(
                "no document of the sources can be used; nothing was published. First rejects: "
                + first_rejects(spec.increment, _BEFORE_SYNTHESIS)
            )
        return None
    streams = {}
    for name in spec.config.streams:
        shards = merge_groups(spec.increment, name)
        if shards is not None:
            streams[name] = shards
    left = any(shards.num_pairs for name, shards in streams.items() if spec.config.streams[name].synthesize)
    answered = counts["synthesize/documents_with_pairs"] if left else 0  # none may fit a row
    _check_pairs(spec, asked=asked, answered=answered, failed=failed)
    superseded: list[str] = []
    for name in spec.config.streams:
        uri = storage.join(spec.increment, f"superseded-{name}.zst")
        if storage.exists(uri):
            superseded += storage.read_lines_zst(uri)
    return Increment(
        number=spec.number,
        token=spec.token,
        streams=streams,
        num_documents=num_documents,
        superseded_document_ids=tuple(sorted(superseded)),
    )


def _check_pairs(spec: IncrementSpec, *, asked: int, answered: int, failed: int) -> None:
    """Refuse an increment of which next to nothing became pairs.

    A few documents about which there is nothing to ask may come to a corpus later, and rules may find nothing
    in a few at any time; what is asked about again is mostly of that kind.
    """
    most = spec.config.synthesis.max_empty_share
    are_few = asked < _TOO_FEW_TO_JUDGE and not failed and not spec.attempt
    if not asked or most == 1 or (are_few and (spec.known or not asks_a_model(spec.config))):
        return
    if not answered or ((asked - answered) / asked > most and not spec.attempt):
        raise SynthesisError(
            f"{asked - answered} of {asked} documents got no pairs, more than synthesis.max_empty_share "
            f"{most:g} allows; nothing was published. See to the synthesizer (model, protocol, prompt) and "
            "run again, with --retry-empty if these stay as they are, since what was answered is in the "
            "journal. If there is nothing to ask about such documents, set synthesis.max_empty_share: 1."
        )
