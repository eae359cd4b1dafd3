"""Wordings of mined pairs: the instructions that ask for a rule's finding.

A wording is a constant with fields in braces. One pass of `str.format` fills them, so a field's content is
not scanned for braces. A field that may end in a punctuation mark ends its line, so that no second mark
follows.
"""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Mapping

from schemas.records import InstructionPair

ENTAILMENT, CONTRADICTION, NEUTRAL = "entailment", "contradiction", "neutral"


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """Finding of a rule, without a wording."""

    task: str  # group of wordings that ask for it
    fields: Mapping[str, str]  # quotations for the instruction, by field
    response: str  # the answer; for `inference` one of the three relations
    sentences: frozenset[int] = frozenset()  # indices of the sentences that it uses
    rationale: str = ""  # reason for the answer, if the text gives one


@dataclasses.dataclass(frozen=True, slots=True)
class Wording:
    """One way to ask for a finding."""

    text: str  # the instruction, with the finding's fields in braces
    # Names of the finding's responses in this wording; they become the options.
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)


def _relations(entailment: str, contradiction: str, neutral: str) -> dict[str, str]:
    return {ENTAILMENT: entailment, CONTRADICTION: contradiction, NEUTRAL: neutral}


_PLAIN: Mapping[str, tuple[str, ...]] = {
    "title": (
        "Give the passage a title.",
        "Under what heading could this text stand?",
        "Name the subject of the text, as a headline would.",
        "Sum up in a title what the passage is about.",
    ),
    "opening": (
        "Write the sentence that opens a text with this title.\n{title}",
        "A passage has the title below. How does it begin?\n{title}",
        "Begin a text under this heading: {title}",
    ),
    "why": (
        "According to the passage, why is this so?\n{effect}",
        "What reason does the text give for the following?\n{effect}",
        "Explain from the passage why this holds: {effect}",
        "Give the reason that the text states for this: {effect}",
    ),
    "cause": (
        "To what does the passage put this down?\n{effect}",
        "What does the text name as the source of the following?\n{effect}",
        "According to the text, what lies behind this?\n{effect}",
    ),
    "effect": (
        "According to the passage, what follows from this?\n{cause}",
        "What does the text say that this leads to?\n{cause}",
        "Name the result that the passage gives for the following: {cause}",
    ),
    "consequence": (
        "What comes of this, according to the passage?\n{cause}",
        "State the result that the text draws from the following.\n{cause}",
        "To what does this lead, as the passage has it?\n{cause}",
    ),
    "reason": (
        "What in the passage accounts for this?\n{effect}",
        "Find the statement from which the text derives the following.\n{effect}",
        "What does the passage give as the ground for this? {effect}",
    ),
    "restatement": (
        "Put this in other words, as the passage does.\n{statement}",
        "How does the text restate the following?\n{statement}",
        "What does the passage say to make this plainer?\n{statement}",
    ),
    "similarity": (
        "What does the passage liken to this?\n{statement}",
        "Name the parallel that the text draws to the following.\n{statement}",
        "Find in the passage a case similar to this one: {statement}",
    ),
    "opposition": (
        "What does the passage set against this?\n{statement}",
        "With what does the text contrast the following?\n{statement}",
        "State the other side that the passage gives to this: {statement}",
    ),
    "words": (
        "Write a sentence about the subject of the passage with these words: {words}.",
        "What does the text say with the terms {words}?",
        "Use {words} in one sentence that agrees with the passage.",
        "Make a statement from the passage that brings together {words}.",
    ),
    "continuation": (
        "Continue the passage by one sentence.\n{start}",
        "What does the text say next?\n{start}",
        "Write the sentence that follows in the passage after these: {start}",
    ),
}

WORDINGS: Mapping[str, tuple[Wording, ...]] = {
    **{task: tuple(Wording(text) for text in texts) for task, texts in _PLAIN.items()},
    "inference": (
        Wording(
            "How does the second statement stand to the first: does it follow from it (entailment), go "
            "against it or against what it leads one to expect (contradiction), or neither (neutral)?\n"
            "First: {premise}\nSecond: {hypothesis}",
            _relations("Entailment", "Contradiction", "Neutral"),
        ),
        Wording(
            "The text states: {premise}\nAnd also: {hypothesis}\nHow are the two related?",
            _relations("The second follows from the first", "The second contrasts with the first", "Neither"),
        ),
        Wording(
            "Premise: {premise}\nStatement: {hypothesis}\nWhat is the statement to the premise?",
            _relations("Consequence", "Contrast", "Neither of these"),
        ),
    ),
}
"""Wordings by task, for every task of a rule."""


def ask_for(finding: Finding, rng: random.Random) -> InstructionPair:
    """Ask for a finding in one of its wordings."""
    wording = rng.choice(WORDINGS[finding.task])
    return InstructionPair(
        instruction=wording.text.format_map(finding.fields),
        response=wording.labels.get(finding.response, finding.response),
        options=tuple(wording.labels.values()),
        rationale=finding.rationale,
    )
