"""Command lines: options and overrides in any order, and misspelt words."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.arguments import make_parser
from plugins.commands.main import main
from plugins.commands.parser import Parser

ROOT = Path(__file__).resolve().parents[3]


def parse(*argv: str) -> dict[str, object]:
    return vars(make_parser("").parse_args(argv))


@pytest.mark.parametrize(
    "argv",
    [
        ("build", "corpus.yaml", "seed=3", "--reread", "corpus=gs://b/x=1", "--json"),
        ("build", "--reread", "corpus.yaml", "--json", "seed=3", "corpus=gs://b/x=1"),
        ("build", "--json", "--reread", "corpus.yaml", "seed=3", "corpus=gs://b/x=1"),
    ],
)
def test_options_and_overrides_come_in_any_order(argv: tuple[str, ...]) -> None:
    assert parse(*argv) == {
        "command": "build",
        "file": "corpus.yaml",
        "overrides": ["seed=3", "corpus=gs://b/x=1"],
        "reread": True,
        "retry_empty": False,
        "json": True,
        "quiet": False,
    }


def test_a_value_of_an_option_is_no_override_though_it_holds_an_equals_sign() -> None:
    found = parse(
        *("withdraw", "--id", "a=b", "corpus.yaml", "seed=3"),
        *("--source", "gs://b/day=1/*", "pack.seq_len=64", "--id=c=d", "--ids-from", "e=f"),
    )
    assert found["overrides"] == ["seed=3", "pack.seq_len=64"]
    assert (found["id"], found["source"], found["ids_from"]) == (["a=b", "c=d"], ["gs://b/day=1/*"], "e=f")


@pytest.mark.parametrize(
    ("name", "option"),
    [
        ("plan", ("--requests-per-sec", "40")),
        ("watch", ("--interval", "5")),
        ("withdraw", ("--id", "x")),
        ("compact", ("--json",)),
    ],
)
def test_every_command_of_a_yaml_takes_an_override_after_an_option(
    name: str, option: tuple[str, ...]
) -> None:
    assert parse(name, "corpus.yaml", *option, "seed=3")["overrides"] == ["seed=3"]


def test_required_options_may_stand_among_the_overrides() -> None:
    parser = Parser()
    parser.add_argument("file")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--output", required=True)
    assert vars(parser.parse_args(["run.yaml", "a=1", "--output", "x=y", "b=-2"])) == {
        "file": "run.yaml",
        "overrides": ["a=1", "b=-2"],
        "output": "x=y",
    }
    with pytest.raises(SystemExit):
        parser.parse_args(["run.yaml", "a=1"])


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("corpus biuld x.yaml", "command 'biuld' is unknown. Did you mean 'build'? Available: build, "),
        (
            "models fech smollm2-135m",
            "action 'fech' is unknown. Did you mean 'fetch'? Available: fetch, list.",
        ),
        (
            "corpus build x.yaml --rereed a=b",
            "option '--rereed' is unknown. Did you mean '--reread'? Available: --help, --json, --quiet, "
            "--reread, --retry-empty. Beam's options come after `--`.",
        ),
        (
            "corpus show x --text 3 --row a:1 --manifst=2",
            "option '--manifst' is unknown. Did you mean '--man",
        ),
        ("corpus show x y", "unexpected argument 'y'."),
        ("train x.yaml --drj-run", "option '--drj-run' is unknown. Did you mean '--dry-run'?"),
        ("export x.yaml --outptu d", "option '--outptu' is unknown. Did you mean '--output'?"),
        ("eval --tasks x --dtype bfloat61", "--dtype: value 'bfloat61' is unknown. Did you mean 'bfloat16'?"),
        ("chat --model x --promt hello", "option '--promt' is unknown. Did you mean '--prompt'?"),
        ("demo --fats", "option '--fats' is unknown. Did you mean '--fast'?"),
    ],
)
def test_a_misspelt_word_is_answered_with_the_nearest_one(
    argv: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(argv.split())
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_help_shows_file_and_overrides(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["corpus", "build", "--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert out.startswith(
        "usage: tutelage corpus build FILE.yaml [key=value ...] [--reread] [--retry-empty] [--json] [--quiet]"
    )
    assert "key=value values that override the file's" in " ".join(out.split())


def test_a_parser_of_sub_commands_is_one_that_argparse_knows() -> None:
    assert isinstance(make_parser(""), argparse.ArgumentParser)


@pytest.mark.slow
@pytest.mark.parametrize(
    "module",
    [
        "pipelines.command",
        "plugins.commands.demo",
        "plugins.commands.main",
        "plugins.models.models_command",
        "trainer.chat",
        "trainer.evaluation.command",
        "trainer.export",
        "trainer.train",
    ],
)
def test_every_command_is_a_module_too(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", module, "--help"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
        env={**os.environ, "COLUMNS": "100"},
    )
    assert (done.returncode, done.stdout.startswith("usage: tutelage")) == (0, True), done.stderr
