"""Dataset card of an increment: `README.md`, as Hugging Face shows it.

    statistics, manifest, configuration ─► front matter (YAML) + Markdown

The card describes the corpus with this increment: its sources and steps, the contents of each increment, the
rejects, and code that loads it. Values from outside are escaped, because file names may hold anything.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from pipelines.increments.preflight_checks import asks_a_model
from pipelines.runners.progress import cut_texts, held_out, parted
from pipelines.store.dataset_card_loading import dataset_configs, how_to_read
from pipelines.store.ledger import count_documents
from plugins.readers.presets import presets
from plugins.verifiers.rules import rules_of
from schemas import storage
from schemas.corpus_config import CorpusConfig, SourceConfig, StreamConfig
from schemas.corpus_layout import card_uri
from schemas.manifest import Manifest
from schemas.secrets import public_uri

_SIZES = (
    *((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M")),
    *((10**7, "1M<n<10M"), (10**8, "10M<n<100M"), (10**9, "100M<n<1B"), (10**10, "1B<n<10B")),
    *((10**11, "10B<n<100B"), (10**12, "100B<n<1T")),
)
_MARKUP = re.compile(r"([\\`*_{}\[\]#|~!$])")
_NOT_PLAIN = re.compile(r"[^\w ./:,=@+-]")

Stats = Mapping[str, Any]


def write_card(increment: str, config: CorpusConfig, manifest: Manifest, stats: Stats) -> None:
    """Write the card of an increment before its publication; `stats` are those of `write_stats`."""
    front = yaml.safe_dump(
        _front_matter(config, manifest, has_verdicts="verification" in stats or bool(rules_of(config))),
        sort_keys=False,
        allow_unicode=True,
    )
    sections = (
        _introduction(config, manifest),
        _making(config),
        _contents(config.corpus, manifest),
        _sources(config),
        _rejects(stats),
        _verification(stats),
        _evaluation_rows(stats),
        how_to_read(manifest),
        _LIMITS,
        _METHOD,
        _versions(stats),
    )
    text = f"---\n{front}---\n\n" + "\n\n".join(section for section in sections if section) + "\n"
    storage.write_bytes(card_uri(increment), text.encode("utf-8", "replace"))


def _front_matter(config: CorpusConfig, manifest: Manifest, *, has_verdicts: bool) -> dict[str, Any]:
    language = {}
    if "language" in config.filters:
        language = {"language": list((config.filters["language"] or {}).get("keep", ("en",)))}
    num_rows = sum(shards.num_samples for each in manifest.increments for shards in each.streams.values())
    synthetic = ["synthetic"] if config.synthesizes else []
    return {
        "pretty_name": _name(config),
        **language,
        "license": _license(config),
        "task_categories": ["text-generation"],
        "tags": ["tutelage", "instruction-pre-training", "mosaicml-streaming", *synthetic],
        "size_categories": [next((name for limit, name in _SIZES if num_rows < limit), "n>1T")],
        **dataset_configs(manifest.increments[-1].streams, has_verdicts=has_verdicts),
    }


def _introduction(config: CorpusConfig, manifest: Manifest) -> str:
    increments = "1 increment" if len(manifest.increments) == 1 else f"{len(manifest.increments)} increments"
    return (
        f"# {_plain(_name(config))}\n\n"
        f"A corpus of packed rows for continued pre-training: manifest {manifest.number} of {increments}, "
        f"published {manifest.created}. Rows hold {manifest.seq_len:,} tokens of the tokenizer "
        f"{code(manifest.tokenizer_name)} and are padded with token {manifest.pad_token_id}.\n\n"
        f"**License.** The texts keep the licenses of their sources, {_known_licenses(config)}. Put the "
        f"right one in place of `{_license(config)}` above before this card is published."
    )


def _license(config: CorpusConfig) -> str:
    """Value for Hugging Face: `other` if the card lists the licenses of all sources."""
    return "other" if all(map(_license_of, _all_sources(config))) else "unknown"


def _known_licenses(config: CorpusConfig) -> str:
    sources = _all_sources(config)
    num_known = sum(map(bool, map(_license_of, sources)))
    if not num_known:
        return "which Tutelage does not know"
    if num_known == len(sources):
        return "listed under Sources as their publishers say"
    return (
        f"of which those of {num_known} in {len(sources)} are listed under Sources, as their publishers say"
    )


def _all_sources(config: CorpusConfig) -> list[SourceConfig]:
    return [source for stream in config.streams.values() for source in stream.sources]


def _license_of(source: SourceConfig) -> str | None:
    preset = presets().get(source.preset or "")
    return preset.license if preset else None


def _making(config: CorpusConfig) -> str:
    clean, near, tasks, asked = config.clean, config.dedup.near, config.decontaminate, config.synthesis
    minhash = near and f"MinHash, {near.bands} bands of {near.rows}, shingles of {near.ngram} words"
    named = f"{', '.join(map(_uri, tasks.tasks))}, by {tasks.ngram} words in a row"
    topped_up = ", topped up with texts of other rows" if config.pack.top_up else ""
    rows = [
        ("cleaning", f"{clean.min_words:,} or more words, at most {clean.max_characters:,} characters"),
        ("filters", ", ".join(map(_plain, config.filters)) or "none"),
        ("exact copies", "dropped"),
        ("near copies", f"dropped: {minhash}" if near else "kept"),
        ("evaluation tasks kept out", named if tasks.tasks else "none named"),
    ]
    if config.synthesizes:
        by = _plain(asked.backend)
        if asks_a_model(config):
            by += f" with {code(asked.model or '')}, protocol {_plain(asked.protocol)}"
        rows += [
            ("pairs written by", by),
            *([("pairs verified by", ", ".join(map(_plain, rules)))] if (rules := rules_of(config)) else []),
            ("documents of a chain", f"at most {config.chains.max_documents}"),
            ("templates", _plain(config.templates)),
        ]
    rows += [
        ("packing", f"{_plain(config.pack.method)}, rows of {config.pack.seq_len:,} tokens{topped_up}"),
        ("seed", str(config.seed)),
    ]
    return "## How it was made\n\n" + table(("step", "how"), rows)


def _contents(corpus: str, manifest: Manifest) -> str:
    rows: list[tuple[Any, ...]] = []
    for increment in manifest.increments:
        for name, shards in increment.streams.items():
            taken_in = count_documents(corpus, name, increment.name)
            counts = (taken_in, shards.num_texts, shards.num_pairs, shards.num_samples, shards.num_tokens)
            filled = f"{shards.num_tokens / (shards.num_samples * manifest.seq_len):.1%}"
            rows.append((increment.number, _plain(name), *counts, filled, parted(shards), cut_texts(shards)))
    newest = manifest.increments[-1]
    notes = [
        "Parted are pairs that stand in a row without their whole passage; cut are texts that go on in "
        "another row."
    ]
    lines = ((each.number, held_out(each)) for each in manifest.increments)
    if held := "; ".join(f"increment {number} {_plain(line)}" for number, line in lines if line):
        notes.append(
            f"Kept for evaluation, in `held-out/` of each increment, and not in its texts and rows: {held}."
        )
    if newest.superseded_document_ids:
        notes.append(
            f"Increment {newest.number} supersedes {len(newest.superseded_document_ids):,} older documents."
        )
    if newest.replaces:
        notes.append(
            f"Increment {newest.number} stands in the place of {', '.join(map(str, newest.replaces))}; "
            f"{newest.num_withdrawn:,} documents were withdrawn."
        )
    elif newest.num_withdrawn:
        notes.append(f"The sources delete {newest.num_withdrawn:,} older documents.")
    sizes = ("documents", "texts", "pairs", "rows", "tokens", "filled", "parted", "cut")
    return "\n\n".join(["## What is in it", table(("increment", "stream", *sizes), rows), *notes])


def _sources(config: CorpusConfig) -> str:
    def reader(source: SourceConfig) -> str:
        return _plain(source.preset or source.reader or "folder")

    rows = [
        (_plain(name), _pairs(stream), reader(source), _uri(source.uri))
        for name, stream in config.streams.items()
        for source in stream.sources
    ]
    found = {source.preset: _license_of(source) for source in _all_sources(config)}
    licenses = [(_plain(name), _plain(license)) for name, license in found.items() if name and license]
    told = f"\n\nTheir publishers say:\n\n{table(('preset', 'license'), licenses)}" if licenses else ""
    return "## Sources\n\n" + table(("stream", "pairs", "reader", "source"), rows) + told


def _pairs(stream: StreamConfig) -> str:
    if stream.tuning is not None:
        return "the source's own, for synthesizer tuning"
    return "yes" if stream.synthesize else "no"


def _rejects(stats: Stats) -> str:
    rows = []
    for name, count in stats["counts"].items():
        stage, _, reason = name.partition("/rejected_")
        if reason and count:
            rows.append((_plain(stage), _plain(reason), count))
    if not rows:
        return ""
    return (
        f"## What increment {stats['number']} refused\n\n"
        + table(("step", "reason", "records"), rows)
        + "\n\nEach has a record in `rejects/`, with its file, its position and what was found."
    )


def _verification(stats: Stats) -> str:
    found = stats.get("verification")
    if not found:
        return ""
    rows = [
        (_plain(rule), count, f"{found['share_dropped'][rule]:.1%}")
        for rule, count in found["dropped"].items()
    ]
    rows.append(("kept", found["kept"], f"{found['kept'] / found['pairs']:.1%}"))
    return (
        f"## What verification found in the {found['pairs']:,} pairs of increment {stats['number']}\n\n"
        + table(("dropped by", "pairs", "share"), rows)
        + "\n\nEach dropped pair has a record in `rejects/verify.jsonl.zst`; kept pairs have their verdicts."
    )


def _evaluation_rows(stats: Stats) -> str:
    rows = [
        (_plain(name), task["rows"], task["rows_found"]) for name, task in stats["decontamination"].items()
    ]
    if not rows:
        return ""
    return "## Evaluation rows found in the sources, and kept out\n\n" + table(
        ("task", "rows", "found"), rows
    )


_LIMITS = """## Known limits

