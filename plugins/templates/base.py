"""Contract of template families.

1. One run of documents gives one training text. A family that `is_apart` puts the pairs of a document behind
   its text: the model reads the two by themselves, each as a text of its own.
2. The text holds document texts, instructions and responses verbatim, with any braces, percent signs,
   special-token strings and newlines: a family copies them and never scans them.
3. A document without pairs is its bare text; a run without any pair is `RAW`.
4. The same documents and seed give the same text, in any process on any machine.
5. Each document has one span of the text, in their order: its own text and its pairs. Between spans there are
   only separators, so that a span can be removed with the separator after it.
"""

from __future__ import annotations

import abc
import dataclasses
import itertools
from collections.abc import Sequence
from typing import ClassVar

from schemas.errors import ConfigError
from schemas.records import SynthesizedDocument

RAW = "raw"
"""The template of a text without pairs."""


@dataclasses.dataclass(frozen=True, slots=True)
class Rendered:
    """One training text.

    Attributes:
        text: The text that the model trains on.
        template: Its `family/layout`, such as `reading_comprehension/classic`, or `raw`.
        spans: For each document, the offset of its first character and the offset behind its last one.
        wordings: For each document with pairs, the language of the words around them, such as `de`;
            `en_for_it` where there are none in Italian.
    """

    text: str
    template: str
    spans: tuple[tuple[int, int], ...]
    wordings: tuple[str, ...] = ()

    @classmethod
    def joined(
        cls, passages: Sequence[str], separator: str, *, template: str, wordings: Sequence[str] = ()
    ) -> Rendered:
        """Join one passage for each document by a separator."""
        starts = itertools.accumulate((len(each) + len(separator) for each in passages), initial=0)
        spans = tuple((start, start + len(each)) for start, each in zip(starts, passages, strict=False))
        return cls(separator.join(passages), template, spans, tuple(wordings))


class TemplateFamily(abc.ABC):
    """A family of layouts that turn documents and their pairs into training text.

    Attributes:
        name: The family's name in the registry and in `Rendered.template`.
        is_apart: Whether the model does not see a document's text when it reads the pairs about it.

    Args:
        files: `template_files` of the corpus YAML.

    Raises:
        ConfigError: A file is wrong, or the family takes none.
    """

    name: ClassVar[str]
    is_apart: ClassVar[bool] = False

    def __init__(self, files: Sequence[str] = ()):
        if files:
            raise ConfigError(
                f"template_files: template family {self.name!r} has no wordings in files. Remove the key, or "
                "set templates: reading_comprehension."
            )

    @abc.abstractmethod
    def render(self, documents: Sequence[SynthesizedDocument], *, seed: int) -> Rendered:
        """Render one run of a chain as one training text.

        Args:
            documents: The run, at least one document.
            seed: Seed of all random choices.

        Raises:
            RecordError: There are no documents.
        """
