"""Checks before a run touches anything, without Beam: names of plugins, tasks, the newest manifest."""

from __future__ import annotations

from plugins.filters import make_filters
from plugins.protocols import PROTOCOLS
from plugins.readers import open_reader
from plugins.readers.presets import check_ids
from plugins.synthesizers import SYNTHESIZERS
from plugins.synthesizers.base import Synthesizer
from plugins.synthesizers.language_model import asks_model
from plugins.tasks.decontamination_rows import tasks_hash
from plugins.templates import TEMPLATES
from plugins.verifiers.rules import make_rules, rules_of
from schemas import manifest as manifests
from schemas.corpus_config import CorpusConfig, SourceConfig, StreamConfig
from schemas.errors import ConfigError, CorpusError
from schemas.manifest import Manifest


def newest_manifest(config: CorpusConfig) -> Manifest | None:
    """Read the newest manifest of a corpus; None if nothing is published yet.

    Raises:
        CorpusError: It is damaged, cannot be read, or has rows of another length.
    """
    try:
        found = manifests.find_manifest(config.corpus)
    except OSError as error:
        raise CorpusError(
            f"{config.corpus}: cannot be read: {error}. Check `corpus` and its permissions."
        ) from error
    if found is not None and found.seq_len != config.pack.seq_len:
        raise CorpusError(
            f"{config.corpus}: has rows of {found.seq_len} tokens, pack.seq_len is {config.pack.seq_len}. "
            "Keep the corpus's value, or build a new corpus."
        )
    return found


def check_names(config: CorpusConfig) -> str:
    """Refuse unknown names, bad options and missing task files; return a hash of the evaluation tasks."""
    for name, stream in config.streams.items():
        sources = [open_reader(source).source for source in stream.sources]
        for source in sources:
            _check_pairs(name, stream, source)
        check_ids(name, sources)
    if config.synthesizes:
        TEMPLATES.load(config.templates)
        PROTOCOLS.load(config.synthesis.protocol)
        SYNTHESIZERS.load(config.synthesis.backend)(config.synthesis, seed=config.seed)
        if config.synthesis.samples > 1 and not asks_a_model(config):
            raise ConfigError(
                f"synthesis.samples {config.synthesis.samples}: backend {config.synthesis.backend!r} asks no "
                "model, and would give the same pairs each time. Set samples: 1."
            )
    make_filters(config.filters)
    if config.verify and not config.synthesizes:
        raise ConfigError(
            "verify is set, but no stream has synthesize: true; only pairs that a build writes are verified. "
            "Remove verify, or set synthesize on a stream."
        )
    make_rules(rules_of(config), config.synthesis, seed=config.seed)
    return tasks_hash(config.decontaminate.tasks)


def _check_pairs(name: str, stream: StreamConfig, source: SourceConfig) -> None:
    """Refuse sources with pairs in a stream without tuning, and the other way round."""
    if stream.tuning is not None and source.pairs_field is None:
        raise ConfigError(
            f"streams.{name} has tuning, but its source {source.uri!r} has no pairs_field. Set it to the "
            "field of the pairs, or use a preset such as squad."
        )
    if stream.tuning is None and source.pairs_field is not None:
        raise ConfigError(
            f"streams.{name}: source {source.uri!r} has pairs_field {source.pairs_field!r}, which only a "
            "stream with tuning uses. Set `tuning: {}`, or pairs_field: null."
        )


def with_counting_tokenizer(config: CorpusConfig) -> CorpusConfig:
    """Let the corpus's tokenizer count prompts, if the model's own is not needed and not known."""
    kind = SYNTHESIZERS.load(config.synthesis.backend) if config.synthesizes else None
    if not (isinstance(kind, type) and issubclass(kind, Synthesizer)):
        return config
    synthesis = kind.with_tokenizer(config.synthesis, config.tokenizer.name)
    return config.model_copy(update={"synthesis": synthesis})


def asks_a_model(config: CorpusConfig) -> bool:
    """True if the synthesizer sends requests; decided by its class, without checking its settings."""
    if not config.synthesizes or config.synthesis.backend not in SYNTHESIZERS.names():
        return False
    return asks_model(config.synthesis.backend)
