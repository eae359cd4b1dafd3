"""Rendering of a model's chat template, with placeholders for the contents of the turns.

Templates can read the clock (`strftime_now`, `date_string`). Here the time is always the first moment of
2026, in English and without a time zone, so the same turns give the same prompt on every day and machine, and
the journal finds its answer. Contents are text, or lists of parts if a template does not accept text.

If a template opens a block of thoughts for the answer, `render` closes it, because thoughts would use up the
tokens of the pairs; with `keep_thought` it leaves the block open.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping, Sequence
from typing import Any

from schemas.errors import ConfigError

PLACEHOLDER = re.compile(r"xTUTELAGEx(\d+)x")
_CHANGED = re.compile(r"tutelage\D?(\d+)", re.IGNORECASE)
"""A placeholder after a template has changed its letters."""
_NOW = datetime.datetime(2026, 1, 1)
_ENGLISH = {
    **{"%a": "Thu", "%A": "Thursday", "%b": "Jan", "%h": "Jan", "%B": "January", "%p": "AM", "%P": "am"},
    **{"%c": "Thu Jan  1 00:00:00 2026", "%x": "01/01/26", "%X": "00:00:00", "%r": "12:00:00 AM"},
    **{"%s": "1767225600", "%Z": "", "%z": ""},
}
"""Directives of `strftime` that depend on the machine's locale or time zone."""
_LEAST = ("user", "assistant", "user")
_OPEN_THOUGHT = re.compile(r"<(think|thinking|thought|reasoning)>\s*$")


class ChatTemplate:
    """Renders turns by role.

    Args:
        tokenizer: The tokenizer with the template.
        model: Name of the model in messages.
        template: Another template, or the name of one of several; None takes the tokenizer's own.
        refused_by: Beginning of messages about a template that refuses a turn, instead of the model's name.
        variables: Further variables of the template, such as enable_thinking.
        keep_thought: True leaves a block of thoughts open that the template opens for the answer.

    Attributes:
        closed_thought: Name of the block of thoughts that the template opens and `render` closes, or None.

    Raises:
        ConfigError: There is no template, or it does not accept turns of user and assistant.
    """

    def __init__(
        self,
        tokenizer: Any,
        model: str | None,
        *,
        template: str | None = None,
        refused_by: str = "",
        variables: Mapping[str, Any] | None = None,
        keep_thought: bool = False,
    ):
        named = template or tokenizer.chat_template
        self._template = template
        self._refused_by = refused_by
        self._variables = dict(variables or {})
        self._keep_thought = keep_thought
        if not named:
            raise ConfigError(
                f"synthesis.model {model!r} has no chat template, which protocol 'chat' needs. "
                "Choose an instruct model, or set synthesis.protocol: instruction_synthesizer for the tag "
                "format."
            )
        if isinstance(named, dict) and "default" not in named:
            raise ConfigError(
                f"synthesis.model {model!r} has several chat templates, but none named 'default': "
                f"{', '.join(sorted(named))}. Name one of them 'default' in the tokenizer's files."
            )
        self._tokenizer = tokenizer
        self._model = model
        self._in_parts = False
        self.closed_thought: str | None = None
        if not self.takes(_LEAST):
            self._in_parts = True
            self._in_parts = self.takes(_LEAST)
        self.render(_LEAST)

    def takes(self, roles: Sequence[str]) -> bool:
        """True if the template shows the content of each of these turns."""
        try:
            self.render(roles)
        except ConfigError:
            return False
        return True

    def render(self, roles: Sequence[str], *, around: str = "") -> str:
        """Render turns up to the answer, with a placeholder for each content, between two texts `around`.

        Raises:
            ConfigError: The template fails, or it refuses, omits or changes one of the turns.
        """
        contents: list[Any] = [f"{around}xTUTELAGEx{index}x{around}" for index in range(len(roles))]
        if self._in_parts:
            contents = [[{"type": "text", "text": content}] for content in contents]
        turns = [{"role": role, "content": content} for role, content in zip(roles, contents, strict=True)]
        try:
            text = str(
                self._tokenizer.apply_chat_template(
                    turns,
                    chat_template=self._template,
                    tokenize=False,
                    add_generation_prompt=True,
                    date_string=_strftime_now("%d %b %Y"),
                    strftime_now=_strftime_now,
                    **self._variables,
                )
            )
        except Exception as error:  # a template's expressions can raise any exception
            raise self._refusal(roles, _said_of(error), f" ({type(error).__name__}: {error})") from error
        if len({*PLACEHOLDER.findall(text)}) < len(roles):
            is_changed = len({*_CHANGED.findall(text)}) >= len(roles)
            raise self._refusal(roles, f"{'changes' if is_changed else 'leaves out'} text of")
        opened = None if self._keep_thought else _OPEN_THOUGHT.search(text)
        self.closed_thought = opened[1] if opened else None
        if opened:
            text += f"\n</{opened[1]}>\n\n"
        return text

    def _refusal(self, roles: Sequence[str], what: str, why: str = "") -> ConfigError:
        kinds = " and ".join(dict.fromkeys(roles))
        if self._refused_by:
            return ConfigError(f"{self._refused_by} {what} turns of {kinds}{why}.")
        return ConfigError(
            f"synthesis.model {self._model!r} has a chat template that {what} turns of {kinds}, which "
            f"protocol 'chat' needs{why}. Choose another instruct model."
        )


def _said_of(error: Exception) -> str:
    """Verb for a template's error: raised by the template itself, or by a fault in its Jinja code."""
    from jinja2 import TemplateError

    return "refuses" if type(error) is TemplateError else "is broken, and cannot render"


def _strftime_now(form: str) -> str:
    return _NOW.strftime(re.sub("%.", lambda found: _ENGLISH.get(found[0], found[0]), form))
