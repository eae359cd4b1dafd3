"""Rule `judge`: a language model says by one token whether the passage supports the answer to a question.

    passage ─┬─ question 1, answer 1 ─► Yes | No      one prefix for all pairs of a passage
             └─ question 2, answer 2 ─► Yes | No

A server that can constrains the answer to Yes or No, and returns the probabilities of both: the score is
p(yes) / (p(yes) + p(no)). Without probabilities it is 1 or 0. An answer that is neither is a failure.
"""

from __future__ import annotations

from plugins.verifiers.base import ModelVerifier, ModelVerifierOptions, Verdict, probabilities
from schemas.records import Generation, InstructionPair

_CHOICES = ("Yes", "No")


class Judge(ModelVerifier[ModelVerifierOptions]):
    """Ask a model about each pair."""

    name = "judge"
    Options = ModelVerifierOptions
    max_new_tokens = 1

    def parts(self, passage: str, pair: InstructionPair) -> list[str]:
        options = "".join(f"\n- {option}" for option in pair.options)
        reasoning = f"\nReasoning: {pair.rationale}" if pair.rationale else ""
        return [
            "Read the passage. Then decide whether the answer to the question is right, going by the passage "
            f"alone.\n\nPassage:\n{passage}",
            f"\n\nQuestion: {pair.instruction}{options}{reasoning}\nAnswer: {pair.response}\n\n"
            "Is this question clear by itself, and does the passage support this answer fully? Reply Yes or "
            "No.\nReply:",
        ]

    def choices(self, pair: InstructionPair) -> tuple[str, ...]:
        return _CHOICES

    def read(self, passage: str, pair: InstructionPair, answer: Generation) -> Verdict | None:
        found = probabilities(answer, _CHOICES)
        if found is None:
            return None
        says_no = found[0] < self.options.min_score
        return Verdict(score=found[0], reason="the model does not say Yes" if says_no else "")
