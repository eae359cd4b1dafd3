"""Terminal control sequences in texts: every command prints them escaped."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
from rich.panel import Panel
from rich.text import Text

from plugins.commands.main import run
from plugins.console import Console
from schemas.errors import InputError
from schemas.terminal import CleanStream, shown

CLIPBOARD = "\x1b]52;c;ZXZpbA==\x07"
COMMANDS = {
    "clipboard": CLIPBOARD,
    "title": "\x1b]0;t\x1b\\",
    "a line up, erased": "\x1b[1A\x1b[2K",
    "C1": "\x9d52;c;ZQ==\x9c",
    "over the line's beginning": "bad\rgood",
    "backspaces": "bad\b\b\b",
}


def is_harmless(text: str) -> bool:
    return all(character in "\n\t" or character.isprintable() for character in text)


@pytest.mark.parametrize("text", COMMANDS.values(), ids=COMMANDS)
def test_what_a_command_prints_or_says_of_an_error_is_shown(
    text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def command(arguments: list[str]) -> int:
        print(f"answer {text}")
        Console(highlight=False, force_terminal=True, color_system=None).print(Panel(Text(f"row {text}")))
        print(json.dumps({"id": text}, ensure_ascii=False))
        raise InputError(f"{text}: no such file")

    assert run(command, []) == 1
    out, err = capsys.readouterr()
    assert is_harmless(out) and is_harmless(err)
    assert json.loads(out.splitlines()[-1]) == {"id": text}
    assert shown(f"answer {text}") in out


def test_the_command_before_has_no_part_in_it(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stdout, sys.stderr
    run(lambda arguments: 0, [])
    assert (sys.stdout, sys.stderr) == before


def test_text_is_what_it_was() -> None:
    text = "naïve\t日本語\r\n\u200fעברית\n"
    assert shown(text) == text
    assert shown("\r 50%") == "\r 50%"  # the form of progress bars
    assert shown(CLIPBOARD) == r"\u001b]52;c;ZXZpbA==\u0007"


def test_a_stream_is_otherwise_the_one_behind_it(tmp_path: Path) -> None:
    inner = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    stream = CleanStream(inner)
    assert stream.write("a\x1b") == 2
    stream.writelines(["b", "c\x07"])
    assert (stream.encoding, stream.isatty()) == ("ascii", False)
    inner.flush()
    assert inner.buffer.getvalue() == rb"a\u001bbc\u0007"  # type: ignore[attr-defined]