- Where pairs were synthesized, they were written by a model, by rules, or taken from a file. They may
  be wrong, and nobody has read them all.
- Texts are what their sources say: errors, bias and personal data in them are here too, as far as no filter
  took them out.
- Near copies are found by their words in a row; paraphrases and translations stay. Overlap with evaluation
  tasks is looked for in the named ones only."""

_METHOD = """## Method

Cheng et al., *Instruction Pre-Training: Language Models are Supervised Multitask Learners*, EMNLP 2024,
[arXiv 2406.14491](https://arxiv.org/abs/2406.14491). Packing: Ding et al., *Fewer Truncations Improve
Language Modeling*, ICML 2024, [arXiv 2404.10830](https://arxiv.org/abs/2404.10830)."""


def _versions(stats: Stats) -> str:
    rows = [(_plain(name), _plain(version)) for name, version in stats["versions"].items()]
    return (
        "## Versions\n\n"
        + table(("package", "version"), rows)
        + f"\n\nConfiguration {stats['config_hash']}, in `stats.json` beside this card."
    )


def _name(config: CorpusConfig) -> str:
    return public_uri(config.corpus).rstrip("/").rsplit("/", 1)[-1] or "corpus"


def _uri(uri: str) -> str:
    return code(public_uri(uri))


def code(value: str) -> str:
    """Inline code that is safe in a table, whatever the value holds."""
    inside = _NOT_PLAIN.sub(lambda found: f"&#{ord(found[0])};", " ".join(value.split()))
    return f"<code>{inside}</code>"


def _plain(value: str) -> str:
    """Text with all markup escaped."""
    return _MARKUP.sub(r"\\\1", html.escape(" ".join(value.split()), quote=False))


def table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table; numbers get thousands separators."""
    cells = [[f"{cell:,}" if isinstance(cell, int) else cell for cell in row] for row in rows]
    lines = [heads, ["---"] * len(heads), *cells]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
