"""`tutelage init` on a terminal: questions, wrong answers, and a person who stops."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]


def talk(folder: Path, answers: str, *options: str) -> tuple[int, str]:
    """Start the command on a terminal, type each line when a question waits, and return what was said."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "plugins.commands.main", "init", *options],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(folder), "TERM": "dumb"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
        preexec_fn=_take_terminal,
    )
    os.close(theirs)
    said = b""
    waiting = answers.splitlines(keepends=True)
    try:
        while True:
            try:
                data = os.read(ours, 4096)
            except OSError:  # the other end is closed
                break
            if not data:
                break
            said += data
            if waiting and said.endswith(b": "):
                os.write(ours, waiting.pop(0).encode())
        status = process.wait(timeout=30)
    finally:
        process.kill()
        os.close(ours)
    assert not waiting, said.decode()
    return status, said.decode().replace("\r\n", "\n")


def _take_terminal() -> None:
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # so that Ctrl-C is a signal


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("docs", "Übung 文 docs", "empty"):
        (tmp_path / name).mkdir()
    for name in ("docs", "Übung 文 docs"):
        (tmp_path / name / "a.txt").write_text("One.")
    return tmp_path


def test_a_wrong_answer_is_explained_and_asked_for_again(folder: Path) -> None:
    answers = "\ngone\nempty\n~/docs\na/b\nmed\n\nhost:1\nhttp://127.0.0.1:9\n\nwriter\nmany\n1\n"
    status, said = talk(folder, answers)
    assert status == 0
    for line in (
        "--documents 'gone' is no folder. Give the folder of your documents.",
        "--documents 'empty' is empty. Put your documents there, or give another folder.",
        "--domain 'a/b' may hold letters, digits, - and _ only.",
        "--server holds 'host:1'; expected a URL with http:// or https://.",
        "--gpus is 'many'; expected a number, 0 for a CPU.",
    ):
        assert said.count(f"{line}\n") == 1, said
    assert said.count("Folder of your documents: ") == 4
    corpus = yaml.safe_load((folder / "corpus.yaml").read_text(encoding="utf-8"))
    assert corpus["corpus"] == "runs/med/corpus"
    assert corpus["streams"]["domain"]["sources"][0]["uri"] == f"{folder}/docs"
    assert corpus["synthesis"]["model"] == "writer"
    assert corpus["tokenizer"]["name"] == "models/smollm2-135m"
    assert yaml.safe_load((folder / "train.yaml").read_text())["device_train_microbatch_size"] == 1


def test_names_of_any_script_are_kept(folder: Path) -> None:
    status, said = talk(folder, "Übung 文 docs\nmed\n\n\n0\n")
    assert status == 0, said
    corpus = yaml.safe_load((folder / "corpus.yaml").read_text(encoding="utf-8"))
    assert corpus["streams"]["domain"]["sources"][0]["uri"] == "Übung 文 docs"
    assert "Name of the model that this server serves" not in said


@pytest.mark.parametrize(
    ("key", "status", "said"),
    [
        ("\x03", 130, "Interrupted."),
        ("\x04", 2, "ConfigError: the answers ended before the last question. Nothing was written."),
    ],
    ids=["Ctrl-C", "end of input"],
)
def test_a_person_who_stops_leaves_no_file(folder: Path, key: str, status: int, said: str) -> None:
    found, lines = talk(folder, f"docs\n{key}")
    assert (found, lines.splitlines()[-1]) == (status, said)
    assert not (folder / "corpus.yaml").exists()


def test_files_that_exist_are_named_before_any_question(folder: Path) -> None:
    (folder / "train.yaml").touch()
    status, said = talk(folder, "")
    assert (status, said) == (
        2,
        "ConfigError: train.yaml exists already. Give another --output, or move the file away.\n",
    )
