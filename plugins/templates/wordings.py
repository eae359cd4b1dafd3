"""Wordings of the reading comprehension family; their patterns are checked at import.

Three levels, each fills the next:

    forms    one pair's question and answer sides: with options, with reasoning, with both
    voices   question side + answer side = one pair
    frames   text + pairs = one document, in one layout (`text_layouts.py`)

A voice wraps any form, so that the pairs of one text look alike with and without options or reasoning.
Patterns end in a slot or in its closing markup: an answer may be a word or a page, and text after it would
have to fit both. For the same reason no phrase counts the questions, and text after a slot begins a line or
follows a mark, because a question may lack its question mark.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from plugins.templates.patterns import Pattern, Slot, patterns

QUESTION, ANSWER, OPTIONS, RATIONALE = Slot.QUESTION, Slot.ANSWER, Slot.OPTIONS, Slot.RATIONALE

_PAIR = {QUESTION, ANSWER}

LABELLED_VOICES = patterns(
    _PAIR,
    ("Question: ", QUESTION, "\nAnswer: ", ANSWER),
    ("Q: ", QUESTION, "\nA: ", ANSWER),
    ("Q. ", QUESTION, "\nA. ", ANSWER),
    ("Question:\n", QUESTION, "\nAnswer:\n", ANSWER),
    ("Task: ", QUESTION, "\nSolution: ", ANSWER),
    ("Query: ", QUESTION, "\nReply: ", ANSWER),
    ("Prompt: ", QUESTION, "\nResponse: ", ANSWER),
    ("### Question\n", QUESTION, "\n\n### Answer\n", ANSWER),
    ("**Question.** ", QUESTION, "\n**Answer.** ", ANSWER),
    ("[Question] ", QUESTION, "\n[Answer] ", ANSWER),
    ("Instruction: ", QUESTION, "\nOutput: ", ANSWER),
    ("To answer: ", QUESTION, "\nAnswer: ", ANSWER),
    (QUESTION, "\nAnswer: ", ANSWER),
    (QUESTION, "\nResponse: ", ANSWER),
    (QUESTION, "\n=> ", ANSWER),
    ("Problem: ", QUESTION, "\nResult: ", ANSWER),
)
OPTION_VOICES = (LABELLED_VOICES[0], LABELLED_VOICES[0], LABELLED_VOICES[0], *LABELLED_VOICES[3:])
"""For texts with options, where "A." marks an item and so cannot mark an answer."""
BARE_VOICES = patterns(
    _PAIR,
    (QUESTION, "\n", ANSWER),
    (QUESTION, " – ", ANSWER),
    ("> ", QUESTION, "\n\n", ANSWER),
)
"""For texts without options: after a list of items an answer needs an announcement."""


@dataclasses.dataclass(frozen=True, slots=True)
class Form:
    """Wording of the two sides of a pair of one kind.

    Attributes:
        ask: The question side.
        reply: The answer side.
        names_item: Whether an answer among options repeats the item's marker.
    """

    ask: Pattern
    reply: Pattern
    names_item: bool = False


PLAIN = Form(Pattern((QUESTION,), slots={QUESTION}), Pattern((ANSWER,), slots={ANSWER}))

_CHOICE = {QUESTION, OPTIONS}
_LISTED, _SPACED, _PICK, _ONE_HOLDS, _BY_TEXT, _SUPPORTED, _WHICH = patterns(
    _CHOICE,
    (QUESTION, "\n", OPTIONS),
    (QUESTION, "\n\n", OPTIONS),
    (QUESTION, "\n", OPTIONS, "\nPick the one that fits."),
    (QUESTION, "\nOnly one of these is right.\n", OPTIONS),
    (QUESTION, "\n", OPTIONS, "\nDecide by the text."),
    (QUESTION, "\n\n", OPTIONS, "\n\nGive the one that the passage supports."),
    (QUESTION, "\n", OPTIONS, "\nWhich of them is it?"),
)
_ANSWER, _THE_RIGHT_ONE, _CHOSEN = patterns(
    {ANSWER}, (ANSWER,), ("The right one is: ", ANSWER), ("My choice: ", ANSWER)
)
OPTION_FORMS = (
    Form(_LISTED, _ANSWER, names_item=True),
    Form(_LISTED, _ANSWER),
    Form(_LISTED, _THE_RIGHT_ONE, names_item=True),
    Form(_SPACED, _ANSWER, names_item=True),
    Form(_SPACED, _ANSWER),
    Form(_PICK, _ANSWER, names_item=True),
    Form(_ONE_HOLDS, _ANSWER),
    Form(_BY_TEXT, _CHOSEN, names_item=True),
    Form(_SUPPORTED, _ANSWER),
    Form(_WHICH, _ANSWER, names_item=True),
)

_ASK, _REASON_FIRST, _WORK, _HOW, _GROUNDS = patterns(
    {QUESTION},
    (QUESTION,),
    (QUESTION, "\nReason first, then conclude."),
    (QUESTION, "\nShow how you get there."),
    (QUESTION, "\nTake it one step after another."),
    (QUESTION, "\nGive your grounds as well."),
)
_SO, _CONCLUSION, _FINAL, _HENCE, _BECAUSE, _GROUND = patterns(
    {RATIONALE, ANSWER},
    (RATIONALE, "\nSo the answer is: ", ANSWER),
    (RATIONALE, "\nConclusion: ", ANSWER),
    (RATIONALE, "\n\nFinal answer: ", ANSWER),
    (RATIONALE, "\nThis leads to: ", ANSWER),
    (ANSWER, "\nWhy: ", RATIONALE),
    (ANSWER, "\nGrounds: ", RATIONALE),
)
RATIONALE_FORMS = (
    Form(_ASK, _SO),
    Form(_ASK, _BECAUSE),
    Form(_REASON_FIRST, _CONCLUSION),
    Form(_REASON_FIRST, _SO),
    Form(_WORK, _FINAL),
    Form(_HOW, _HENCE),
    Form(_HOW, _SO),
    Form(_GROUNDS, _GROUND),
)

_WEIGH, _CHOOSE_AND_SAY, _RULE_OUT = patterns(
    _CHOICE,
    (QUESTION, "\n", OPTIONS, "\nWeigh them before you choose."),
    (QUESTION, "\n", OPTIONS, "\nChoose, and say why."),
    (QUESTION, "\n\n", OPTIONS, "\n\nThink it through, then pick one."),
)
OPTION_RATIONALE_FORMS = (
    Form(_WEIGH, _SO, names_item=True),
    Form(_WEIGH, _CONCLUSION),
    Form(_CHOOSE_AND_SAY, _BECAUSE, names_item=True),
    Form(_CHOOSE_AND_SAY, _GROUND),
    Form(_RULE_OUT, _FINAL, names_item=True),
    Form(_LISTED, _SO, names_item=True),
)

FORMS: Mapping[tuple[bool, bool], tuple[Form, ...]] = {
    (False, False): (PLAIN,),
    (True, False): OPTION_FORMS,
    (False, True): RATIONALE_FORMS,
    (True, True): OPTION_RATIONALE_FORMS,
}
"""Forms by (has options, has a rationale)."""

SPEAKERS = (
    ("User: ", "Assistant: "),
    ("Student: ", "Teacher: "),
    ("Reader: ", "Author: "),
    ("Visitor: ", "Guide: "),
    ("Editor: ", "Researcher: "),
    ("Trainee: ", "Mentor: "),
    ("Alex: ", "Sam: "),
    ("Human: ", "AI: "),
    ("[Ask] ", "[Reply] "),
)
"""Openings of the lines of asker and answerer in a dialogue."""

NUMBERINGS = (("", ". "), ("", ") "), ("(", ") "), ("#", ": "))
"""Text before and after the number of a question and of its answer."""

BETWEEN_DOCUMENTS = ("\n\n\n", "\n\n---\n\n", "\n\n***\n\n", "\n\n=====\n\n", "\n\n* * *\n\n")
