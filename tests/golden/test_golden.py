"""Golden corpora: a rebuild gives the same bytes, and an old corpus still opens."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from plugins.commands.main import main
from tests.golden.build_golden import CONFIGS, HERE, build_golden, files_of

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", CONFIGS)
def test_a_golden_corpus_is_built_again_byte_by_byte(name: str, tmp_path: Path) -> None:
    golden = files_of(name, HERE / name)
    built = files_of(name, build_golden(name, tmp_path, "pipelines.increments.prepared_run.new_token"))
    assert len(golden) > 20
    assert built.keys() == golden.keys()
    assert [path for path in golden if built[path] != golden[path]] == []


@pytest.mark.parametrize("name", CONFIGS)
def test_a_golden_corpus_is_sound_and_can_be_read(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = str(shutil.copytree(HERE / name, tmp_path / "corpus"))
    assert main(["corpus", "verify", corpus]) == 0
    assert main(["corpus", "show", corpus, "--row", "domain:0"]) == 0
    assert main(["corpus", "trace", corpus, "article-6"]) == 0
    assert "article-6" in capsys.readouterr().out
