"""Models and tasks pushed to the hub and pulled from it; against a stand-in on loopback."""

from __future__ import annotations

from pathlib import Path

import pytest

from plugins.commands.main import main
from tests.stand_in_hub import Hub


@pytest.fixture
def model(tmp_path: Path) -> Path:
    model = tmp_path / "model"
    (model / "checkpoint").mkdir(parents=True)
    for name in (
        "config.json",
        "model.safetensors",
        "README.md",
        "optimizer.pt",
        "code.py",
        "checkpoint/a.json",
    ):
        (model / name).write_text(f'{{"file": "{name}"}}')
    return model


def test_a_model_comes_back_without_code_and_pickles(
    hub: Hub, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["push", str(model), "hub:me/tuned"]) == 0
    assert hub.sent == ["README.md", "config.json", "model.safetensors"]
    assert hub.private["models/me/tuned"]
    assert (
        f"{model}: 3 files left out, which are no part of model: checkpoint/a.json, code.py, optimizer.pt"
        in capsys.readouterr().err
    )
    assert main(["pull", "hub:me/tuned", str(tmp_path / "pulled")]) == 0
    assert {path.name: path.read_text() for path in (tmp_path / "pulled").iterdir()} == {
        name: f'{{"file": "{name}"}}' for name in hub.sent
    }
    assert main(["push", str(model), "hub:me/tuned"]) == 0
    assert len(hub.sent) == 3
    assert main(["pull", "hub:me/tuned", str(tmp_path / "pulled")]) == 2
    assert f"{tmp_path}/pulled exists. Remove it, or pull into another folder." in capsys.readouterr().err


def test_a_changed_file_of_a_model_is_sent_again(hub: Hub, model: Path) -> None:
    assert main(["push", str(model), "hub:me/tuned"]) == 0
    hub.sent.clear()
    (model / "model.safetensors").write_text("trained on")
    assert main(["push", str(model), "hub:me/tuned"]) == 0
    assert hub.sent == ["model.safetensors"]


def test_tasks_come_back_and_a_name_of_two_repositories_needs_a_kind(
    hub: Hub, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks = tmp_path / "tasks"
    tasks.mkdir()
    (tasks / "doses.jsonl").write_text('{"input": "a"}\n')
    (tasks / "doses.yaml").write_text("name: doses\n")
    assert main(["push", str(tasks), "hub:me/both"]) == 0
    assert main(["pull", "hub:me/both", str(tmp_path / "pulled")]) == 0
    assert sorted(path.name for path in (tmp_path / "pulled").iterdir()) == ["doses.jsonl", "doses.yaml"]
    assert main(["push", str(model), "hub:me/both"]) == 0
    capsys.readouterr()
    assert main(["pull", "hub:me/both", str(tmp_path / "again")]) == 2
    assert "hub:me/both: there is a data set and a model of this name. Add --kind." in capsys.readouterr().err
    assert main(["pull", "hub:me/both", str(tmp_path / "again"), "--kind", "model"]) == 0
    assert (tmp_path / "again/config.json").is_file()


def test_a_folder_without_any_of_them_is_refused(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["push", str(tmp_path / "nothing"), "hub:me/x"]) == 2
    assert "nothing' is no corpus (no manifest/*.json), no model (no config.json) and no folder of tasks" in (
        capsys.readouterr().err
    )
    assert hub.requests == {}
