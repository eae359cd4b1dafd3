"""One flipped bit anywhere in a file: every record is accepted or rejected, and the others stay unchanged."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from plugins.readers import open_reader
from schemas.corpus_config import SourceConfig
from schemas.records import Document

pytestmark = pytest.mark.slow

NUMBER = 3
OBJECTS = [{"id": f"r{number}", "text": f"text {number}"} for number in range(NUMBER)]
OF_A_FILE = {"truncated_file", "damaged_file", "not_utf8", "not_medline"}
"""Reasons of rejects for a whole file."""

KINDS = ("PubmedArticle", "PubmedBookArticle", "PubmedArticle")
SHAPES = {
    "lines": "".join(f"{json.dumps(each)}\n" for each in OBJECTS),
    "json-seq": "".join(f"\x1e{json.dumps(each)}\n" for each in OBJECTS),
    "array of lines": "[\n" + ",\n".join(map(json.dumps, OBJECTS)) + "\n]\n",
    "pretty-printed": json.dumps(OBJECTS, indent=2) + "\n",
    "medline": "<PubmedArticleSet>\n"
    + "".join(
        f'<{kind} Owner="NLM"><MedlineCitation><PMID>r{number}</PMID><Article><ArticleTitle>text {number}'
        f"</ArticleTitle></Article></MedlineCitation><BookDocument><PMID>r{number}</PMID><ArticleTitle>"
        f"text {number}</ArticleTitle></BookDocument></{kind}>\n"
        for number, kind in enumerate(KINDS)
    )
    + "</PubmedArticleSet>\n",
}


def flipped(whole: bytes, start: int) -> Iterator[bytes]:
    for position in range(start, len(whole)):
        for bit in (0, 1, 5, 7):
            data = bytearray(whole)
            data[position] ^= 1 << bit
            yield bytes(data)


@pytest.mark.parametrize("shape", SHAPES)
def test_records_in_are_records_taken_and_rejected(tmp_path: Path, shape: str) -> None:
    path = tmp_path / "a"
    reader = "medline" if shape == "medline" else "jsonl"
    source = SourceConfig(reader=reader, uri=str(path), id_field="pmid" if shape == "medline" else "id")
    whole = SHAPES[shape].encode()
    path.write_bytes(whole)
    expected = {
        (each.document_id, each.text)
        for each in open_reader(source).read(str(path))
        if isinstance(each, Document)
    }
    assert len(expected) == NUMBER
    # The bracket around pretty-printed objects may become a brace; then all of them are one bad object.
    for data in flipped(whole, start=int(shape == "pretty-printed")):
        path.write_bytes(data)
        found = list(open_reader(source).read(str(path)))
        taken = [each for each in found if isinstance(each, Document)]
        reasons = [each.reason for each in found if not isinstance(each, Document)]
        changed = [each for each in taken if (each.document_id, each.text) not in expected]
        # An item without a certain end ends the reading of an array, and says so; a file whose layout is lost
        # is read as lines, and each is a reject.
        ends = any("none behind it" in getattr(each, "detail", "") for each in found)
        is_told = OF_A_FILE & {*reasons} or ends or (not taken and len(reasons) >= data.count(b"\n"))
        assert len(taken) >= NUMBER - 2 or is_told or reasons == ["invalid_json"], data
        assert len(changed) <= 1, data
        # A bad line that merges two records gives one reject, with the beginning of both.
        shared = "invalid_utf8" in reasons or reasons == ["invalid_json"]
        assert len(found) >= NUMBER - shared or is_told, data
