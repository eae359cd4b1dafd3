"""Mining rules for one statement: what is used, made, said, found or done, yes or no, true or false.

    sentence that stands alone ─► subject that is a noun phrase, verb, rest ─► question about the rest

A question takes the subject and the verb of the sentence in their order, so that it is grammatical without a
parser. The subject is a noun phrase if it has no verb, no clause and no adverb in front. A false statement is
the text's own with another number, or with the opposite of one word.
"""

from __future__ import annotations

import functools
import itertools
import random
import re

from plugins.synthesizers.mining_sentences import POINTS_BACK, Passage, to_sentence
from plugins.synthesizers.mining_wordings import Finding
from plugins.synthesizers.mining_words import word_list

_SUBJECT = r"(?P<subject>[^,;:()\"“”]{3,90}?)"
_DATE = r"(?:in|on) (?:(?:early|late|mid|\w+) )?(?:\d{1,2},? )?[12]\d{3}"
_STATEMENTS: tuple[tuple[str, str], ...] = (
    (
        "aim",
        r"(?:The|Our) (?:main |primary |overall )?(?:aims?|objectives?|purpose|goals?) (?:of (?:this|the|"
        r"our)(?: present| current)? (?:[\w-]+ ){1,2})?(?:was|is|were|are) (?P<answer>to .+)\.",
    ),
    (
        "aim",
        r"(?:This|The present|The current|Our) (?:study|trial|paper|work|review|article) (?:aims|aimed|"
        r"sought|was (?:designed|performed|undertaken|conducted)) (?P<answer>to .+)\.",
    ),
    (
        "conclusion",
        r"(?:In conclusion, |Thus, |Therefore, |Taken together, |Overall, |Together, )?(?:[Ww]e concluded?|"
        r"(?:[Tt]hese|[Oo]ur|[Tt]he|[Tt]he present) (?:results?|findings?|data|observations?) (?:strongly |"
        r"clearly |also )?(?:suggests?|indicates?|shows?|demonstrates?|imply|support the (?:view|idea|"
        r"hypothesis))) that (?P<answer>.+)\.",
    ),
    ("conclusion", r"In conclusion, (?P<answer>(?!we |this |these |it ).+)\."),
    ("use", rf"{_SUBJECT} (?P<be>is|are|was|were) (?:\w+ly )?used (?P<answer>(?:to|for|as) .+)\."),
    (
        "parts",
        rf"{_SUBJECT} (?:consists? of|(?:is|are) (?:made up|composed) of|comprises?) (?P<answer>.+)\.",
    ),
    (
        "when",
        rf"{_SUBJECT} (?P<be>was|were) (?P<done>\w+(?:ed|ilt|orn|ade|ound|wn|en)(?: [^,;:\d]{{0,40}}?)?) "
        rf"(?P<answer>{_DATE})\.",
    ),
    (
        "by",
        rf"{_SUBJECT} (?P<be>is|are|was|were) (?P<done>(?:\w+ly )?\w+(?:ed|ilt|ade|wn|en|ught|und)) "
        r"(?P<answer>by (?:an?|the|[A-Z]\w+|\w+s\b)[^,;:]+)\.",
    ),
    (
        "said",
        rf"{_SUBJECT} (?:said|says|announced|warned|argued|argues|claimed|stated|states|added|reported|"
        r"believes?) that (?P<answer>.+)\.",
    ),
    (
        "said",
        r"(?P<subject>[A-Z][\w.’'-]+(?: [\w.’'-]+){0,5}) (?:said|announced|warned) (?!that )"
        r"(?P<answer>(?:the|an?|[A-Z]\w+) .+)\.",
    ),
)
_NO_SUBJECT = re.compile(rf"\b(?:{'|'.join(word_list('not_in_a_subject'))})\b", re.IGNORECASE)
_BEFORE_SUBJECT = re.compile(rf"(?:{'|'.join(word_list('not_before_a_subject'))})\b")
_LAST = re.compile(r".*\b(?:and|of|in|on|at|for|with|from|by|the|an?|\w+ly|very|more)$", re.IGNORECASE)
_INVERTED = re.compile(
    r"(?P<subject>[^,;:()\"“”]{3,70}?) (?P<be>is|are|was|were|can|must|should|"
    r"will) (?P<no>not )?(?P<rest>[^;:\"“”]{8,160})\."
)
_SECOND_CLAUSE = re.compile(
    r", (?:and|but|so|or|which|who|while|whereas|although|though|with|where|when|because)\b|\b(?:because|"
    r"although|though|whereas|unless|but|"
    r"however|therefore|also|thus|instead|rather|still|then|now|even|just|only|currently|recently|too|"
    r"to blame|like|going|said|says|already|and (?:is|are|was|were|has|have|had|will|can|must|should|"
    r"\w+ed|\w+s (?:to|the|an?|in|its|their|with|from|\d+)))\b|"
    r",.* (?:is|are|was|were|has|have|had|will|can|must|should)\b"
)
_TWO_CLAUSES = re.compile(
    r", (?:and|while)\b|\bbut\b|\bthat year\b|\b(?:and|but) (?:is|are|was|were|has|have|after|then|the|"
    r"it|he|she|they)\b"
)
_NUMBER = re.compile(
    r"(?<![\w.,$€£/:–—-])(?<!\d, )(?<!\d and )(?:[$€£])?(?P<value>\d{1,3}(?:,\d{3})+|"
    r"\d+(?:\.\d+)?)(?![\w:/–—-]|[.,]\d|\.\w|\)\w| ?[-–]\s?\d|, \d|,? (?:and|or|to) \d)"
)
_NOT_COUNTS = re.compile(rf"\b(?:{'|'.join(word_list('before_numbers_that_count_nothing'))})$", re.IGNORECASE)
_MONTH = (
    r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sept?(?:ember)?|"
    r"Oct(?:ober)?|Nov(?:ember)?|Dec(?:ember)?)\b\.?"
)
_MOST = {
    rf"#(?: of)? {_MONTH}|{_MONTH} #": 28,
    r"# ?(?:%|per ?cent)|\b[Aa]ged? (?:of )?#|# years old": 100,
    r"# ?(?:[ap]\.?m\b|o.clock)|# months (?:a|per|each|every|of the) year": 12,
    r"# hours (?:a|per|each|every|of the) day": 24,
    r"# days (?:a|per|each|every|of the) week": 7,
    r"pH (?:\w+ ){0,3}#": 14,
}
"""What a number cannot exceed, by its context, in which it is `#`."""
_WHOLE = r" (?:out )?(?:of|in) (?:the |every )?"
_AFTER_NAME = re.compile(
    rf".*(?:^|[ (])(?!{_MONTH}|"
    r"In|By|On|At|From|Since|Until|After|Before|About|Some|Over|Only|Of|The)[A-Z][\w.-]*$",
    re.DOTALL,
)
_OPPOSITES = dict(itertools.chain(*((pair.split(), pair.split()[::-1]) for pair in word_list("opposites"))))
_OPPOSABLE = re.compile(
    r"(?<![\w-])(?<!no )(?<!to )(?<![Aa]n )(?<!\b[Aa] )(?!lower (?!than|in|by|at|with|for))"
    rf"(?:{'|'.join(_OPPOSITES)})(?![\w-])(?! or | and |, )"
)
_OPENS_SUBJECT = re.compile(r"(?i:(?:is|are|was|were|can|must|should|will|the|an?|many|some|most|all) )*")
"""Before the adjective of a subject: what is said of older cars is not false of younger ones."""
_PLAIN_SHARE = 0.1
_MOST_SUBJECT_WORDS = 9


