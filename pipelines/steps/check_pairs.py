"""Rejection of pairs that are surely no pairs.

pairs of a document ─► clean ─► empty? without a word? a tag or JSON of an answer's format left in it?
                                   └─► rejected with the reason; the document's other pairs go on
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from plugins.protocols.thoughts import holds_thought_tag
from plugins.templates.options import find_answer
from schemas.records import InstructionPair, SynthesizedDocument

_FORMAT = re.compile(r'<(?:QUE|ANS|/END|CON|/CON)>|"(?:question|answer|pairs|options|reasoning)"\s*:')


def problem_of(pair: InstructionPair) -> tuple[str, str] | None:
    """Return the reason and the finding against a clean pair; None if it may be a pair."""
    texts = {"question": pair.instruction, "response": pair.response, "reasoning": pair.rationale}
    texts |= {f"option {number}": option for number, option in enumerate(pair.options, 1)}
    for name, text in texts.items():
        if not text and name != "reasoning":
            return "empty_pair", f"its {name} is empty"
    if pair.options and find_answer(pair) is None:
        options = ", ".join(pair.options)
        return "no_option", f"its response {pair.response!r} is none of its options: {options}"
    if not any(map(str.isalnum, pair.instruction)):
        return "no_question", f"its question {pair.instruction!r} holds no letter or digit"
    for name, text in texts.items():
        if _FORMAT.search(text) or holds_thought_tag(text):
            return "format_in_pair", f"its {name} holds tags or keys of the answer's format: {text[:100]!r}"
    return None


def keep_pairs(
    chain: Sequence[SynthesizedDocument], kept: Sequence[Sequence[InstructionPair]]
) -> tuple[SynthesizedDocument, ...]:
    """Give the documents of a chain fewer pairs; cut its text before and after one that lost all pairs."""
    changed: list[SynthesizedDocument] = []
    previous_lost_all = False
    for done, pairs in zip(chain, kept, strict=True):
        lost_all = bool(done.pairs) and not pairs
        follows = done.follows_previous and not lost_all and not previous_lost_all
        changed.append(dataclasses.replace(done, pairs=tuple(pairs), follows_previous=follows))
        previous_lost_all = lost_all
    return tuple(changed)
