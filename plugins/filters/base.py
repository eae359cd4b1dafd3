"""Interface of filters: a document in; the document, or a verdict that refuses it, out.

Each worker makes a filter from its options. A filter keeps no state between documents. Each rule has the name
of the option that sets it, so that a verdict names the key to change.
"""

from __future__ import annotations

import dataclasses
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Generic, TypeVar

import pydantic

from plugins.document_language import UNKNOWN, check_languages, language_of
from schemas.config import Section, validate
from schemas.records import Document

OptionsT = TypeVar("OptionsT", bound=Section)


class JudgingOptions(Section):
    """Options of each filter that judges texts.

    Attributes:
        languages: ISO 639 codes of the languages to judge, [en]. A document that is certainly in another
            language passes over the filter; `passed_over_by_NAME` counts these. Null judges all documents.
    """

    languages: tuple[str, ...] | None = pydantic.Field(default=None, min_length=1)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Why a document is refused."""

    rule: str  # name of the option whose limit the document breaks
    value: float | str  # the measured value
    limit: str  # the allowed values: "at least 50"

    @property
    def detail(self) -> str:
        """Value and limit as text: "12, at least 50"."""
        return f"{round(self.value, 4) if isinstance(self.value, float) else self.value}, {self.limit}"


@dataclasses.dataclass(frozen=True, slots=True)
class Unjudged:
    """A document that passes, although one rule cannot judge it; `passed_over_by_NAME.RULE` counts these."""

    document: Document
    rule: str


class Filter(ABC, Generic[OptionsT]):
    """A filter of documents.

    Args:
        options: The YAML's section `filters.NAME`; missing keys are as published.

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
        self.options: OptionsT = validate(self.Options, dict(options or {}), name=f"filters.{self.name}")
        self._judged: tuple[str, ...] | None = getattr(self.options, "languages", None)
        check_languages(self._judged or (), f"filters.{self.name}.languages")

    def passes_over(self, document: Document) -> bool:
        """True for a document in a language that `languages` leaves out."""
        return self._judged is not None and language_of(document) not in (*self._judged, UNKNOWN)

    @abstractmethod
    def __call__(self, document: Document) -> Document | Verdict | Unjudged:
        """Return the document, changed if the filter changes documents, or the verdict that refuses it."""


class TextRules(Filter[OptionsT]):
    """A filter that measures the text rule by rule; the first broken rule decides.

    A limit of None removes its rule.
    """

    def __call__(self, document: Document) -> Document | Verdict | Unjudged:
        return next((verdict for verdict in self.verdicts(document.text) if verdict), document)

    @abstractmethod
    def verdicts(self, text: str) -> Iterator[Verdict | None]:
        """Yield a verdict for each rule, None if the text keeps the rule."""

    def at_least(self, rule: str, value: float) -> Verdict | None:
        """Refuse a value below the limit."""
        return self._verdict(rule, value, operator.ge, "at least")

    def at_most(self, rule: str, value: float) -> Verdict | None:
        """Refuse a value above the limit."""
        return self._verdict(rule, value, operator.le, "at most")

    def more_than(self, rule: str, value: float) -> Verdict | None:
        """Refuse the limit and values below it."""
        return self._verdict(rule, value, operator.gt, "more than")

    def less_than(self, rule: str, value: float) -> Verdict | None:
        """Refuse the limit and values above it."""
        return self._verdict(rule, value, operator.lt, "less than")

    def _verdict(
        self, rule: str, value: float, allows: Callable[[float, float], bool], words: str
    ) -> Verdict | None:
        limit = getattr(self.options, rule)
        if limit is None or allows(value, limit):
            return None
        return Verdict(rule=rule, value=value, limit=f"{words} {limit:,}")
