"""Protocol `instruction_synthesizer`: the tag format of the published synthesizer.

    <s> <CON> text </CON>⏎⏎<QUE> question <ANS> answer </END>⏎⏎<QUE> … </END></s><s> <CON> …

The tags are plain text for its tokenizer; `<s>` and `</s>` are its BOS and EOS, inserted as ids. If a
tokenizer puts other tokens than BOS before a text, each document begins with those.

    question, its options and reasoning        answer
    Which?⏎Options:⏎- lung⏎- heart             heart
    Why?⏎Let's think step by step.             It pumps.⏎Therefore, the answer is heart

Source: Cheng et al. 2024, arXiv 2406.14491, section 2.1 and the model card.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from plugins.plain_token_ids import Ids
from plugins.protocols.base import Example, Parsed, SynthesisProtocol
from plugins.protocols.matching_option import matching_option, unquoted
from plugins.tokenizers import opening_ids
from schemas.errors import ConfigError
from schemas.records import Document, InstructionPair
from schemas.synthesis_config import SynthesisConfig

_THINK = "Let's think step by step."
_THEREFORE = "Therefore, the answer is"
_CONCLUSION = re.compile(r"\btherefore,? the answer is(?![\w'’-])\s*:?", re.IGNORECASE)
_TAG = re.compile(r"</?CON>|</?s>|<QUE>|<ANS>|</END>")
_OPTIONS = re.compile(r"(.*)\n[^\S\n]*Options:[^\S\n]*\n(.*)", re.DOTALL)
_ITEM = re.compile(r"- |[ \t]")


class InstructionSynthesizerProtocol(SynthesisProtocol):
    """Prompts instruction-pretrain/instruction-synthesizer, or a model tuned on the same format."""

    def __init__(self, tokenizer: Any, config: SynthesisConfig, *, constrain_json: bool = False):
        super().__init__(tokenizer, config, constrain_json=constrain_json)
        opening, eos = opening_ids(tokenizer, add_bos=True), tokenizer.eos_token_id
        if not opening or eos is None:
            raise ConfigError(
                f"synthesis.model {config.model!r} lacks a BOS or EOS token, which protocol "
                "'instruction_synthesizer' needs around each document. Set synthesis.protocol: chat instead."
            )
        self._opening, self._eos = np.array(opening, dtype=np.int32), np.array([eos], dtype=np.int32)

    def prompt(self, examples: Sequence[Example], document: Document) -> Ids:
        pieces = []
        for example in examples:
            text = prompt_text(example.document.text) + answer_text(example.pairs)
            pieces += [self._opening, self.plain_ids(text), self._eos]
        return np.concatenate([*pieces, self._opening, self.plain_ids(prompt_text(document.text))])

    def parse(self, text: str) -> Parsed:
        return parse_answer(text)


def prompt_text(context: str) -> str:
    """Text of a prompt between BOS and the answer."""
    return f" <CON> {context} </CON>\n\n"


def answer_text(pairs: Iterable[InstructionPair]) -> str:
    """Text of an answer between the prompt and EOS."""
    return "\n\n".join(map(_write, pairs))


def parse_answer(text: str) -> Parsed:
    """Parse the pairs in an answer. A bad piece does not affect other pieces.

    The answer ends where the model begins another document, since later pieces are not about this one. Of
    equal questions the first is kept; a request for reasoning makes a question different.
    """
    *pieces, rest = text.strip().split("</END>")
    own = next((at for at, piece in enumerate(pieces) if "<CON>" in piece), len(pieces))
    read = [
        (" ".join(piece.partition("<ANS>")[0].casefold().split()), _read(piece)) for piece in pieces[:own]
    ]
    good = [(question, pair) for question, pair in read if pair is not None]
    pairs: dict[str, InstructionPair] = {}
    for question, pair in good:
        pairs.setdefault(question, pair)
    return Parsed(
        pairs=tuple(pairs.values()),
        num_bad_pieces=len(pieces) - len(good) + (rest.strip() not in ("", "</s>")),
        num_repeated=len(good) - len(pairs),
    )


def is_writable(pair: InstructionPair) -> bool:
    """True if the format can hold the pair: it is not empty, has no tag, and answers with an option."""
    parsed = parse_answer(_write(pair))
    return len(parsed.pairs) == 1 and not parsed.num_bad_pieces


def _write(pair: InstructionPair) -> str:
    question = pair.instruction
    if pair.options:
        items = (option.replace("\n", "\n  ") for option in pair.options)
        question += "\nOptions:\n" + "\n".join(f"- {item}" for item in items)
    answer = pair.response
    if pair.rationale:
        question += f"\n{_THINK}"
        answer = f"{pair.rationale}\n{_THEREFORE} {answer}"
    return f"<QUE> {question} <ANS> {answer} </END>"


def _read(piece: str) -> InstructionPair | None:
    piece = piece.strip()
    if _TAG.findall(piece) != ["<QUE>", "<ANS>"] or not piece.startswith("<QUE>"):
        return None
    question, answer = (part.strip() for part in piece.removeprefix("<QUE>").split("<ANS>"))
    rationale = ""
    if question.endswith(_THINK):
        question = question.removesuffix(_THINK).strip()
        if conclusions := [*_CONCLUSION.finditer(answer)]:
            start, end = conclusions[-1].span()
            rationale, answer = answer[:start].strip(), unquoted(answer[end:])
    question, options = _split_options(question)
    if options:
        answer = matching_option(answer, options)
    if not question or not answer:
        return None
    return InstructionPair(instruction=question, response=answer, options=options, rationale=rationale)


def _split_options(question: str) -> tuple[str, tuple[str, ...]]:
    """Split a question from its options. Indented lines below an option belong to it."""
    found = _OPTIONS.fullmatch(question)
    lines = [line for line in textwrap.dedent(found[2]).split("\n") if line.strip()] if found else []
    if not found or not lines[0].startswith("- ") or not all(map(_ITEM.match, lines)):
        return question, ()
    items = "\n".join(lines).removeprefix("- ").split("\n- ")
    options = tuple("\n".join(map(str.strip, item.split("\n"))) for item in items)
    return (found[1].strip(), options) if all(options) else (question, ())
