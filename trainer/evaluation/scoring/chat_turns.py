"""Chat turns for instruct models: the prompt of a row is a user turn, the option is the answer.

    <|im_start|>user⏎ Question: … Answer: <|im_end|>⏎<|im_start|>assistant⏎ yes
    └── head, kept ──┘ └─ prompt ─────┘ └── tail, kept ────────────────────┘ └ option

As in lm-evaluation-harness (`--apply_chat_template`), examples in a prompt stay in its one turn, the option
follows the template's opening of the answer directly, and only the template writes BOS. Truncation removes
the start of the prompt's own text, never a token of the template.

A rendered row is tokenised as one string, as in training. Special tokens that the template writes are
special; the same strings in a row are text. To tell them apart, a copy of the tokenizer's backend has a
second name for each special token, which no text contains.
"""

from __future__ import annotations

import copy
import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from plugins.protocols.chat_template import PLACEHOLDER, ChatTemplate
from plugins.tasks.rows import ChoiceRow, Row, TextRow
from schemas.content_hash import digest
from schemas.errors import ConfigError, unknown_name

_DIGEST_BYTES = 8
_ANSWERED = ("user", "assistant", "user")
_SHOWN_CHARACTERS = 60


@dataclasses.dataclass(frozen=True, slots=True)
class _Encoded:
    input_ids: Any
    offset_mapping: Any


class ChatTokenizer:
    """A tokenizer for rendered rows; other attributes are those of the model's own tokenizer."""

    def __init__(self, tokenizer: Any):
        from tokenizers import AddedToken

        self._tokenizer = tokenizer
        self._backend = copy.deepcopy(tokenizer.backend_tokenizer)  # the other one may be in use
        self._backend.encode_special_tokens = True
        self._names: dict[str, str] = {}
        self._ids: dict[int, int] = {}
        self.end_of_turn_ids: frozenset[int] = frozenset()
        self.frame = "the chat template"  # name of the text around a row, for messages
        for token_id, token in self._backend.get_added_tokens_decoder().items():
            if token.special:
                name = f"\ue000{token_id}\ue001"
                flags = {each: getattr(token, each) for each in ("lstrip", "rstrip", "single_word")}
                self._backend.add_tokens([AddedToken(name, normalized=False, special=False, **flags)])
                self._names[token.content] = name
                self._ids[self._backend.token_to_id(name)] = token_id
        longest_first = sorted(self._names, key=len, reverse=True)
        self._special = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")

    def special(self, template_text: str) -> str:
        """Replace the special tokens in text of a template by their second names."""
        return self._special.sub(lambda found: self._names[found[0]], template_text)

    def first_special_id(self, template_text: str) -> int | None:
        """The special token that text of a template begins with, blanks ignored; None for other text."""
        found = self._special.match(template_text.lstrip())
        return None if found is None else self._ids[self._backend.token_to_id(self._names[found[0]])]

    def __call__(self, texts: str | Sequence[str], **_: Any) -> _Encoded:
        """Token ids and offsets of one text or several, like a tokenizer of transformers."""
        batch = [texts] if isinstance(texts, str) else list(texts)
        encoded = self._backend.encode_batch(batch, add_special_tokens=False)
        ids = [[self._ids.get(token_id, token_id) for token_id in each.ids] for each in encoded]
        offsets = [each.offsets for each in encoded]
        return _Encoded(ids[0], offsets[0]) if isinstance(texts, str) else _Encoded(ids, offsets)

    def __len__(self) -> int:
        return len(self._tokenizer)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tokenizer, name)


