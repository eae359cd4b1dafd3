"""Summary of a new increment, printed after `corpus build`, `watch`, `withdraw` and `compact`."""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from pipelines.increments.document_versions import CONFLICT, KEPT
from pipelines.increments.recorded_pairs import SHOWN, read_pairs_file, unused_pairs
from pipelines.runners.progress import cut_texts, held_out, parted, without_pairs
from pipelines.steps.read import DECODED_AS
from pipelines.steps.render import WORDED
from pipelines.store.statistics import dropped_phrase, stats_of
from plugins.templates import TEMPLATES
from schemas import storage
from schemas.corpus_config import CorpusConfig
from schemas.corpus_layout import increment_uri, rejects_uri
from schemas.errors import ConfigError
from schemas.manifest import Manifest, ShardSet
from schemas.records import Reject, from_json

_LEFT_OUT = {
    "list/unreadable": "unreadable",
    "list/hidden": "hidden",
    "list/links": "links",
    "read/files_unreadable": "files without a readable row",
    "read/files_damaged": "files from where they are damaged on",
    "read/files_empty": "empty files",
}
_DROPPED = (
    *("bad_pieces", "failed_samples", "repeated_questions", "repeated_in_samples"),
    *("copied_pairs", "pairs_of_other_parts", "repeated_pairs"),
)

_OF_A_MODEL = ("requests", "from_journal", "failed_documents")


def print_increment(config: CorpusConfig, manifest: Manifest) -> None:
    """Print the counts of the newest increment of a manifest."""
    increment = manifest.increments[-1]
    stats = stats_of(config.corpus, increment.name)
    counts = stats["counts"]
    print(
        f"{config.corpus}: increment {manifest.number} published, {increment.num_documents:,} documents, "
        f"{stats['wall_sec']:.0f} s.",
        flush=True,
    )
    if increment.replaces:
        print(
            f"  replaces {', '.join(map(str, increment.replaces))}; "
            f"{increment.num_withdrawn:,} documents withdrawn, "
            f"{counts.get('current/passages_cut', 0):,} outdated passages removed"
        )
    elif increment.num_withdrawn:
        print(
            f"  {increment.num_withdrawn:,} documents deleted by the sources; `tutelage corpus compact` "
            "takes their texts out of the rows"
        )
    for line in _versions(config, increment.name, counts):
        print(f"  {line}")
    if line := held_out(increment):
        print(f"  {line}; they are no training text")
    elif config.holdout and not increment.replaces:
        print(f"  holdout {config.holdout:.2%}: none of {increment.num_documents:,} documents was held out")
    for name, shards in increment.streams.items():
        filled = shards.num_tokens / (shards.num_samples * manifest.seq_len)
        repeated = f", {shards.num_repeated_tokens:,} repeated" if shards.num_repeated_tokens else ""
        print(
            f"  {name}: {shards.num_texts:,} texts, {shards.num_tokens:,} tokens in "
            f"{shards.num_samples:,} rows of {manifest.seq_len} ({filled:.1%} filled{repeated})"
        )
        for line in _cut(shards, config.templates):
            print(f"    {line}")
    if counts.get("synthesize/documents"):
        print(
            f"  synthesis: {counts['synthesize/pairs']:,} pairs for "
            f"{counts['synthesize/documents_with_pairs']:,} of {counts['synthesize/documents']:,} documents"
            + (" and parts of documents" if counts.get("split/parts") else "")
        )
        kept = sum(
            each.num_pairs for name, each in increment.streams.items() if config.streams[name].synthesize
        )
        if line := dropped_phrase(counts):
            print(f"  {line}")
        if kept < counts["synthesize/pairs"]:
            print(f"  {kept:,} of these pairs are in the texts; the others are in the rejects")
        if counts.get("render/cut_runs"):
            print(
                f"  {counts['render/cut_runs']:,} few-shot texts longer than a row were cut between documents"
            )
        if line := _wordings(counts):
            print(f"  {line}")
        dropped = {name: counts.get(f"synthesize/{name}") for name in _DROPPED}
        if any(dropped.values()):
            each = (f"{count:,} {name.replace('_', ' ')}" for name, count in dropped.items() if count)
            print(f"  of the answers were dropped: {', '.join(each)}")
        if others := counts.get("synthesize/not_english"):
            print(f"  {others:,} documents are not in English prose, so rules found no pairs about them")
    if not increment.replaces:
        _print_unused_pairs(config, manifest)
    line = without_pairs(counts)
    if line and any(counts.get(f"synthesize/{name}") for name in _OF_A_MODEL):  # rules would find the same
        print(f"  {line}; `corpus build FILE --retry-empty` asks again")
    for name, shards in increment.streams.items():
        if config.streams[name].synthesize and not shards.num_pairs:
            print(f"  {name}: NO document of this increment has pairs")
    found = {name: task for name, task in stats["decontamination"].items() if task["rows_found"]}
    if found:
        shares = ", ".join(
            f"{task['rows_found']:,} of {task['rows']:,} of {name}" for name, task in found.items()
        )
        print(f"  task rows found and kept out: {shares} (increments/{increment.name}/decontamination.json)")
    if removed := counts.get("read/removed_lines"):
        print(f"  left out of pages: {removed:,} running heads, feet and page numbers (field `removed`)")
    if guessed := _guessed(counts):
        print(f"  {guessed}")
    left_out = [f"{counts[name]:,} {word}" for name, word in _LEFT_OUT.items() if counts.get(name)]
    if left_out:
        print(
            f"  left out of the sources: {', '.join(left_out)} (named on standard error or in rejects/read)"
        )
    rejected = {name: count for name, count in counts.items() if "/rejected_" in name}
    if rejected:
        reasons = ", ".join(
            f"{count:,} {name.replace('/rejected_', ': ')}" for name, count in rejected.items()
        )
        print(f"  rejects: {reasons} (records in increments/{increment.name}/rejects)")


