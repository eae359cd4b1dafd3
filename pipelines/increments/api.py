"""`build` and `plan` from Python: what `tutelage corpus build` and `tutelage corpus plan` do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.inspect.corpus import Corpus
from pipelines.runners.startup_warnings import quiet_libraries
from schemas.config import load_config
from schemas.corpus_config import CorpusConfig

if TYPE_CHECKING:
    from pipelines.planning.plan import IncrementPlan

Configuration = CorpusConfig | Mapping[str, Any] | str | Path
"""A YAML file, a mapping with its keys, or a validated configuration."""


def build(
    config: Configuration,
    overrides: Sequence[str] = (),
    *,
    beam_options: Sequence[str] = (),
    reread: bool = False,
    retry_empty: bool = False,
    quiet: bool = False,
) -> Corpus:
    """Add one increment of what is new in the sources; `tutelage corpus build`.

    Args:
        config: The corpus.
        overrides: `key=value` strings that change it.
        beam_options: Options of Beam; without `--runner` it runs on this machine.
        reread: Read unchanged files again.
        retry_empty: Ask again about documents without pairs.
        quiet: Print no progress.

    Returns:
        The corpus at its newest manifest, which is the one before if nothing was new.

    Raises:
        ConfigError: A name, value or option is refused; nothing was changed.
        InputError: The sources have no usable document, or too many unexpected errors.
        SynthesisError: Too many documents failed or are without pairs.
        CorpusError: The corpus is damaged, or held by another run; or nothing is published after a dry run.
    """
    known = load_config(CorpusConfig, config, overrides)
    quiet_libraries()
    from pipelines.increments.build import build_increment

    build_increment(known, beam_options, quiet=quiet, reread=reread, retry_empty=retry_empty)
    return Corpus(known.corpus)


def plan(
    config: Configuration,
    overrides: Sequence[str] = (),
    *,
    beam_options: Sequence[str] = (),
    requests_per_sec: float | None = None,
    tokens_per_sec: float | None = None,
    quiet: bool = False,
) -> IncrementPlan:
    """Count documents, requests, tokens and hours of a build; send and write nothing.

    Args:
        config: The corpus.
        overrides: `key=value` strings that change it.
        beam_options: Options of Beam.
        requests_per_sec: Measured rate of the servers, for hours.
        tokens_per_sec: Measured rate of written tokens, for hours.
        quiet: Print no progress.

    Raises:
        TutelageError: As `build`.
    """
    known = load_config(CorpusConfig, config, overrides)
    quiet_libraries()
    from pipelines.planning.plan import plan_increment

    return plan_increment(
        known,
        beam_options,
        requests_per_sec=requests_per_sec,
        tokens_per_sec=tokens_per_sec,
        quiet=quiet,
    )
