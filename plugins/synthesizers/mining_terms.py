"""Mining rules for terms: definitions, abbreviations, persons and things in apposition, examples, rare words.

Each rule quotes what the text itself says about a term, so a pair is true if the two ends of the term are
found. The rules refuse a term that is no noun phrase, or that points back.

Source: Hearst 1992, "Automatic acquisition of hyponyms from large text corpora" (such as); Schwartz and
Hearst 2003, "A simple algorithm for identifying abbreviation definitions in biomedical text".
"""

from __future__ import annotations

import random
import re

from plugins.synthesizers.mining_sentences import POINTS_BACK, WORD, Passage, Sentence, is_verb, to_sentence
from plugins.synthesizers.mining_wordings import Finding
from plugins.synthesizers.mining_words import word_list
from plugins.word_frequency import is_rare

_TERM_WORD = r"[\w'’/+-]+"
_DEFINITION = re.compile(
    rf"(?P<term>(?:An? |The )?{_TERM_WORD}(?: {_TERM_WORD}){{0,4}}?)(?: \([^()]+\))? (?P<be>is|are) "
    r"(?P<what>(?:an? |the |one of the |any |)(?P<noun>[^,;:]+).*)\."
)
_VAGUE = re.compile(
    rf"(?:an? |the |one of the |any )?(?:\w+ )?(?:{'|'.join(word_list('says_nothing_of_a_term'))})\b"
)
_KIND_OF = re.compile(r"(?:(?:an? |the |one of the |any ).+|.+? (?:that|which|who|used|of) .+)")
_NO_TERM = re.compile(rf"\b(?:{'|'.join(word_list('not_in_a_term'))})\b", re.IGNORECASE)
_SOMETIMES_A_VERB = re.compile(r"\w+(?:ates|i[sz]es|yses|ing)")
_BEFORE_VERB = re.compile(r"\b(?:to|not|can|could|may|might|will|would|must|shall|should) $")
_BEFORE_NOUN = re.compile(
    r"(?:\b(?:the|an?|of|in|on|by|for|from|with|as|their|its|no|other|such)|,|\w(?:al|ic|ous|ive)) $"
)
_BEFORE_PLACE = re.compile(r"(?:in|at|on|to|from|near|of|for|and|or|the)", re.IGNORECASE)
_NO_NAME = re.compile(r"(?:In|On|At|The|But|And|For|From|After|When|While|As|By)\b")
_NEVER_A_NOUN = re.compile(r"\w+(?:ed|i[sz]e|yse|ify|ifies|[ai]ble|ly)")
_SECOND_VERB = re.compile(
    r", (?:and )?(?!which|that|who)[^,]* (?:is|are) |, and (?:yet|it|about) |"
    r"\bbut\b|\band (?:has|have|is|are|was|were|contains?|includes?|provides?|uses?|can|will)\b"
)
_PREPOSITION = re.compile(rf"(?:{'|'.join(word_list('prepositions'))})\b", re.IGNORECASE)
_NAME = r"[A-Z][\w’'-]+(?: (?:[A-Z]\.|of|for|van|de|von|der|al|bin|[A-Z][\w’'-]+)){1,5}"
_APPOSITION = re.compile(
    rf"(?:(?P<before>\w+) )?(?P<name>{_NAME}), (?P<what>(?:an? [^,;:()\"“”]+|"
    rf"the (?:[\w-]+ ){{1,4}}(?:of|for|at) [^,;:()\"“”]+|(?:[\w-]+ ){{0,3}}(?:director|president|professor|"
    r"chairman|minister|editor|manager|spokes\w+|founder|author|leader|head) (?:of|for|at) [^,;:()\"“”]+)),"
    r"(?! (?:and|or|an?|the) )"
)
_VERB = re.compile(
    r"\b(?:is|are|was|were|be|been|has|have|had|will|would|can|could|may|might|said|says|say|told|tells|and|"
    r"remaining|rest|majority|comprising|including|or|but|he|she|they|it|we|you|I|if|after|before|when|"
    r"while)\b"
)
_ABBREVIATION = re.compile(r" \((?P<short>[A-Z][\w-]{1,8})\)")
_CUT = re.compile(r".*[^\w’'/ -]")
_ITEM = r"(?!(?:and|or) )[\w'’/-]+(?: (?!and |or )[\w'’/-]+){0,2}"
_EXAMPLES = re.compile(
    rf"(?:(?P<before>[\w-]+) )?(?P<head>[a-z]{{2,}}[^\Wsui]s)(?:,? such as|"
    rf", including) (?P<items>{_ITEM}(?:, {_ITEM})*,? "
    rf"(?:and|or) {_ITEM})(?=[.;)])"
)
_ADJECTIVE = re.compile(r"[a-z-]+(?:al|ic|ive|ous|ary|ory|able|ible|ant|ful|less|ish|ine|ular|oid)")
_NO_ITEMS = re.compile(
    r"\b(?:others?|more|etc|things|so|not|also|various|many|several|that|which|those|these|its|their)\b|"
    r"\b(?:for|in|on|at|by|to|with|from|when|as|near|it|them)\b"
)
_NO_KIND = re.compile(
    r"(?:.* )?(?:ones|others|things|ways|sizes|lots|us|always|his|its|has|was|is|does|days|times|years|"
    r"groups|members|parts)"
)
_MOST_TERM_WORDS = 6


