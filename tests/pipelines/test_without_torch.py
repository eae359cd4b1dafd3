"""Builds without torch: on machines that lack it, and without importing an installed one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from plugins.synthesizers import SYNTHESIZERS
from schemas.crash_messages import understood
from schemas.errors import ConfigError
from schemas.manifest import read_manifest

ROOT = Path(__file__).resolve().parents[2]
TWO_PROCESSES = ("--direct_running_mode=multi_processing", "--direct_num_workers=2")


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    surroundings = {name: value for name, value in os.environ.items() if name != "USE_TORCH"}
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**surroundings, **environment},
        timeout=280,
    )


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_no_process_of_a_build_imports_torch_or_streaming(
    tmp_path: Path, tokenizer_dir: str, write_jsonl: Any, passages: Any
) -> None:
    """Stub packages that note each import precede the real ones on the path."""
    noted = tmp_path / "imported"
    for name in ("torch", "streaming"):
        package = tmp_path / "first" / name / "__init__.py"
        package.parent.mkdir(parents=True)
        package.write_text(f"open({str(noted)!r}, 'a').write({name!r})\n")
        metadata = package.parents[1] / f"{name}-2.7.0.dist-info" / "METADATA"
        metadata.parent.mkdir()  # without it transformers imports torch to find its version
        metadata.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 2.7.0\n")
    source = write_jsonl(tmp_path / "domain.jsonl", passages(12))
    corpus = tmp_path / "corpus"
    config = {
        "corpus": str(corpus),
        "streams": {"domain": {"synthesize": True, "sources": [{"reader": "jsonl", "uri": source}]}},
        "tokenizer": {"name": tokenizer_dir},
    }
    (tmp_path / "corpus.yaml").write_text(json.dumps(config))
    command = ("-m", "plugins.commands.main", "corpus", "build", str(tmp_path / "corpus.yaml"))
    done = run(*command, "--", *TWO_PROCESSES, PYTHONPATH=str(tmp_path / "first"))
    assert done.returncode == 0, done.stderr
    assert "PyTorch" not in done.stderr
    assert read_manifest(str(corpus)).increments[0].num_documents == 12
    assert not noted.exists(), noted.read_text()


@pytest.mark.slow
def test_a_tokenizer_loads_without_a_word_about_torch(tokenizer_dir: str) -> None:
    load = f"from plugins.tokenizers import load_tokenizer; load_tokenizer({tokenizer_dir!r})"
    done = run("-c", load, USE_TORCH="0")
    assert (done.returncode, done.stderr) == (0, "")


def test_the_synthesizer_that_needs_torch_names_the_extra(
    corpus_config: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    synthesis = {"backend": "transformers", "model": "org/model"}
    config = corpus_config("corpus", "raw.jsonl", synthesis=synthesis).synthesis
    with pytest.raises(ConfigError) as caught:
        SYNTHESIZERS.load("transformers")(config, seed=1)
    assert str(caught.value) == (
        "synthesis.backend 'transformers' needs a package that is not installed: No module named 'torch'. "
        "Install the extra that carries it: pip install 'tutelage[trainer]'."
    )


@pytest.mark.parametrize(
    ("module", "extra"), [("torch.nn", "trainer"), ("apache_beam", "pipelines"), ("datasets", "huggingface")]
)
def test_a_command_without_its_package_names_the_extra(module: str, extra: str) -> None:
    error = understood(ModuleNotFoundError(f"No module named {module!r}", name=module))
    assert isinstance(error, ConfigError)
    assert str(error).endswith(f"Install the extra that carries it: pip install 'tutelage[{extra}]'.")
