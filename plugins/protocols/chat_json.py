"""Protocol `chat`: any instruct model through its own chat template, with pairs as JSON objects.

The chain's earlier documents are earlier turns of the conversation:

    system    the task
    user      text of the worked example          assistant   its pairs, one JSON object a line
    user      text of an earlier document         assistant   its pairs
    user      text of the current document        assistant   {"question": "      ◄── generated on

With a JSON schema there is no prefilled beginning, and an answer is one object,
`{"pairs": [{"question": …, "answer": …}, …]}`. A template that opens a block of thoughts gets no prefilled
beginning either, nor does a model that is to think, or a server that takes messages. Without a schema, one
more turn asks again after an unreadable answer. Every round begins with the tokens of the round before, so
that a prefix cache serves them. If the template has no system turn, the task stands at the head of the first
user turn.

The template is rendered with placeholders and tokenised piece by piece: pieces of the template may hold
special tokens, pieces of documents never do. For a server that takes messages, the turns are the messages,
and the token ids only count them.

A prompt file may have kinds of tasks. A hash of the document's text orders them; the first generation asks
for the first `kinds_per_document` of them, each further generation for the next ones.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydantic

from plugins.plain_token_ids import Ids
from plugins.protocols.base import Example, Messages, Parsed, SynthesisProtocol
from plugins.protocols.chat_template import PLACEHOLDER, ChatTemplate
from plugins.protocols.json_pairs import pairs_schema, read_pairs, write_lines, write_object
from plugins.protocols.thoughts import without_thoughts
from schemas.config import Section, load_config
from schemas.content_hash import digest
from schemas.errors import ConfigError
from schemas.records import Document, InstructionPair
from schemas.synthesis_config import SynthesisConfig

_BUILT_IN: dict[str, str | Path] = {
    "small": Path(__file__).with_name("chat_prompt.yaml"),
    "strong": Path(__file__).with_name("strong_chat_prompt.yaml"),
}
"""Built-in prompt files by name."""
_TURN_TOKENS = 8
"""Tokens that a server's template may put around the content of a message."""
_ANEW = re.compile(r"\s*(?:```|\[?\s*\{\s*[\"'“”„‘])")
"""Beginning of an answer that does not continue the prefilled beginning."""


class PromptPair(Section):
    """A pair of the worked example.

    Attributes:
        question: The question.
        answer: Its answer.
        options: Options of the question, of which the answer is one.
        reasoning: The reasoning before the answer.
    """

    question: str
    answer: str
    options: tuple[str, ...] = ()
    reasoning: str = ""


class PromptExample(Section):
    """The worked example.

    Attributes:
        text: A document.
        pairs: Pairs about it.
    """

    text: str
    pairs: tuple[PromptPair, ...]


class PromptFormat(Section):
    """The words that replace `{format}` in `system`.

    Attributes:
        lines: For answers without a JSON schema: one JSON object a line.
        object: For answers with a JSON schema: one JSON object.
    """

    lines: str = ""
    object: str = ""


class ChatPrompt(Section):
    """The prompt file of protocol chat; chat_prompt.yaml is the built-in one.

    Attributes:
        system: The task, as the system turn; null has no system turn.
        format: The words that replace `{format}` in `system`.
        request: The user turn about a document, with `{text}` where the document goes, and `{kinds}` where
            its kinds of tasks go, one a line.
        kinds: Kinds of tasks in words, such as "a summary in one sentence". Each document gets some of them,
            so that a corpus has all.
        kinds_per_document: Kinds of one generation.
        example: One worked example, shown before the first document of a chain; null shows none.
        prefill: Beginning of every answer without a JSON schema; it keeps small models in the format.
        repair: User turn after an unreadable answer without a JSON schema, sent once; null sends none.
        max_pairs: Maximum pairs of one document that the JSON schema allows.
    """

    system: str | None = None
    format: PromptFormat = PromptFormat()
    request: str
    example: PromptExample | None = None
    prefill: str = ""
    repair: str | None = None
    max_pairs: int = pydantic.Field(default=10, ge=1)
    kinds: tuple[str, ...] = ()
    kinds_per_document: int = pydantic.Field(default=4, ge=1)

    @pydantic.field_validator("request")
    @classmethod
    def _request_holds_the_text(cls, value: str) -> str:
        if value.count("{text}") != 1:
            raise ValueError(f"request must hold {{text}} exactly once, found {value.count('{text}')} times")
        return value

    @pydantic.model_validator(mode="after")
    def _kinds_have_a_place(self) -> ChatPrompt:
        found = self.request.count("{kinds}")
        if found != bool(self.kinds):
            expected = "once, for its kinds" if self.kinds else "never, because `kinds` is empty"
            raise ValueError(f"request holds {{kinds}} {found} times; expected {expected}")
        if self.kinds and self.kinds_per_document > len(self.kinds):
            raise ValueError(
                f"kinds_per_document {self.kinds_per_document} is more than the {len(self.kinds)} kinds"
            )
        return self