def definition(passage: Passage, rng: random.Random) -> list[Finding]:
    """Find terms that a sentence defines ("A catheter is a tube that ..."), asked for from either end."""
    found = []
    for sentence in passage.alone:
        match = _DEFINITION.fullmatch(sentence.text)
        if match is None or not _is_definition(match, passage):
            continue
        term, what = passage.inside(match["term"]), match["what"]
        here = frozenset((sentence.index,))
        bare = re.sub(r"^(?:an?|the) ", "", term)
        tells = {word.lower() for word in WORD.findall(bare)} & {word.lower() for word in WORD.findall(what)}
        if tells or rng.random() < 0.6:
            found.append(Finding("definition", {"term": term, "be": match["be"]}, to_sentence(what), here))
        else:
            found.append(Finding("term", {"description": what}, to_sentence(bare).rstrip("."), here))
    return found


def _is_definition(match: re.Match[str], passage: Passage) -> bool:
    term, what = match["term"], match["what"]
    bare = re.sub(r"^(?:An?|The) ", "", term)
    if (
        _NO_TERM.search(bare)
        or _PREPOSITION.match(term)
        or _VAGUE.match(what)
        or not _KIND_OF.fullmatch(what)
    ):
        return False
    if re.search(r"\w+(?:ly|ing)$", bare.split()[0]) or not bare[0].isalpha():
        return False
    is_special = any(is_rare(word) or word[1:] != word[1:].lower() for word in bare.split())
    is_said = any(word in passage.names for word in bare.split())
    if term.startswith("The ") and not (is_special or is_said):
        return False
    repeats = what.lower().startswith(term.lower()) or re.search(r"\b(?:\w+est|most)\b", term)
    if repeats or _SECOND_VERB.search(what):
        return False
    begins = what.split()[0] in ("a", "an", "one", "any", "the")
    participle = re.match(r"(?:an? |the )?\w+(?:ed|ing)\b", what) and not begins
    return begins and not participle and len(what.split()) >= 4


def abbreviations(passage: Passage, rng: random.Random) -> list[Finding]:
    """Find abbreviations in brackets behind their long form."""
    found: dict[str, Finding] = {}
    for sentence in passage.sentences:
        for match in _ABBREVIATION.finditer(sentence.text) if sentence.is_whole else ():
            short = match["short"]
            before = _CUT.sub("", sentence.text[max(0, match.start() - 120) : match.start()])
            long = long_form(before.split()[-9:], short)
            if long and short not in found:
                here = frozenset((sentence.index,))
                long = passage.inside(long) if sentence.text.startswith(long) else long
                if rng.random() < 0.7:
                    found[short] = Finding("long_form", {"short": short}, to_sentence(long).rstrip("."), here)
                else:
                    found[short] = Finding("short_form", {"long": long}, short, here)
    return list(found.values())


