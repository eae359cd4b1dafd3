"""Sentences of English text, found by rules, and which of them can be quoted by themselves.

A sentence ends at `.`, `!` or `?` before white space and a capital, a digit or an opening quote, unless an
abbreviation precedes the full stop. Some abbreviations never end a sentence ("Dr.", "e.g."), some not before
a number ("Fig. 2"), and some, such as initials, only before a word that often starts a sentence ("in the U.S.
The", "vitamin C. It", but "J. Smith").
"""

from __future__ import annotations

import dataclasses
import functools
import re
from functools import cached_property
from itertools import pairwise

from plugins.english import FUNCTION_WORDS, LEAST_FUNCTION_WORDS, UNITS
from plugins.synthesizers.mining_words import word_list
from plugins.word_frequency import common_words, is_rare

_OPENING_MARKS, _CLOSING_MARKS = "\"'“‘([", "\"'”’)]"
_END = re.compile(rf"[.!?]+[{re.escape(_CLOSING_MARKS)}]*(?=\s)")
_BLOCK = re.compile(r"\n\s*\n|\n(?=\s*(?:[-*•#]|\d+[.)])\s)")
_LIST_NUMBER = re.compile(r"\d+|[A-Za-z]|[ivx]+")
_NEVER_END = re.compile(r"(?i:mr|mrs|ms|dr|prof|st|e\.g|i\.e|vs|cf|viz|approx|ca|resp|esp)")
_BEFORE_NUMBER = re.compile(r"(?i:nos?|figs?|eqs?|vol|ch|sec|art|pp?|para)")
_MAY_END = re.compile(r"(?i:etc|al|inc|ltd|co|corp|jr|sr|dept)|(?:[A-Za-z]\.)+[A-Za-z]|[A-Z]")
_STARTER = re.compile(
    r"(?:the|an?|this|these|that|those|it|they|he|she|we|you|in|on|at|for|from|with|when|while|if|as|"
    r"after|before|because|although|however|therefore|thus|but|and|so|some|many|most|all|each|no|both|"
    r"there|such|our|their|its|his|her|one|what|how|why|by)\b",
    re.IGNORECASE,
)

