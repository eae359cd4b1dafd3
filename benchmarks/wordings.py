"""Variety of the wordings in rendered texts, by language, and the CPU time of rendering.

python -m benchmarks.wordings
"""

from __future__ import annotations

import re
import time
from collections import Counter
from typing import NamedTuple

from plugins.templates import TEMPLATES
from plugins.templates.wording_files import built_in_languages
from schemas.records import Document, InstructionPair, SynthesizedDocument

NUM_TEXTS = 1000


class Variety(NamedTuple):
    """Wordings in rendered texts.

    Attributes:
        num_plain: Distinct wordings of a plain pair: the words before its question and before its answer.
        commonest_share: Share of the ten commonest of these.
        num_phrases: Distinct phrases of ours of three words and more, between colons and line breaks; an
            ideograph counts as a word.
    """

    num_plain: int
    commonest_share: float
    num_phrases: int


def made_document(number: int, language: str) -> SynthesizedDocument:
    """Make a document of three pairs whose strings occur nowhere else; in one of two all pairs are plain."""
    name = f"<{number}>"
    kinds = [{}, {}, {}]
    if number % 2:
        kinds[0] = {"options": (f"{name}r0", f"{name}x", f"{name}y")}
        kinds[2] = {"rationale": f"{name}why2"} | (
            {"options": (f"{name}r2", f"{name}z")} if number % 4 == 1 else {}
        )
    pairs = tuple(
        InstructionPair(instruction=f"{name}q{at}?", response=f"{name}r{at}", **kind)
        for at, kind in enumerate(kinds)
    )
    metadata = {"language": language, "language_probability": "1.00"}
    document = Document.of(name, f"{name}text.", source="made", metadata=metadata)
    return SynthesizedDocument(document=document, pairs=pairs)


def variety(language: str, num_texts: int = NUM_TEXTS) -> Variety:
    """Render texts of one document each, and count the wordings of their second pairs, which are plain."""
    family = TEMPLATES.load("reading_comprehension")()
    plain: Counter[tuple[str, str]] = Counter()
    phrases: set[str] = set()
    ours = re.compile(r"<\d+>(?:text\.|q\d\?|r\d|why\d|[xyz])")
    for number in range(num_texts):
        text = family.render([made_document(number, language)], seed=number).text
        before = {}
        end = 0
        for found in ours.finditer(text):
            before.setdefault(
                found[0].partition(">")[2], re.sub(r"\d+", "1", text[end : found.start()]).strip("\n")
            )
            end = found.end()
        plain[before["q1?"], before["r1"]] += 1
        parts = map(str.strip, re.split(r"[:：\n]", ours.sub("\n", text)))
        phrases.update(each for each in parts if len(re.findall(r"[\u3400-\u9fff]|[^\W\d_]+", each)) >= 3)
    commonest = sum(count for _, count in plain.most_common(10))
    return Variety(len(plain), commonest / num_texts, len(phrases))


def main() -> None:
    """Print a table."""
    print(f"{NUM_TEXTS:,} texts | plain wordings | share of the ten commonest | phrases | CPU ms a text")
    for language in built_in_languages():
        variety(language, 10)  # reads the file
        before = time.process_time()
        found = variety(language)
        milliseconds = (time.process_time() - before) * 1000 / NUM_TEXTS
        print(
            f"{language} | {found.num_plain} | {found.commonest_share:.1%} | {found.num_phrases} | "
            f"{milliseconds:.3f} with the counting"
        )


if __name__ == "__main__":
    main()
