"""Text of marked-up XML on one line: taking markup out changes no number.

    10<sup>-6</sup>         10^-6           x<sub>1</sub>2                      x_(1)2
    10<sup>n+1</sup>        10^(n+1)        H<sub>2</sub>O                      H2O
    <sup>18</sup>F          18F             <mfrac> of 140 and 72, then x       (140/72) x
    CD4<sup>+</sup>         CD4+            <td>140</td><td>72</td>             140 72
    3<sup>1</sup>/<sub>2</sub>  3 1/2       5<xref ref-type="bibr"><sup>12</sup></xref>  5[12]

Spaces separate an element (a cell, a list item, a break) from its neighbours, unless it only changes the look
of letters. Namespaces make no difference.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple
from xml.etree.ElementTree import Element

from plugins.readers.mathml import formula, name_of

_RAISED = {"sup", "superscript"}
_LOWERED = {"sub", "subscript", "inf"}
SCRIPTS = frozenset({*_RAISED, *_LOWERED, "math", "xref"})
"""Elements that `script_of` reads."""

_LOOKS = (
    "a abbr acronym b bdi bdo big cite code data dfn em font i ins kbd mark nobr q rb ruby samp small span "
    "strong time tt u var wbr alternatives bold email emph ext-link hi inline-formula ital italic monospace "
    "named-content ref roman sans-serif sc smallcaps styled-content tex-math underline uri xref"
)
LOOKS = frozenset(_LOOKS.split())
"""Elements that only change the look of letters, in HTML, JATS, NLM and TEI: no space around them.

