"""The command line: output and exit statuses."""

from __future__ import annotations

import pytest

from plugins.commands import COMMANDS
from plugins.commands.main import main


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert [name for name in COMMANDS.names() if f"\n  {name} " not in shown] == []


def test_no_command_prints_the_help_and_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert capsys.readouterr().out.startswith("usage: tutelage COMMAND")


def test_unknown_command_is_answered_with_the_nearest_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["corpsu", "build"]) == 2
    assert capsys.readouterr().err == (
        "ConfigError: command 'corpsu' is unknown. Did you mean 'corpus'? "
        f"Available: {', '.join(COMMANDS.names())}.\n"
    )


def test_missing_configuration_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["corpus", "build", "nowhere.yaml"]) == 2
    assert capsys.readouterr().err == (
        "ConfigError: nowhere.yaml: no such file. Name a YAML configuration.\n"
    )


def test_missing_corpus_is_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["corpus", "show", "nowhere"]) == 1
    assert capsys.readouterr().err == (
        "CorpusError: nowhere: holds no published corpus (no manifest/*.json). "
        "Build one with `tutelage corpus build`.\n"
    )
