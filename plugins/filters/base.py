"""What a filter is: a document in; the document, or the verdict that refuses it, out.

A filter is made anew in each worker from its options, and keeps nothing from one document to the next.
Each of its rules has the name of the option that sets it, so that the verdict names the key to change.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Generic, TypeVar

from schemas.config import Section, validate
from schemas.records import Document

OptionsT = TypeVar("OptionsT", bound=Section)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Why a document is refused.

    Attributes:
        rule: Name of the option whose limit it broke.
        value: What was measured.
        limit: What was allowed: "at least 50".
    """

    rule: str
    value: float | str
    limit: str

    @property
    def detail(self) -> str:
        """Value and limit, readable: "12, at least 50"."""
        return f"{round(self.value, 4) if isinstance(self.value, float) else self.value}, {self.limit}"


class Filter(ABC, Generic[OptionsT]):
    """A filter of documents.

    Args:
        options: What the YAML says under `filters.NAME`; what it leaves out is as published.

    Attributes:
        name: Its name in the registry.
        Options: Its section of the YAML.
        options: That section, validated.

    Raises:
        ConfigError: An option is unknown, or its value is refused.
    """

    name: ClassVar[str]
    Options: type[OptionsT]

    def __init__(self, options: Mapping[str, Any] | None = None):
        self.options: OptionsT = validate(self.Options, dict(options or {}), name=f"filters.{self.name}")

    @abstractmethod
    def __call__(self, document: Document) -> Document | Verdict:
        """The document to go on, the same one unless the filter changes documents; or why none does."""


class TextRules(Filter[OptionsT]):
    """A filter that measures the text, one rule after the other; the first broken one decides.

    A limit of None takes its rule away.
    """

    def __call__(self, document: Document) -> Document | Verdict:
        return next((verdict for verdict in self.verdicts(document.text) if verdict), document)

    @abstractmethod
    def verdicts(self, text: str) -> Iterator[Verdict | None]:
        """For each rule the verdict, or None where the text keeps it."""

    def at_least(self, rule: str, value: float) -> Verdict | None:
        """Refuse a value below the limit."""
        limit = getattr(self.options, rule)
        if limit is None or value >= limit:
            return None
        return Verdict(rule=rule, value=value, limit=f"at least {limit:,}")

    def at_most(self, rule: str, value: float) -> Verdict | None:
        """Refuse a value above the limit."""
        limit = getattr(self.options, rule)
        if limit is None or value <= limit:
            return None
        return Verdict(rule=rule, value=value, limit=f"at most {limit:,}")

    def more_than(self, rule: str, value: float) -> Verdict | None:
        """Refuse the limit itself and what is below it."""
        limit = getattr(self.options, rule)
        if limit is None or value > limit:
            return None
        return Verdict(rule=rule, value=value, limit=f"more than {limit:,}")

    def less_than(self, rule: str, value: float) -> Verdict | None:
        """Refuse the limit itself and what is above it."""
        limit = getattr(self.options, rule)
        if limit is None or value < limit:
            return None
        return Verdict(rule=rule, value=value, limit=f"less than {limit:,}")
