"""Any instruct model, through its own chat template; pairs come back as JSON objects.

The chain's earlier documents are earlier turns of the conversation:

    system    the task
    user      text of the worked example          assistant   its pairs, one JSON object a line
    user      text of an earlier document         assistant   its pairs
    user      text of the current document        assistant   {"question": "      ◄── generated on

so every later round begins with the tokens of the one before it and a prefix cache answers them. A
template without a system turn gets the task at the head of the first user turn.
The template is rendered with placeholders, and tokenised piece by piece: what the template says may
hold special tokens, what a document says never does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jinja2
import pydantic

from plugins.protocols.base import Example, Parsed, SynthesisProtocol, distinct_questions
from schemas.config import Section, load_config
from schemas.corpus_config import SynthesisConfig
from schemas.errors import ConfigError
from schemas.records import Document, InstructionPair, well_formed

_BUILT_IN = Path(__file__).with_name("chat_prompt.yaml")
_PLACEHOLDER = re.compile(r"xTUTELAGEx(\d+)x")
_STRING_MEMBER = re.compile(r'"(\w+)"\s*:\s*"((?:[^"\\]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*)"')
_ANEW = re.compile(r"\s*(?:```|\[?\s*\{\s*\")")
"""How an answer begins that does not go on from the prefill."""
_DATE = "01 Jan 2026"
_QUESTION_KEYS = ("question", "instruction", "prompt")
_ANSWER_KEYS = ("answer", "response", "output")


class PromptPair(Section):
    """A pair of the worked example."""

    question: str
    answer: str


class PromptExample(Section):
    """The worked example."""

    text: str
    pairs: tuple[PromptPair, ...]


class ChatPrompt(Section):
    """A prompt file; see chat_prompt.yaml for what each key does."""

    system: str | None = None
    request: str
    example: PromptExample | None = None
    prefill: str = ""

    @pydantic.field_validator("request")
    @classmethod
    def _request_holds_the_text(cls, value: str) -> str:
        if value.count("{text}") != 1:
            raise ValueError(f"request must hold {{text}} exactly once, found {value.count('{text}')} times")
        return value


class ChatProtocol(SynthesisProtocol):
    """Prompts an instruct model by its chat template and reads JSON objects out of its answer."""

    def __init__(self, tokenizer: Any, config: SynthesisConfig):
        super().__init__(tokenizer, config)
        if not tokenizer.chat_template:
            raise ConfigError(
                f"synthesis.model {config.model!r} has no chat template, which protocol 'chat' needs. "
                "Choose an instruct model, or synthesis.protocol instruction_synthesizer for the tag format."
            )
        self._prompt = load_config(ChatPrompt, config.prompt_file or _BUILT_IN)
        self._template_ids: dict[str, list[int]] = {}
        if not self._takes(["user", "assistant", "user"]):
            raise ConfigError(
                f"synthesis.model {config.model!r} has a chat template that refuses turns of user and "
                "assistant, which protocol 'chat' needs. Choose another instruct model."
            )
        self._has_system_turn = self._takes(["system", "user"])

    def prompt(self, examples: Sequence[Example], document: Document) -> list[int]:
        before, after = self._prompt.request.split("{text}")
        shown = [(example.document.text, example.pairs) for example in examples]
        if self._prompt.example is not None:
            worked = self._prompt.example.pairs
            pairs = tuple(InstructionPair(instruction=pair.question, response=pair.answer) for pair in worked)
            shown.insert(0, (self._prompt.example.text, pairs))
        turns: list[tuple[str, str]] = []
        for text, pairs in shown:
            turns += [("user", f"{before}{text}{after}"), ("assistant", write_pairs(pairs))]
        turns.append(("user", f"{before}{document.text}{after}"))
        if self._prompt.system and self._has_system_turn:
            turns.insert(0, ("system", self._prompt.system))
        elif self._prompt.system:
            turns[0] = ("user", f"{self._prompt.system}\n\n{turns[0][1]}")
        # template, index of a turn, template, index, ..., template
        pieces = _PLACEHOLDER.split(self._render([role for role, _ in turns]))
        ids: list[int] = []
        for position, piece in enumerate(pieces):
            ids += self.plain_ids(turns[int(piece)][1]) if position % 2 else self._ids_of_template(piece)
        return ids + self.plain_ids(self._prompt.prefill)

    def parse(self, text: str) -> Parsed:
        pairs: list[InstructionPair] = []
        num_bad = 0
        begins_anew = _ANEW.match(text) is not None
        for value in _json_objects(text if begins_anew else self._prompt.prefill + text):
            pair = _pair(value)
            if pair is None:
                num_bad += 1
            else:
                pairs.append(pair)
        return Parsed(pairs=distinct_questions(pairs), num_bad_pieces=num_bad)

    def _render(self, roles: Sequence[str]) -> str:
        """The chat template with a placeholder in each turn.

        Some templates write today's date into the prompt. A fixed one keeps prompts the same from day to
        day, so that the journal knows them again.
        """
        turns = [{"role": role, "content": f"xTUTELAGEx{index}x"} for index, role in enumerate(roles)]
        return str(
            self.tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=True, date_string=_DATE
            )
        )

    def _takes(self, roles: Sequence[str]) -> bool:
        """Whether the template has a place for the content of each of these turns."""
        try:
            found = _PLACEHOLDER.findall(self._render(roles))
        except jinja2.TemplateError:
            return False
        return set(found) == {str(index) for index in range(len(roles))}

    def _ids_of_template(self, piece: str) -> list[int]:
        if piece not in self._template_ids:
            self._template_ids[piece] = list(
                self.tokenizer(piece, add_special_tokens=False, split_special_tokens=False).input_ids
            )
        return self._template_ids[piece]


def write_pairs(pairs: Sequence[InstructionPair]) -> str:
    """Pairs as the model is meant to write them: one JSON object a line."""
    lines = []
    for pair in pairs:
        value: dict[str, Any] = {"question": pair.instruction}
        if pair.options:
            value["options"] = list(pair.options)
        if pair.rationale:
            value["reasoning"] = pair.rationale
        value["answer"] = pair.response
        lines.append(json.dumps(value, ensure_ascii=False))
    return "\n".join(lines)


def _json_objects(text: str) -> Iterator[Any]:
    """Every JSON object in a text, whatever stands around them; None for one that holds nothing of use.

    A wrapper such as `{"pairs": [...]}` or a list yields the objects inside it. An object that repeats
    its keys yields one object for each repetition, and one that never ends yields what it holds so far:
    small models run on like that.
    """
    decoder = json.JSONDecoder(strict=False, object_pairs_hook=_unfold)  # strict refuses raw line breaks
    at = text.find("{")
    while at >= 0:
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            end = text.find("\n{", at + 1) if "\n{" in text[at + 1 :] else len(text)
            strings = _STRING_MEMBER.findall(text[at:end])
            value = _unfold([(key, json.loads(f'"{string}"', strict=False)) for key, string in strings])
        yield from _flat(value)
        at = text.find("{", end)


def _unfold(members: list[tuple[str, Any]]) -> Any:
    """Members of a JSON object as a dict, or as a list of dicts where the first key comes again."""
    dicts: list[dict[str, Any]] = [{}]
    for key, value in members:
        if key in dicts[-1]:
            dicts.append({})
        dicts[-1][key] = value
    return dicts if len(dicts) > 1 else dicts[0]


def _flat(value: Any) -> Iterator[Any]:
    """The objects in a value that may wrap them in lists and objects."""
    waiting = [value]  # not by recursion: a model that runs on may nest deeper than Python's stack
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += reversed(value)
        elif isinstance(value, dict) and _first(value, _QUESTION_KEYS) is None:
            inner = [item for item in value.values() if isinstance(item, (list, dict))]
            if not inner:
                yield None
            waiting += reversed(inner)
        else:
            yield value


def _pair(value: Any) -> InstructionPair | None:
    if not isinstance(value, dict):
        return None
    question, answer = _first(value, _QUESTION_KEYS), _first(value, _ANSWER_KEYS)
    if question is None or answer is None:
        return None
    options = value.get("options")
    choices = tuple(well_formed(str(item).strip()) for item in options) if isinstance(options, list) else ()
    if choices and answer not in choices:
        choices = ()  # an answer that is none of its options makes them noise
    rationale = value.get("reasoning") or value.get("rationale")
    return InstructionPair(
        instruction=question,
        response=answer,
        options=choices,
        rationale=well_formed(rationale.strip()) if isinstance(rationale, str) else "",
    )


def _first(value: dict[str, Any], keys: Sequence[str]) -> str | None:
    for key in keys:
        found = value.get(key)
        if isinstance(found, str) and found.strip():
            return well_formed(found.strip())
    return None
