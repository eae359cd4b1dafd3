"""Mining rules for connectives: inference, choice of the connective, cause and effect, paraphrase, contrast.

A connective is the writer's own word for the relation of two statements, so a pair built on it is true
without a model as judge, under three conditions: the statement in the question does not point back ("It does
the opposite"), it does not report a view ("people assume that ..."), and the connective is unambiguous ("not
... because" is ambiguous). If a condition fails, the rule finds nothing. "However" is a contrast only if the
two statements share a word and one of them denies or limits something; else it may only change the topic.
"""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Iterator, Mapping

from plugins.synthesizers.mining_sentences import (
    POINTS_BACK,
    Passage,
    Sentence,
    to_phrase,
    to_sentence,
    word_stems,
)
from plugins.synthesizers.mining_wordings import CONTRAST, ENTAILMENT, NEUTRAL, Finding

_CONSEQUENCE = r"Therefore|Thus,|Hence,|It follows that"
_CONTRAST = r"However,|Nevertheless,|Nonetheless,|In contrast,|By contrast,|On the contrary,"
_RESULT = r"As a result,|As a consequence,|Consequently|For this reason|This is why"
_RESTATEMENT = r"In other words,|That is,|That is to say,|Put differently,|Put simply,"
_SIMILARITY = r"Similarly,|Likewise,|In the same way,|By the same token,"
_ILLUSTRATION = r"For example,|For instance,"
_OPPOSITION = r"In contrast,|By contrast,|On the other hand,|Conversely,|On the contrary,"
_INNER_CONSEQUENCE = re.compile(r"(?<!\band) (?P<connective>therefore)(?= )|, (?P<set_off>therefore),")
_INNER_CONTRAST = re.compile(
    r", (?P<connective>however|nevertheless|nonetheless|in contrast|by contrast)(?:,|(?=\.$))"
)

_VIEW = r"if|whether|suppose|assum\w+|believ\w+|think|thought|claim\w*|argu\w+|suggest\w*|view"
_AUXILIARY = r"\b(?:is|are|was|were|be|been|have|has|had|can|could|may|might|will|would|should|must|to|not)"
_REPORTED = re.compile(rf"\b(?:{_VIEW})\b|{_AUXILIARY}\.$", re.IGNORECASE)
_UNCLEAR = re.compile(
    rf"\b(?:{_VIEW}|not|never|no|that|who|which|those|or|likely|probably|possibly|perhaps)\b|n't\b|"
    rf"{_AUXILIARY}\.$",
    re.IGNORECASE,
)
_MOST_WORDS = 25
_SAFE = re.compile(r"(?!)")
_BECAUSE = r"(?P<cause>(?:(?:in part|partly|mainly|largely|mostly|chiefly) )?because .+)\."
_NOUN = r"(?P<{}>[^,;:]+?)"
_IS_DUE_TO = (
    r"(?:(?:is|are|was|were) (?:\w+ ){0,2}(?:due|owing) to|(?:is|are|was|were) caused by|"
    r"result(?:s|ed)? from)"
)
_LEADS_TO = r"(?:(?:therefore )?(?:leads?|led|gives? rise|gave rise) to|result(?:s|ed)? in)"
_WITHIN_SENTENCE = (
    ("why", re.compile(r"(?P<cause>Because (?!it |they |this |these )[^,;:]+), (?P<effect>[^;:]+)\."), _SAFE),
    ("why", re.compile(rf"(?P<effect>[^;:]+?), {_BECAUSE}"), _REPORTED),
    ("why", re.compile(rf"(?P<effect>[^,;:]+?) {_BECAUSE}"), _UNCLEAR),
    ("cause", re.compile(rf"{_NOUN.format('effect')} {_IS_DUE_TO} {_NOUN.format('cause')}\."), _UNCLEAR),
    ("effect", re.compile(rf"{_NOUN.format('cause')} {_LEADS_TO} {_NOUN.format('effect')}\."), _UNCLEAR),
    (
        "why",
        re.compile(rf"(?P<cause>(?:Due|Owing) to {_NOUN.format('reason')}), (?P<effect>[^;:]+)\."),
        _SAFE,
    ),
)
"""Task, pattern of the whole sentence, and pattern of quoted parts that are not used."""
_WHY_CONSEQUENCE = 'The passage joins the two with "{}", so the second is drawn from the first.'
_WHY_CONTRAST = 'The passage joins the two with "{}", so the second is set against the first.'
_WHEREAS = re.compile(r"(?P<left>[^;:]+), (?:whereas|while) (?P<right>(?!still|also|\w+ing\b)[^;:]+)\.")
_ALTHOUGH = re.compile(r"(?:Although|Even though|Though) (?P<left>[^,;:]+), (?P<right>[^;:]+)\.")
_DESPITE = re.compile(r"(?:Despite|In spite of) (?P<concession>[^,;:]+), (?P<right>[^;:]+)\.")
_LIMITS = re.compile(
    r"\b(?:not|no|never|none|nor|neither|without|fail\w*|lack\w*|unable|cannot|only|few|fewer|little|"
    r"less|limited|"
    r"rarely|seldom|hardly|unlike|unclear|unknown|difficult|poor\w*|absent|instead|despite|un[a-z]+(?:ed|"
    r"able))\b|n't\b"
)
_CONNECTIVES: Mapping[str, tuple[str, ...]] = {
    "consequence": ("Therefore", "Thus", "Consequently", "As a result", "Hence"),
    "contrast": ("However", "Nevertheless", "In contrast", "By contrast", "On the other hand", "Conversely"),
    "example": ("For example", "For instance"),
    "likeness": ("Similarly", "Likewise"),
    "restatement": ("In other words",),
}
"""Connectives by the relation that they state; those of one relation may stand for each other."""
_FRONTED = re.compile(r"(?:When|If|While|Where|Although|After|Before|In|At|For|With|On|During) ")