_CODE = re.compile(r"[@{}<>|\\=`_*#~^\[\]…]")
_NO_BEGINNING = re.compile(
    r"\W*\d+[.)]|[(-]|"  # list items
    r"[A-Z][a-z]+s (?:the|an?|this|all|any|each|to|less|more) "  # "Sets the mode" has no subject
)
_NOT_PROSE = re.compile(
    r"[:.]//|www\.|\.\.\.| --?\w|---| /\w+/|"  # links, options, lines and paths
    r"\( |\([,;)]| \)| [,.;]|[a-z][.)][A-Z][a-z]|[a-z][A-Z][a-z]+[A-Z]"  # text lost in a conversion
)
_SHOWS_ELSEWHERE = re.compile(
    r"\b(?:Figs?\.|Figures?|Tables?|Sections?|Chapters?|Appendix|Equations?|Eqs?\.|Photo|Photograph|Image|"
    r"Caption|Copyright|Listing|Box|Exhibit) *[:\dA-Z]|©|"
    r"\b(?:pictured|[Dd]iagram|[Ss]creenshot|[Ii]llustration|shown in|depicted|[Cc]lick|[Ss]ubscribe|"
    r"[Rr]ead more|[Ss]ee|as follows|the following|aforementioned|"
    r"(?:shown|listed|given|described|mentioned|discussed|noted|defined|seen|as|the) (?:above|below)|"
    r"(?:above|below)-mentioned|in this (?:section|chapter|article|paper|document|manual|page|guide))\b|"
    r"\((?:left|right|top|bottom|above|below)\)"
)
_IMPERATIVE = re.compile(rf"(?:{'|'.join(word_list('imperatives'))})\b(?! (?:of|is|are|was|by)\b)")
_CONDITION = re.compile(r"(?:If|When|To|For|Before|After|Once|Until)\b[^,]*, (?:then |please )?(?=[a-z])")
_OBJECT = re.compile(r"(?:the|an?|your|all|each|every|any|some|it|them|\d[\d.,]*)\b")
_END_OF_CLAUSE = re.compile(r"[,;:]| (?:if|when|because|as|until|before|after|that|which|who|so)\b")
_FINITE_VERB = re.compile(
    r"\b(?:is|are|was|were|has|have|had|do|does|did|can|cannot|could|may|might|will|would|shall|should|must|"
    r"began|came|grew|rose|fell|made|took|went|led|became|gave|found|brought|built|held|kept|lost|met|ran|"
    r"saw|stood|told|won|wrote|left|broke|drew|(?!based|used|called|given)\w+ed(?= (?:the|an?|by|in|on|at|to|"
    r"with|from|for|of|about|his|her|its|their|him|it|them|when|after|over|\d+)\b|\.))\b|"
    r"^ \w+[^s]s(?= (?:that|to|the|an?|through|from|into|as)\b)"  # "Water flows to"; not "Wash hands"
)
_ENGLISH_ALONE = FUNCTION_WORDS - frozenset(word_list("function_words_of_others"))
"""Function words that no other language of Europe writes, at least not often."""
_FIRST_PERSON = re.compile(r"\b(?:I|[Ww]e|[Oo]ur|[Mm]y|[Uu]s|me|[Oo]urs|mine)\b(?!\.)")
_TEXT_POINTER = re.compile(
    r"\b(?:this|these|that (?:is|was)|such (?!as)|those (?!who|of|with|in|from|for|that|whose)|"
    r"the (?:former|latter|same|above)|respectively|aforesaid|both (?=of|were|are|have)|too\.|as well\.|"
    r", however|, (?:it|he|she|they) (?:said|says|added))",
    re.IGNORECASE,
)
_PRONOUN = re.compile(r"\b(?:it|its|they|them|their|theirs|he|him|his|she|her|hers)\b", re.IGNORECASE)
_FRONTED_CLAUSE = re.compile(
    r"(?:In|On|At|By|For|From|With|During|After|Before|When|While|If|As|Since|Until|Through|To|Under|Over)\b"
)
_FINITE = re.compile(r"\b(?:is|are|was|were|has|have|had|can|may|will|should|must)\b")
_BREAK = re.compile(
    r"[,;:]|\b(?:because|when|while|if|that|which|who|whose|although|though|as|where|so|but|until|before|after|"
    r"since|than|once|whereas|unless|how|what|why|whether)\b"
)
_SUBJECT_FOLLOWS = re.compile(rf"(?:{_BREAK.pattern}|\band|\bor) $")
_OBJECT_PRONOUN = re.compile(r"(?i:them|him|it\b(?! (?:is|was|has|had|can|may|will))|her\b(?! [a-z]{4,}))\b")
_NAME = re.compile(r"(?<=\s)[A-Z][a-z]+")
_ADDITION = re.compile(r"(?:Moreover|Furthermore|For example|For instance|In addition|In fact|Indeed), ")
_DETERMINERS = frozenset(word_list("determiners"))
WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
POINTS_BACK = re.compile(
    r"(?:(?:if|when|while|once|after|before|since|as|although|because|in|on|at|for|from|to|by|with|of) )?"
    r"(?:it|its|this|these|that|those|they|them|their|he|his|she|her|such|here|there|both|one|another|"
    r"neither|either|others|the (?:former|latter|same|opposite|other|second|third)|and|but|or|so|yet|"
    r"then|also|for example|for instance|moreover|furthermore|in addition|in fact|indeed|finally|suppose|"
    r"additionally|meanwhile|subsequently|alternatively|overall|again|lastly|otherwise|nonetheless|next|"
    r"therefore|thus|hence|accordingly|consequently|as a (?:result|consequence)|for this reason|however|"
    r"nevertheless|nonetheless|similarly|likewise|in the same way|conversely|on the (?:other|contrary)|"
    r"(?:in|by) contrast|in other words|put (?:simply|differently)|even so|still|instead|equally|similar)\b",
    re.IGNORECASE,
)
"""Openings of sentences that depend on the sentence before."""


