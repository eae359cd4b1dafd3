"""`corpus build`: one increment of what is new in the sources.

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
from pipelines.increments.changed_source_files import (
    SourceFile,
    list_files,
    note_read,
    parts_of,
    unread,
    with_later_files,
)
from pipelines.increments.failure_limits import (
    first_rejects,
    refuse_failed,
    refuse_unexpected,
    refuse_useless_sources,
    refuse_without_pairs,
)
from pipelines.increments.preflight_checks import (
    asks_a_model,
    check_names,
    newest_manifest,
    with_counting_tokenizer,
)
from pipelines.increments.prepared_run import check_protocol
from pipelines.increments.publish import drafted
from pipelines.increments.recorded_pairs import (
    PairsFile,
    read_pairs_file,
    refuse_unknown_documents,
    say_if_changed,
)
from pipelines.increments.retry_empty import documents_without_pairs, with_their_files, write_asked_again
from pipelines.runners.progress import ProgressView
from pipelines.runners.run import make_pipeline, parse_options, run_to_end
from pipelines.steps.newest_versions import RAISED
from pipelines.steps.write_shards import merge_groups
from pipelines.store.held_out import count_held_out
from pipelines.store.journal import attempt_at
from pipelines.store.journal_sealing import seal
from pipelines.store.ledger import count_deleted, count_documents
from pipelines.store.made_tasks import registered, with_made_tasks
from pipelines.store.statistics import measured, stats_of
from plugins.verifiers.rules import rules_of
from schemas import storage
from schemas.corpus_config import CorpusConfig
from schemas.corpus_layout import streams_with_versions, superseded_uri
from schemas.errors import CorpusError
from schemas.manifest import Increment, Manifest, ShardSet


def build_increment(
    config: CorpusConfig,
    beam_options: Sequence[str] = (),
    *,
    quiet: bool = False,
    reread: bool = False,
    retry_empty: bool = False,
    wanted: Callable[[SourceFile], bool] = lambda file: True,
) -> Manifest | None:
    """Take in what is new in the sources; return the new manifest, or None if nothing is new.

    Args:
        beam_options: Options of Beam; without `--runner` it runs on this machine.
        reread: Read unchanged files again.
        retry_empty: Ask again about documents without pairs, and where a stored answer has none.
        wanted: True for each new or changed file to take in now.

    Raises:
        ConfigError: A name, value or option is refused; nothing was changed.
        InputError: The sources have no usable document, or too many unexpected errors.
        SynthesisError: More documents failed than `synthesis.max_failure_share` allows, or more are without
            pairs than `synthesis.max_empty_share` allows.
        CorpusError: The corpus is damaged, made with another tokenizer, or held by another run.
    """
    started = time.monotonic()
    options = parse_options(beam_options)
    config, made = with_made_tasks(with_counting_tokenizer(config))
    tasks = check_names(config)
    pairs = read_pairs_file(config)
    before = newest_manifest(config)
    listed = list_files(config, tasks=tasks)
    files = listed.files if reread else unread(listed.files, config.corpus, before)
    without = documents_without_pairs(config, before) if retry_empty and before is not None else {}
    files = with_their_files(files, listed.files, without)
    for_later = {file for group in files.values() for file in group if not wanted(file)}
    known = {name: [file for file in group if file not in for_later] for name, group in listed.files.items()}
    files = {name: [file for file in group if file not in for_later] for name, group in files.items()}
    files = with_later_files(config, files, known)
    early = ProgressView(quiet=quiet)
    for line in listed.left_out:
        early.say(line)
    if made:
        early.say(f"Made tasks of this corpus are kept out, too: {', '.join(made)}.")
    is_changed = say_if_changed(pairs, config.corpus, before, early.say)
    other_rules = _on_other_rules(config, before)
    if before is not None and not any(files.values()):
        if other_rules:
            early.say(other_rules)
        early.say(f"No file is new or changed since increment {before.number} of {config.corpus}.")
        return None
    check_protocol(config, options)
    parts = parts_of(config, files)
    with (
        drafted(config, options, before=before, files=parts, quiet=quiet, started=started) as draft,
        contextlib.ExitStack() as stack,
    ):
        spec, view = draft.run.spec, draft.view
        if registered(config.corpus) != made:  # since the lease was taken, nobody can add to them
            raise CorpusError(f"{config.corpus}: its made tasks changed meanwhile. Build again.")
        if retry_empty:
            write_asked_again(spec.increment, without)
            spec = dataclasses.replace(spec, attempt=stack.enter_context(attempt_at(spec.journal)))
        seal(spec.journal, check=draft.check, say=view.say)  # what a killed run left
        view.say(_opening(spec))
        for line in filter(None, (_on_verification(config), other_rules)):
            view.say(line)
        pipeline = make_pipeline(draft.run.options)
        add_increment(pipeline, spec)
        with view:
            metrics = run_to_end(pipeline, view.say)
        if metrics is None:
            view.say("Dry run: the job was built; nothing was sent, run or published.")
            return None
        seal(spec.journal, check=draft.check, say=view.say)
        found = measured(metrics)
        found.counts.update(listed.counts)
        if num_without := sum(map(len, without.values())):
            view.say(
                f"{found.counts['ledger/asked_again']:,} of {num_without:,} documents without pairs were "
                "found again in the files and asked about. --reread reads all files."
            )
        earlier = before.increments if before else ()
        increment = _seal(spec, found.counts, pairs, earlier)
        if increment is not None:
            draft.publish([*earlier, increment], found)
        elif any("/rejected_" in name for name in found.counts):
            view.say(f"Nothing new. {first_rejects(spec.increment)}")
        if draft.is_ours():
            noted = [file for group in known.values() for file in group]
            if pairs is not None and (draft.manifest is not None or not is_changed):
                noted.append(pairs.file)
            note_read(config.corpus, draft.manifest or before, noted)
    return draft.manifest


def _opening(spec: IncrementSpec) -> str:
    config = spec.config
    num_files = sum(map(spec.num_files, spec.files))
    model = f" with {config.synthesis.model}" if asks_a_model(config) else ""
    return (
        f"Building increment {spec.number} of {config.corpus} from {num_files:,} "
        f"{'file' if num_files == 1 else 'files'} ({', '.join(config.streams)}); "
        + (f"pairs by {config.synthesis.backend}{model}." if config.synthesizes else "no synthesis.")
    )


def _on_verification(config: CorpusConfig) -> str:
    """Say which rules check the pairs; "" without rules."""
    rules = rules_of(config)
    if not rules:
        return ""
    line = f"Pairs are verified by {', '.join(rules)}"
    if config.verify is None:
        line += ", the default for pairs of a model; `verify: {}` in the YAML turns it off"
    return f"{line}."


def _on_other_rules(config: CorpusConfig, before: Manifest | None) -> str:
    """Say that the newest increment was verified by other rules or by none; "" if it was not."""
    newest = before.increments[-1] if before is not None else None
    if newest is None or newest.replaces:
        return ""
    stats, now = stats_of(config.corpus, newest.name), config.model_dump(mode="json")["verify"]
    was_verified = "verification" in stats
    if was_verified == bool(rules_of(config)) and (not was_verified or stats["config"].get("verify") == now):
        return ""
    how = "was verified by other rules than `verify` has now" if was_verified else "was not verified"
    return f"Increment {newest.number} {how}; its pairs stay as they are."


def _seal(
    spec: IncrementSpec, counts: Counter[str], pairs: PairsFile | None, earlier: Sequence[Increment]
) -> Increment | None:
    """Check the outcome and write the index of each stream; None if no document is new."""
    fs, _ = storage.filesystem(spec.increment)
    fs.invalidate_cache()  # an object store's listing here may lack files of remote workers
    refuse_failed(spec, counts)
    refuse_unexpected(spec.increment, counts)
    # From the ledgers: counters count a bundle twice if Beam tries it twice.
    num_documents = sum(count_documents(spec.config.corpus, name, spec.name) for name in spec.config.streams)
    num_deleted = sum(count_deleted(spec.config.corpus, name, spec.name) for name in spec.config.streams)
    # A newer version of a text that is refused or stays as it is must keep out older ones in later builds.
    learns = bool(spec.known) and (num_deleted or counts[f"dedup/{RAISED}"])
    if not num_documents and not learns:
        refuse_useless_sources(spec, counts)
        return None
    streams: dict[str, ShardSet] = {}
    superseded: list[str] = []
    for name in spec.config.streams:
        if (shards := merge_groups(spec.increment, name)) is not None:
            streams[name] = shards
        if storage.exists(uri := superseded_uri(spec.increment, name)):
            superseded += storage.read_lines_zst(uri)
    increment = Increment(
        number=spec.number,
        token=spec.token,
        streams=streams,
        num_documents=num_documents,
        superseded_document_ids=tuple(sorted(superseded)),
        num_withdrawn=num_deleted,
        num_held_out=count_held_out(spec.config.corpus, spec.config.streams, spec.name),
        versions=streams_with_versions(spec.config.corpus, spec.config.streams, spec.name),
    )
    if pairs is not None and counts["synthesize/documents"] and not counts["synthesize/pairs"]:
        refuse_unknown_documents(pairs, spec.config, [*earlier, increment])
    refuse_without_pairs(spec, counts, streams)
    return increment