@functools.cache
def _opener(connectives: str) -> re.Pattern[str]:
    return re.compile(rf"(?P<connective>{connectives})(?:(?<=,)|,|(?= )) *(?P<rest>.+)")


def _linked(passage: Passage, connectives: str) -> Iterator[tuple[str, str, str, frozenset[int]]]:
    """Find neighbours whose second sentence opens with a connective and whose first one stands alone.

    Yields:
        First sentence, second without its connective, the connective, and both indices.
    """
    for left, right in passage.neighbours:
        match = _opener(connectives).fullmatch(right.text)
        if match and len(match["rest"].split()) >= 4:
            connective = match["connective"].rstrip(",").lower()
            yield left.text, to_sentence(match["rest"]), connective, frozenset((left.index, right.index))


def _linked_inside(
    passage: Passage, inner: re.Pattern[str]
) -> Iterator[tuple[str, str, str, frozenset[int]]]:
    """As `_linked`, for a connective inside the second sentence ("The limb, in contrast, lets ...")."""
    for left, right in passage.neighbours:
        match = inner.search(right.text) if right.stands_alone else None
        if match and right.num_words >= 6:
            comma = "," if match[0].endswith(",") and _FRONTED.match(right.text) else ""
            rest = right.text[: match.start()] + comma + right.text[match.end() :]
            connective = next(name for name in match.groups() if name)
            yield left.text, rest, connective, frozenset((left.index, right.index))


def inference(passage: Passage, rng: random.Random) -> list[Finding]:
    """Find pairs of statements and the relation of the second to the first.

    The connective between neighbours gives consequence and contrast. If there are any, one neutral pair is
    added: two sentences far from each other without a common content word.
    """
    found = [
        Finding("inference", {"premise": left, "hypothesis": right}, relation, both, why.format(connective))
        for relation, opening, inner, why in (
            (ENTAILMENT, _CONSEQUENCE, _INNER_CONSEQUENCE, _WHY_CONSEQUENCE),
            (CONTRAST, _CONTRAST, _INNER_CONTRAST, _WHY_CONTRAST),
        )
        for left, right, connective, both in (*_linked(passage, opening), *_linked_inside(passage, inner))
        if not POINTS_BACK.match(right) and (relation == ENTAILMENT or _is_contrast(left, right))
    ]
    alone = [
        each for each in passage.alone if not re.search(r"\b(?:therefore|however|contrast)\b", each.text)
    ]
    for _ in range(20 if found and len(alone) >= 2 else 0):
        first, second = sorted(rng.sample(alone, 2), key=lambda sentence: sentence.index)
        apart = second.index - first.index >= (3 if second.paragraph > first.paragraph else 5)
        if apart and not word_stems(first.text) & word_stems(second.text):
            fields = {"premise": first.text, "hypothesis": second.text}
            found.append(Finding("inference", fields, NEUTRAL, frozenset((first.index, second.index))))
            break
    return found


