"""Scripts for shells: bash itself completes with them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from plugins.commands import COMMANDS
from plugins.commands.main import main
from plugins.registry import Registry
from schemas.errors import ConfigError

COMPLETE = """
source ./script
COMP_WORDS=(tutelage "$@"); COMP_CWORD=$#; COMP_LINE="tutelage $*"; COMP_POINT=${#COMP_LINE}
_shtab_tutelage
printf '%s\\n' "${COMPREPLY[@]}"
"""


def script(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["completion", shell]) == 0
    return capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("bash"), reason="no bash here")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["co"], ["completion", "corpus"]),
        (["corpus", "w"], ["watch", "withdraw"]),
        (["corpus", "build", "--re"], ["--reread", "--retry-empty"]),
        (["corpus", "export-pairs", "corpus", "--format", "m"], ["messages"]),
        (["train", "my"], ["my.yaml"]),
        (["completion", ""], ["bash", "zsh"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_bash_completes(
    words: list[str], expected: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "script").write_text(script("bash", capsys))
    (tmp_path / "my.yaml").touch()
    done = subprocess.run(
        ["bash", "-c", COMPLETE, "bash", *words], cwd=tmp_path, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.split()) == expected


def test_the_script_for_zsh_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    text = script("zsh", capsys)
    assert text.startswith("#compdef tutelage\n")
    assert [name for name in COMMANDS.names() if f"    {name}:'" not in text] == []


def test_a_command_without_its_packages_is_completed_by_name_and_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    load = Registry.load

    def without_trainer(registry: Registry, name: str) -> object:
        if name == "train":
            raise ConfigError("command 'train' needs a package.")
        return load(registry, name)

    monkeypatch.setattr(Registry, "load", without_trainer)
    assert main(["completion", "bash"]) == 0
    out, err = capsys.readouterr()
    assert err == "Options of `tutelage train` are left out: command 'train' needs a package.\n"
    assert "_shtab_tutelage_train_option_strings=(-h --help)" in out
