"""Removal of markup: numbers do not change."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plugins.readers.markup import text_of

MATHML = "http://www.w3.org/1998/Math/MathML"
MIXED = "<mn>2</mn><mfrac><mn>1</mn><mn>2</mn></mfrac>"
QUOTIENT = "<mfrac><mn>140</mn><mn>72</mn></mfrac>"


def text(inside: str) -> str:
    return text_of(ElementTree.fromstring(f"<t>{inside}</t>"))


def formula(inside: str) -> str:
    """Text of a formula, after a check that a namespace prefix does not change it."""
    plain = text(f"<math>{inside}</math>")
    prefixed = re.sub(r"<(/?)(\w)", r"<\1mml:\2", inside)
    assert text(f'<mml:math xmlns:mml="{MATHML}">{prefixed}</mml:math>') == plain
    return plain


@pytest.mark.parametrize(
    ("marked", "plain"),
    [
        ("10<sup>6</sup> copies", "10^6 copies"),
        ("2 × 10<sup>-3</sup> mol", "2 × 10^-3 mol"),
        ("10<sup>−3</sup>.", "10^−3."),
        ("10<sup>-</sup><sup>6</sup>", "10^-6"),
        ("10<sup>3</sup><sup>5</sup>", "10^(3,5)"),
        ("x<sub>1</sub><sub>2</sub>", "x_(1,2)"),
        ("10 <sup>6</sup>", "10 ^6"),
        ("10<sup>n+1</sup>", "10^(n+1)"),
        ("10<sup>(n+1)</sup>", "10^(n+1)"),
        ("10<sup>1/2</sup>", "10^(1/2)"),
        ("10<sup>6</sup>-10<sup>7</sup>", "10^6-10^7"),
        ("10<sup>6</sup>5", "10^(6)5"),
        ("10<sup>6</sup>.5", "10^(6).5"),
        ("<i>10</i><sup><b>6</b></sup>", "10^6"),
        ("10<sup/>6", "10 6"),
        ("3<sup>1</sup>/<sub>2</sub>, 3 <sup>1</sup>⁄<sub>2</sub>cup", "3 1/2, 3 1/2 cup"),
        ("(<sup>3</sup>/<sub>4</sub>), 1<sup>3</sup>/<sub>4</sub>5", "(3/4), 1 3/4 5"),
        ("x<sup>2</sup>/<sub>n</sub>, x<sup>2</sup>/y<sub>2</sub>", "x^2/n, x^2/y2"),
        ('5<xref ref-type="bibr"><sup>12</sup></xref> mg', "5[12] mg"),
        ('5<sup><xref ref-type="bibr">1</xref>,<xref ref-type="bibr">2</xref></sup> mg', "5[1,2] mg"),
        ('7<xref ref-type="table-fn"><sup>[a]</sup></xref><xref ref-type="fn"><sup>b</sup></xref>', "7[a,b]"),
        ('5 [<xref ref-type="bibr">12</xref>], 10<xref ref-type="fig"><sup>6</sup></xref>', "5 [12], 10^6"),
        ("<sup>a</sup>note, <sup>1</sup>Department", "a note, 1 Department"),
        ("<sup>14</sup>CO, <sup>3</sup>H, <sup>1</sup>2 cells", "14CO, 3H, ^(1)2 cells"),
        ("cm<sup>2</sup>, R<sup>2</sup>=0.9", "cm^2, R^2=0.9"),
        ("Ca<sup>2+</sup> and Ca<sup>2+</sup>ATPase", "Ca^2+ and Ca^(2+)ATPase"),
        ("CD4<sup>+</sup> cells, Na<sup>+</sup>/K<sup>+</sup>", "CD4+ cells, Na+/K+"),
        ("Apoe<sup>-/-</sup> mice, 37<sup>°</sup>C, X<sup>®</sup>", "Apoe-/- mice, 37°C, X®"),
        ("the 19<sup>th</sup> day", "the 19th day"),
        ("<sup>18</sup>F, [<sup>99m</sup>Tc]", "18F, [99mTc]"),
        ("5 <sup>18</sup>F, 10-<sup>6</sup>M", "5 18F, 10-^(6)M"),
        ("5 <sup>99m</sup>Tc, 2.5 <sup>1</sup>H", "5 99mTc, 2.5 1H"),
        ("10 <sup>18</sup>F, 5<sup>18</sup>F, 7 <sup>1</sup>8F", "10 ^(18)F, 5^(18)F, 7 ^(1)8F"),
        ("by<sup>1</sup>H NMR and <sup>13</sup>C-labelled", "by 1H NMR and 13C-labelled"),
        ("word<sup>3</sup>He said<sup>1</sup>H, cm<sup>2</sup>H NMR", "word^(3)He said^(1)H, cm^(2)H NMR"),
        ("study<sup>1,2</sup> in 5.<sup>6</sup>", "study^(1,2) in 5.^6"),
    ],
)
def test_superscripts_keep_their_meaning(marked: str, plain: str) -> None:
    assert text(marked) == plain


@pytest.mark.parametrize(
    ("marked", "plain"),
    [
        ("H<sub>2</sub>O, V<sub>max</sub>, t<sub>1/2</sub>", "H2O, Vmax, t1/2"),
        ("SO<sub>4</sub><sup>2-</sup>", "SO4^2-"),
        ("x<sub>1</sub>2", "x_(1)2"),
        ("x<sub>1</sub>.5", "x_(1).5"),
        ("10<sub>2</sub>", "10_2"),
        ("log<sub>10</sub>10", "log_(10)10"),
        ("x<sub>n+1</sub>, x<sub>-1</sub>", "x_(n+1), x_(-1)"),
        ("x<sup>2</sup><sub>1</sub>", "x^2_1"),
        ("x<sup>2</sup><sub>i</sub>", "x^2_i"),
        ("<p>10</p><sub>6</sub><p>7</p><sup>6</sup>F", "10 6 7 6F"),
    ],
)
def test_subscripts_stay_readable_and_join_no_numbers(marked: str, plain: str) -> None:
    assert text(marked) == plain


@pytest.mark.parametrize(
    ("marked", "plain"),
    [
        ("10<br/>6", "10 6"),
        ("<p>10</p><p>6</p>", "10 6"),
        ("<ul><li>10</li><li>6</li></ul>", "10 6"),
        ("<tr><td>140</td><td>72</td></tr><tr><th>1</th></tr>", "140 72 1"),
        ("<whatever>140</whatever>72", "140 72"),
        ("1<b>2</b>3 <i>gly</i>cine", "123 glycine"),
    ],
)
def test_breaks_items_and_cells_are_set_apart_and_looks_are_not(marked: str, plain: str) -> None:
    assert text(marked) == plain


@pytest.mark.parametrize(
    ("marked", "plain"),
    [
        (f"{QUOTIENT}<mo>×</mo><msup><mi>x</mi><mn>2</mn></msup>", "140/72 × x^2"),
        (f"{QUOTIENT}<mi>x</mi>", "(140/72) x"),
        (f"<mrow>{QUOTIENT}</mrow><mi>x</mi>", "(140/72) x"),
        ("<mfrac><mn>1</mn><mrow><mn>2</mn><mi>x</mi></mrow></mfrac>", "1/(2x)"),
        (f"<mn>1</mn>{QUOTIENT}", "1 (140/72)"),
        (f"<mn>2</mn><mo>÷</mo>{QUOTIENT}", "2 ÷ (140/72)"),
        (f"{QUOTIENT}<mo>(</mo><mi>a</mi><mo>)</mo>", "(140/72)(a)"),
        (f"<msup>{QUOTIENT}<mn>2</mn></msup>", "(140/72)^2"),
        (f"<mfrac>{QUOTIENT}<mn>3</mn></mfrac>", "(140/72)/3"),
        (
            "<mfrac><mrow><mi>a</mi><mo>+</mo><mi>b</mi></mrow><mrow><mi>c</mi><mi>d</mi></mrow></mfrac>",
            "(a + b)/(cd)",
        ),
        ("<mo>(</mo><mfrac linethickness='0'><mn>5</mn><mn>2</mn></mfrac><mo>)</mo>", "(5 choose 2)"),
        ("<msup><mn>10</mn><mrow><mo>-</mo><mn>6</mn></mrow></msup>", "10^-6"),
        ("<msup><mn>10</mn><mrow><mi>n</mi><mo>+</mo><mn>1</mn></mrow></msup>", "10^(n + 1)"),
        ("<msup><mrow><mo>-</mo><mn>5</mn></mrow><mn>2</mn></msup>", "(-5)^2"),
        ("<mo>(</mo><mi>a</mi><mo>+</mo><mi>b</mi><msup><mo>)</mo><mn>2</mn></msup>", "(a + b)^2"),
        ("<msub><mi>x</mi><mn>1</mn></msub><mn>2</mn>", "x_1 2"),
        ("<msubsup><mi>x</mi><mn>1</mn><mn>2</mn></msubsup><mi>y</mi>", "x_1^2 y"),
        ("<msqrt><mi>x</mi><mo>+</mo><mn>1</mn></msqrt>", "√(x + 1)"),
        ("<mroot><mrow><mi>a</mi><mo>+</mo><mn>1</mn></mrow><mn>3</mn></mroot>", "(a + 1)^(1/3)"),
        ("<mfenced><mi>a</mi><mn>2</mn></mfenced>", "(a, 2)"),
        ("<mfenced open='[' close=']' separators='|'><mn>1</mn><mn>2</mn></mfenced>", "[1|2]"),
        ("<mn>3</mn><mo>.</mo><mn>5</mn><mo>+</mo><mn>1</mn><mo>,</mo><mn>000</mn>", "3.5 + 1,000"),
        ("<mn>2</mn><mn>3</mn>", "2 3"),
        ("<mn>2</mn><mo>\u2062</mo><mn>3</mn><mo>\u2062</mo><mi>x</mi>", "2 · 3x"),
        ("<mi>sin</mi><mo>\u2061</mo><mi>x</mi><mo>=</mo><mo>-</mo><mn>1</mn>", "sin x = -1"),
        ("<mn>5</mn><mtext>mg</mtext><mo>/</mo><mtext>kg</mtext>", "5 mg/kg"),
        ("<mi>n</mi><mo>!</mo><mo>+</mo><mn>5</mn><mo>%</mo>", "n! + 5%"),
        (
            "<munderover><mo>∑</mo><mrow><mi>i</mi><mo>=</mo><mn>1</mn></mrow><mi>n</mi></munderover><mi>i</mi>",
            "∑_(i = 1)^n i",
        ),
        ("<mover><mi>x</mi><mo>¯</mo></mover>", "x¯"),
        ("<mmultiscripts><mi>C</mi><mprescripts/><mn>6</mn><mn>14</mn></mmultiscripts>", "_6^14 C"),
        ("<mtable><mtr><mtd><mn>1</mn></mtd><mtd><mn>0</mn></mtd></mtr></mtable>", "[1, 0]"),
        ("<semantics><mn>5</mn><annotation>five</annotation></semantics>", "5"),
        ("<mfrac><mn>1</mn></mfrac><mn>2</mn>", "1 2"),
        ("<mn>2</mn><mfrac><mn>1</mn><mn>2</mn></mfrac>", "2 1/2"),
        ("<mn>2</mn><mfrac><mn>1</mn><mn>2</mn></mfrac><mi>x</mi>", "2 (1/2) x"),
        (f"{MIXED}<mo>+</mo><mi>x</mi><mo>=</mo>{MIXED}", "2 1/2 + x = 2 1/2"),
        (f"<mo>(</mo>{MIXED}<mo>)</mo><mo>−</mo>{MIXED}<mtext>cups</mtext>", "(2 1/2) − 2 1/2 cups"),
        (f"{MIXED}<mi>kg</mi><mo>,</mo>{MIXED}<mo>×</mo><mn>3</mn>", "2 1/2 kg, 2 1/2 × 3"),
        (
            f"{MIXED}<mo>/</mo><mn>3</mn><mo>+</mo>{MIXED}<mo>(</mo><mi>a</mi><mo>)</mo>",
            "2 (1/2)/3 + 2 (1/2)(a)",
        ),
        (f"<mi>a</mi><mo>/</mo>{MIXED}", "a/2 (1/2)"),
        ("E=10<sup>2</sup>", "E=10 2"),
    ],
)
def test_formulas_are_written_on_a_line(marked: str, plain: str) -> None:
    assert formula(marked) == plain


def test_a_formula_is_set_apart_from_words_and_numbers_only() -> None:
    inside = "<math><mn>72</mn></math>"
    assert text(f"P={inside}, ({inside}) 140{inside}5{inside}{inside}") == "P=72, (72) 140 72 5 72 72"


ELEMENTS = ["sup", "sub", "br", "td", "li", "p", "math", "mfrac", "msup", "mroot", "unknown"]


@given(
    pieces=st.lists(
        st.tuples(
            st.sampled_from(ELEMENTS),
            st.sampled_from(["1", "23", "4.5"]),
            st.sampled_from(["6", "7,8", "9 "]),
        ),
        max_size=6,
    )
)
def test_no_two_numbers_become_one(pieces: list[tuple[str, str, str]]) -> None:
    marked = "9"
    for name, inside, after in pieces:
        inner = f"<mn>{inside}</mn>" if name.startswith("m") else inside
        marked += f"<{name}>{inner}</{name}>{after}"
    numbers = ["9", *(number for _, *both in pieces for number in both)]
    assert re.findall(r"\d+(?:[.,]\d+)*", text(marked)) == [number.strip() for number in numbers]
