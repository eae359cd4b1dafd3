"""Word's XML made ready for mammoth, which reads neither formulas nor raised positions nor hidden text.

<m:oMath> ─► runs: 10 and a superscript 6, 140/72, √(x)
<w:position> ─► superscript or subscript;  <w:softHyphen> ─► left out
<w:cr>, <w:br> of a page ─► <w:br>;  <w:ptab> ─► <w:tab>;  <w:dstrike> ─► <w:strike>
<w:fldSimple>, <w:dir>, <w:bdo> ─► their content;  <w:vanish> ─► an element that mammoth tells to leave out
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_M = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
_PARTS = re.compile(r"word/(?:document|footnotes|endnotes)\d*\.xml")
_MARKS = re.compile(rb"oMath|position|vanish|softHyphen|[<:](?:cr|br|ptab|dstrike|fldSimple|dir|bdo)[ />]")
_RENAMED = {
    f"{_W}{name}": f"{_W}{new}"
    for name, new in {"cr": "br", "br": "br", "ptab": "tab", "dstrike": "strike"}.items()
} | {f"{_W}{name}": f"{_W}smartTag" for name in ("fldSimple", "dir", "bdo")}
"""Elements that mammoth does not read, and others that mean the same or give their content."""

_SCRIPTS = {f"{_M}sup": "superscript", f"{_M}sub": "subscript"}
_BETWEEN = {"f": "/", **dict.fromkeys(("d", "eqArr", "func", "limLow", "limUpp", "m", "mr"), " ")}
"""Text between the children of some parts of a formula."""

_MOVED = 4
"""Half points of a raised or lowered position from which it is a script."""

_NUMBER = re.compile(r"-?\d{1,6}")
_ONE = re.compile(r"[\w.,]*")


def ready_for_mammoth(data: bytes) -> io.BytesIO:
    """Return a docx file with its formulas, positions and hidden text rewritten; the same without any."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist() if _PARTS.fullmatch(name)}
        changed = {name: _rewritten(part) for name, part in parts.items() if _MARKS.search(part)}
        if not changed:
            return io.BytesIO(data)
        written = io.BytesIO()
        with zipfile.ZipFile(written, "w") as copy:
            for entry in archive.infolist():
                copy.writestr(entry, changed.get(entry.filename) or archive.read(entry))
    return written


def _rewritten(part: bytes) -> bytes:
    tree = ElementTree.fromstring(part)
    for parent in list(tree.iter()):
        parent[:] = list(_children(parent))
    return ElementTree.tostring(tree)


def _children(parent: Element) -> Iterator[Element]:
    for at, child in enumerate(list(parent)):
        if child.tag in _RENAMED:
            child.tag = _RENAMED[child.tag]
            child.attrib.clear()
        if child.tag == f"{_M}oMathPara":
            yield from (_run(" ", ""), *_children(child), _run(" ", ""))
        elif child.tag == f"{_M}oMath":
            before, after = _text(parent[max(at - 1, 0) : at]), _text(parent[at + 1 : at + 2])
            pieces = [(" " * before[-1:].isalnum(), ""), *_pieces(child), (" " * after[:1].isalnum(), "")]
            yield from (_run(text, script) for text, script in pieces if text)
        elif child.tag == f"{_W}r" and (properties := child.find(f"{_W}rPr")) is not None:
            hidden = properties.find(f"{_W}vanish")
            position = properties.find(f"{_W}position")
            found = _NUMBER.match(position.get(f"{_W}val", "")) if position is not None else None
            moved = int(found[0]) if found else 0
            if abs(moved) >= _MOVED and properties.find(f"{_W}vertAlign") is None:
                _set_script(properties, "superscript" if moved > 0 else "subscript")
            if hidden is not None and hidden.get(f"{_W}val") not in ("0", "false", "off"):
                child.tag = f"{_W}hiddenText"
            if child.tag == f"{_W}r" or any(each.text for each in child.iter(f"{_W}t")):
                yield child
        elif child.tag != f"{_W}softHyphen":
            yield child


def _text(elements: list[Element]) -> str:
    return "".join(text for each in elements for text in each.itertext())


def _run(text: str, script: str) -> Element:
    run = Element(f"{_W}r")
    if script:
        _set_script(SubElement(run, f"{_W}rPr"), script)
    SubElement(run, f"{_W}t").text = text
    return run


def _set_script(properties: Element, script: str) -> None:
    SubElement(properties, f"{_W}vertAlign").set(f"{_W}val", script)


def _pieces(formula: Element) -> Iterator[tuple[str, str]]:
    """Yield the texts of a formula, each with `superscript`, `subscript` or ""."""
    if formula.tag == f"{_M}t":
        yield formula.text or "", ""
        return
    name = formula.tag.removeprefix(_M)
    children = [each for each in formula if not each.tag.endswith("Pr")]
    opening, closing = "", ""
    if name == "d":
        opening, closing = _character(formula, "begChr", "("), _character(formula, "endChr", ")")
    elif name == "nary":
        opening = _character(formula, "chr", "∫")
    elif name == "rad":  # its degree comes first
        opening, closing = "√(", ")"
        yield from (
            (text, "superscript") for each in formula.iterfind(f"{_M}deg") for text, _ in _pieces(each)
        )
        children = formula.findall(f"{_M}e")
    yield opening, ""
    for at, child in enumerate(children):
        yield _BETWEEN.get(name, "") if at else "", ""
        found = [(text, _SCRIPTS.get(child.tag, script)) for text, script in _pieces(child)]
        is_one = name != "f" or _ONE.fullmatch("".join(text for text, _ in found))
        yield from found if is_one else [("(", ""), *found, (")", "")]
    yield closing, ""


def _character(formula: Element, name: str, default: str) -> str:
    found = formula.find(f"*/{_M}{name}")
    return default if found is None else found.get(f"{_M}val", default)
