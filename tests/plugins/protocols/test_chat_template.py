"""Chat templates of real models: with parts, names, dates, thoughts and errors."""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.store.journal import request_key
from plugins.protocols.chat_json import ChatProtocol
from plugins.protocols.chat_template import ChatTemplate
from plugins.synthesizers.generator import GenerationRequest
from plugins.tokenizers import load_tokenizer
from schemas.errors import ConfigError
from schemas.records import Document
from schemas.synthesis_config import SynthesisConfig

TURNS = "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }} {% endfor %}[assistant]"


@pytest.fixture
def template_of(make_tokenizer: Callable[..., str]) -> Callable[[str], ChatTemplate]:
    """The chat template of a tokenizer saved with the given template."""
    return lambda text: ChatTemplate(load_tokenizer(make_tokenizer(text)), "some/model")


def named(folder: str, templates: list[dict[str, str]]) -> Any:
    """The tokenizer of a folder, with named templates."""
    path = Path(folder) / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "chat_template": templates}))
    (Path(folder) / "chat_template.jinja").unlink(missing_ok=True)
    return load_tokenizer(folder)


@pytest.mark.parametrize(
    ("text", "roles", "expected"),
    [
        pytest.param(
            "{% for m in messages %}[{{ m['role'] }}] {% for p in m['content'] %}{{ p['text'] }} "
            "{% endfor %}{% endfor %}[assistant]",
            ("system", "user", "assistant"),
            "[system] xTUTELAGEx0x [user] xTUTELAGEx1x [assistant] xTUTELAGEx2x [assistant]",
            id="parts",
        ),
        pytest.param(
            "{% for m in messages %}{% if m['content'] is string %}{{ m['content'] }} {% else %}"
            "{{ m['content'][0]['text'] }}!{% endif %}{% endfor %}",
            ("user",),
            "xTUTELAGEx0x ",
            id="text or parts",
        ),
        pytest.param(
            "{% for m in messages %}{{ '' + m['content'][0]['text'] }} {% endfor %}",
            ("user",),
            "xTUTELAGEx0x ",
            id="parts, an error for text",
        ),
        pytest.param(
            TURNS + "{{ '<think>\n' }}",
            ("user",),
            "[user] xTUTELAGEx0x [assistant]<think>\n\n</think>\n\n",
            id="r1",
        ),
        pytest.param(
            TURNS + "{{ '<think>\n\n</think>\n\n' }}",
            ("user",),
            "[user] xTUTELAGEx0x [assistant]<think>\n\n</think>\n\n",
            id="thought over",
        ),
        pytest.param(
            "{% for m in messages %}{{ m['content'].split('</think>')[-1] }} {% endfor %}"
            "{% if enable_thinking is defined %}<think>{% endif %}",
            ("user",),
            "xTUTELAGEx0x ",
            id="qwen",
        ),
    ],
)
def test_templates_are_rendered(
    template_of: Callable[[str], ChatTemplate], text: str, roles: tuple[str, ...], expected: str
) -> None:
    assert template_of(text).render(roles) == expected


def test_a_template_that_refuses_a_system_turn_and_wants_roles_to_alternate_is_taken(
    make_tokenizer: Callable[..., str],
) -> None:
    gemma = (
        "{% if messages[0]['role'] == 'system' %}{{ raise_exception('No system role') }}{% endif %}"
        "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
        "{{ raise_exception('Roles must alternate') }}{% endif %}[{{ m['role'] }}] {{ m['content'] | trim }} "
        "{% endfor %}"
    )
    tokenizer = load_tokenizer(make_tokenizer(gemma, pad_token=None))
    protocol = ChatProtocol(tokenizer, SynthesisConfig(model="m"))
    document = Document.of("d", "The cell.", source="s")
    assert tokenizer.decode(protocol.prompt([], document)).startswith("[user] Write study")
    assert protocol.repair([], document, "no") is not None


def test_of_named_templates_the_default_is_taken(make_tokenizer: Callable[..., str]) -> None:
    templates = [{"name": "tool_use", "template": "no"}, {"name": "default", "template": TURNS}]
    template = ChatTemplate(named(make_tokenizer(), templates), "some/model")
    assert template.render(["user"]) == "[user] xTUTELAGEx0x [assistant]"


