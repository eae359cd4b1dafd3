"""Guessed encodings: one sentence and a page of many languages, in their usual encodings."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from plugins.readers.text_encoding import Undecodable, encoding_of
from schemas.records import Document
from tests.plugins.readers.reading import places, read, texts, write

PASSAGES: dict[str, str] = {
    **yaml.safe_load((Path(__file__).parents[1] / "passages.yaml").read_text(encoding="utf-8")),
    "sv": (
        "Patienten lades in på sjukhuset på grund av feber och hosta. Läkaren ordinerade två tabletter "
        "om dagen, och efter en vecka mådde hon mycket bättre."
    ),
    "da": (
        "Patienten blev indlagt på hospitalet på grund af feber og hoste. Lægen ordinerede to tabletter "
        "om dagen, og efter en uge havde hun det meget bedre."
    ),
    "hu": (
        "A beteget láz és köhögés miatt vették fel a kórházba. Az orvos naponta két tablettát írt fel "
        "neki, és egy hét múlva már sokkal jobban érezte magát, ezért hazaengedték. Később többször is "
        "ellenőrzésre jött, és büszkén mesélte, hogy újra fut."
    ),
    "ro": (
        "Pacienta a fost internată în spital din cauza febrei şi a tusei. Medicul i-a prescris două "
        "tablete pe zi, iar după o săptămână se simţea mult mai bine şi a plecat acasă."
    ),
    "sk": (
        "Pacientku prijali do nemocnice pre horúčku a kašeľ. Lekár jej predpísal dve tabletky denne a po "
        "týždni sa už cítila oveľa lepšie, takže ju pustili domov."
    ),
    "hr": (
        "Bolesnica je primljena u bolnicu zbog vrućice i kašlja. Liječnik joj je propisao dvije tablete "
        "na dan, a nakon tjedan dana osjećala se mnogo bolje i otišla kući."
    ),
    "bg": (
        "Пациентката беше приета в болницата заради температура и кашлица. Лекарят й предписа две "
        "таблетки на ден и след една седмица тя се чувстваше много по-добре."
    ),
    "lt": (
        "Pacientė buvo paguldyta į ligoninę dėl karščiavimo ir kosulio. Gydytojas paskyrė po dvi "
        "tabletes per dieną, ir po savaitės ji jautėsi daug geriau."
    ),
}
ENCODINGS = {
    **dict.fromkeys(("de", "fr", "es", "pt", "it", "fi", "sv", "da"), "cp1252"),
    **dict.fromkeys(("pl", "cs", "hu", "sk", "hr"), "cp1250 iso8859-2"),
    **{"ro": "cp1250", "lt": "cp1257", "tr": "cp1254", "vi": "cp1258"},
    **{"ru": "cp1251 koi8-r cp866 iso8859-5", "uk": "cp1251 koi8-u", "bg": "cp1251", "el": "cp1253"},
    **{"he": "cp1255", "ar": "cp1256", "fa": "cp1256", "th": "cp874"},
    **{"zh": "gb18030 big5hkscs", "ja": "cp932 euc_jis_2004 iso2022_jp_2", "ko": "cp949"},
}
CASES = [(language, name) for language, names in ENCODINGS.items() for name in names.split()]
WRONG_SENTENCES = {("cs", "iso8859-2", 2), ("tr", "cp1254", 4), ("vi", "cp1258", 2)}
"""Sentences by number that are taken for another encoding; the page is not."""


def encoded(text: str, name: str) -> tuple[bytes, str]:
    """The bytes of a text without the letters that the encoding lacks, and what they say."""
    data = text.replace("’", "'").encode(name, "ignore")
    return data, data.decode(name)


@pytest.mark.parametrize(("language", "name"), CASES)
def test_a_page_is_found(language: str, name: str) -> None:
    data, _ = encoded("\n".join([PASSAGES[language]] * 4), name)
    found = encoding_of(data, "auto")
    # Romanian and Hungarian have the same bytes in both encodings of Central Europe.
    assert found.name == {"ro": "iso8859-2", "hu": "cp1250"}.get(language, name)


def test_sentences_are_read_as_they_were_written() -> None:
    assert len(ENCODINGS) >= 25
    wrong, num = set(), 0
    for language, name in CASES:
        parts = re.split(r"(?<=[.!?。؟])\s*" if language != "th" else " ", PASSAGES[language])
        for number, part in enumerate(parts):
            data, text = encoded(part, name)
            if data.isascii() and name != "iso2022_jp_2":
                continue
            num += 1
            if data.decode(encoding_of(data, "auto").name) != text:
                wrong.add((language, name, number))
    assert (wrong, num) == (WRONG_SENTENCES, 144)


@pytest.mark.parametrize(
    "text",
    [
        "The dose is 5 µg/kg ± 2 µg at 37 °C.",
        "A naïve reader takes ½ tablet.",
        "The patient’s temperature was 38.5 °C.",
        "Price £5 or €6 – see §12.",
        "She said “take two” – and didn’t.",
        "x² + y² = 10 · 3",
        "Ménière’s disease, Sjögren’s syndrome and Guillain–Barré syndrome were excluded.",
        "1½ cups of milk, ¼ tsp salt, ¾ cup sugar",
        "• First item\n• Second item",
        "Señor Núñez said: ¡no!",
        "He paid 5¢.",
        "Le café était fermé à midi.",
    ],
)
def test_a_few_signs_are_those_of_windows_1252(text: str) -> None:
    assert encoding_of(text.encode("cp1252"), "auto").name == "cp1252"


def test_a_page_without_a_declaration_is_read_as_browsers_do(tmp_path: Path) -> None:
    pytest.importorskip("trafilatura")
    page = "<html><body><p>Take ½ tablet, said the naïve reader of the café.</p></body></html>"
    assert texts(read("html", write(tmp_path / "a.html", page.encode("cp1252")))) == [
        "Take ½ tablet, said the naïve reader of the café."
    ]


def test_utf8_with_a_few_bad_bytes_stays_utf8_and_the_bad_row_is_a_reject(tmp_path: Path) -> None:
    good, bad = "id,text\n1,good row with é and ü\n".encode(), b"2,bad row with \xe9 and \xfc\n"
    path = write(tmp_path / "a.csv", good + bad)
    found = read("csv", path, encoding="auto", id_field="id")
    assert places(path, found) == [("2", "good row with é and ü"), ("3", "undecodable")]
    # Half of the characters beyond ASCII are valid: the least for which UTF-8 is taken.
    assert encoding_of(good + bad, "auto").fields["encoding_confidence"] == "0.50"
    assert encoding_of(b"\xc3\xa9 \xe9 \xe9", "auto").name != "utf-8"


def test_a_zero_byte_does_not_hide_the_encoding(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", b"id,text\n1,has a nul \0 in it\n2,good\n")
    found = read("csv", path, encoding="auto")
    assert [where for where, _ in places(path, found)] == ["2", "3"]
    good = found[1]
    assert isinstance(good, Document) and good.text == "good"
    assert dict(good.metadata)["detected_encoding"] == "utf-8"
    assert encoding_of("1,café\0 noir\n2,déjà\n".encode("cp1252"), "auto").name == "cp1252"


@pytest.mark.parametrize("name", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("language", ["en", "fr", "ru", "el", "he", "ar", "hi", "th"])
def test_utf16_without_a_mark_is_found_in_alphabets(language: str, name: str) -> None:
    assert encoding_of(PASSAGES[language].encode(name), "auto").name == name


def test_bytes_without_a_reading_are_refused() -> None:
    for data in (bytes(range(256)) * 4, PASSAGES["zh"].encode("utf-16-le")):
        with pytest.raises(Undecodable):
            encoding_of(data, "auto")


def test_ascii_with_an_escape_is_utf8() -> None:
    assert encoding_of(b"a\x1b$b text \x1b[31m", "auto").name == "utf-8"
