"""What every template family promises.

1. One run of documents gives one training text.
2. Document texts, instructions and responses stand in it verbatim: whatever they hold (braces,
   percent signs, special-token strings, newlines), they are copied, never scanned.
3. A document without pairs is its bare text; a run without any pair is `RAW`.
4. The same documents and seed give the same text, in any process on any machine.
5. Each document has one span of the text, in their order: its own text and its pairs. What lies between two
   spans only separates them, so that a span can be cut out with what follows it.
"""

from __future__ import annotations

import abc
import dataclasses
import itertools
from collections.abc import Sequence
from typing import ClassVar

from schemas.records import SynthesizedDocument

RAW = "raw"
"""The template of a text that holds no pairs."""


@dataclasses.dataclass(frozen=True, slots=True)
class Rendered:
    """One training text.

    Attributes:
        text: What the model is trained on.
        template: `family/layout` that rendered it, such as `reading_comprehension/classic`, or `raw`.
        spans: For each document, offsets of its first character and behind its last one.
    """

    text: str
    template: str
    spans: tuple[tuple[int, int], ...]

    @classmethod
    def joined(cls, passages: Sequence[str], separator: str, *, template: str) -> Rendered:
        """One passage for each document, with a separator between them."""
        starts = itertools.accumulate((len(each) + len(separator) for each in passages), initial=0)
        spans = tuple((start, start + len(each)) for start, each in zip(starts, passages, strict=False))
        return cls(separator.join(passages), template, spans)


class TemplateFamily(abc.ABC):
    """A family of layouts that turn documents and their pairs into training text.

    Attributes:
        name: The family's name in the registry and in `Rendered.template`.
    """

    name: ClassVar[str]

    @abc.abstractmethod
    def render(self, documents: Sequence[SynthesizedDocument], *, seed: int) -> Rendered:
        """Render one run of a chain as one training text.

        Args:
            documents: At least one document; each after the first follows the previous.
            seed: Source of every random choice.

        Raises:
            RecordError: There are no documents.
        """
