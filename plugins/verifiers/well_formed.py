"""Verifier `well_formed`: the question asks, the answer is of its kind, nothing refers elsewhere. No model.

    pair ─► empty, placeholder, label    "", "[Your answer]", "N/A", "Answer:", a chat model's refusal
         ─► non-answer                   "The passage does not say.", unless the passage or an option says so
         ─► repetition                   a sentence twice, a word three times in a row
         ─► question                     asks or tells to do something, and is not cut
         ─► kind of answer               who, when, how many, yes or no, one of the options
         ─► not shown                    "as mentioned above", Figure 3; with `standalone` "the passage", too
         ─► leak                         all of the answer stands in the question
         ─► language                     script of the passage; English or not, by its words and py3langid

Pairs follow their passage in the default layouts, so "according to the passage" refers to what is shown; set
`standalone: true` where pairs stand apart. "The author" is shown by a passage in the first person, or one
that names an author. Instructions that are no questions ("Summarise the text.", "Complete: …") are good.

The checks of the question, the kind of answer, references and leaks know English words. Pairs about passages
in other languages pass them, and the reason says so.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache

from plugins.english import FUNCTION_WORDS, NUMBERS, PATTERNS
from plugins.filters.language import identify
from plugins.protocols.matching_option import lettered_option, matching_option
from plugins.verifiers.base import Verdict, Verifier, VerifierOptions
from plugins.verifiers.reading import Reading, is_negative, other_languages, read, read_passage
from schemas.records import InstructionPair

_BRACKETED = re.compile(r"(?<!\w)(?:\[[^\[\]\n]{2,60}\]|\{[^{}\n]{2,60}\}|<[^<>\n/]{2,60}>)")
_LABEL = re.compile(r"(?:^|[\n.?!)]\s*)((?:question|answer|response|instruction)\s?\d*\s?:)", re.IGNORECASE)
_FILLED_BLANK = re.compile(r"^[\W_]*$")
_FIRST_PERSON = frozenset(("i", "we", "my", "our", "me", "us", "author", "authors", "writer", "narrator"))
_CODE = re.compile(r"(?<!\w)(?:--?|[./$@#\\])\w|\w[_/=]\w")


class WellFormedOptions(VerifierOptions):
    """Options of the verifier `well_formed`.

    Attributes:
        standalone: Refuse pairs that mention "the passage", "the text" or "the author", because their
            passage is not shown with them.
    """

    standalone: bool = False


class WellFormed(Verifier[WellFormedOptions]):
    """Check that a question asks something and that its answer is an answer."""

    name = "well_formed"
    Options = WellFormedOptions

    def verdict(self, passage: str, pair: InstructionPair) -> Verdict:
        """Judge a pair: 1, or 0 to 0.4 with its gravest fault."""
        findings = _findings(read_passage(passage), pair, standalone=self.options.standalone)
        score, reason = min(findings, key=lambda finding: finding[0], default=(1.0, ""))
        if not reason and not read_passage(passage).is_english:
            reason = "form and language were checked, not the kind of answer: the passage is not in English"
        return Verdict(score=score, reason=reason)


def _findings(passage: Reading, pair: InstructionPair, *, standalone: bool) -> Iterator[tuple[float, str]]:
    texts = {"question": pair.instruction, "answer": pair.response}
    for of, text in texts.items():
        if _FILLED_BLANK.match(text):
            yield 0.0, f"the {of} is empty"
            return
        for found in _BRACKETED.finditer(text):
            if any(character.isalpha() for character in found[0]) and found[0][1:-1] not in passage.text:
                yield 0.0, f"the {of} holds the placeholder {found[0]!r}"
        if unfit := PATTERNS["placeholder"].search(text):
            yield 0.0, f"the {of} is no {of}: {unfit[0].strip()!r}"
        if (label := _LABEL.search(text)) and label[1] not in passage.text:
            yield 0.1, f"the {of} holds the label {label[1]!r}"
    question, answer = read(pair.instruction), read(pair.response)
    no_answer = PATTERNS["no_answer"].fullmatch(pair.response)
    if no_answer and not pair.options:
        core = next(group for group in no_answer.groups() if group)
        asks_it = PATTERNS["asks_yes_no"].match(pair.instruction) and read(core).roots & question.roots
        if core.lower() not in passage.text.lower() and not asks_it and not is_negative(question.words):
            yield 0.0, f"the answer is no answer: {pair.response.strip()!r}"
    for of, reading in (("question", question), ("answer", answer)):
        if repeated := _repetition(reading, passage):
            yield 0.1, f"the {of} repeats {repeated!r}"
    if _bare(pair.instruction) == _bare(pair.response):
        yield 0.0, "the answer is the question"
    if pair.options:
        yield from _options(pair)
    yield from _language(passage, texts)
    if not passage.is_english:
        return
    yield from _references(passage, texts, standalone=standalone)
    yield from _question(pair, question, answer)
    if not pair.options and not no_answer:
        yield from _kind(pair, question, answer)
    if _leaks(pair, question, answer):
        yield 0.2, "the answer stands in the question"


def _options(pair: InstructionPair) -> Iterator[tuple[float, str]]:
    if len(set(pair.options)) < max(2, len(pair.options)):
        yield 0.1, "the options are not different"
    if not (matching_option(pair.response, pair.options) or lettered_option(pair.response, pair.options)):
        yield 0.1, "the answer is none of the options"


def _repetition(reading: Reading, passage: Reading) -> str:
    """A sentence that comes twice, or words that come three times in a row, unless they do in the passage."""
    pieces = [_bare(reading.text[each.start : each.end]) for each in reading.sentences]
    twice = next((piece for piece in pieces if pieces.count(piece) > 1 and not piece.isdigit()), "")
    if twice:
        return twice
    words = [token.lower for token in reading.tokens]
    for size in range(1, min(12, len(words) // 2) + 1):
        times = 3 if size < 4 else 2
        for at in range(len(words) - times * size + 1):
            run = words[at : at + size]
            if words[at : at + times * size] == run * times and not run[0][0].isdigit():
                said = " ".join([*run, *run])
                if said not in passage.text.lower():
                    return " ".join(run)
    return ""


def _references(passage: Reading, texts: dict[str, str], *, standalone: bool) -> Iterator[tuple[float, str]]:
    for of, text in texts.items():
        found = PATTERNS["not_shown"].search(text)
        if found and found[0].lower() not in passage.text.lower():
            yield 0.1, f"the {of} refers to what is not shown: {found[0].strip()!r}"
        found = PATTERNS["author"].search(text)
        if found and passage.words.isdisjoint(_FIRST_PERSON):
            yield 0.3, f"the {of} refers to somebody who is not shown: {found[0]!r}"
        found = PATTERNS["passage"].search(text)
        if found and standalone:
            yield 0.1, f"the {of} refers to a text that is not shown with it: {found[0]!r}"


def _question(pair: InstructionPair, question: Reading, answer: Reading) -> Iterator[tuple[float, str]]:
    text = pair.instruction.strip()
    if "?" not in text:
        words = [token.lower for token in question.tokens]
        asking = PATTERNS["asks"].match(text)
        if asking and not text.endswith((".", ":", "!")) and words[:2] != ["how", "to"] and "\n" not in text:
            yield 0.3, "the question is cut: it has no question mark"
        elif (
            text.endswith(".") and PATTERNS["statement"].match(text) and "\n" not in text and ":" not in text
        ):
            yield 0.4, "the question states something and asks nothing"
    elif question.words <= FUNCTION_WORDS and len(question.tokens) < 3:
        yield 0.2, "the question does not say what it asks about"
    last = answer.tokens[-1].lower if answer.tokens else ""
    if last in ("the", "a", "an", "of", "and", "or", "by the") and pair.response.strip()[-1].isalpha():
        yield 0.3, f"the answer is cut after {last!r}"
    if (
        len(answer.tokens) == 1
        and not pair.options
        and last in FUNCTION_WORDS
        and not PATTERNS["full_answers"].fullmatch(last)
        and last not in NUMBERS
    ):
        yield 0.1, f"{last!r} is no answer"


def _kind(pair: InstructionPair, question: Reading, answer: Reading) -> Iterator[tuple[float, str]]:
    """The answer is of the kind that the question's first word asks for."""
    asked, said = pair.instruction.strip(), pair.response.strip()
    if "?" not in asked:
        return
    asked = asked[: asked.index("?")].rsplit(". ", 1)[-1].lower()
    kind = " ".join(token.lower for token in read(asked).tokens[:2])
    bare = bool(answer.quantities) and not answer.stems and not any(token.is_name for token in answer.tokens)
    if re.match(r"how (?:many|much|old|tall|deep|heavy|long|far|often|large|high)\b", kind):
        if (
            not PATTERNS["quantity"].search(said)
            and not answer.quantities
            and kind.split()[1] in ("many", "much", "old")
        ):
            yield 0.2, "the question asks for a number, and the answer has none"
    elif kind.startswith("when ") and not PATTERNS["time"].search(said) and not answer.quantities:
        yield 0.3, "the question asks when, and the answer names no time"
    elif bare and kind.startswith(("who ", "whom ", "whose ", "why ", "where ")):
        yield 0.2, f"the question asks {kind.split()[0]}, and the answer is a number"
    says_one = re.match(r"(?:yes|no)\b(?:[.,!]|$)", said.lower())
    if (
        PATTERNS["asks"].match(asked)
        and says_one
        and not re.search(r"\b(?:yes or no|true or false)\b", asked)
    ):
        yield 0.3, "the question does not ask for yes or no"
    elif (
        PATTERNS["asks_yes_no"].match(asked)
        and " or " not in asked
        and len(answer.tokens) <= 8
        and not PATTERNS["says_yes_or_no"].search(said)
        and not is_negative(answer.words)
    ):
        yield 0.3, "the question asks for yes or no, and the answer gives neither"


