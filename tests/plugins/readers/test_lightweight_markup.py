"""Readers `markdown` and `rst`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from schemas.records import Document, Reject
from tests.plugins.readers.reading import only_reject, places, read, texts, write

MARKDOWN = """---
title: "On nerves"
tags: [a]
---
# Methods

We gave **140 mg** of [the drug](http://example.org/a?b=c), 10<sup>6</sup> times.

- one
- two
    1. three

| Drug | Dose |
|---|---|
| aspirin | 100 mg |

```python
x = 1
```
![a picture](a.png)
"""
PLAIN = (
    "Methods\n\nWe gave 140 mg of the drug, 10^6 times.\n\n- one\n- two\n  1. three\n\n"
    "Drug | Dose\naspirin | 100 mg\n\nx = 1"
)


def test_markdown_loses_its_markup(tmp_path: Path) -> None:
    found, left_out = read(
        "markdown", write(tmp_path / "a.md", MARKDOWN.encode()), metadata_fields=["title", "tags"]
    )
    assert isinstance(found, Document) and isinstance(left_out, Reject)
    assert (found.text, found.metadata) == (PLAIN, {"title": "On nerves"})
    assert (left_out.reason, left_out.detail) == ("left_out", "keys of its front matter: tags")


def test_markdown_keeps_its_markup_on_request(tmp_path: Path) -> None:
    path = write(tmp_path / "a.md", MARKDOWN.encode())
    (found,) = read("markdown", path, options={"keep_markup": True}, metadata_fields=["title"])
    assert isinstance(found, Document)
    assert (found.text, found.metadata) == (MARKDOWN, {"title": "On nerves"})


def test_the_first_heading_is_the_title_without_another(tmp_path: Path) -> None:
    (found,) = read("markdown", write(tmp_path / "a.md", b"# On *nerves*\n\na"), metadata_fields=["title"])
    assert isinstance(found, Document) and found.metadata == {"title": "On nerves"}


def test_lists_and_dates_of_front_matter_are_fields(tmp_path: Path) -> None:
    front = "---\nauthor: [A. Writer, B]\ndate: 2024-13-45\ntitle: >\n  Two\n  lines\nlang:\n---"
    (found,) = read(
        "markdown",
        write(tmp_path / "a.md", f"{front}\nText.".encode()),
        metadata_fields=["author", "date", "title", "lang"],
    )
    assert isinstance(found, Document) and found.text == "Text."
    assert found.metadata == {"author": "A. Writer, B", "date": "2024-13-45", "title": "Two lines\n"}


@pytest.mark.parametrize(
    ("markdown", "text"),
    [
        ("140<br>72", "140\n72"),
        ("140  \n72", "140\n72"),
        ("a ![picture](b.png) c", "a c"),
        ("|  | Dose |\n|---|---|\n| aspirin | 100 mg |", "| Dose\naspirin | 100 mg"),
        ("H<sub>2</sub>O", "H2O"),
        ("a < b and 3 > 2 & x", "a < b and 3 > 2 & x"),
        ("1. one\n\n   more\n2. two", "1. one\n   more\n2. two"),
        ("1. one\n1. two\n1. three", "1. one\n2. two\n3. three"),
        ("1. one\n2. two\n\n2024. was a year", "1. one\n2. two\n2024. was a year"),
        ("5. a\n   1. b\n   1. c\n7. d", "5. a\n   1. b\n   2. c\n7. d"),
        ("> a quote", "a quote"),
        ("<div>\n\ntext *here*\n\n</div>", "text here"),
        ("~~struck~~ `code *x*`", "struck code *x*"),
        ("~~100~~250 mg and 250~~100~~ mg", "100 250 mg and 250 100 mg"),
        ("2*3*4 = 24, and *5*10 mg", "2*3*4 = 24, and *5*10 mg"),
        ("<del>100</del><ins>250</ins> mg", "100 250 mg"),
        ("5 mg[^1]\n\n[^1]: Yes.\n\n[a]: b.html", "5 mg[^1]\n\n[^1]: Yes."),
        (
            "---\n\nThe dose is 5 mg.\n\n---\n\nThe second is 7 mg.",
            "The dose is 5 mg.\n\nThe second is 7 mg.",
        ),
        ("---\n- 5 mg\n- 7 mg\n---\n\nText.", "- 5 mg\n- 7 mg\n\nText."),
        ("---\ntitle: Dose: 5 mg\n---\n\nText.", "title: Dose: 5 mg\n\nText."),
        ("---\n\nNote: 5 mg\n---\nText.", "Note: 5 mg\n\nText."),
        ("---\na: [1\n---\nText.", "a: [1\n\nText."),
    ],
)
def test_markdown_is_readable_and_no_number_changes(tmp_path: Path, markdown: str, text: str) -> None:
    assert texts(read("markdown", write(tmp_path / "a.md", markdown.encode()))) == [text]


RST = """Methods
=======

We gave **140 mg** of `the drug <http://example.org>`_, 10\\ :sup:`6` times, see :ref:`the atlas <atlas>`.

* one
* two

====== ======
Drug   Dose
====== ======
aspirin 100 mg
====== ======

.. math:: 140/72

Code::

    x = 1
"""


def rst(path: Path, text: str, **options: Any) -> list[Document | Reject]:
    return read("rst", write(path / "a.rst", text.encode()), **options)


def test_rst_loses_its_markup(tmp_path: Path) -> None:
    (found,) = rst(tmp_path, RST.replace("aspirin 100", "aspirn 100"), metadata_fields=["title"])
    assert isinstance(found, Document)
    assert found.metadata == {"title": "Methods"}
    assert found.text == (
        "Methods\n\nWe gave 140 mg of the drug, 10^6 times, see the atlas.\n\n- one\n- two\n\n"
        "Drug | Dose\naspirn | 100 mg\n\n140/72\n\nCode:\n\nx = 1"
    )


def test_rst_keeps_its_markup_on_request(tmp_path: Path) -> None:
    assert texts(rst(tmp_path, ".. toctree::\n\n   a\n\nText.", options={"keep_markup": True})) == [
        ".. toctree::\n\n   a\n\nText."
    ]


def test_what_docutils_leaves_out_is_told(tmp_path: Path) -> None:
    text = "Text.\n\n.. toctree::\n\n   a\n\n.. toctree::\n\n   b\n\n.. raw:: html\n\n   <b>c</b>\n"
    found = rst(tmp_path, text)
    assert places(tmp_path / "a.rst", found) == [("", "Text."), ("", "left_out")]
    assert only_reject(found).detail.endswith(
        '2 of Unknown directive type "toctree", 1 of "raw" directive disabled'
    )


@pytest.mark.parametrize("directive", ["include", "csv-table:: a\n   :file", "raw:: html\n   :file"])
def test_no_file_is_read(tmp_path: Path, directive: str) -> None:
    secret = write(tmp_path / "secret.txt", b"a,secret")
    mark = "" if ":file" in directive else "::"
    found = rst(tmp_path, f"Text.\n\n.. {directive}{mark}{':' if ':file' in directive else ''} {secret}\n")
    assert places(tmp_path / "a.rst", found) == [("", "Text."), ("", "left_out")]


@pytest.mark.parametrize("reader", ["markdown", "rst"])
class TestBoth:
    def test_other_encodings_are_told(self, reader: str, tmp_path: Path) -> None:
        (found,) = read(reader, write(tmp_path / "a", "naïve".encode("latin-1")))
        assert isinstance(found, Reject) and found.reason == "invalid_utf8"

    def test_an_encoding_is_named_or_found(self, reader: str, tmp_path: Path) -> None:
        path = write(tmp_path / "a", "naïve".encode("utf-16"))
        assert texts(read(reader, path, encoding="utf-16")) == ["naïve"]
        (found,) = read(reader, path, encoding="auto")
        assert isinstance(found, Document)
        assert (found.text, found.metadata["detected_encoding"]) == ("naïve", "utf-16")

    def test_deep_nesting_ends_in_a_record(self, reader: str, tmp_path: Path) -> None:
        text = (
            ">" * 5_000 + " a" if reader == "markdown" else "\n\n".join(" " * n + "a" for n in range(1_000))
        )
        (found,) = read(reader, write(tmp_path / "a", text.encode()))
        assert isinstance(found, Document) or found.reason == "beyond_limits"
