"""Frames of the reading comprehension family, which join a document's text and its pairs.

Each layout has frames with the text first and frames with the text after the questions. The slots of a frame
show how its layout divides the pairs.
"""

from __future__ import annotations

from collections.abc import Mapping

from plugins.templates.patterns import Pattern, Slot, patterns

TEXT, PAIRS, QUESTIONS, ANSWERS = Slot.TEXT, Slot.PAIRS, Slot.QUESTIONS, Slot.ANSWERS
EXAMPLES, LAST_PAIR, TURNS, NEXT_TURN = Slot.EXAMPLES, Slot.LAST_PAIR, Slot.TURNS, Slot.NEXT_TURN

TEXT_FIRST: Mapping[str, tuple[Pattern, ...]] = {
    "classic": patterns(
        {TEXT, PAIRS},
        (TEXT, "\n\n", PAIRS),
        (TEXT, "\n\nAnswer from the text above.\n\n", PAIRS),
        (TEXT, "\n\nTo be answered from the passage:\n\n", PAIRS),
        (TEXT, "\n\nWhat a reader of this text can tell:\n\n", PAIRS),
        ("Read the passage, then answer what is asked about it.\n\n", TEXT, "\n\n", PAIRS),
        ("The passage below holds all that is needed to answer.\n\n", TEXT, "\n\n", PAIRS),
        ("Passage:\n", TEXT, "\n\n", PAIRS),
        ("Text: ", TEXT, "\n\n", PAIRS),
        ("## Reading\n\n", TEXT, "\n\n## Exercises\n\n", PAIRS),
        ("<passage>\n", TEXT, "\n</passage>\n\n", PAIRS),
        ("Background\n\n", TEXT, "\n\nCheck your understanding\n\n", PAIRS),
        ('"""\n', TEXT, '\n"""\n\n', PAIRS),
    ),
    "dialogue": patterns(
        {TEXT, PAIRS},
        (TEXT, "\n\n", PAIRS),
        (TEXT, "\n\nTwo people talk about this text.\n\n", PAIRS),
        ("A text, and a conversation about it.\n\n", TEXT, "\n\n", PAIRS),
        ("Text under discussion:\n", TEXT, "\n\nDiscussion:\n", PAIRS),
    ),
    "numbered": patterns(
        {TEXT, QUESTIONS, ANSWERS},
        (TEXT, "\n\nQuestions:\n", QUESTIONS, "\n\nAnswers:\n", ANSWERS),
        ("Passage:\n", TEXT, "\n\nQuestions\n\n", QUESTIONS, "\n\nAnswers\n\n", ANSWERS),
        (
            "Read the text and answer every question; the key is at the end.\n\n",
            TEXT,
            "\n\n",
            QUESTIONS,
            "\n\nKey:\n",
            ANSWERS,
        ),
        (TEXT, "\n\n## Exercises\n\n", QUESTIONS, "\n\n## Solutions\n\n", ANSWERS),
    ),
    "inline_few_shot": patterns(
        {TEXT, EXAMPLES, LAST_PAIR},
        (TEXT, "\n\nAnswered already:\n\n", EXAMPLES, "\n\nIn the same way:\n\n", LAST_PAIR),
        (
            "Continue as in the examples that follow the passage.\n\n",
            TEXT,
            "\n\nExamples:\n\n",
            EXAMPLES,
            "\n\nNow this one:\n\n",
            LAST_PAIR,
        ),
        ("Passage:\n", TEXT, "\n\nWorked examples\n\n", EXAMPLES, "\n\nYour turn\n\n", LAST_PAIR),
    ),
    "next_turn": patterns(
        {TEXT, TURNS, NEXT_TURN},
        (TEXT, "\n\nA conversation about the text:\n\n", TURNS, "\n\nWhat is said next?\n\n", NEXT_TURN),
        (
            "Read the text and the conversation about it, then write the turn that comes next.\n\n",
            TEXT,
            "\n\nConversation:\n",
            TURNS,
            "\n\nNext turn:\n",
            NEXT_TURN,
        ),
        ("Passage:\n", TEXT, "\n\nTalk so far:\n", TURNS, "\n\nThe talk goes on with:\n", NEXT_TURN),
    ),
}

TEXT_LAST: Mapping[str, tuple[Pattern, ...]] = {
    "classic": patterns(
        {TEXT, PAIRS},
        (PAIRS, "\n\nAll of this rests on the following passage:\n\n", TEXT),
        ("What comes first is about the passage that comes second.\n\n", PAIRS, "\n\nPassage:\n", TEXT),
        (PAIRS, "\n\nSource text:\n", TEXT),
        ("## Exercises\n\n", PAIRS, "\n\n## Reading\n\n", TEXT),
    ),
    "dialogue": patterns(
        {TEXT, PAIRS},
        (PAIRS, "\n\nThe text they are talking about:\n\n", TEXT),
        ("A conversation, and the text behind it.\n\n", PAIRS, "\n\nText:\n", TEXT),
    ),
    "numbered": patterns(
        {TEXT, QUESTIONS, ANSWERS},
        ("Questions:\n", QUESTIONS, "\n\nPassage:\n", TEXT, "\n\nAnswers:\n", ANSWERS),
        (
            "Keep these in mind while you read:\n\n",
            QUESTIONS,
            "\n\n",
            TEXT,
            "\n\nWhat you should have found:\n\n",
            ANSWERS,
        ),
    ),
    "inline_few_shot": patterns(
        {TEXT, EXAMPLES, LAST_PAIR},
        (
            "Examples:\n\n",
            EXAMPLES,
            "\n\nNow this one:\n\n",
            LAST_PAIR,
            "\n\nPassage for all of them:\n",
            TEXT,
        ),
    ),
    "next_turn": patterns(
        {TEXT, TURNS, NEXT_TURN},
        (TURNS, "\n\nThe text they have before them:\n\n", TEXT, "\n\nThe next turn:\n\n", NEXT_TURN),
    ),
}