def statements(passage: Passage, rng: random.Random) -> list[Finding]:
    """Find what is used, made, said, aimed at or concluded, and when and by whom something was done."""
    found = []
    for sentence in passage.sentences:
        if not sentence.is_clean or sentence.text.endswith(("?", "!")):
            continue
        for task, pattern in _STATEMENTS:
            match = re.fullmatch(pattern, sentence.text)
            if match is None:
                continue
            fields = {name: text for name, text in match.groupdict().items() if text and name != "answer"}
            if "subject" in fields:
                if not is_subject(fields["subject"]) or (task != "said" and not sentence.stands_alone):
                    continue
                fields["subject"] = passage.inside(fields["subject"])
            answer = to_sentence(match["answer"])
            if task in ("said", "by") and _TWO_CLAUSES.search(answer):
                break
            if len(answer.split()) >= (2 if task in ("when", "by") else 3):
                found.append(Finding(task, fields, answer, frozenset((sentence.index,))))
            break
    return found


def yes_or_no(passage: Passage, rng: random.Random) -> list[Finding]:
    """Find one statement as a question: subject and verb change places.

    A seed decides whether the answer is yes or no, and a statement is asked for that allows it. It is no if
    the verb is negated or the statement is made false. One seed in ten accepts a statement for yes of which
    no false version could be made.
    """
    wanted, takes_plain = rng.choice(("Yes", "No")), rng.random() < _PLAIN_SHARE
    for sentence in rng.sample(passage.alone, len(passage.alone)):
        match = _INVERTED.fullmatch(sentence.text)
        if match is None or not 6 <= sentence.num_words <= 30:
            continue
        rest = match["rest"]
        if (
            not is_subject(match["subject"])
            or _SECOND_CLAUSE.search(rest)
            or re.match(r"(?:n't|no|never|to)\b", rest)
        ):
            continue
        question = f"{match['be'].capitalize()} {passage.inside(match['subject'])} {rest}?"
        changed = None if match["no"] else falsified(question, rng)
        allows = {"No": bool(match["no"] or changed), "Yes": not match["no"] and bool(changed or takes_plain)}
        if allows[wanted]:
            asked = changed if wanted == "No" and changed else question
            why, here = f'The passage says: "{sentence.text}"', frozenset((sentence.index,))
            return [Finding("yes_no", {"question": asked}, wanted, here, why)]
    return []


