"""What every template family promises.

1. One run of documents gives one training text.
2. Document texts, instructions and responses stand in it verbatim: whatever they hold (braces,
   percent signs, special-token strings, newlines), they are copied, never scanned.
3. A document without pairs is its bare text; a run without any pair is `RAW`.
4. The same documents and seed give the same text, in any process on any machine.
"""

from __future__ import annotations

import abc
import dataclasses
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
    """

    text: str
    template: str


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
