"""SQuAD's own JSON: one object a file, read as a row for each paragraph.

    {"data": [{"title": …, "paragraphs": [{"context": …, "qas": [
        {"question": …, "answers": [{"text": …}]}]}]}]}

A row has what the paragraph has, and the article's `title`. Positions are paths as jq takes them:
`train-v1.1.json:data[3].paragraphs[7]`. What the Hugging Face hub has of SQuAD is a row for each question,
read by `parquet` or `jsonl`.

Cost: a file is parsed as a whole; SQuAD 2.0 (40 MB) takes 0.4 GB.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from plugins.readers import files
from plugins.readers.base import BadRow, Reader, Row


class SquadReader(Reader):
    """Reads SQuAD-like JSON. A bad article or paragraph costs only itself."""

    def rows(self, uri: str) -> Iterator[Row | BadRow]:
        try:
            value = json.loads(files.whole(uri).decode("utf-8-sig"))
        except files.DAMAGED as error:
            yield BadRow(position="", reason="damaged_file", detail=f"{type(error).__name__}: {error}")
            return
        except files.TooLong as error:
            yield BadRow(position="", reason="record_too_long", detail=str(error))
            return
        except (ValueError, RecursionError) as error:  # not UTF-8, or not JSON
            yield BadRow(position="", reason="invalid_json", detail=str(error))
            return
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
            yield Row(position=where, values={"title": article.get("title"), **paragraph})
        else:
            yield _bad(where, "an object with 'context' and 'qas'", paragraph)


def _bad(position: str, expected: str, found: Any) -> BadRow:
    shown = (
        f"an object of {', '.join(sorted(found)) or 'no fields'}"
        if isinstance(found, dict)
        else type(found).__name__
    )
    return BadRow(position=position, reason="not_squad", detail=f"expected {expected}, found {shown}")