class Chat:
    """Renders rows as conversations.

    Args:
        tokenizer: The model's, fast.
        template: True for the tokenizer's own chat template, the name of one of several, or a file of Jinja.
        system: Text of the system turn; None for no such turn. If the template has no system turn, the text
            is put at the head of the user turn.

    Raises:
        ConfigError: There is no such template, or it cannot render a user turn.
    """

    def __init__(self, tokenizer: Any, template: bool | str, *, system: str | None = None):
        source, name = _find(tokenizer, template)
        shown = f"the chat template {name!r} of {tokenizer.name_or_path!r}"
        rendered = ChatTemplate(tokenizer, tokenizer.name_or_path, template=source, refused_by=shown)
        self.tokenizer = ChatTokenizer(tokenizer)
        self.template = f"{name} {digest(source, size_bytes=_DIGEST_BYTES)}"
        self.system = system
        if system is not None:
            self.tokenizer.frame += " with its system text"
        self.has_system_turn = system is not None and rendered.takes(["system", "user"])
        contents = [system] if system is not None and self.has_system_turn else []
        roles = [*["system"] * len(contents), "user"]
        pieces = PLACEHOLDER.split(rendered.render(roles))
        self.closed_thought = rendered.closed_thought
        padded = PLACEHOLDER.split(rendered.render(roles, around=" "))
        for index, role in enumerate(roles):
            if pieces[1::2].count(str(index)) != 1:
                what = "the text of a user turn" if role == "user" else "the system text"
                raise ConfigError(f"{shown} writes {what} more than once; give another one.")
        self.opens_with_bos = bool(tokenizer.bos_token) and pieces[0].startswith(tokenizer.bos_token)
        parts = ["", ""]
        is_tail = False
        for at, piece in enumerate(pieces):
            if at % 2 == 0:
                parts[is_tail] += self.tokenizer.special(piece)
            elif int(piece) < len(contents):
                parts[is_tail] += contents[int(piece)]
            else:
                is_tail = True
                before, after = pieces[at - 1], pieces[at + 1]
                # If the template strips blanks around a turn, they are stripped from rows.
                self._lstrips = padded[at - 1] not in (f"{before} ", f" {before} ")
                self._rstrips = padded[at + 1] not in (f" {after}", f" {after} ")
        self._head, self._tail = parts
        if system is not None and not self.has_system_turn:
            before = f"{system}\n\n"
            before = before.lstrip() if self._lstrips else before
            self._lstrips &= not before  # the row no longer begins the turn
            self._head += before
        end = self.tokenizer.first_special_id(PLACEHOLDER.split(rendered.render(_ANSWERED))[4])
        self.tokenizer.end_of_turn_ids = frozenset() if end is None else frozenset([end])

    @property
    def summary(self) -> dict[str, Any]:
        """For results: name and digest of the template, the block of thoughts it closes, the system text."""
        where = "system turn" if self.has_system_turn else "head of the user turn"
        system = {} if self.system is None else {"system": self.system, "system_in": where}
        closed = {} if self.closed_thought is None else {"closes": f"<{self.closed_thought}>"}
        return {"template": self.template, **closed, **system}

    def as_turn(self, row: Row) -> Row:
        """The row with user turns as prompts; options follow without a separator. A held-out text stays."""
        if isinstance(row, TextRow):
            return row
        frame = len(self._head), len(self._tail)
        if isinstance(row, ChoiceRow):
            inputs = tuple(map(self._rendered, row.inputs))
            return dataclasses.replace(row, inputs=inputs, separator="", frame=frame)
        return dataclasses.replace(row, input=self._rendered(row.input), frame=frame)

    def _rendered(self, text: str) -> str:
        text = text.lstrip() if self._lstrips else text
        text = text.rstrip() if self._rstrips else text
        return f"{self._head}{text}{self._tail}"


def as_chat(tokenizer: Any, template: bool | str, system: str | None, *, add_bos: bool | None) -> Chat | None:
    """Make the Chat of a template; None without a template.

    Raises:
        ConfigError: There is no such template, or the options contradict each other.
    """
    if not template:
        if system is not None:
            raise ConfigError("a system text needs a chat template (--chat-template, chat_template in YAML).")
        return None
    chat = Chat(tokenizer, template, system=system)
    if chat.opens_with_bos and add_bos is False:
        raise ConfigError(f"chat template {chat.template} begins with BOS, which add_bos false leaves out.")
    return chat


def describe_chat(summary: Mapping[str, Any] | None) -> str:
    """`Chat.summary` in words."""
    if summary is None:
        return "no chat template"
    closed = f", whose {summary['closes']} is closed before the answer" if "closes" in summary else ""
    system = f", {summary['system_in']} {_shortened(summary['system'])}" if "system" in summary else ""
    return f"chat template {summary['template']}{closed}{system}"


def _shortened(text: str) -> str:
    more = f"… ({len(text):,} characters)" if len(text) > _SHOWN_CHARACTERS else ""
    return f"{text[:_SHOWN_CHARACTERS]!r}{more}"


def file_digest(template: bool | str | None) -> str | None:
    """Hash of the text of a template's file; None if `template` names no file."""
    if not isinstance(template, str) or not os.path.isfile(template):
        return None
    return digest(_read(template), size_bytes=_DIGEST_BYTES)


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (OSError, ValueError) as error:
        raise ConfigError(f"chat template {path!r} cannot be read: {error}") from error


def _find(tokenizer: Any, template: bool | str) -> tuple[str, str]:
    """The template's text and name."""
    own = tokenizer.chat_template
    named: dict[str, str] = own if isinstance(own, dict) else {"default": own} if own else {}
    wanted = "default" if template is True else str(template)
    if wanted in named:
        return named[wanted], wanted
    if template is not True and os.path.isfile(wanted):
        return _read(wanted), os.path.basename(wanted)
    if template is not True:
        raise ConfigError(f"{unknown_name('chat template', wanted, named)} Nor is it a file of Jinja.")
    have = f"has only {', '.join(sorted(named))}: name one" if named else "has none: give a file of Jinja"
    raise ConfigError(
        f"a chat template is asked for, but the tokenizer of {tokenizer.name_or_path!r} {have} "
        "(--chat-template, chat_template in YAML), or leave it out for a base model."
    )
