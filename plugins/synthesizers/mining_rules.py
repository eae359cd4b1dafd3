"""Rules that mine pairs from English text without a model.

    document ─► Passage ─► one rule a kind ─► findings ─► round-robin over kinds ─► worded pairs

The kinds are AdaptLLM's, and more of the same sort: summarisation; inference, cause and effect, paraphrase
and contrast (`mining_connectives.py`); terms (`mining_terms.py`); statements (`mining_statements.py`). They
take turns, twice each, so that a text full of "because" still gives varied pairs, and each sentence is used
once. There is no text completion: a pair leaves its passage whole, so it could only quote the passage, and
the loss over the passage already is that task. The rules are for English; a text in another language gives
nothing. Cost: some forty regular expressions a sentence.

Source: Cheng et al. 2024, arXiv 2309.09530.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping

from plugins.synthesizers.mining_connectives import (
    cause_and_effect,
    choose_connective,
    inference,
    paraphrase_and_contrast,
)
from plugins.synthesizers.mining_sentences import Passage, is_balanced, is_english, open_pronoun, word_stems
from plugins.synthesizers.mining_statements import statements, true_or_false, yes_or_no
from plugins.synthesizers.mining_terms import abbreviations, apposition, definition, examples, rare_words
from plugins.synthesizers.mining_wordings import Finding, ask_for
from schemas.content_hash import digest
from schemas.records import Document, InstructionPair

_MOST_OF_A_KIND = 2
_NO_TITLE = re.compile(
    r"[\w-]*_[\w-]*|.*\.\w{2,4}|.*(?:https?:|www\.).*|[\W\d]*|.* [|»–-] .*|(?i:untitled|home|index)"
)


def summarisation(passage: Passage, rng: random.Random) -> list[Finding]:
    """Find the title, if title and text share a word and the title is no file name or address."""
    if not passage.title:
        return []
    title, whole = passage.title, [each for each in passage.sentences if each.is_whole]
    shared = any(word_stems(title) & word_stems(sentence.text) for sentence in whole)
    if len(whole) < 2 or not shared or len(title.split()) > 25 or _NO_TITLE.fullmatch(title):
        return []
    return [Finding("title", {}, title)]


Rule = Callable[[Passage, random.Random], list[Finding]]
RULES: Mapping[str, Rule] = {
    "summarisation": summarisation,
    "definition": definition,
    "abbreviations": abbreviations,
    "apposition": apposition,
    "examples": examples,
    "inference": inference,
    "connective": choose_connective,
    "cause_and_effect": cause_and_effect,
    "paraphrase_and_contrast": paraphrase_and_contrast,
    "statements": statements,
    "yes_or_no": yes_or_no,
    "true_or_false": true_or_false,
    "word_to_text": rare_words,
}
"""Rules by kind of pair."""


def mine_pairs(document: Document, *, seed: int, max_pairs: int = 6) -> tuple[InstructionPair, ...]:
    """Mine instruction-response pairs of varied kinds from one English document; maybe none.

    Instructions differ in more than letter case. Summarisation uses `metadata["title"]`, once a document.
    Every choice comes from the seed and the content hash.
    """
    return tuple(pair for _, pair in mined_by_task(document, seed=seed, max_pairs=max_pairs))


def mined_by_task(document: Document, *, seed: int, max_pairs: int = 6) -> list[tuple[str, InstructionPair]]:
    """As `mine_pairs`, each pair with its task: the group of wordings that asks for it.

    A document in another language than English has none.
    """
    if not is_english(document.text):
        return []
    rng = random.Random(int(digest(document.content_hash, str(seed)), 16))
    passage = Passage.of(document.text, document.metadata.get("title", ""))
    queues = [[*filter(_is_quotable, rule(passage, rng))] for rule in RULES.values()]
    for queue in queues:
        rng.shuffle(queue)
    if document.part and not document.part.startswith("1/"):
        queues = [[found for found in queue if found.task != "title"] for queue in queues]
    rng.shuffle(queues)

    pairs: dict[str, tuple[str, InstructionPair]] = {}
    used: set[int] = set()
    for queue in queues * _MOST_OF_A_KIND:
        queue[:] = [found for found in queue if not found.sentences & used]
        if queue and len(pairs) < max_pairs:
            finding = queue.pop()
            used |= finding.sentences
            pair = ask_for(finding, rng)
            pairs.setdefault(pair.instruction.casefold(), (finding.task, pair))
    return [*pairs.values()]


def _is_quotable(finding: Finding) -> bool:
    """True if a finding cuts no quotation or bracket, and its instruction has a noun for each pronoun."""
    asked = [text for name, text in finding.fields.items() if name not in ("hypothesis", "right")]
    quoted = (*finding.fields.values(), finding.response)
    return all(map(is_balanced, quoted)) and not any(map(open_pronoun, asked))
