"""Records of task making: the texts that are asked about, and the questions."""

from __future__ import annotations

import dataclasses

from schemas.content_hash import digest
from schemas.records import Document

BLANK = "____"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class SourceText:
    """A document, or one part of a document that the corpus holds in parts.

    Attributes:
        document_id: The document.
        stream: Its stream.
        text: The text, as the model is trained on it, or as it is held out.
        source: Origin of the document.
        part: Part of the document, `k/n`, or "" for the whole document.
        held_out: True if no model is trained on it.
    """

    document_id: str
    stream: str
    text: str
    source: str
    part: str = ""
    held_out: bool = False

    def as_document(self) -> Document:
        """The text as synthesizers take it."""
        made = Document.of(self.document_id, self.text, source=self.source)
        return dataclasses.replace(made, part=self.part)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question about a text, with its one right answer.

    Attributes:
        text: The question; in a cloze question the answer's place is `BLANK`.
        answer: The answer, as the text has it.
        about: The text.
        author: `cloze`, or the name of the synthesizer.
        span: Start and end offset of the answer in the text.
        statement: The words to look for in training pairs: the question, or the whole sentence of a cloze.
        is_specific: True if the question can be understood without the text.
    """

    text: str
    answer: str
    about: SourceText
    author: str
    span: tuple[int, int]
    statement: str
    is_specific: bool

    @property
    def question_id(self) -> str:
        """Name of the question, the same in every run."""
        of_text = self.about.document_id, self.about.part
        return digest(*of_text, self.text, self.answer, size_bytes=6)