Struck text is none of them: <s>5</s>6 is not 56."""

_PLAIN_RAISED = re.compile(r"[+\-−±]?(?:\d+(?:\.\d+)?|[^\W\d_]+)[+\-−]?|\([^()]*\)|[^\w\s]")
_PLAIN_LOWERED = re.compile(r"\w+(?:[./]\w+)*")
_ORDINAL = re.compile(r"(?:st|nd|rd|th)", re.IGNORECASE)
_AFTER_NUMBER = re.compile(r"(?:^|[^\w.])\d[\d.,]*[^\S\f]*[-–—−/]?[^\S\f]*$")
_AFTER_DIGIT = re.compile(r"\d[.,]?$")
_BEFORE_DIGIT = re.compile(r"[.,]?\d")
_BEFORE_WORD = re.compile(r"[^\W_]|[.,]\d")
_OPEN = frozenset(" \t\n\f([{<-–—/'\"“‘")
_LOOKED_BACK = 40
_OF_NOTES = {"bibr", "fn", "table-fn"}
_MARK = re.compile(r"[a-z]{1,2}|\d{1,3}")  # <sup>a</sup>note, <sup>1</sup>Department
_ISOTOPE = re.compile(r"\d+[A-Z][a-z]?(?![a-z])")
_NUCLIDE = re.compile(
    r"(?:[123]H|1[134]C|1[35]N|1[578]O|1[89]F|3[123]P|35S|6[1478]Cu|6[78]Ga|89Zr|(?:86|90)Y|99m?Tc|111In|"
    r"12[345]I|131I|133Xe|177Lu|201Tl|22[35](?:Ac|Ra))(?![a-z])"
)
_METHOD = re.compile(r"[\s-]?(?:NMR|MRS|MRI|PET|label)")
_AFTER_WORD = re.compile(r"(?<![^\W_])(?![a-z]m$)[a-z]{2,}$")  # no cm
_AFTER_OTHER_THAN_TEN = re.compile(r"(?<!\d)(?!10\s)[\d.,]+\s+$")
_FRACTION_LINES = {"/", "⁄", "∕"}

APART = "\f"
"""Between an element and its neighbours on a line. No script belongs to a number beyond it."""

_LINE_END = re.compile(r"\f*\n\f*|\f+")


class TooDeep(ValueError):
    """Elements are nested too deeply."""


class Script(NamedTuple):
    """A superscript (sign `^`), a subscript (`_`), a mark of a note (`[`) or a formula (""), and its text."""

    sign: str
    text: str


def text_of(element: Element | None) -> str:
    """Return all text of an element on one line; "" without an element."""
    return "" if element is None else " ".join(_joined(element).split())


def lines_of(element: Element) -> str:
    """Return all text of an element with its white space; each inner block and break is a line."""
    return _LINE_END.sub("\n", _joined(element))


def _joined(element: Element) -> str:
    return joined([piece for piece, _ in pieces_of(element)])


def pieces_of(element: Element) -> Iterator[tuple[str | Script, Element]]:
    """Yield the texts and scripts in an element, each with the element that it is or belongs to.

    `APART` is the text before and after an inner element that does not only change the look of letters.
    """
    yield element.text or "", element
    for child in element:
        if script := script_of(child):
            yield script, child
        elif name_of(child) in LOOKS:
            yield from pieces_of(child)
        else:
            yield APART, child
            yield from pieces_of(child)
            yield APART, child
        yield child.tail or "", child


def script_of(element: Element) -> Script | None:
    """Return the superscript, subscript or formula that an element is, if it is one."""
    name = name_of(element)
    if name not in SCRIPTS:
        return None
    if name == "math":
        return Script("", formula(element))
    if name in _LOWERED:
        return Script("_", text_of(element))
    inner = element
    if name == "xref":  # around a superscript, or a link of another kind
        if len(element) != 1 or name_of(element[0]) not in _RAISED or element.text or element[0].tail:
            return None
        inner = element[0]
    is_mark = any(name_of(each) == "xref" and each.get("ref-type") in _OF_NOTES for each in element.iter())
    return Script("[", text_of(inner).strip("[]")) if is_mark else Script("^", text_of(inner))


def joined(pieces: Sequence[str | Script]) -> str:
    """Join the texts and scripts of a line."""
    try:
        return "".join(pieces)  # type: ignore[arg-type]
    except TypeError:  # there are scripts
        return "".join(written(pieces))


def written(pieces: Sequence[str | Script]) -> list[str]:
    """Return the plain text of each piece; the first of adjacent scripts of a sign has that of all."""
    merged = list(pieces)
    last = -1
    for at, piece in enumerate(pieces):
        before = merged[last] if last >= 0 else ""
        if isinstance(piece, Script) and isinstance(before, Script) and piece.sign == before.sign != "":
            # 10<sup>-</sup><sup>6</sup> is one exponent, 10<sup>3</sup><sup>5</sup> is not.
            apart = "," if before.text[-1:].isalnum() and piece.text[:1].isalnum() else ""
            merged[last] = Script(piece.sign, f"{before.text}{apart}{piece.text}")
            merged[at] = ""
        elif piece:
            last = at
    places = [at for at, piece in enumerate(merged) if piece]
    for above, line, below in zip(places, places[1:], places[2:], strict=False):
        if (
            merged[line] in _FRACTION_LINES
            and _is_digits("^", merged[above])
            and _is_digits("_", merged[below])
        ):
            merged[above], merged[below] = Script("", merged[above][1]), Script("", merged[below][1])
            merged[line] = "/"  # 3<sup>1</sup>/<sub>2</sub>
    parts = [""] * len(merged)
    text = ""
    for at, after in zip(places, [*places[1:], None], strict=False):
        piece, following = merged[at], merged[after] if after is not None else ""
        if isinstance(piece, Script):
            piece = _WRITERS[piece.sign](piece.text, text, following if isinstance(following, str) else "")
        parts[at] = piece
        text = (text + piece)[-_LOOKED_BACK:]
    return parts


def _is_digits(sign: str, piece: str | Script) -> bool:
    return isinstance(piece, Script) and piece.sign == sign and piece.text.isdecimal()


def _raised(text: str, before: str, after: str) -> str:
    """Return a superscript as plain text between the text before and after it."""
    if not text:
        return " "
    touches = _BEFORE_WORD.match(after)
    if after[:1].isalpha() and (nuclide := _NUCLIDE.match(text + after)):
        if _AFTER_OTHER_THAN_TEN.search(before):
            return text  # 5 <sup>18</sup>F; 10 <sup>18</sup>F may be a power of 10
        if _AFTER_WORD.search(before) and _METHOD.match(text + after, nuclide.end()):
            return f" {text}"  # by<sup>1</sup>H NMR; the mark of a note in word<sup>3</sup>He
    if not _AFTER_NUMBER.search(before):
        is_prefix = touches and before[-1:] in {"", *_OPEN}  # <sup>18</sup>F
        if (
            is_prefix
            and _MARK.fullmatch(text)
            and not after[0].isdigit()
            and not _ISOTOPE.match(text + after)
        ):
            return f"{text} "
        if (is_prefix or not any(map(str.isalnum, text))) and not _joins_digits(text, after):
            return text
    elif _ORDINAL.fullmatch(text) or not (any(map(str.isalnum, text)) or set(text) & set("+-−±")):
        return text
    return f"^{text}" if _PLAIN_RAISED.fullmatch(text) and not touches else f"^({text})"


def _lowered(text: str, before: str, after: str) -> str:
    """Return a subscript as plain text, as `_raised` does."""
    if not text:
        return " "
    if not _PLAIN_LOWERED.fullmatch(text) or _joins_digits(text, after):
        return f"_({text})"
    return f"_{text}" if _AFTER_DIGIT.search(before) else text


def _formula(text: str, before: str, after: str) -> str:
    """Return a formula with the spaces that it needs, as `_raised` does."""
    apart_before = before[-1:].isalnum() or _AFTER_DIGIT.search(before)
    return f"{' ' if apart_before else ''}{text}{' ' if _BEFORE_WORD.match(after) else ''}"


def _note(text: str, before: str, after: str) -> str:
    return f"[{text}]" if text else " "


_WRITERS = {"[": _note, "^": _raised, "_": _lowered, "": _formula}


def _joins_digits(text: str, after: str) -> bool:
    return bool(_BEFORE_DIGIT.match(after)) and not text[-1].isalpha()
