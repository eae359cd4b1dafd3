"""Engines for PDF pages without a text layer: optical recognition, layout models. Tutelage ships none.

A package registers its engine under the entry-point group `tutelage.page_engines`; a source names it:
`options: {engine: NAME}`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from plugins.registry import Registry

PAGE_ENGINES = Registry("page engine", "tutelage.page_engines", {})


class PageEngine(ABC):
    """Reads pages. One is made for each reader, without arguments."""

    @abstractmethod
    def text_of(self, pdf: bytes, index: int) -> str:
        """Return the text of a page, "" if it finds none.

        Args:
            pdf: The whole file.
            index: Number of the page, from 0.

        Raises:
            ValueError: The engine cannot read the page; the page becomes a reject with the message.
        """
