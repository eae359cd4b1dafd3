"""Page of a report: blocks to one HTML file of at most 3 MB, whatever their texts hold.

Texts come from documents, models and file names. The template engine escapes every value, and before that
`visible` writes what a browser would obey or cannot show: control characters, marks that turn the direction
of writing, and halves of surrogate pairs. Long texts are cut, and say by how much; a page that is still too
large is made again with half of the length.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from plugins.report.blocks import Part, Words
from schemas.records import well_formed
from schemas.terminal import shown

MOST_BYTES = 3_000_000
_FIRST_CHARACTERS, _LEAST_CHARACTERS = 2400, 60
_HERE = Path(__file__).parent
_DIRECTIONS = re.compile("[\u202a-\u202e\u2066-\u2069]")


def render(title: str, parts: Sequence[Part]) -> bytes:
    """Write a page in UTF-8.

    Raises:
        ValueError: It is above 3 MB even with texts of 60 characters.
    """
    characters = _FIRST_CHARACTERS
    while characters >= _LEAST_CHARACTERS:
        page = _environment(characters).get_template("page.html.jinja").render(title=title, parts=parts)
        data = page.encode("utf-8")
        if len(data) < MOST_BYTES:
            return data
        characters //= 2
    raise ValueError(f"the report has {len(data):,} bytes; at most {MOST_BYTES:,} are allowed")


def place_name(uri: str) -> str:
    """Name a corpus or run as a person does: by its folder, and a folder `corpus` with that around it."""
    *around, name = uri.rstrip("/").split("/")
    return f"{around[-1]}/{name}" if name == "corpus" and around and around[-1] else name


def visible(value: Any, characters: int) -> Any:
    """A text, cut, with its control characters, direction marks and lone surrogates as visible signs."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    if (rest := len(value) - characters) > 0:
        value = f"{value[:characters]} … [{rest:,} characters more]"
    return _DIRECTIONS.sub(lambda found: f"\\u{ord(found[0]):04x}", shown(well_formed(value)))


def _environment(characters: int) -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=functools.partial(visible, characters=characters),  # of every value that is written
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "cell": _cell,
        "cut_words": functools.partial(_cut_words, characters=characters),
        "anchor": lambda title: re.sub(r"\W+", "-", title.lower()).strip("-"),
    }
    script = (_HERE / "page.js").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment.globals |= {
        "style": Markup((_HERE / "page.css").read_text("utf-8")),
        "script": Markup(script),
        "script_hash": f"sha256-{digest}",
    }
    return environment


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else value


def _cut_words(words: Words, *, characters: int) -> Words:
    """The first pieces of a text; further on, those that are marked, so that no support is lost."""
    found: list[tuple[str, bool]] = []
    room, lost = characters, 0
    for piece, is_marked in words:
        kept = piece if is_marked else piece[: max(room, 0)]
        room -= len(kept)
        lost += len(piece) - len(kept)
        found += [(kept, is_marked)] if kept else []
        if len(kept) < len(piece):
            found.append((" … ", False))
    return (*found, (f"[{lost:,} characters more]", False)) if lost else tuple(found)