@dataclasses.dataclass(frozen=True)
class Sentence:
    """A sentence with the index of its paragraph and its own index in the passage."""

    text: str
    paragraph: int
    index: int

    @cached_property
    def num_words(self) -> int:
        """Words, split at whitespace."""
        return len(self.text.split())

    @cached_property
    def is_whole(self) -> bool:
        """True for a full English sentence of 4 to 60 words; false for a heading or a list item."""
        first = self.text.lstrip(_OPENING_MARKS)[:1]
        ends = self.text.rstrip(_CLOSING_MARKS)[-1:] in (".", "!", "?")
        is_full = (first.isupper() or first.isdigit()) and ends and 4 <= self.num_words <= 60
        return is_full and _reads_as_english(self.text)

    @cached_property
    def is_clean(self) -> bool:
        """True for a whole sentence of prose that can be quoted.

        Not so are captions, list items, code and links, sentences that refer to a figure or to another
        place, headings in capitals, imperatives, sentences in another script, and sentences whose quotation
        marks or brackets are cut.
        """
        text = self.text
        return (
            self.is_whole
            and not _CODE.search(text)
            and not _NO_BEGINNING.match(text)
            and not _NOT_PROSE.search(text)
            and not _SHOWS_ELSEWHERE.search(text)
            and is_balanced(text)
            and not is_imperative(text)
            and len(text.encode()) < 1.1 * len(text)
            and sum(map(str.isupper, text)) < 0.25 * len(text)
        )

    @cached_property
    def stands_alone(self) -> bool:
        """True for a clean statement that can be understood without the sentence before it.

        Refused are openings that point back, first persons, pronouns without a noun before them in the
        sentence, words such as "this" and "respectively", and sentences that begin with a quotation.
        """
        text = self.text
        if text.endswith(("?", "!")) or text[0] in _OPENING_MARKS or POINTS_BACK.match(text):
            return False
        if not self.is_clean or _FIRST_PERSON.search(text) or _TEXT_POINTER.search(text):
            return False
        return not open_pronoun(text)


@dataclasses.dataclass(frozen=True)
class Passage:
    """A text as its title and its sentences."""

    title: str
    sentences: tuple[Sentence, ...]

    @classmethod
    def of(cls, text: str, title: str = "") -> Passage:
        """Split a text."""
        numbered = [(n, s) for n, block in enumerate(_BLOCK.split(text)) for s in split_sentences(block)]
        return cls(" ".join(title.split()), tuple(Sentence(s, n, i) for i, (n, s) in enumerate(numbered)))

    @cached_property
    def neighbours(self) -> tuple[tuple[Sentence, Sentence], ...]:
        """Pairs of successive clean sentences in one paragraph, the first of which stands alone."""
        return tuple(
            (left, right)
            for left, right in pairwise(self.sentences)
            if left.paragraph == right.paragraph and right.is_clean and left.stands_alone
        )

    @cached_property
    def alone(self) -> tuple[Sentence, ...]:
        """Sentences that stand alone."""
        return tuple(sentence for sentence in self.sentences if sentence.stands_alone)

    @cached_property
    def words(self) -> frozenset[str]:
        """Words of the whole passage, in their letter case."""
        return frozenset(word for sentence in self.sentences for word in WORD.findall(sentence.text))

    def inside(self, text: str) -> str:
        """A phrase that began a sentence, as it stands inside one: "The heart" becomes "the heart".

        A word stays capitalised if it is a name or an abbreviation: the passage never has it in lower case
        and it is rare, or the word after it is capitalised, too.
        """
        first, _, rest = text.partition(" ")
        lower = first.lower()
        if lower in _DETERMINERS:
            return f"{lower} {rest}" if rest else lower
        is_name = first[1:] != lower[1:] or len(first) == 1 or bool(re.match(r"[A-Z][a-z]", rest))
        known = lower in self.words or (first not in self.names and not is_rare(lower))
        return text if is_name or not known else text[0].lower() + text[1:]

    @cached_property
    def names(self) -> frozenset[str]:
        """Words that have a capital inside a sentence."""
        return frozenset(match[0] for sentence in self.sentences for match in _NAME.finditer(sentence.text))


def is_balanced(text: str) -> bool:
    """True if quotation marks and brackets open and close in the text."""
    return (
        text.count('"') % 2 == 0
        and text.count("“") == text.count("”")
        and text.count("(") == text.count(")")
        and not re.search(r"(?:^|\s)['‘](?=\w)(?![^'’]*['’](?!\w))", text)
    )


def open_pronoun(text: str) -> bool:
    """True if the text has a pronoun without a noun before it that it could stand for.

    An object cannot stand for the subject of its own clause ("The builders cut a tunnel through them").
    """
    return any(not _has_noun(text, pronoun) for pronoun in _PRONOUN.finditer(text))


def _has_noun(text: str, pronoun: re.Match[str]) -> bool:
    before, word = text[: pronoun.start()], pronoun[0].lower()
    if before.endswith(", ") and not _FINITE.search(before):
        return False
    if _FRONTED_CLAUSE.match(text) and not ("," in before.rstrip(", ") or _NAME.search(before)):
        return False
    if _OBJECT_PRONOUN.match(text, pronoun.start()) and not _SUBJECT_FOLLOWS.search(before):
        breaks = [*_BREAK.finditer(before)]
        before = before[: breaks[-1].start()] if breaks else ""
    words = WORD.findall(before)
    if word.startswith("the"):
        nouns = (each for each in words if each.lower() not in FUNCTION_WORDS and each not in UNITS)
        return any(re.search(r"[^s]s$|people$|men$|children$|ae$|ia$", each) for each in nouns)
    if word.startswith("h") or word == "she":
        return bool(_NAME.search(before)) or (bool(words) and is_rare(words[0]))
    return len(words) >= (2 if before != text[: pronoun.start()] else 3)


