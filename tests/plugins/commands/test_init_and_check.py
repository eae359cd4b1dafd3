"""`tutelage init` and `tutelage check`: written files work, and every fault of a file is named."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest
import yaml

from plugins.commands.main import main
from tests.tiny import save_bpe, save_llama

pytestmark = pytest.mark.slow

TEXT = "The patient received a dose of 5 mg in week {}. The fever fell, and the trial went on for a month."


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a folder of documents and a tokenizer."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    for number in range(6):
        (tmp_path / f"docs/{number}.txt").write_text(TEXT.format(number) + f" Note {'abcdef'[number] * 9}.")
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>"}
    save_bpe("model", [TEXT], vocab_size=300, special_tokens=["<s>", "</s>"], **special)
    return tmp_path


def findings(capsys: pytest.CaptureFixture[str], *command: str) -> list[str]:
    capsys.readouterr()
    status = main(["check", "--json", *command])
    found: list[str] = json.loads(capsys.readouterr().out.splitlines()[-1])["findings"]
    assert status == (2 if found else 0)
    return found


def init(*options: str) -> int:
    return main(["init", "--documents", "docs", "--domain", "med", "--model", "model", *options])


def test_the_written_files_pass_check_plan_and_dry_run(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("composer")
    save_llama("model", vocab_size=512, seed=5, max_position_embeddings=1024)
    assert init("--server", "none", "--gpus", "0") == 0
    assert capsys.readouterr().out.split() == [
        *("corpus.yaml", "train.yaml", "corpus.schema.json", "train.schema.json")
    ]
    assert findings(capsys, "corpus.yaml") == []
    assert findings(capsys, "train.yaml") == [
        "runs/med/corpus: holds no published corpus (no manifest/*.json). "
        "Build one with `tutelage corpus build`."
    ]
    assert main(["corpus", "plan", "corpus.yaml"]) == 0
    assert main(["corpus", "build", "corpus.yaml"]) == 0
    assert findings(capsys, "train.yaml", "global_train_batch_size=1") == []
    assert main(["train", "train.yaml", "--dry-run", "global_train_batch_size=1"]) == 0


def test_every_fault_of_a_corpus_yaml_is_named(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert init("--server", "none") == 0
    with socket.socket() as closed:  # bound and not listening
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        found = findings(
            capsys,
            "corpus.yaml",
            "streams.domain.sources.0.uri=nowhere",
            "tokenizer.name=./gone",
            "decontaminate.tasks=[no-tasks]",
            f"synthesis={{backend: openai, model: m, tokenizer: model, endpoints: ['{url}']}}",
            "corpus=docs/0.txt/corpus",
        )
    for expected in (
        "nowhere",
        "./gone",
        "no-tasks",
        f"synthesis.endpoints: {url} does not answer",
        "corpus",
    ):
        assert any(expected in each for each in found), (expected, found)
    assert len(found) == len(set(found)) >= 5


def test_wrong_keys_are_named_together(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("c.yaml").write_text("corpus: c\nsed: 1\nstreams: {}\ntokenizer: {nam: t}\n")
    found = findings(capsys, "c.yaml")
    assert [each.partition("'")[2].partition("'")[0] for each in found if "unknown" in each] == [
        *("tokenizer.nam", "sed")
    ]
    assert any(each.startswith("c.yaml: streams") for each in found)
    Path("n.yaml").write_text("a: 1\n")
    assert main(["check", "n.yaml"]) == 2
    assert "has no key of a corpus YAML" in capsys.readouterr().err


def test_faults_of_a_training_are_named(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("composer")
    Path("model/config.json").write_text("{}")
    assert init() == 0
    found = findings(
        capsys, "train.yaml", "precision=fp8", "optimizer.name=adm", "load_path=gone.pt", "max_duration=ten"
    )
    for expected in ("precision", "adm", "load_path is 'gone.pt'", "max_duration", "no published corpus"):
        assert any(expected in each for each in found), (expected, found)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--documents", "gone"), "--documents 'gone' is no folder"),
        (("--domain", "a/b"), "--domain 'a/b' may hold"),
        (("--gpus", "many"), "--gpus is 'many'"),
        (("--server", "host:1"), "--server holds 'host:1'"),
        (("--server", "http://127.0.0.1:1"), "--server-model is missing"),
    ],
)
def test_a_wrong_answer_writes_nothing(
    options: tuple[str, ...], message: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if "host:1" in options:
        options = (*options, "--server-model", "m")
    assert init(*options, "--output", "made") == 2
    assert message in capsys.readouterr().err
    assert not Path("made").exists()


def test_no_file_is_overwritten(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("train.yaml").write_text("mine")
    assert init() == 2
    assert "train.yaml exists already" in capsys.readouterr().err
    assert (Path("train.yaml").read_text(), Path("corpus.yaml").exists()) == ("mine", False)


def test_answers_on_a_terminal_are_used(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["docs", "law", "model", "http://127.0.0.1:1/v1", "a: b", "8"])
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: next(answers))
    assert main(["init"]) == 0
    corpus: dict[str, Any] = yaml.safe_load(Path("corpus.yaml").read_text())
    training: dict[str, Any] = yaml.safe_load(Path("train.yaml").read_text())
    assert corpus["synthesis"]["model"] == "a: b"
    assert corpus["synthesis"]["endpoints"] == ["http://127.0.0.1:1/v1"]
    assert (training["global_train_batch_size"], training["precision"]) == (64, "amp_bf16")
    assert "composer -n 8 -m trainer.train" in Path("train.yaml").read_text()
