"""MathML to one line of plain text.

    mfrac   140/72, (a + b)/(c + d)     msup    x^2, 10^-6, (a/b)^(n + 1)     mtable   [1, 0; 0, 1]
    msqrt   √(x + 1)                    msub    x_1, x_(i, j)                 mfenced  (a, b)
    mroot   x^(1/3)                     msubsup x_1^2                         munderover  ∑_(i = 1)^n

A quotient gets parentheses where its neighbours would change its meaning: `(140/72) x`. Digits of two
elements never become one number.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple
from xml.etree.ElementTree import Element

_TOKENS = {"mi", "mn", "ms"}
_FRACTION = re.compile(r"(\d{1,9})/(\d{1,9})")
_ROWS = {"math", "mrow", "mstyle", "mpadded", "menclose", "merror", "mtd", "maction", "semantics"}
_UNSEEN = {
    *("annotation", "annotation-xml", "mphantom", "none", "mprescripts", "mspace"),
    *("maligngroup", "malignmark"),
}
_INVISIBLE = {"\u2061": " ", "\u2062": "·", "\u2063": ",", "\u2064": "+"}
"""Function application, times, separator and plus: characters without a shape."""

_OPENING, _CLOSING = "([{⟨⌈⌊", ")]}⟩⌉⌋"
_ENDING = {*_CLOSING, *"!%′″"}
_TIGHT = {*_OPENING, *_CLOSING, *".:/!%'′″|‖∣ ", "..."}
"""Operators without spaces around them."""

_GROUP = re.compile(r"√?\([^()]*\)|")
_SIMPLE = re.compile(rf"[^\W_]+|\d+(?:[.,]\d+)*|[^\w\s]|{_GROUP.pattern}")
_SIMPLE_SCRIPT = re.compile(r"[+\-−±]?(?:\d+(?:\.\d+)?|[^\W\d_]+)[+\-−]?|\([^()]*\)|[^\w\s]|")


class _Term(NamedTuple):
    """Part of a formula: its plain text and its kind.

    Kinds are `operator`, `quotient`, `script`, `row` (several terms), `text` (words), and "" for one number,
    name or group.
    """

    text: str
    kind: str = ""


_NOTHING = _Term("")


def formula(element: Element) -> str:
    """Return the plain text of a `math` element, or of another element of MathML."""
    return _term(element).text


def name_of(element: Element) -> str:
    """Return the name of an element in lower case, without its namespace."""
    return _bare(element.tag)


@functools.lru_cache(maxsize=1024)
def _bare(tag: object) -> str:
    return str(tag).rpartition("}")[2].rpartition(":")[2].lower()


def _term(element: Element) -> _Term:
    name = name_of(element)
    if name in _UNSEEN:
        return _NOTHING
    if name in _TOKENS:
        return _Term(_words(element))
    if name == "mo":
        text = _words(element)
        return _Term(_INVISIBLE.get(text, text), "operator")
    if name == "mtext":
        return _Term(_words(element), "text")
    num_children, write = _WRITERS.get(name, (None, None))
    if write is not None and len(element) == num_children:
        return write(element, *map(_term, element))
    if name == "msqrt":
        return _Term(f"√({_row(element).text})")
    if name == "mfenced":
        return _fenced(element)
    if name == "mmultiscripts" and len(element):
        return _multiscripts(element)
    if name == "mtable":
        rows = (", ".join(formula(cell) for cell in row) for row in element)
        return _Term(f"[{'; '.join(rows)}]")
    if name in {"semantics", "maction"} and len(element):
        return _term(element[0])  # the other children repeat the first in another notation
    return _row(element) if name in _ROWS else _Term(_row(element).text, "text")


def _words(element: Element) -> str:
    return " ".join("".join(element.itertext()).split())


def _row(element: Element) -> _Term:
    """Return the content of an element as one term."""
    terms = [term for term in _terms(element) if term.text]
    return terms[0] if len(terms) == 1 else _Term(_written(terms), "row")


def _terms(element: Element) -> Iterator[_Term]:
    """Yield the terms in an element, those of nested rows included."""
    yield _Term(" ".join((element.text or "").split()), "text")
    for child in element:
        if name_of(child) == "mrow":
            yield from _terms(child)
        else:
            yield _term(child)
        yield _Term(" ".join((child.tail or "").split()), "text")


def _written(terms: Sequence[_Term]) -> str:
    """Join terms, with the parentheses and spaces that they need."""
    text = ""
    before: _Term | None = None
    for term, after in itertools.zip_longest(terms, terms[1:]):
        here = term.text
        is_mixed = before is not None and _is_mixed(before.text, here) and _ends(after)
        if is_mixed and before and text[: -len(before.text)].rstrip()[-1:] not in {*"/÷∕"}:
            here, term = f" {here}", _Term(here, "text")
        elif term.kind == "quotient" and (_binds(before, _CLOSING) or _binds(after, _OPENING)):
            here, term = f"({here})", _Term(here, "text")
        if term.kind == "operator":
            here = _operator(here, before, after)
        elif before is not None and _needs_space(before, text, term, here):
            here = f" {here}"
        text += here
        before = term
    return text.strip()


def _is_mixed(number: str, quotient: str) -> bool:
    """True for a number and a fraction below one: 2 1/2."""
    found = _FRACTION.fullmatch(quotient)
    return number.isdecimal() and found is not None and int(found[1]) < int(found[2])


def _ends(after: _Term | None) -> bool:
    """True if what follows a mixed number leaves it one: a sum, a relation, a closing bracket or a unit."""
    if after is None:
        return True
    if after.kind == "operator":
        return after.text not in {*_OPENING, *"/÷∕:·!%^′″"}
    return after.kind == "text" or (not after.kind and after.text.isalpha() and len(after.text) > 1)


def _binds(neighbour: _Term | None, brackets: str) -> bool:
    """True if a neighbour would bind to one side of a quotient."""
    if neighbour is None:
        return False
    return neighbour.kind != "operator" or neighbour.text in {*brackets, *"/÷∕:·!%^"}


def _operator(text: str, before: _Term | None, after: _Term | None) -> str:
    if text in ",;" and (before and after and before.text[-1].isdigit() and after.text[0].isdigit()):
        return text  # 1,000
    if text in ",;":
        return f"{text} "
    is_prefix = before is None or (before.kind == "operator" and before.text not in _ENDING)
    if text in _TIGHT or is_prefix or after is None:
        return text
    if text == "·" and not (before and before.text[-1].isdigit() and after.text[0].isdigit()):
        return " " if before and len(before.text) > 1 else ""
    return f" {text} "


def _needs_space(before: _Term, text: str, term: _Term, here: str) -> bool:
    if before.kind == "operator" or text[-1:].isspace():
        return False
    if "text" in (before.kind, term.kind):
        return True
    if not (text[-1:].isalnum() and here[0].isalnum()):
        return False
    letters = any(len(each) > 1 and each.isalpha() for each in (before.text, term.text))
    return letters or before.kind == "script" or (text[-1].isdigit() and here[0].isdigit())


def _grouped(term: _Term) -> str:
    simple = _GROUP if term.kind == "row" else _SIMPLE
    return term.text if simple.fullmatch(term.text) else f"({term.text})"


def _script(sign: str, term: _Term) -> str:
    if not term.text:
        return ""
    return sign + (term.text if _SIMPLE_SCRIPT.fullmatch(term.text) else f"({term.text})")


def _quotient(element: Element, above: _Term, below: _Term) -> _Term:
    if re.match(r"0(?:\.0*)?(?:[a-z%]|$)", element.get("linethickness", "")):
        return _Term(f"{above.text} choose {below.text}", "text")
    return _Term(f"{_grouped(above)}/{_grouped(below)}", "quotient")


def _root(_: Element, base: _Term, index: _Term) -> _Term:
    return _Term(f"{_grouped(base)}^(1/{_grouped(index)})", "script")


def _scripts(_: Element, base: _Term, below: _Term, above: _Term = _NOTHING) -> _Term:
    return _Term(f"{_grouped(base)}{_script('_', below)}{_script('^', above)}", "script")


def _above(element: Element, base: _Term, above: _Term) -> _Term:
    return _scripts(element, base, _NOTHING, above)


def _over(element: Element, base: _Term, above: _Term) -> _Term:
    if not any(map(str.isalnum, above.text)):  # an accent
        return _Term(f"{_grouped(base)}{above.text}", "script")
    return _above(element, base, above)


_WRITERS: dict[str, tuple[int, Callable[..., _Term]]] = {
    "mfrac": (2, _quotient),
    "mroot": (2, _root),
    "mover": (2, _over),
    "msup": (2, _above),
    "msub": (2, _scripts),
    "munder": (2, _scripts),
    "msubsup": (3, _scripts),
    "munderover": (3, _scripts),
}
"""Number of children and writer of the elements with a fixed number of children."""


def _fenced(element: Element) -> _Term:
    separators = "".join(element.get("separators", ",").split()) or " "
    text = ""
    for number, child in enumerate(element):
        if number:
            separator = separators[min(number, len(separators)) - 1]
            text += f"{separator} " if separator in ",;" else separator
        text += formula(child)
    return _Term(f"{element.get('open', '(')}{text}{element.get('close', ')')}")


def _multiscripts(element: Element) -> _Term:
    base, *others = element
    names = [name_of(each) for each in others]
    at = names.index("mprescripts") if "mprescripts" in names else len(others)
    after = "".join(_pairs(others[:at]))
    before = "".join(_pairs(others[at + 1 :]))
    text = f"{_grouped(_term(base))}{after}"
    return _Term(f"{before} {text}" if before else text, "script")


def _pairs(scripts: Sequence[Element]) -> Iterator[str]:
    for number, each in enumerate(scripts):
        yield _script("^" if number % 2 else "_", _term(each))
