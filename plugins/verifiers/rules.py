"""Rules of `verify` by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from plugins.synthesizers.language_model import asks_model
from plugins.verifiers import DEFAULT_RULES, VERIFIERS
from plugins.verifiers.base import ModelVerifier, Rule
from schemas.corpus_config import CorpusConfig
from schemas.errors import ConfigError
from schemas.synthesis_config import SynthesisConfig

Rules = Mapping[str, Mapping[str, Any] | None]
"""Options of rules by name, as `verify` has them."""


def rules_of(config: CorpusConfig) -> Rules:
    """The rules of a corpus: `verify`, or without it the default rules if a model writes the pairs."""
    if config.verify is not None or not config.synthesizes:
        return config.verify or {}
    return dict.fromkeys(DEFAULT_RULES) if asks_model(config.synthesis.backend) else {}


def make_rules(rules: Rules, synthesis: SynthesisConfig, *, seed: int) -> dict[str, Rule[Any]]:
    """Make rules by name, those without a model first.

    Raises:
        ConfigError: A name, an option or a value is refused, or a rule needs a model and has none.
    """
    made: dict[str, Rule[Any]] = {}
    for name, options in rules.items():
        try:
            kind = VERIFIERS.load(name)
        except ConfigError as error:
            raise ConfigError(f"verify: {error}") from error
        rule = made[name] = kind(options)
        if isinstance(rule, ModelVerifier):
            rule.connect(synthesis, seed=seed)
    return dict(sorted(made.items(), key=lambda item: isinstance(item[1], ModelVerifier)))