def _leaks(pair: InstructionPair, question: Reading, answer: Reading) -> bool:
    """True if a question has all words and numbers of its answer and does not let one choose between them."""
    text = pair.instruction
    if (
        pair.options
        or "?" not in text
        or re.search(r"\bor\b|\btrue\b", text)
        or PATTERNS["asks_yes_no"].match(text.strip())
    ):
        return False
    if not answer.stems and not answer.quantities and not any(token.is_name for token in answer.tokens):
        return False
    if not answer.stems and len(answer.quantities) == 1 and answer.quantities[0].value == 1:
        return False
    said = pair.response.strip(" .`")
    if (_CODE.search(said) or said.isupper()) and said not in text:
        return False
    names = {token.lower for token in answer.tokens if token.is_name}
    return (
        answer.stems <= question.stems
        and names <= question.words
        and all(
            any(quantity.agrees(other) for other in question.quantities) for quantity in answer.quantities
        )
    )


def _language(passage: Reading, texts: dict[str, str]) -> Iterator[tuple[float, str]]:
    if PATTERNS["translates"].search(texts["question"]):
        return
    if languages := other_languages(passage, read(texts["question"])):
        yield 0.1, "the question is in another language ({}) than the passage ({})".format(*languages)
    scripts = _scripts(passage.text)
    for of, text in texts.items():
        if text.isascii() and "LATIN" in scripts:
            foreign = 0.0
        else:
            letters = [_script(character) for character in text if character.isalpha()]
            foreign = sum(script not in scripts for script in letters) / max(1, len(letters))
        if foreign > 0.5:
            yield 0.1, f"the {of} is in another script than the passage"
            continue
        reading = read(text)
        if len(reading.tokens) >= 8 and passage.is_english != (reading.is_english or "LATIN" not in scripts):
            theirs, ours = identify(passage.text[:1000]), identify(text)
            if theirs[0] != ours[0] and min(theirs[1], ours[1]) > 0.9:
                yield 0.2, f"the {of} is in another language ({ours[0]}) than the passage ({theirs[0]})"


@lru_cache(maxsize=8)
def _scripts(text: str) -> frozenset[str]:
    if text.isascii():
        return frozenset(("LATIN",))
    return frozenset(_script(character) for character in set(text) if character.isalpha())


@lru_cache(maxsize=1 << 14)
def _script(character: str) -> str:
    return unicodedata.name(character, "").split(" ")[0]


def _bare(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))
