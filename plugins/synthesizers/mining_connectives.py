"""Mining rules for connectives: inference, cause and effect, paraphrase and contrast.

A connective is the writer's own word for the relation of two statements, so a pair built on it is true
without a model as judge, under three conditions: the statement in the question does not point back ("It does
the opposite"), it does not report a view ("people assume that ..."), and the connective is unambiguous ("not
... because" is ambiguous). If a condition fails, the rule finds nothing.
"""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Iterator

from plugins.synthesizers.mining_sentences import POINTS_BACK, Passage, Sentence, word_stems
from plugins.synthesizers.mining_wordings import CONTRADICTION, ENTAILMENT, NEUTRAL, Finding

_CONSEQUENCE = r"Therefore|Thus,|Hence,|It follows that"
_CONTRAST = r"However,|Nevertheless,|Nonetheless,|In contrast,|By contrast,|On the contrary,"
_RESULT = r"As a result,|As a consequence,|Consequently|For this reason|This is why"
_RESTATEMENT = r"In other words,|That is,|That is to say,|Put differently,|Put simply,"
_SIMILARITY = r"Similarly,|Likewise,|In the same way,|By the same token,"
_OPPOSITION = r"In contrast,|By contrast,|On the other hand,|Conversely,|On the contrary,"
_INNER_CONSEQUENCE = re.compile(r"(?<!\band) (?P<connective>therefore)(?= )|, (?P<set_off>therefore),")
_INNER_CONTRAST = re.compile(
    r", (?P<connective>however|nevertheless|nonetheless|in contrast|by contrast)(?:,|(?=\.$))"
)

_VIEW = r"if|whether|suppose|assum\w+|believ\w+|think|thought|claim\w*|argu\w+|suggest\w*|view"
_AUXILIARY = r"\b(?:is|are|was|were|be|been|have|has|had|can|could|may|might|will|would|should|must|to|not)"
_REPORTED = re.compile(rf"\b(?:{_VIEW})\b|{_AUXILIARY}\.$", re.IGNORECASE)
_UNCLEAR = re.compile(
    rf"\b(?:{_VIEW}|not|never|no|that|who|which|those|or)\b|n't\b|{_AUXILIARY}\.$", re.IGNORECASE
)
_SAFE = re.compile(r"(?!)")
_BECAUSE = r"(?P<cause>(?:(?:in part|partly|mainly|largely|mostly|chiefly) )?because .+)\."
_NOUN = r"(?P<{}>[^,;:]+?)"
_IS_DUE_TO = r"(?:is|are|was|were) (?:\w+ ){0,2}(?:due|owing) to"
_LEADS_TO = r"(?:therefore )?(?:leads?|led|gives? rise|gave rise) to"
_WITHIN_SENTENCE = (
    ("why", re.compile(r"(?P<cause>Because (?!it |they |this |these )[^,;:]+), (?P<effect>[^;:]+)\."), _SAFE),
    ("why", re.compile(rf"(?P<effect>[^;:]+?), {_BECAUSE}"), _REPORTED),
    ("why", re.compile(rf"(?P<effect>[^,;:]+?) {_BECAUSE}"), _UNCLEAR),
    ("cause", re.compile(rf"{_NOUN.format('effect')} {_IS_DUE_TO} {_NOUN.format('cause')}\."), _UNCLEAR),
    ("effect", re.compile(rf"{_NOUN.format('cause')} {_LEADS_TO} {_NOUN.format('effect')}\."), _UNCLEAR),
)
"""Task, pattern of the whole sentence, and pattern of quoted parts that are not used."""
_WHY_CONSEQUENCE = 'The passage joins the two with "{}", so the second is drawn from the first.'
_WHY_CONTRAST = 'The passage joins the two with "{}", so the second is set against the first.'
_WHEREAS = re.compile(r"(?P<left>[^;:]+), whereas (?P<right>[^;:]+)\.")
_FRONTED = re.compile(r"(?:When|If|While|Where|Although|After|Before|In|At|For|With|On|During) ")
_ADDITION = re.compile(r"(?:Moreover|Furthermore|For example|For instance|In addition|In fact|Indeed), ")


def _phrase(text: str) -> str:
    """Make a text cut from a sentence stand alone: drop an opener of addition, start with a capital."""
    text = _ADDITION.sub("", text, count=1)
    first = text.split(maxsplit=1)[0]
    if first.isalpha() and first.islower():  # "pH" and "p53" stay as they are
        text = text[0].upper() + text[1:]
    return text