def test_named_templates_without_a_default_are_refused_by_name(make_tokenizer: Callable[..., str]) -> None:
    templates = [{"name": "rag", "template": TURNS}, {"name": "chat", "template": TURNS}]
    with pytest.raises(ConfigError) as caught:
        ChatTemplate(named(make_tokenizer(), templates), "some/model")
    assert str(caught.value) == (
        "synthesis.model 'some/model' has several chat templates, but none named 'default': chat, rag. "
        "Name one of them 'default' in the tokenizer's files."
    )


@pytest.mark.parametrize(
    ("text", "what", "why"),
    [
        ("{{ raise_exception('no') }}", "refuses", " (TemplateError: no)"),
        (
            "{{ messages.nothing.more }}",
            "is broken, and cannot render",
            " (UndefinedError: 'list object' has no attribute 'nothing')",
        ),
        (
            "{{ 1 + 'a' }}",
            "is broken, and cannot render",
            " (TypeError: unsupported operand type(s) for +: 'int' and 'str')",
        ),
        ("{{ 1 / 0 }}", "is broken, and cannot render", " (ZeroDivisionError: division by zero)"),
        (
            "{% for %}",
            "is broken, and cannot render",
            " (TemplateSyntaxError: Expected an expression, got 'end of statement block')",
        ),
        ("{{ messages[0]['content'] }}", "leaves out text of", ""),
        ("{% for m in messages %}{{ m['content'] | upper }} {% endfor %}", "changes text of", ""),
        ("{% for m in messages %}{{ m['content'].replace('x', '-') }} {% endfor %}", "changes text of", ""),
    ],
)
def test_a_template_that_cannot_be_rendered_is_refused_with_the_reason(
    template_of: Callable[[str], ChatTemplate], text: str, what: str, why: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        template_of(text)
    assert str(caught.value) == (
        f"synthesis.model 'some/model' has a chat template that {what} turns of user and assistant, which "
        f"protocol 'chat' needs{why}. Choose another instruct model."
    )


def test_a_turn_that_is_left_out_later_is_no_silent_loss(template_of: Callable[[str], ChatTemplate]) -> None:
    template = template_of("{% for m in messages[-3:] %}{{ m['content'] }} {% endfor %}")
    with pytest.raises(ConfigError, match="leaves out text of turns of user and assistant"):
        template.render(["user", "assistant", "user", "assistant", "user"])


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("%d %B %Y", "01 January 2026"),
        ("%d %b %Y", "01 Jan 2026"),
        ("%Y-%m-%d", "2026-01-01"),
        ("%A %a %h %j %U", "Thursday Thu Jan 001 00"),
        ("%H:%M:%S.%f %p %I%P", "00:00:00.000000 AM 12am"),
        ("%c|%x|%X|%r|%s|%Z|%z", "Thu Jan  1 00:00:00 2026|01/01/26|00:00:00|12:00:00 AM|1767225600||"),
        ("100%% %%B", "100% %B"),
    ],
)
def test_the_clock_of_a_template_stands_still(
    template_of: Callable[[str], ChatTemplate], form: str, expected: str
) -> None:
    text = "{% macro today() %}{{ strftime_now('" + form + "') }}{% endmacro %}{{ today() }}\n" + TURNS
    assert template_of(text).render(["user"]).split("\n")[0] == expected


@pytest.mark.parametrize(
    "today",
    [
        "{{ strftime_now('%d %B %Y %H:%M:%S %Z') }}",
        "{% if not date_string is defined %}{% set date_string = strftime_now('%d %b %Y') %}{% endif %}"
        "{{ date_string }}",
        "{{ date_string if date_string is defined else 'no date' }}",
    ],
)
def test_prompts_and_keys_of_the_journal_are_the_same_on_every_day_and_in_every_time_zone(
    make_tokenizer: Callable[..., str], monkeypatch: pytest.MonkeyPatch, today: str
) -> None:
    from transformers.utils import chat_template_utils

    folder = make_tokenizer("Today is " + today + ". " + TURNS)

    def asked() -> tuple[list[int], str]:
        protocol = ChatProtocol(load_tokenizer(folder), SynthesisConfig(model="m"))
        ids = protocol.prompt([], Document.of("d", "The cell.", source="s"))
        return ids.tolist(), request_key("m", GenerationRequest(prompt_ids=ids, max_new_tokens=8))

    class Later(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Later:
            return cls(2031, 7, 15, 23, 59, tzinfo=tz)

    before = asked()
    monkeypatch.setattr(chat_template_utils, "datetime", Later)
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    time.tzset()
    try:
        assert asked() == before
    finally:
        monkeypatch.undo()
        time.tzset()
