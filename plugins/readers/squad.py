"""SQuAD's own JSON: one object a file, read as a row for each paragraph.

    {"data": [{"title": …, "paragraphs": [{"context": …, "qas": [
        {"question": …, "answers": [{"text": …}]}]}]}]}

A row has the fields of its paragraph, and the article's `title`. Positions are paths in jq's syntax:
`train-v1.1.json:data[3].paragraphs[7]`. The Hugging Face hub's copy of SQuAD has a row for each question;
readers `parquet` and `jsonl` read it.

Cost: the reader parses a whole file; SQuAD 2.0 (40 MB) takes 0.4 GB.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from plugins.readers.base import BadRow, Row, WholeFileReader
from plugins.readers.field_paths import names_of


class SquadReader(WholeFileReader):
    """Reads SQuAD-like JSON. A bad article or paragraph costs only itself."""

    def rows_in(self, data: bytes, uri: str) -> Iterator[Row | BadRow]:
        try:
            value = json.loads(data.decode("utf-8-sig"))
        except (ValueError, RecursionError) as error:  # not UTF-8, or not JSON
            yield BadRow("", "invalid_json", str(error))
        else:
            articles = value.get("data") if isinstance(value, dict) else None
            if not isinstance(articles, list):
                yield _bad("", "an object with a list 'data'", value)
                return
            for number, article in enumerate(articles):
                yield from _paragraphs(article, f"data[{number}]")


def _paragraphs(article: Any, position: str) -> Iterator[Row | BadRow]:
    paragraphs = article.get("paragraphs") if isinstance(article, dict) else None
    if not isinstance(paragraphs, list):
        yield _bad(position, "an object with a list 'paragraphs'", article)
        return
    for number, paragraph in enumerate(paragraphs):
        where = f"{position}.paragraphs[{number}]"
        if isinstance(paragraph, dict):
            yield Row(where, {"title": article.get("title"), **paragraph})
        else:
            yield _bad(where, "an object with 'context' and 'qas'", paragraph)


def _bad(position: str, expected: str, found: Any) -> BadRow:
    shown = f"an object of {names_of(found)}" if isinstance(found, dict) else type(found).__name__
    return BadRow(position, "not_squad", f"expected {expected}, found {shown}")
