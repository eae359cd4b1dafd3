"""The tag format of the published instruction synthesizer.

    <s> <CON> text </CON>⏎⏎<QUE> question <ANS> answer </END>⏎⏎<QUE> … </END></s><s> <CON> …

The tags are plain text to its tokenizer; `<s>` and `</s>` are its BOS and EOS, put in by id.

Source: Cheng et al. 2024, arXiv 2406.14491, section 2.1 and the model card.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from plugins.protocols.base import Example, Parsed, SynthesisProtocol
from plugins.token_ids import Ids
from schemas.corpus_config import SynthesisConfig
from schemas.errors import ConfigError
from schemas.records import Document, InstructionPair

_THINK = "Let's think step by step."
_THEREFORE = "Therefore, the answer is"


class InstructionSynthesizerProtocol(SynthesisProtocol):
    """Prompts instruction-pretrain/instruction-synthesizer, or a model tuned on the same format."""

    def __init__(self, tokenizer: Any, config: SynthesisConfig, *, constrain_json: bool = False):
        super().__init__(tokenizer, config, constrain_json=constrain_json)
        bos, eos = tokenizer.bos_token_id, tokenizer.eos_token_id
        if bos is None or eos is None:
            raise ConfigError(
                f"synthesis.model {config.model!r} has no BOS or no EOS token, which protocol "
                "'instruction_synthesizer' needs around each document. Choose protocol 'chat' for others."
            )
        self._bos, self._eos = np.array([[bos], [eos]], dtype=np.int32)

    def prompt(self, examples: Sequence[Example], document: Document) -> Ids:
        pieces = []
        for example in examples:
            text = prompt_text(example.document.text) + answer_text(example.pairs)
            pieces += [self._bos, self.plain_ids(text), self._eos]
        return np.concatenate([*pieces, self._bos, self.plain_ids(prompt_text(document.text))])

    def parse(self, text: str) -> Parsed:
        return parse_answer(text)


def prompt_text(context: str) -> str:
    """What a document is asked about with, between BOS and the answer."""
    return f" <CON> {context} </CON>\n\n"


def answer_text(pairs: Iterable[InstructionPair]) -> str:
    """What the synthesizer answers, between the prompt and EOS."""
    return "\n\n".join(map(_write, pairs))


def parse_answer(text: str) -> Parsed:
    """Read the pairs out of an answer. A bad piece costs only itself."""
    *pieces, rest = text.strip().split("</END>")
    pairs = [_read(piece) for piece in pieces]
    good = [pair for pair in pairs if pair is not None]
    return Parsed.of(good, num_bad_pieces=len(pairs) - len(good) + bool(rest.strip()))


def is_writable(pair: InstructionPair) -> bool:
    """Whether the pair can be read back once written: it is not empty, and holds no tag."""
    parsed = parse_answer(_write(pair))
    return len(parsed.pairs) == 1 and not parsed.num_bad_pieces and "<QUE>" not in pair.instruction


def _write(pair: InstructionPair) -> str:
    question = pair.instruction
    if pair.options:
        question += "\nOptions:\n" + "\n".join(f"- {option}" for option in pair.options)
    answer = pair.response
    if pair.rationale:
        question += f"\n{_THINK}"
        answer = f"{pair.rationale}\n{_THEREFORE} {answer}"
    return f"<QUE> {question} <ANS> {answer} </END>"


def _read(piece: str) -> InstructionPair | None:
    piece = piece.strip()
    if piece.count("<ANS>") != 1 or not piece.startswith("<QUE>"):
        return None
    question, answer = (part.strip() for part in piece.removeprefix("<QUE>").split("<ANS>"))
    if not question or not answer:
        return None
    rationale = ""
    if question.endswith(_THINK):
        question = question.removesuffix(_THINK).strip()
        if _THEREFORE in answer:
            rationale, _, answer = (part.strip() for part in answer.rpartition(_THEREFORE))
    options: tuple[str, ...] = ()
    head, _, tail = question.partition("\nOptions:\n")
    lines = [line.strip() for line in tail.splitlines() if line.strip()]
    if lines and all(line.startswith("- ") for line in lines):
        question, options = head.strip(), tuple(line.removeprefix("- ").strip() for line in lines)
    if answer not in options and answer.removesuffix(".") in options:
        answer = answer.removesuffix(".")
    if not question or not answer:
        return None
    return InstructionPair(instruction=question, response=answer, options=options, rationale=rationale)