def long_form(words: list[str], short: str) -> str:
    """The last words whose letters, from right to left, hold those of an abbreviation; "" if none do.

    Two of its letters or more are capitals, and the first one begins the first word.
    """
    letters = [letter.lower() for letter in short.removesuffix("s") if letter.isalnum()]
    if sum(map(str.isupper, short)) < 2 or len(letters) < 2 or not all(map(str.isalpha, letters)):
        return ""
    last = words[-len(letters) :]
    if len(last) > 1 and [word[0].lower() for word in last] == letters:
        return re.sub("['’]s?$", "", " ".join(last))
    words = words[-min(len(letters) + 3, 2 * len(letters)) :]
    text = " ".join(words)
    at = len(text)
    for number, letter in reversed([*enumerate(letters)]):
        at = text.lower().rfind(letter, 0, at)
        while at > 0 and number == 0 and text[at - 1] not in " -/":
            at = text.lower().rfind(letter, 0, at)
        if at < 0:
            return ""
    start = text.rfind(" ", 0, at) + 1
    long = text[start:]
    content = [
        word for word in long.replace("-", " ").split() if word not in ("of", "the", "and", "for", "in", "to")
    ]
    initials = "".join(word[0].lower() for word in content)
    is_sound = start == at and long.lower() != short.lower() and len(content) <= len(letters) + 1
    begins = sum(letter in initials for letter in letters) >= 0.6 * len(letters)
    is_sound = is_sound and len(content) > 1
    return long if is_sound and begins and not POINTS_BACK.match(long) else ""


def apposition(passage: Passage, rng: random.Random) -> list[Finding]:
    """Find persons and things that are explained between commas ("Mary Hill, a lawyer in York, ...")."""
    found: dict[str, Finding] = {}
    for sentence in passage.sentences:
        is_candidate = sentence.text.count(", ") > 1 and sentence.is_clean
        for match in _APPOSITION.finditer(sentence.text) if is_candidate else ():
            name, what = match["name"], match["what"]
            before = match["before"] or ""
            if _BEFORE_PLACE.fullmatch(before) or _NO_NAME.match(name):
                continue
            if _VERB.search(what) or len(what.split()) > 14 or len(what.split()) < 2:
                continue
            found.setdefault(
                name, Finding("identity", {"name": name}, to_sentence(what), frozenset((sentence.index,)))
            )
    return list(found.values())


def examples(passage: Passage, rng: random.Random) -> list[Finding]:
    """Find members of a class ("solvents such as ether, acetone and water")."""
    found = []
    for sentence in passage.sentences:
        match = _EXAMPLES.search(sentence.text) if sentence.is_clean else None
        if (
            match is None
            or _NO_ITEMS.search(match["items"])
            or _VERB.search(match["items"].replace(" and ", " ").replace(" or ", " "))
        ):
            continue
        before = match["before"] or ""
        if before in ("and", "or"):  # "vitamins and minerals, including ..." may be of either kind
            continue
        is_adjective = _ADJECTIVE.fullmatch(before) and not is_verb(before)
        is_part = is_adjective or (before.islower() and is_rare(before))
        kind = f"{before} {match['head']}" if is_part else match["head"]
        if _NO_KIND.fullmatch(kind) or _NO_TERM.search(kind):
            continue
        found.append(
            Finding("examples", {"kind": kind}, to_sentence(match["items"]), frozenset((sentence.index,)))
        )
    return found


def rare_words(passage: Passage, rng: random.Random) -> list[Finding]:
    """Find rare words of the text, and the only sentence that uses them together.

    Two or three words in lower case, of five letters or more, that general English has less than once in a
    million words.
    """
    found = []
    for sentence in passage.alone:
        rare = _rare_in(sentence)[:3]
        if len(rare) < 2 or sum(all(word in each.text for word in rare) for each in passage.sentences) > 1:
            continue
        *others, last = rare
        fields = {"words": f"{', '.join(others)} and {last}"}
        found.append(Finding("words", fields, sentence.text, frozenset((sentence.index,))))
    return found


def _rare_in(sentence: Sentence) -> list[str]:
    words = {
        word[:6]: word
        for match in WORD.finditer(sentence.text)
        if len(word := match[0]) >= 5 and word.islower() and is_rare(word)
        if not _may_be_verb(word, sentence.text[: match.start()])
    }
    return list(words.values())


def _may_be_verb(word: str, before: str) -> bool:
    is_form = _SOMETIMES_A_VERB.fullmatch(word) and not _BEFORE_NOUN.search(before)
    return bool(is_form or is_verb(word) or _NEVER_A_NOUN.fullmatch(word) or _BEFORE_VERB.search(before))
