"""Markup of Word that mammoth does not read, rewritten into what it reads, before it reads a file.

    w:cr, w:br of a page or column     w:br, because lines and pages end numbers
    w:ptab                             w:tab
    w:fldSimple, w:dir, w:bdo          their content: cross references, numbers of captions
    w:position above or below the line w:vertAlign, so that 10 with a raised 8 is no 108
    w:dstrike                          w:strike
    w:vanish                           no text, counted: Word does not show it
    m:oMath                            a space before it, because mammoth leaves it out

Only what stands at a run itself is read, not what its style says.
"""

from __future__ import annotations

import io
import re
import zipfile
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

_REWRITTEN = re.compile(rb"[<:](?:cr|br|ptab|fldSimple|dir|bdo|position|d?strike|vanish|oMath)[ />]")
_RENAMED = {"cr": "br", "ptab": "tab", "dstrike": "strike"}
_UNWRAPPED = {"fldSimple", "dir", "bdo"}


def rewritten(archive: zipfile.ZipFile) -> tuple[io.BytesIO, int]:
    """Return a docx with its markup rewritten, and the number of hidden runs that were taken out."""
    file = io.BytesIO()
    num_hidden = 0
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as packed:
        for name in dict.fromkeys(archive.namelist()):
            data = archive.read(name)
            if name.endswith(".xml") and b"wordprocessingml" in data and _REWRITTEN.search(data):
                tree = ElementTree.fromstring(data)
                num_hidden += sum(map(_rewrite, list(tree.iter())))
                data = ElementTree.tostring(tree, encoding="utf-8")
            packed.writestr(name, data)
    file.seek(0)
    return file, num_hidden


def _rewrite(element: Element) -> int:
    """Rewrite an element; return 1 if it is a hidden run with text."""
    space, _, name = str(element.tag).rpartition("}")
    if "wordprocessingml" not in space:
        return 0
    for at in reversed([at for at, each in enumerate(element) if str(each.tag).endswith("}oMath")]):
        run = Element(f"{space}}}r")
        SubElement(run, f"{space}}}t").text = " "
        element.insert(at, run)
    if name in _UNWRAPPED:
        element.tag = f"{space}}}smartTag"  # of which mammoth reads the content
    elif name in _RENAMED:
        element.tag = f"{space}}}{_RENAMED[name]}"
    elif name == "br":
        element.attrib.clear()
    elif name == "r" and (looks := element.find(f"{space}}}rPr")) is not None:
        return _rewrite_run(element, looks, space)
    return 0


def _rewrite_run(run: Element, looks: Element, space: str) -> int:
    def value(name: str) -> str | None:
        found = looks.find(f"{space}}}{name}")
        return None if found is None else found.get(f"{space}}}val", "1")

    if value("vanish") not in (None, "0", "false", "off"):
        texts = [each for each in run if each.tag == f"{space}}}t"]
        for each in texts:
            run.remove(each)
        return int(any((each.text or "").strip() for each in texts))
    if re.fullmatch(r"-?[1-9]\d{0,8}", height := value("position") or "") and value("vertAlign") is None:
        script = "subscript" if height[0] == "-" else "superscript"
        SubElement(looks, f"{space}}}vertAlign", {f"{space}}}val": script})
    return 0
