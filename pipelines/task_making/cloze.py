"""Cloze questions: sentences of English text with a name, a number or a term left out.

    text ─► sentences that stand alone ─► names, years and numbers with a unit, terms ─► "… is made in ____."

A name is a run of capitalised words. A term is a noun phrase of one or two words between a preposition or an
article and the end of its clause, with a word that the tokenizer cuts into pieces, or that goes with one name
in all of its texts. No word list of a domain and no model is needed; the rules know English function words.

A question is specific, and may be asked without its text, if its sentence holds another name or two other
technical words: "The daily dose of Nerorix is ____." is, "The daily dose is ____." is not.

Source: Taylor 1953, "Cloze procedure"; Hermann et al. 2015, arXiv 1506.03340, for blanks of entities.
"""

from __future__ import annotations

import functools
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from pipelines.task_making.options import YEAR
from pipelines.task_making.questions import BLANK, Question, SourceText
from plugins.synthesizers.mining_sentences import Passage
from plugins.word_frequency import is_rare

TOKEN = re.compile(r"\d+(?:[.,]\d+)*|[^\W\d_]\w*(?:[-'’]\w+)*|[^\w\s]")


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
_PRONOUNS = _set_of("it they them he she him these those")
_OF_RANGES = frozenset(("-", "–", "and", "between", "to", "/"))
_WORDS = range(5, 31)
_LONG = 7
_PER_TEXT = 3


class Vocabulary:
    """The words of all texts: which are names, which belong to the subject, which texts have each.

    Args:
        texts: All texts that are asked about.
        num_pieces: Counts the tokens of a word, by a tokenizer of general text.
    """

    def __init__(self, texts: Sequence[SourceText], num_pieces: Callable[[str], int]):
        self._num_pieces = functools.cache(num_pieces)
        self._most_texts = max(4, len(texts) // 20)
        self._words_in: list[set[str]] = []
        self._texts_with: defaultdict[str, list[int]] = defaultdict(list)
        self._nouns: set[str] = set()
        capitalised: set[str] = set()
        for at, each in enumerate(texts):
            words = TOKEN.findall(each.text)
            self._words_in.append({*words})
            for word in self._words_in[at]:
                self._texts_with[word].append(at)
            for start, (before, word) in enumerate(pairwise(words), start=1):
                if _is_capitalised(word) and (before[-1].isalnum() or before in ",("):
                    capitalised.add(word)
                if before.lower() in _SIGNALS:
                    self._nouns.update(words[start : _phrase_end(words, start)][-1:])
        known = self._texts_with.keys() | _FUNCTION
        self._names = {word for word in capitalised if word.lower() not in known}

    def is_name(self, word: str) -> bool:
        """True for a capitalised word that stands inside a sentence, and nowhere in lower case."""
        return word in self._names

    def is_technical(self, word: str) -> bool:
        """True for a word in lower case that a tokenizer of general text cuts into pieces."""
        is_common = not word.islower() or not is_rare(word)
        return not is_common and any(
            self._num_pieces(part) > 1 + (len(part) < _LONG) for part in word.split("-")
        )

    def is_term(self, phrase: Sequence[str], before: str) -> bool:
        """True if a phrase behind a word is a noun phrase with a word that belongs to the subject."""
        *first, last = phrase
        if _NO_NOUN.fullmatch(last) or (before in _LINKS and last not in self._nouns):
            return False
        if first and before in _ARTICLES and any(map(_is_plural, phrase)):
            return False  # perhaps a verb: "the lung collapses", "the doctors know"
        return any(map(self.is_technical, phrase)) or any(map(self._goes_with_a_name, phrase))

    def _goes_with_a_name(self, word: str) -> bool:
        """True for a rare word whose texts, two or more, have one name in common."""
        texts = self._texts_with[word]
        is_rare = 1 < len(texts) <= self._most_texts
        return is_rare and bool(self._names.intersection(*(self._words_in[at] for at in texts)))


def cloze_questions(about: SourceText, vocabulary: Vocabulary) -> list[Question]:
    """Make all cloze questions about a text, better ones first; equal ones by hash, so that kinds vary."""
    found: list[tuple[int, Question]] = []
    at = 0
    for sentence in Passage.of(about.text).sentences:
        place = re.compile(r"\s+".join(map(re.escape, sentence.text.split()))).search(about.text, at)
        if place is None:
            continue
        at = place.end()
        if sentence.num_words not in _WORDS or not sentence.is_whole or sentence.text.endswith("?"):
            continue
        tokens = [*TOKEN.finditer(place[0])]
        words = [token[0] for token in tokens]
        for first, last, value in _blanks(words, vocabulary):
            rest = [*words[:first], *words[last:]]
            if {*map(str.lower, words[first:last])} & {*map(str.lower, rest)} - _FUNCTION:
                continue  # the sentence tells its answer
            start, end = tokens[first].start(), tokens[last - 1].end()
            num_technical = len({*filter(vocabulary.is_technical, rest)})
            names_subject = any(map(vocabulary.is_name, rest)) or num_technical > 1
            points_back = not sentence.stands_alone or not _PRONOUNS.isdisjoint(rest)
            question = Question(
                text=" ".join(f"{place[0][:start]}{BLANK}{place[0][end:]}".split()),
                answer=" ".join(place[0][start:end].split()),
                about=about,
                author="cloze",
                span=(place.start() + start, place.start() + end),
                statement=sentence.text,
                is_specific=names_subject and not points_back,
            )
            found.append((value + 4 * question.is_specific, question))
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


def _blanks(words: Sequence[str], vocabulary: Vocabulary) -> Iterator[tuple[int, int, int]]:
    """Yield the first word, the word behind the last one, and the value of what may be left out."""
    at = 0
    while at < len(words):
        start, before = at, words[at - 1].lower() if at else ""
        at += 1
        after = words[at].lower() if at < len(words) else ""
        if words[start][0].isdigit():
            has_unit = after == "%" or (after.isalpha() and after not in _FUNCTION and _is_end(words, at + 1))
            if before in _OF_RANGES or after in _OF_RANGES:
                continue
            if has_unit and before.isalpha() and before not in _BEFORE_ORDINALS:
                at += 1
                yield start, at, 3
            elif YEAR.fullmatch(words[start]) and not has_unit:
                yield start, at, 3
        elif _is_capitalised(words[start]) and (start or vocabulary.is_name(words[start])):
            while at < len(words) and _is_capitalised(words[at]):
                at += 1
            is_name = at > start + 1 or vocabulary.is_name(words[start])
            if is_name and words[at : at + 1] != [":"]:
                yield start, at, 3
        elif before in _SIGNALS | _LINKS and (end := _phrase_end(words, start)) > start:
            at, phrase = end, words[start:end]
            if vocabulary.is_term(phrase, before):
                yield start, end, 2 if any(map(vocabulary.is_technical, phrase)) else 1


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
