"""`tutelage chat` asks through the template, or continues the text."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from trainer import chat

ROOT = Path(__file__).resolve().parents[2]
TEMPLATE = "{% for m in messages %}<s>{{ m['role'] }}: {{ m['content'] }}</s>{% endfor %}<s>assistant:"


@pytest.fixture
def templated_model(tiny_model: str, tmp_path: Path) -> str:
    """The tiny model with a chat template."""
    from transformers import AutoTokenizer

    folder = str(tmp_path / "templated")
    shutil.copytree(tiny_model, folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(folder)
    return folder


def test_an_answer_is_printed_and_equals_greedy_generation(
    tiny_model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert chat.main(["--model", tiny_model, "--prompt", "the cell", "--max-new-tokens", "6"]) == 0
    printed = capsys.readouterr().out
    asked = chat.Chat(tiny_model, max_new_tokens=6, raw=True)
    ids = asked.model.generate(
        **{
            k: v for k, v in asked.tokenizer("the cell", return_tensors="pt").items() if k != "token_type_ids"
        },
        max_new_tokens=6,
        do_sample=False,
        pad_token_id=1,
    )
    continuation = ids[0, asked.tokenizer("the cell", return_tensors="pt").input_ids.shape[1] :]
    assert printed == asked.tokenizer.decode(continuation, skip_special_tokens=True) + "\n"


def test_a_template_is_used_and_the_conversation_remembered(templated_model: str) -> None:
    asked = chat.Chat(templated_model, max_new_tokens=3, raw=False)
    assert asked.templated
    first = asked.answer("the dose")
    asked.answer("the drug")
    assert [message["role"] for message in asked.messages] == ["user", "assistant"] * 2
    assert asked.messages[1]["content"] == first
    ids = asked.tokenizer.apply_chat_template(asked.messages[:1], add_generation_prompt=True)
    assert ids[0] == asked.tokenizer.bos_token_id  # a special token, not its letters


def test_raw_ignores_the_template(templated_model: str) -> None:
    asked = chat.Chat(templated_model, max_new_tokens=1, raw=True)
    assert not asked.templated
    asked.answer("the dose")
    assert asked.messages == []


def test_an_error_of_the_model_is_told(
    tiny_model: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import LlamaForCausalLM

    def fail(self: object, **arguments: object) -> None:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(LlamaForCausalLM, "generate", fail)
    assert chat.main(["--model", tiny_model, "--prompt", "the"]) == 1
    assert "TutelageError: the model could not answer: out of memory" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--model", "/nowhere", "--prompt", "x"],
            "--model '/nowhere': no such directory. Give a Hugging Face directory or a hub name",
        ),
        (
            ["--model", "x", "--prompt", "x", "--max-new-tokens", "0"],
            "--max-new-tokens is 0; expected at least 1",
        ),
        (["--model", "x"], "--prompt is missing, and stdin is no terminal"),
    ],
)
def test_wrong_use_exits_with_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert chat.main(arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_help_is_quick_and_needs_no_torch() -> None:
    script = "import sys; from trainer import chat, train; print({'torch', 'composer'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, timeout=30
    )
    assert done.stdout.strip() == "set()", done.stderr
