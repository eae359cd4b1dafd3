"""Cloze questions: sentences of English text with a name, a number or a term left out.

    text ─► sentences that stand alone ─► names, years and numbers with a unit, terms ─► "… is made in ____."

A name is a run of capitalised words. A term is a noun phrase of one or two words between a preposition or an
article and the end of its clause, with a word that is long or rare enough to belong to the subject. No word
list of a domain and no model is needed; the rules know English function words, and other texts are refused.

A question is specific, and may be asked without its text, if its sentence holds another name or two other
technical words: "The daily dose of Nerorix is ____." is, "The daily dose is ____." is not.

Source: Taylor 1953, "Cloze procedure"; Hermann et al. 2015, arXiv 1506.03340, for blanks of entities.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from pipelines.task_making.questions import BLANK, Question, SourceText
from plugins.synthesizers.mining_rules import EVERYDAY
from plugins.synthesizers.mining_sentences import Passage, Sentence

_TOKEN = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]\w*(?:[-'’]\w+)*|[^\w\s]")
_YEAR = re.compile(r"1[5-9]\d\d|20\d\d")


def _set_of(words: str) -> frozenset[str]:
    return frozenset(words.split())


_ARTICLES = _set_of("a an the")
_LINKS = _set_of("is are was were have has had called avoid")
_SIGNALS = _ARTICLES | _set_of("of in by with from for against on as into her his its their")
"""Words before a noun phrase; after `_LINKS` an adjective may stand as well."""
_ENDS = _LINKS | _set_of(
    """of in by with from for against on as into to and or but that which who when where while if because
    since than so at after before during under over between through without within among can could may might
    must should will would"""
)
"""Words after a noun phrase."""
_FUNCTION = (
    _SIGNALS
    | _ENDS
    | _set_of(
        """whom whose although though then not no it they them he him she this these those there be been being
        do does did shall about around also only both either neither each all any some most more less such
        very too many several few other own one two three four five example instance"""
    )
)
_NO_NOUN = re.compile(
    r".*(?:ly|ed|ing|[ai]ble|ive|ous|ful|less)|known|given|taken|made|found|seen|often|here|likely|alone"
)
_BEFORE_ORDINALS = _set_of("phase type figure fig table chapter section step stage grade class group part")
_OF_RANGES = frozenset(("-", "–", "and", "between", "to", "/"))
_LEAST_ENGLISH = 0.2
_PER_TEXT = 3
_WORDS = range(5, 31)
_LONG = 7
_LEAST_LETTERS = 5
_PIECES = 2


@dataclasses.dataclass(frozen=True, slots=True)
class _Blank:
    """Tokens of a sentence that may be left out."""

    start: int  # index of the first token
    end: int  # index behind the last one
    value: int  # greater for better questions


class Vocabulary:
    """The words of all texts: which are names, which belong to the subject, how many texts have each.

    Args:
        texts: All texts that are asked about.
        num_pieces: Counts the tokens of a word, by a tokenizer of general text.
    """

    def __init__(self, texts: Sequence[SourceText], num_pieces: Callable[[str], int]):
        self._num_texts = len(texts)
        self._num_pieces = functools.cache(num_pieces)
        self._texts_with: defaultdict[str, list[int]] = defaultdict(list)
        self._lower: set[str] = set()
        self._inside: set[str] = set()
        self._nouns: set[str] = set()
        for at, each in enumerate(texts):
            words = _TOKEN.findall(each.text)
            for word in {*words}:
                self._texts_with[word].append(at)
            self._lower.update(filter(str.islower, words))
            for before, word in pairwise(words):
                if _is_capitalised(word) and (before[-1].isalnum() or before in ",("):
                    self._inside.add(word)
            self._nouns.update(
                words[end - 1]
                for start in range(1, len(words))
                if words[start - 1].lower() in _SIGNALS and (end := _phrase_end(words, start)) > start
            )
        names = filter(self.is_name, self._inside)
        self._names_in = [set[str]() for _ in texts]
        for name in names:
            for at in self._texts_with[name]:
                self._names_in[at].add(name)

    def is_name(self, word: str) -> bool:
        """True for a capitalised word that stands inside a sentence, and nowhere in lower case."""
        return word in self._inside and word.lower() not in self._lower | _FUNCTION

    def is_rare(self, word: str) -> bool:
        """True for a word of at least one text, but few."""
        return 0 < len(self._texts_with.get(word, ())) <= max(4, self._num_texts // 20)

    def is_subject(self, word: str) -> bool:
        """True for a name, a technical word, or another word that few texts have."""
        is_content = len(word) >= _LEAST_LETTERS and word.lower() not in _FUNCTION
        return self.is_name(word) or self.is_technical(word) or (is_content and self.is_rare(word))

    def is_technical(self, word: str) -> bool:
        """True for a word in lower case that a tokenizer of general text cuts into pieces."""
        if not word.islower() or EVERYDAY.fullmatch(word):
            return False
        return any(
            self._num_pieces(part) >= (_PIECES if len(part) >= _LONG else _PIECES + 1)
            for part in word.split("-")
        )

    def is_term(self, phrase: Sequence[str], *, after_link: bool, after_article: bool) -> bool:
        """True for a noun phrase with a word that belongs to the subject of some texts."""
        *first, last = phrase
        if _NO_NOUN.fullmatch(last) or (after_link and last not in self._nouns):
            return False
        if first and after_article and (_is_plural(first[0]) or _is_plural(last)):
            return False  # perhaps a verb: "the lung collapses", "the doctors know"
        return any(map(self.is_technical, phrase)) or any(map(self._is_of_a_name, phrase))

    def _is_of_a_name(self, word: str) -> bool:
        """True for a rare word that several texts have, all of which have one name in common."""
        texts = self._texts_with.get(word, ())
        return (
            len(texts) > 1
            and self.is_rare(word)
            and bool(set.intersection(*(self._names_in[at] for at in texts)))
        )


def is_english(text: str) -> bool:
    """True if a fifth of the words are English function words, and there are some."""
    words = [word[0].lower() for word in _TOKEN.finditer(text) if word[0][0].isalpha()]
    return sum(word in _FUNCTION for word in words) > _LEAST_ENGLISH * len(words)


def cloze_questions(about: SourceText, vocabulary: Vocabulary) -> list[Question]:
    """Make all cloze questions about a text, better ones first; equal ones by hash, so that kinds vary."""
    found: list[tuple[int, Question]] = []
    at = 0
    for sentence in Passage.of(about.text).sentences:
        place = re.compile(r"\s+".join(map(re.escape, sentence.text.split()))).search(about.text, at)
        if place is None:
            continue
        at = place.end()
        if sentence.num_words in _WORDS and sentence.is_whole and not sentence.text.endswith("?"):
            found += _questions(sentence, about, place.start(), place[0], vocabulary)
    return [each for _, each in sorted(found, key=lambda pair: (-pair[0], pair[1].question_id))]


def best_questions(questions: Sequence[Question]) -> list[Question]:
    """Take the first three questions of each text, with one question a sentence and an answer."""
    best: list[Question] = []
    taken: Counter[object] = Counter()
    for question in questions:
        text = question.about
        keys = (text, question.statement), (text, question.answer)
        if taken[text] < _PER_TEXT and not any(taken[key] for key in keys):
            best.append(question)
            taken.update((text, *keys))
    return best


def _questions(
    sentence: Sentence, about: SourceText, offset: int, raw: str, vocabulary: Vocabulary
) -> Iterator[tuple[int, Question]]:
    tokens = [*_TOKEN.finditer(raw)]
    words = [token[0] for token in tokens]
    for blank in _blanks(words, vocabulary):
        start, end = tokens[blank.start].start(), tokens[blank.end - 1].end()
        answer, rest = raw[start:end], words[: blank.start] + words[blank.end :]
        if {*map(str.lower, words[blank.start : blank.end])} & {*map(str.lower, rest)} - _FUNCTION:
            continue
        names = sum(map(vocabulary.is_name, rest))
        technical = len({word for word in rest if vocabulary.is_technical(word)})
        is_specific = sentence.stands_alone and (names > 0 or technical > 1)
        text = " ".join(f"{raw[:start]}{BLANK}{raw[end:]}".split())
        yield (
            blank.value + 4 * is_specific,
            Question(
                text=text,
                answer=" ".join(answer.split()),
                about=about,
                author="cloze",
                span=(offset + start, offset + end),
                statement=sentence.text,
                is_specific=is_specific,
            ),
        )


def _blanks(words: Sequence[str], vocabulary: Vocabulary) -> Iterator[_Blank]:
    at = 0
    while at < len(words):
        before, end = words[at - 1].lower() if at else "", at + 1
        after = words[end].lower() if end < len(words) else ""
        if words[at][0].isdigit():
            has_unit = after == "%" or (
                after.isalpha() and after not in _FUNCTION and _is_end(words, end + 1)
            )
            is_range = before in _OF_RANGES or after in _OF_RANGES
            if has_unit and not is_range and before.isalpha() and before not in _BEFORE_ORDINALS:
                end += 1
                yield _Blank(at, end, 3)
            elif _YEAR.fullmatch(words[at]) and not has_unit and not is_range:
                yield _Blank(at, end, 3)
        elif _is_capitalised(words[at]) and (at or vocabulary.is_name(words[at])):
            while end < len(words) and _is_capitalised(words[end]):
                end += 1
            is_name = end > at + 1 or vocabulary.is_name(words[at])
            if is_name and words[end : end + 1] != [":"]:
                yield _Blank(at, end, 3)
        elif before in _SIGNALS | _LINKS and (closed := _phrase_end(words, at)) > at:
            end = closed
            if vocabulary.is_term(
                words[at:end], after_link=before in _LINKS, after_article=before in _ARTICLES
            ):
                yield _Blank(at, end, 2 if any(map(vocabulary.is_technical, words[at:end])) else 1)
        at = end


def _is_capitalised(word: str) -> bool:
    return word[0].isupper() and len(word) > 1 and not re.search(r"-[a-z]", word)


def _is_plural(word: str) -> bool:
    return word.endswith("s") and not word.endswith(("ss", "is", "us"))


def _is_end(words: Sequence[str], at: int) -> bool:
    """True if a phrase may end before this word."""
    return at >= len(words) or words[at].lower() in _FUNCTION or not words[at][0].isalnum()


def _phrase_end(words: Sequence[str], at: int) -> int:
    """Index behind a phrase of one or two words in lower case that ends its clause; `at` if there is none."""
    end = at
    while (
        end < len(words) and words[end].islower() and words[end] not in _FUNCTION and words[end][0].isalpha()
    ):
        end += 1
    is_closed = end < len(words) and (words[end] in _ENDS or not words[end][0].isalnum())
    return end if is_closed and end - at <= 2 else at