def true_or_false(passage: Passage, rng: random.Random) -> list[Finding]:
    """Find one statement with a number or a word that has an opposite; half are made false by it."""
    for sentence in rng.sample(passage.alone, len(passage.alone)):
        if '"' in sentence.text or not 7 <= sentence.num_words <= 40:
            continue
        changed = falsified(sentence.text, rng)
        if changed is not None:
            is_true = rng.random() < 0.5
            fields = {"statement": sentence.text if is_true else changed}
            why = f'The passage says: "{sentence.text}"'
            here = frozenset((sentence.index,))
            return [Finding("true_false", fields, "true" if is_true else "false", here, why)]
    return []


@functools.lru_cache(maxsize=4096)
def is_subject(text: str) -> bool:
    """True for a noun phrase of up to nine words that names its subject."""
    words = text.split()
    if not 1 <= len(words) <= _MOST_SUBJECT_WORDS or not (text[0].isupper() or text[0].isdigit()):
        return False
    if _NO_SUBJECT.search(text) or _BEFORE_SUBJECT.match(text) or _LAST.fullmatch(text):
        return False
    if words[0].lower().endswith("ly") or POINTS_BACK.match(text) or (" and " in text and len(words) > 5):
        return False
    return words[0].lower() not in ("the", "a", "an") or len(words) > 1


def falsified(text: str, rng: random.Random) -> str | None:
    """The text with another number, or else with the opposite of one word; None if it has neither."""
    changed = another_number(text, rng)
    words = [
        word
        for word in _OPPOSABLE.finditer(text)
        if word[0].endswith("est") or not _OPENS_SUBJECT.fullmatch(text, 0, word.start())
    ]
    if changed is not None or not words:
        return changed
    word = rng.choice(words)
    return f"{text[: word.start()]}{_OPPOSITES[word[0]]}{text[word.end() :]}"


def another_number(text: str, rng: random.Random) -> str | None:
    """The text with one number replaced by another of its size; None if it has no number that counts."""
    places = [
        match
        for match in _NUMBER.finditer(text)
        if not _NOT_COUNTS.search(before := text[: match.start()].rstrip(" $€£"))
        and not (_AFTER_NAME.fullmatch(before) and not text.startswith("%", match.end()))
        and not re.search(rf"\d{_WHOLE}$", text[: match.start()])
        and (not match["value"].startswith("0") or match["value"].startswith("0."))
        and (len(match["value"]) > 1 or re.match(r" [a-z]{3,}|%| per cent", text[match.end() :]))
    ]
    if not places:
        return None
    place = rng.choice(places)
    shown = place["value"]
    plain = shown.replace(",", "")
    decimals = len(plain.partition(".")[2])
    scale = 10**decimals
    value = round(float(plain) * scale)
    is_year = not decimals and "," not in shown and 1000 <= value <= 2100
    context = f"{text[: place.start()]}#{text[place.end('value') :]}"
    most = [limit for pattern, limit in _MOST.items() if re.search(pattern, context)]
    most += [int(whole[1]) for whole in re.finditer(rf"#{_WHOLE}(\d+)\b", context)]
    step = rng.randint(2, 12) if is_year else max(1, round(value * rng.choice((0.2, 0.3, 0.4, 0.5))))
    other = value - step if is_year or (value - step > 1 and rng.random() < 0.5) else value + step
    if any(limit * scale < other and value < 1.2 * limit * scale for limit in most):
        other = value - step
    years = {int(year) for year in re.findall(r"\b[12]\d{3}\b", text)} if is_year else ()
    if any((year < value) != (year < other) for year in years if year != value):  # the order of events
        return None
    written = f"{other / scale:,.{decimals}f}" if "," in shown else f"{other / scale:.{decimals}f}"
    if other <= 1 or value == scale or re.search(rf"(?<!\d){re.escape(written)}(?!\d)", text):
        return None
    return text[: place.start("value")] + written + text[place.end("value") :]