def _is_contrast(left: str, right: str) -> bool:
    """True if two statements have a common word, and one of them denies or limits something."""
    limits = _LIMITS.search(left) is None, _LIMITS.search(right) is None
    return limits[0] != limits[1] and bool(word_stems(left) & word_stems(right))


def choose_connective(passage: Passage, rng: random.Random) -> list[Finding]:
    """Find neighbours and the connective that joins them, among connectives of other relations."""
    found = []
    for relation, names in _CONNECTIVES.items():
        opening = "|".join(f"{name}," for name in names)
        for left, right, connective, both in _linked(passage, opening):
            others = [rng.choice(each) for other, each in _CONNECTIVES.items() if other != relation]
            options = rng.sample([connective.capitalize(), *rng.sample(others, 2)], 3)
            fields = {"left": left, "right": right}
            found.append(Finding("connective", fields, connective.capitalize(), both, options=tuple(options)))
    return found


def cause_and_effect(passage: Passage, rng: random.Random) -> list[Finding]:
    """Find causes and effects, within one sentence or in neighbours."""
    found = [
        finding
        for sentence in passage.sentences
        if sentence.stands_alone and sentence.text.lower().count("because") <= 1
        for finding in _causes_within(sentence)
    ]
    for left, right, _, both in _linked(passage, _RESULT):
        if POINTS_BACK.match(right) or rng.random() < 0.5:
            found.append(Finding("consequence", {"cause": left}, right, both))
        else:
            found.append(Finding("reason", {"effect": right}, left, both))
    return found


def _causes_within(sentence: Sentence) -> Iterator[Finding]:
    for task, pattern, doubt in _WITHIN_SENTENCE:
        match = pattern.fullmatch(sentence.text)
        if match is None:
            continue
        given, answer = ("cause", "effect") if task == "effect" else ("effect", "cause")
        quoted = to_sentence(match[given])
        if len(quoted.split()) <= _MOST_WORDS and not doubt.search(quoted) and not POINTS_BACK.match(quoted):
            stated = quoted if task == "why" else to_phrase(match[given])
            yield Finding(task, {given: stated}, to_sentence(match[answer]), frozenset((sentence.index,)))
        return


def paraphrase_and_contrast(passage: Passage, rng: random.Random) -> list[Finding]:
    """Find restatements, similarities and contrasts of a statement."""
    found = [
        Finding(task, {"statement": left}, right, both)
        for task, connectives in (
            ("restatement", _RESTATEMENT),
            ("similarity", _SIMILARITY),
            ("opposition", _OPPOSITION),
            ("illustration", _ILLUSTRATION),
        )
        for left, right, _, both in _linked(passage, connectives)
    ]
    for sentence in passage.alone:
        text, here = sentence.text, frozenset((sentence.index,))
        if (match := _DESPITE.fullmatch(text)) and ", and " not in match["right"]:
            fields = {"concession": match["concession"]}
            found.append(Finding("concession", fields, to_sentence(match["right"]), here))
            continue
        match = _WHEREAS.fullmatch(text) or _ALTHOUGH.fullmatch(text)
        if match and len(match["left"].split()) >= 4 and len(match["right"].split()) >= 4:
            left = to_sentence(match["left"])
            if not POINTS_BACK.match(left) and not _FRONTED.match(left):
                found.append(Finding("opposition", {"statement": left}, to_sentence(match["right"]), here))
    return found