@functools.lru_cache(maxsize=4096)
def is_verb(word: str) -> bool:
    """True if general English has the form in -ing or -ed, as it has of verbs and of some nouns."""
    common, stems = common_words(), (word, word.removesuffix("e"), word + word[-1])
    inflected = any(stem + end in common for stem in stems for end in ("ing", "ed"))
    return inflected and word not in FUNCTION_WORDS and not word.endswith("s")


def is_imperative(text: str) -> bool:
    """True if a sentence begins with a verb in its base form and its first clause has no other verb.

    The verb may come after a clause ("If the soup boils, stir it").
    """
    clause = _CONDITION.match(text)
    text = text[clause.end() :] if clause else re.sub(r"^[A-Z]\. ", "", text)
    first, _, rest = text.partition(" ")
    word = first.lower()
    if _IMPERATIVE.match(text):
        return True
    is_known, is_name = is_verb(word), is_rare(word) and not word.endswith(("s", "ed", "ing", "ly"))
    if not first.isalpha() or word in FUNCTION_WORDS or not (is_known or is_name):
        return False
    if clause or _OBJECT.match(rest):
        return _OBJECT.match(rest) is not None
    main = _END_OF_CLAUSE.split(f" {rest}")[0]
    words = main.split() if is_known else [word, *main.split()]
    return not _FINITE_VERB.search(f" {rest}", 0, len(main) + 6) and not any(
        each.endswith("s") and is_verb(each[:-1]) and before not in FUNCTION_WORDS
        for before, each in pairwise(words)
    )


def to_phrase(text: str) -> str:
    """Make a text cut from a sentence stand alone: drop an opener of addition, start with a capital."""
    text = _ADDITION.sub("", text, count=1)
    first = text.split(maxsplit=1)[0].rstrip(",;:")
    if first.isalpha() and first.islower():  # "pH" and "p53" stay as they are
        text = text[0].upper() + text[1:]
    return text


def to_sentence(text: str) -> str:
    """Make a text cut from a sentence a sentence: a phrase that ends in a full stop."""
    text = to_phrase(text)
    return text if text.rstrip("\"'”’").endswith((".", "?", "!", "…")) else f"{text}."


def is_english(text: str) -> bool:
    """True if function words are as frequent as in English among the first 4,000 characters."""
    words = WORD.findall(text[:4000].lower())
    return sum(word in FUNCTION_WORDS for word in words) > LEAST_FUNCTION_WORDS * len(words)


def _reads_as_english(sentence: str) -> bool:
    """True if one word in ten is a function word of English alone, or four in five are no rare words."""
    words = WORD.findall(sentence)
    is_sure = 10 * sum(word.lower() in _ENGLISH_ALONE for word in words) >= len(words)
    return is_sure or (is_english(sentence) and 5 * sum(map(is_rare, words)) <= len(words))


def split_sentences(text: str) -> tuple[str, ...]:
    """Split a paragraph into sentences; runs of white space become one space."""
    text = " ".join(text.split())
    cuts = [0, *(end.end() for end in _END.finditer(text) if _ends_sentence(text, end)), len(text)]
    return tuple(piece for left, right in pairwise(cuts) if (piece := text[left:right].strip()))


def _ends_sentence(text: str, end: re.Match[str]) -> bool:
    after = text[end.end() : end.end() + 40].lstrip().lstrip(_OPENING_MARKS)
    if not (after[:1].isupper() or after[:1].isdigit()):
        return False
    if end.group().rstrip(_CLOSING_MARKS) != ".":
        return True
    word_start = text.rfind(" ", 0, end.start()) + 1
    word = text[word_start : end.start()].lstrip(_OPENING_MARKS)
    if _NEVER_END.fullmatch(word) or (word_start == 0 and _LIST_NUMBER.fullmatch(word)):
        return False
    if _BEFORE_NUMBER.fullmatch(word):
        return not after[:1].isdigit()
    return not _MAY_END.fullmatch(word) or _STARTER.match(after) is not None


@functools.lru_cache(maxsize=4096)
def word_stems(text: str) -> frozenset[str]:
    """First five letters of each word of four letters or more; a common stem suggests a common subject."""
    return frozenset(word[:5].lower() for word in WORD.findall(text) if len(word) > 3)
