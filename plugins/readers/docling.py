"""Slides, sheets, scanned pages and all else that docling reads, a document a file.

Library: docling (MIT), which finds layout, tables and text in pictures by models. It needs torch and some
GB, takes seconds a page on a CPU, and fetches its models at its first use unless DOCLING_ARTIFACTS_PATH names
a folder with them. The text is docling's Markdown with its markup taken out, or kept. The other readers need
no models: use this one for what they do not read. Tests have a stand-in for the library.
"""

from __future__ import annotations

import functools
import importlib.util
import io
import posixpath
from collections.abc import Iterator
from typing import Any

import pydantic

from plugins.readers.base import BadRow, Row, WholeFileReader
from plugins.readers.markdown import plain_text
from schemas import limits
from schemas.config import Section
from schemas.corpus_config import SourceConfig
from schemas.errors import ConfigError


class DoclingOptions(Section):
    """Options of reader `docling`.

    Attributes:
        keep_markup: True keeps docling's Markdown; false takes the markup out.
        max_pages: Most pages of a file; longer files are rejects.
    """

    keep_markup: bool = False
    max_pages: int = pydantic.Field(default=500, ge=1)


class DoclingReader(WholeFileReader):
    """Reads what docling reads. Rows have the text only.

    Raises:
        ConfigError: The package `docling` is not installed.
    """

    Options = DoclingOptions

    def __init__(self, source: SourceConfig):
        super().__init__(source)
        if importlib.util.find_spec("docling") is None:
            raise ConfigError("reader 'docling' needs the package docling: pip install 'tutelage[docling]'.")

    def rows_in(self, data: bytes, uri: str) -> Iterator[Row | BadRow]:
        from docling.datamodel.base_models import DocumentStream

        result = _converter().convert(
            DocumentStream(name=posixpath.basename(uri), stream=io.BytesIO(data)),
            raises_on_error=False,
            max_num_pages=self.options.max_pages,
            max_file_size=limits.RECORD_BYTES,
        )
        found = "; ".join(each.error_message for each in result.errors) or f"status {result.status.name}"
        if result.status.name not in ("SUCCESS", "PARTIAL_SUCCESS"):
            yield BadRow("", "not_converted", found)
            return
        text = result.document.export_to_markdown(image_placeholder="")
        if not self.options.keep_markup:
            text = plain_text(text)
        yield Row("", {self.source.text_field: text})
        if result.status.name == "PARTIAL_SUCCESS":
            yield BadRow("", "left_out", f"docling converted a part only: {found}")


@functools.cache
def _converter() -> Any:
    """Return the converter of this process: its models take long to load."""
    from docling.document_converter import DocumentConverter

    return DocumentConverter()
