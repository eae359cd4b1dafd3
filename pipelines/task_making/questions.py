"""Records of task making: the texts that are asked about, and the questions."""

from __future__ import annotations

import dataclasses

from schemas.content_hash import digest
from schemas.records import Document

BLANK = "____"


@dataclasses.dataclass(frozen=True, slots=True)
class SourceText:
    """A document, or one part of a document, as the model is trained on it, or as it is held out."""

    document_id: str
    stream: str
    text: str
    source: str  # origin of the document
    part: str = ""  # `k/n`, or "" for the whole document
    held_out: bool = False  # no model is trained on it

    def as_document(self) -> Document:
        """The text as synthesizers take it."""
        made = Document.of(self.document_id, self.text, source=self.source)
        return dataclasses.replace(made, part=self.part)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question about a text, with its one right answer."""

    text: str  # in a cloze question the answer's place is BLANK
    answer: str  # as the text has it
    about: SourceText
    author: str  # `cloze`, or the name of the synthesizer
    span: tuple[int, int] = (0, 0)  # start and end offset of the answer in the text, once it is found there
    statement: str  # to look for in training pairs: the question, or the whole sentence of a cloze
    is_specific: bool  # the question can be understood without the text

    @property
    def question_id(self) -> str:
        """Name of the question, the same in every run."""
        of_text = self.about.document_id, self.about.part
        return digest(*of_text, self.text, self.answer, size_bytes=6)
