"""Text made regular, and documents too short or too long refused.

Unicode is composed (NFC), line ends and page breaks become `\\n`, control characters go, and more than
one blank line becomes one. Nothing that a reader would miss is changed.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import Any

from pipelines.transforms.base import StepFn
from schemas.corpus_config import CleanConfig
from schemas.records import Document

_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ufeff\ufffe\uffff]")
_LINE_END = re.compile(r"[ \t]*(?:\r\n|[\r\n\v\f\x85\u2028\u2029])")
_BLANK_LINES = re.compile(r"\n{3,}")


def clean_text(text: str) -> str:
    """Make a text regular; cleaning twice changes nothing more."""
    text = unicodedata.normalize("NFC", _CONTROL.sub("", text))
    return _BLANK_LINES.sub("\n\n", _LINE_END.sub("\n", text)).strip()


class CleanDocuments(StepFn):
    """Clean each document; reject those outside the configured lengths."""

    def __init__(self, config: CleanConfig, progress_dir: str | None):
        super().__init__("clean", progress_dir)
        self.config = config

    def process(self, document: Document) -> Iterator[Any]:
        text = clean_text(document.text)
        where = {"document_id": document.document_id, "source": document.source}
        num_words = len(text.split())
        if num_words < self.config.min_words:
            yield self.reject(
                "too_short", detail=f"{num_words} words, at least {self.config.min_words}", **where
            )
        elif len(text) > self.config.max_characters:
            yield self.reject(
                "too_long", detail=f"{len(text)} characters, at most {self.config.max_characters}", **where
            )
        else:
            self.counters.add("documents")
            yield Document.of(text=text, metadata=document.metadata, **where)