def _sentence(text: str) -> str:
    """Make a text cut from a sentence a sentence: a phrase that ends in a full stop."""
    text = _phrase(text)
    return text if text.rstrip("\"'”’").endswith((".", "?", "!", "…")) else f"{text}."


@functools.cache
def _opener(connectives: str) -> re.Pattern[str]:
    return re.compile(rf"(?P<connective>{connectives})(?:(?<=,)|,|(?= )) *(?P<rest>.+)")


def _linked(passage: Passage, connectives: str) -> Iterator[tuple[str, str, str, frozenset[int]]]:
    """Find neighbours whose second sentence opens with a connective and whose first one stands alone.

    Yields:
        First sentence, second without its connective, the connective, and both indices.
    """
    for left, right in passage.neighbours():
        match = _opener(connectives).fullmatch(right.text) if left.stands_alone else None
        if match and len(match["rest"].split()) >= 4:
            connective = match["connective"].rstrip(",").lower()
            yield left.text, _sentence(match["rest"]), connective, frozenset((left.index, right.index))


def _linked_inside(
    passage: Passage, inner: re.Pattern[str]
) -> Iterator[tuple[str, str, str, frozenset[int]]]:
    """As `_linked`, for a connective inside the second sentence ("The limb, in contrast, lets ...")."""
    for left, right in passage.neighbours():
        match = inner.search(right.text) if left.stands_alone and right.stands_alone else None
        if match and right.num_words >= 6:
            comma = "," if match[0].endswith(",") and _FRONTED.match(right.text) else ""
            rest = right.text[: match.start()] + comma + right.text[match.end() :]
            connective = next(name for name in match.groups() if name)
            yield left.text, rest, connective, frozenset((left.index, right.index))


def inference(passage: Passage, rng: random.Random) -> list[Finding]:
    """Find pairs of statements and the relation of the second to the first.

    The connective between neighbours gives consequence and contrast. If there are any, one neutral pair is
    added: two sentences of different paragraphs without a common content word.
    """
    found = [
        Finding("inference", {"premise": left, "hypothesis": right}, relation, both, why.format(connective))
        for relation, opening, inner, why in (
            (ENTAILMENT, _CONSEQUENCE, _INNER_CONSEQUENCE, _WHY_CONSEQUENCE),
            (CONTRADICTION, _CONTRAST, _INNER_CONTRAST, _WHY_CONTRAST),
        )
        for left, right, connective, both in (*_linked(passage, opening), *_linked_inside(passage, inner))
    ]
    alone = [
        sentence
        for sentence in passage.sentences
        if sentence.stands_alone and not re.search(r"\b(?:therefore|however|contrast)\b", sentence.text)
    ]
    for _ in range(20 if found and len(alone) >= 2 else 0):
        first, second = sorted(rng.sample(alone, 2), key=lambda sentence: sentence.index)
        apart = second.index - first.index >= 3 and second.paragraph > first.paragraph
        if apart and not word_stems(first.text) & word_stems(second.text):
            fields = {"premise": first.text, "hypothesis": second.text}
            found.append(Finding("inference", fields, NEUTRAL, frozenset((first.index, second.index))))
            break
    return found


def cause_and_effect(passage: Passage, rng: random.Random) -> list[Finding]:
    """Find causes and effects, within one sentence or in neighbours."""
    found = [
        finding
        for sentence in passage.sentences
        if sentence.is_whole and sentence.text.lower().count("because") <= 1
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
        quoted = _sentence(match[given])
        if not doubt.search(quoted) and not POINTS_BACK.match(quoted):
            stated = quoted if task == "why" else _phrase(match[given])
            yield Finding(task, {given: stated}, _sentence(match[answer]), frozenset((sentence.index,)))
        return


def paraphrase_and_contrast(passage: Passage, rng: random.Random) -> list[Finding]:
    """Find restatements, similarities and contrasts of a statement."""
    found = [
        Finding(task, {"statement": left}, right, both)
        for task, connectives in (
            ("restatement", _RESTATEMENT),
            ("similarity", _SIMILARITY),
            ("opposition", _OPPOSITION),
        )
        for left, right, _, both in _linked(passage, connectives)
    ]
    for sentence in passage.sentences:
        match = _WHEREAS.fullmatch(sentence.text) if sentence.is_whole else None
        if match and not POINTS_BACK.match(left := _sentence(match["left"])):
            right, here = _sentence(match["right"]), frozenset((sentence.index,))
            found.append(Finding("opposition", {"statement": left}, right, here))
    return found
