"""Word's XML made ready for mammoth, which reads neither formulas nor raised positions nor hidden text.

<m:oMath> ─► runs: 10 and a superscript 6, 140/72, √(x)
<w:position> ─► superscript or subscript;  <w:softHyphen> ─► left out
<w:cr>, <w:br> of a page ─► <w:br>;  <w:ptab> ─► <w:tab>;  <w:dstrike> ─► <w:strike>
<w:fldSimple>, <w:dir>, <w:bdo> ─► their content;  <w:vanish> ─► an element that mammoth tells to leave out
<w:rStyle> ─► what of these and of scripts its style has; a style named Superscript is one
names of strict OOXML ─► those of transitional OOXML
"""

from __future__ import annotations

import copy
import io
import re
import zipfile
from collections.abc import Iterator
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_M = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
_PARTS = re.compile(r"word/(?:document|footnotes|endnotes)\d*\.xml")
_STYLES = re.compile(r"word/styles\d*\.xml")
_STRICT = re.compile(rb"http://purl\.oclc\.org/ooxml/(\w+)/")
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

_LENGTH = re.compile(r"(-?\d{1,6}(?:\.\d+)?)(mm|cm|in|pt|pc|pi)?")
_HALF_POINTS = {"mm": 5.67, "cm": 56.7, "in": 144, "pt": 2, "pc": 24, "pi": 24, None: 1}
_OF_STYLES = tuple(f"{_W}{name}" for name in ("vertAlign", "position", "vanish", "strike", "dstrike"))
_NOTES = tuple(
    f"{_W}{name}" for name in ("footnoteReference", "endnoteReference", "footnoteRef", "endnoteRef")
)
_ONE = re.compile(r"[\w.,]*")


def ready_for_mammoth(data: bytes) -> io.BytesIO:
    """Return a docx file with its formulas, positions and hidden text rewritten; the same without any."""
    changed = {}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for name in archive.namelist():
            if name.endswith((".xml", ".rels")) and _STRICT.search(part := archive.read(name)):
                changed[name] = _STRICT.sub(rb"http://schemas.openxmlformats.org/\1/2006/", part)
        styles: dict[str, list[Element]] = {}
        for name in filter(_STYLES.fullmatch, archive.namelist()):
            styles |= _styles(changed.get(name) or archive.read(name))
        for name in filter(_PARTS.fullmatch, archive.namelist()):
            part = changed.get(name) or archive.read(name)
            if _MARKS.search(part) or (styles and b"rStyle" in part):
                changed[name] = _rewritten(part, styles)
        if not changed:
            return io.BytesIO(data)
        written = io.BytesIO()
        with zipfile.ZipFile(written, "w") as target:
            for entry in archive.infolist():
                target.writestr(entry, changed.get(entry.filename) or archive.read(entry))
    return written


def _styles(part: bytes) -> dict[str, list[Element]]:
    """Return the properties in `_OF_STYLES` of the character styles that have any."""
    found = {}
    based_on = {}
    for style in ElementTree.fromstring(part).iterfind(f"{_W}style[@{_W}type='character']"):
        key = style.get(f"{_W}styleId", "")
        found[key] = [each for each in style.iterfind(f"{_W}rPr/*") if each.tag in _OF_STYLES]
        based_on[key] = _value(style, "basedOn")
        name = _value(style, "name").lower()
        if name in _SCRIPTS.values():
            found[key].append(Element(f"{_W}vertAlign", {f"{_W}val": name}))
    for key in found:
        outer, seen = based_on[key], {key}
        while outer in found and outer not in seen:
            seen.add(outer)
            found[key] += found[outer]  # those of the style itself come first
            outer = based_on[outer]
    return {key: properties for key, properties in found.items() if properties}


def _value(parent: Element, name: str) -> str:
    found = parent.find(f"{_W}{name}")
    return "" if found is None else found.get(f"{_W}val", "")


def _rewritten(part: bytes, styles: dict[str, list[Element]]) -> bytes:
    tree = ElementTree.fromstring(part)
    for run in tree.iter(f"{_W}r"):
        properties = run.find(f"{_W}rPr")
        if properties is not None and not any(each.tag in _NOTES for each in run):
            for each in styles.get(_value(properties, "rStyle"), ()):
                if properties.find(each.tag) is None:
                    properties.append(copy.copy(each))
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
            found = _LENGTH.fullmatch(_value(properties, "position"))
            moved = float(found[1]) * _HALF_POINTS[found[2]] if found else 0
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
