"""Interface of verifiers: a passage and a pair about it in, a verdict out.

Each worker makes a verifier from its options. A verifier keeps no state between pairs.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Generic, TypeVar

import pydantic

from schemas.config import Section, validate
from schemas.records import InstructionPair


class VerifierOptions(Section):
    """Options of every verifier.

    Attributes:
        min_score: Minimum score of a pair, 0 to 1; pairs below it are rejected.
    """

    min_score: float = pydantic.Field(default=0.5, ge=0.0, le=1.0)


OptionsT = TypeVar("OptionsT", bound=VerifierOptions)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a verifier says about a pair."""

    score: float  # from 0, surely bad, to 1, surely good
    reason: str = ""  # the finding, for people: "the passage does not hold the number 250"; "" if all is well
    span: tuple[int, int] | None = None  # start and end offset in the passage of what supports the answer


class Verifier(ABC, Generic[OptionsT]):
    """A check of pairs against their passage.

    Args:
        options: The YAML's section `verify.NAME`; missing keys have their defaults.

    Attributes:
        name: Its name in the registry.
        Options: Its section of the YAML.
        options: That section, validated.

    Raises:
        ConfigError: An option is unknown or invalid.
    """

    name: ClassVar[str]
    Options: type[OptionsT]

    def __init__(self, options: Mapping[str, Any] | None = None):
        self.options: OptionsT = validate(self.Options, dict(options or {}), name=f"verify.{self.name}")

    @abstractmethod
    def verdict(self, passage: str, pair: InstructionPair) -> Verdict:
        """Judge a pair by the text of its own document or part."""