def _versions(config: CorpusConfig, name: str, counts: Mapping[str, int]) -> list[str]:
    """Lines about rows with one id: those in conflict, with both places, and those without a version."""
    lines = []
    if conflicts := counts.get(f"dedup/rejected_{CONFLICT}"):
        stored = storage.read_lines_zst(rejects_uri(increment_uri(config.corpus, name), "dedup"))
        found = (from_json(Reject, line) for line in stored)
        places = (
            f"{each.document_id} ({each.source} and {each.detail.partition(KEPT)[2]})"
            for each in found
            if each.reason == CONFLICT
        )
        shown = ", ".join(itertools.islice(places, SHOWN))
        lines.append(
            f"CONFLICT: {conflicts:,} rows have the id of another row and another text, and no version that "
            f"says which is newer; the later one by file name and position was kept: {shown}"
            f"{', …' if conflicts > SHOWN else ''}. Set version_field or newest on the source"
        )
    if unlike := counts.get("dedup/rejected_unlike_versions"):
        lines.append(f"{unlike:,} rows have a number as version but others of their id a date, which counts")
    if without := counts.get("read/without_version"):
        of_all = counts.get("read/documents", 0) + counts.get("read/deletions", 0)
        lines.append(f"{without:,} of {of_all:,} rows have no value in version_field and count as the oldest")
    return lines


def _guessed(counts: Mapping[str, int]) -> str:
    """Line about rows that were decoded by a guess; "" without any."""
    prefix = f"read/{DECODED_AS}"
    found = {name.removeprefix(prefix): count for name, count in counts.items() if name.startswith(prefix)}
    if not found:
        return ""
    named = ", ".join(f"{count:,} {name}" for name, count in sorted(found.items()))
    return f"rows whose encoding was guessed: {named} (look at some; `encoding` on the source names it)"


def _cut(shards: ShardSet, templates: str) -> list[str]:
    """Lines about pairs and texts that are split over several rows."""
    lines = []
    if shards.num_pairs:
        first = shards.num_pairs_asked_first
        asked = f"; {first:,} come before it, as their template says" if first else ""
        asked += f"; templates {templates} keeps them apart" if TEMPLATES.load(templates).is_apart else ""
        lines.append(f"pairs without their whole passage in the row: {parted(shards)}{asked}")
    if shards.num_cut_texts:
        lines.append(f"texts that go on in another row: {cut_texts(shards)} of {shards.num_texts:,}")
    return lines


def _wordings(counts: Mapping[str, int]) -> str:
    """Line about the languages of the words around pairs; "" if all documents are English."""
    prefix = f"render/{WORDED}"
    found = {name.removeprefix(prefix): count for name, count in counts.items() if name.startswith(prefix)}
    own = [f"{count:,} in {name}" for name, count in sorted(found.items()) if "_for_" not in name]
    lacking = [
        f"{count:,} {name.partition('_for_')[2]}" for name, count in sorted(found.items()) if "_for_" in name
    ]
    if not lacking and found.keys() <= {"en"}:
        return ""
    line = f"wordings around the pairs of documents: {', '.join(own) or 'none in their own language'}"
    if lacking:
        line += f"; English ones for languages that are uncertain or without a file: {', '.join(lacking)}"
    return line


def _print_unused_pairs(config: CorpusConfig, manifest: Manifest) -> None:
    """Print how many pairs of a pairs file are about documents that the newest increment has no text of."""
    try:
        pairs = read_pairs_file(config)
    except ConfigError as error:  # the increment is published already
        print(f"  recorded pairs were not compared with the documents: {error}")
        return
    if pairs is None:
        return
    unused = unused_pairs(pairs, config, manifest.increments)
    for found, what, shown in (
        (unused.unknown, "that the corpus lacks (document_id is wrong, or they were rejected)", SHOWN),
        (unused.held_out, "that are held out", 0),
        (unused.earlier, "of earlier increments, which keep the pairs that they have", 0),
    ):
        if found:
            names = ", ".join(sorted(found)[:shown])
            print(
                f"  {found.total():,} recorded pairs are about {len(found):,} documents {what}"
                + (f": {names}{', …' if len(found) > shown else ''}" if shown else "")
            )
