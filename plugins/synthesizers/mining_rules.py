"""Rules that mine pairs from English text without a model.

    document ─► Passage ─► one rule a kind ─► findings ─► round-robin over kinds ─► worded pairs

The kinds are AdaptLLM's: summarisation, inference, cause and effect, paraphrase and contrast
(`mining_connectives.py`), word to text, completion. They take turns, so that a text full of "because" still
gives varied pairs, and findings with unused sentences come first. Completion has one turn a document, in the
document's first part, because nearly every text offers it many times. The rules know English connectives; a
text in another language gives its title, a continuation, or nothing. Cost: a few regular expressions a
sentence.

Source: Cheng et al. 2024, arXiv 2309.09530.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from itertools import pairwise

from plugins.synthesizers.mining_connectives import cause_and_effect, inference, paraphrase_and_contrast
from plugins.synthesizers.mining_sentences import WORD, Passage, word_stems
from plugins.synthesizers.mining_wordings import Finding, ask_for
from schemas.content_hash import digest
from schemas.records import Document, InstructionPair

EVERYDAY = re.compile(
    r".*(?:ly|ing|ed|ments?|ness|able|ible|ful|tions?|ences?|ents?|ants?|ive|ional|thing|self|selves)|"
    r"according|between|character|companies|countries|deliberate|difficult|directions|discovery|"
    r"everybody|exchanges|increases|individuals?|intervals|investigators|laboratory|molecules|"
    r"necessary|neighbours|nevertheless|otherwise|particular|practical|principles?|programmes?|"
    r"relationship|researchers|sometimes|standards|structures?|techniques?|technology|therefore|"
    r"throughout|understand|university|whatever|whichever|yesterday"
)

_ONCE = "continuation"
_OF_THE_BEGINNING = {_ONCE, "opening"}
"""Tasks for a document's first part only: later parts do not begin the text."""


def summarisation(passage: Passage, rng: random.Random) -> list[Finding]:
    """Find the title and the first sentence, if title and text share a word."""
    whole = [sentence for sentence in passage.sentences if sentence.is_whole]
    shared = any(word_stems(passage.title) & word_stems(sentence.text) for sentence in whole)
    if len(whole) < 2 or not shared or len(passage.title.split()) > 20:
        return []
    found = [Finding("title", {}, passage.title)]
    first = passage.sentences[0]
    if first.stands_alone:
        found.append(Finding("opening", {"title": passage.title}, first.text, frozenset((first.index,))))
    return found


def word_to_text(passage: Passage, rng: random.Random) -> list[Finding]:
    """Find rare words of the text, and the only sentence that uses them together.

    Rare words are in lower case, have nine letters or more (ten on average), are not everyday words and have
    no everyday ending. No word list is needed.
    """
    places: dict[str, set[int]] = defaultdict(set)
    for sentence in passage.sentences:
        for word in WORD.findall(sentence.text):
            if len(word) >= 9 and word.islower() and not EVERYDAY.fullmatch(word):
                places[word].add(sentence.index)
    found = []
    for sentence in passage.sentences:
        words = {found for found in WORD.findall(sentence.text) if found in places}
        rare = sorted(words, key=lambda word: (-len(word), word))[:3]
        if len(rare) < 2 or sum(map(len, rare)) < 10 * len(rare) or not sentence.stands_alone:
            continue
        if len(set.intersection(*(places[word] for word in rare))) == 1:
            *others, last = sorted(rare, key=sentence.text.index)
            fields = {"words": f"{', '.join(others)} and {last}"}
            found.append(Finding("words", fields, sentence.text, frozenset((sentence.index,))))
    return found


def completion(passage: Passage, rng: random.Random) -> list[Finding]:
    """Find two successive sentences and the sentence that follows."""
    return [
        Finding(
            _ONCE,
            {"start": f"{first.text} {second.text}"},
            third.text,
            frozenset((first.index, second.index, third.index)),
        )
        for (first, second), (again, third) in pairwise(passage.neighbours())
        if again is second and first.stands_alone
    ]


Rule = Callable[[Passage, random.Random], list[Finding]]
RULES: Mapping[str, Rule] = {
    "summarisation": summarisation,
    "inference": inference,
    "cause_and_effect": cause_and_effect,
    "paraphrase_and_contrast": paraphrase_and_contrast,
    "word_to_text": word_to_text,
    "completion": completion,
}
"""Rules by kind of pair."""


def mine_pairs(document: Document, *, seed: int, max_pairs: int = 6) -> tuple[InstructionPair, ...]:
    """Mine instruction-response pairs of varied kinds from one English document; maybe none.

    Instructions differ in more than letter case. Summarisation uses `metadata["title"]`. Every choice comes
    from the seed and the content hash.
    """
    rng = random.Random(int(digest(document.content_hash, str(seed)), 16))
    passage = Passage.of(document.text, document.metadata.get("title", ""))
    queues = [rule(passage, rng) for rule in RULES.values()]
    for queue in queues:
        rng.shuffle(queue)
    if document.part and not document.part.startswith("1/"):
        queues = [[found for found in queue if found.task not in _OF_THE_BEGINNING] for queue in queues]
    rng.shuffle(queues)

    pairs: dict[str, InstructionPair] = {}
    used: set[int] = set()
    while any(queues) and len(pairs) < max_pairs:
        for queue in queues:
            if queue and len(pairs) < max_pairs:
                finding = min(queue, key=lambda found: len(found.sentences & used))
                queue.remove(finding)
                if finding.task == _ONCE:
                    queue.clear()
                used |= finding.sentences
                pair = ask_for(finding, rng)
                pairs.setdefault(pair.instruction.casefold(), pair)
    return tuple(pairs.values())