class ChatProtocol(SynthesisProtocol):
    """Prompts an instruct model through its chat template and parses JSON objects in its answer."""

    has_messages = True

    def __init__(
        self,
        tokenizer: Any,
        config: SynthesisConfig,
        *,
        constrain_json: bool = False,
        as_messages: bool = False,
    ):
        super().__init__(tokenizer, config, constrain_json=constrain_json, as_messages=as_messages)
        self._sample = 0
        file = config.prompt_file or "small"
        if file not in _BUILT_IN and not Path(file).exists():
            known = ", ".join(_BUILT_IN)
            raise ConfigError(f"synthesis.prompt_file: {file}: no such file, nor a built-in prompt: {known}.")
        self._prompt = prompt = load_config(ChatPrompt, _BUILT_IN.get(file, file))
        self._write = write_object if constrain_json else write_lines
        is_free = not (constrain_json or as_messages or config.thinking_tokens)
        self._prefill = prompt.prefill if is_free else ""
        self.json_schema = pairs_schema(prompt.max_pairs) if constrain_json else ""
        wording = prompt.format.object if constrain_json else prompt.format.lines
        self._system = (prompt.system or "").replace("{format}", wording).strip()
        if prompt.example is not None:
            self.worked_pairs = tuple(
                InstructionPair(
                    instruction=pair.question,
                    response=pair.answer,
                    options=pair.options,
                    rationale=pair.reasoning,
                )
                for pair in prompt.example.pairs
            )
        self._has_system_turn = True
        if as_messages:
            return
        self._template = ChatTemplate(
            tokenizer,
            config.model,
            variables=config.chat_template_kwargs,
            keep_thought=config.thinking_tokens > 0,
        )
        self._has_system_turn = self._template.takes(["system", "user", "assistant", "user"])
        self._template_ids: dict[str, Ids] = {}
        self._template_backend = copy.deepcopy(tokenizer.backend_tokenizer)  # threads share the original
        self._template_backend.encode_special_tokens = False
        prompt_end = PLACEHOLDER.split(self._template.render(["user"]))[-1]
        self.opens_thought = without_thoughts(prompt_end)[1]
        if self.opens_thought:
            self._prefill = ""  # it would be part of the thought

    def prompt(self, examples: Sequence[Example], document: Document) -> Ids:
        return self._ids(self._turns(examples, document))

    def repair(self, examples: Sequence[Example], document: Document, answer: str) -> Ids | None:
        if self._prompt.repair is None or self.constrain_json:
            return None
        return self._ids(self._turns(examples, document, answer))

    def messages(
        self, examples: Sequence[Example], document: Document, *, unreadable: str | None = None
    ) -> Messages:
        return tuple(self._turns(examples, document, unreadable)) if self.as_messages else ()

    def for_sample(self, sample: int) -> ChatProtocol:
        if not sample or not self._prompt.kinds:
            return self
        other = copy.copy(self)  # shares the cache of token ids
        other._sample = sample
        return other

    def _turns(
        self, examples: Sequence[Example], document: Document, unreadable: str | None = None
    ) -> list[tuple[str, str]]:
        """Role and content of each turn, with the turns of `repair` after an unreadable answer."""
        shown = [(example.document.text, example.pairs) for example in examples]
        if self._prompt.example is not None:
            shown.insert(0, (self._prompt.example.text, self.worked_pairs))
        turns: list[tuple[str, str]] = []
        for text, pairs in shown:
            turns += [("user", self._request(text, 0)), ("assistant", self._write(pairs))]
        turns.append(("user", self._request(document.text, self._sample)))
        if unreadable is not None:
            turns.append(("assistant", self._prefill + self.said(unreadable)[0]))
            turns.append(("user", self._prompt.repair or ""))
        if self._system and self._has_system_turn:
            turns.insert(0, ("system", self._system))
        elif self._system:
            turns[0] = ("user", f"{self._system}\n\n{turns[0][1]}")
        return turns

    def _request(self, text: str, sample: int) -> str:
        """The user turn about a text, in the n-th generation about it."""
        before, after = self._prompt.request.split("{text}")
        if kinds := self._prompt.kinds:
            size = self._prompt.kinds_per_document
            ordered = sorted(range(len(kinds)), key=lambda at: digest(text, str(at)))
            chosen = sorted(ordered[(sample * size + at) % len(kinds)] for at in range(size))
            listed = "\n".join(f"- {kinds[at]}" for at in chosen)
            before, after = before.replace("{kinds}", listed), after.replace("{kinds}", listed)
        return f"{before}{text}{after}"

    def _ids(self, turns: Sequence[tuple[str, str]]) -> Ids:
        if self.as_messages:
            around = np.zeros(_TURN_TOKENS, dtype=np.int32)
            return np.concatenate([piece for _, text in turns for piece in (around, self.plain_ids(text))])
        # template, index of a turn, template, index, ..., template
        pieces = PLACEHOLDER.split(self._template.render([role for role, _ in turns]))
        ids = [
            self.plain_ids(turns[int(piece)][1]) if position % 2 else self._ids_of_template(piece)
            for position, piece in enumerate(pieces)
        ]
        return np.concatenate([*ids, self.plain_ids(self._prefill)])

    def parse(self, text: str) -> Parsed:
        begins_anew = _ANEW.match(text) is not None
        found = list(read_pairs(text if begins_anew else self._prefill + text))
        return Parsed.of([pair for pair in found if pair is not None], num_bad_pieces=found.count(None))

    def _ids_of_template(self, piece: str) -> Ids:
        if piece not in self._template_ids:
            ids = self._template_backend.encode(piece, add_special_tokens=False).ids
            self._template_ids[piece] = np.array(ids, dtype=np.int32)
        return self._template_ids[piece]
