"""Rule `closed_book`: refuse pairs that the model to be trained answers right without the passage.

A question with options is answered by the likeliest letter. Any other question is answered in words, and
right if the answer holds the words of the response in order, ignoring case, punctuation and articles.
"""

from __future__ import annotations

import string

from plugins.templates.options import find_answer
from plugins.verifiers.base import ModelVerifier, ModelVerifierOptions, Verdict, probabilities
from plugins.words import words_of
from schemas.records import Generation, InstructionPair

_ARTICLES = frozenset(("a", "an", "the"))
_SHOWN_CHARACTERS = 100


class ClosedBook(ModelVerifier[ModelVerifierOptions]):
    """Ask a model each question by itself.

    The score is 0 for a right answer and 1 for a wrong one; with likelihoods, that of all wrong options.
    """

    name = "closed_book"
    Options = ModelVerifierOptions
    max_new_tokens = 32

    def parts(self, passage: str, pair: InstructionPair) -> list[str]:
        letters = self.choices(pair)
        if letters:
            listed = "".join(
                f"\n{each}. {option}" for each, option in zip(letters, pair.options, strict=True)
            )
            return [f"Question: {pair.instruction}{listed}\nReply with the letter of the answer.\nAnswer:"]
        return [f"Question: {pair.instruction}\nReply with a short answer.\nAnswer:"]

    def choices(self, pair: InstructionPair) -> tuple[str, ...]:
        fits = find_answer(pair) is not None and 1 < len(pair.options) <= len(string.ascii_uppercase)
        return tuple(string.ascii_uppercase[: len(pair.options)]) if fits else ()

    def read(self, passage: str, pair: InstructionPair, answer: Generation) -> Verdict | None:
        letters = self.choices(pair)
        if letters:
            found, right = probabilities(answer, letters), find_answer(pair)
            if found is None or right is None:
                return None
            said, score = pair.options[found.index(max(found))], 1.0 - found[right]
        else:
            said, score = answer.text.strip(), 0.0 if _holds(answer.text, pair.response) else 1.0
        knows = score < self.options.min_score
        reason = f"the model answers without the passage: {said[:_SHOWN_CHARACTERS]!r}" if knows else ""
        return Verdict(score=score, reason=reason)


def _holds(answer: str, response: str) -> bool:
    """True if the words of the response stand in the answer, in order and together."""
    said, wanted = ([word for word in words_of(text) if word not in _ARTICLES] for text in (answer, response))
    return bool(wanted) and any(
        said[at : at + len(wanted)] == wanted for at in range(len(said) - len(wanted) + 1)
    )
