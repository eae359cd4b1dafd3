"""Failures after the publication of an increment: the command reports them and succeeds."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.increments import build as build_module
from pipelines.increments import compact as rewrite
from pipelines.increments import increment_summary as increment
from pipelines.increments import publish as draft
from pipelines.increments.publish import Draft
from pipelines.increments.watch import Stop, watch
from schemas.corpus_config import CorpusConfig
from schemas.errors import CorpusError
from schemas.manifest import Manifest, newest_number

pytestmark = pytest.mark.slow

FULL = "no space left on device. Free space there, or use another disk; then run again."


@pytest.fixture
def yaml(tmp_path: Path, corpus_config: Callable[..., CorpusConfig], passages: Any, write_jsonl: Any) -> str:
    config = corpus_config(tmp_path / "corpus", write_jsonl(tmp_path / "in/raw.jsonl", passages(3)))
    (tmp_path / "corpus.yaml").write_text(json.dumps(config.model_dump(mode="json")))
    return str(tmp_path / "corpus.yaml")


def full(*arguments: Any, **named: Any) -> Any:
    raise OSError(errno.ENOSPC, "No space left on device", "/full/file")


def and_full(whole: Callable[..., Any]) -> Callable[..., Any]:
    """Make the call, then raise an error."""

    def call(*arguments: Any) -> Any:
        whole(*arguments)
        full()

    return call


@pytest.mark.parametrize(
    ("owner", "name", "fails"),
    [
        pytest.param(build_module, "note_read", full, id="the note of what was read"),
        pytest.param(draft.Draft, "publish", and_full(Draft.publish), id="what publishes, once it has"),
        pytest.param(draft.Draft, "close", full, id="letting go of the increment"),
        pytest.param(increment, "stats_of", full, id="the statistics to be printed"),
    ],
)
def test_a_build_whose_end_fails_behind_the_manifest_is_a_success(
    yaml: str,
    tutelage: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,
    name: str,
    fails: Any,
) -> None:
    monkeypatch.setattr(owner, name, fails)
    said = tutelage("corpus", "build", yaml)
    assert said.status == 0, said.err
    *_, warning = said.err.splitlines()
    assert warning.startswith(
        f"Warning: increment 1 of {tmp_path}/corpus is published and whole. A later step failed; the next "
        f"run makes up for it: MachineError: /full/file: {FULL} Traceback: "
    )
    assert "in full" in Path(warning.rpartition("Traceback: ")[2]).read_text()
    assert newest_number(f"{tmp_path}/corpus") == 1
    monkeypatch.undo()
    assert (
        tutelage("corpus", "build", yaml).out == f"{tmp_path}/corpus: nothing new; the corpus is unchanged.\n"
    )


def test_a_build_that_fails_before_its_manifest_publishes_nothing(
    yaml: str, tutelage: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(draft, "write_card", full)
    said = tutelage("corpus", "build", yaml)
    assert (said.status, newest_number(f"{tmp_path}/corpus")) == (1, 0)
    assert f"MachineError: /full/file: {FULL}" in said.err


def test_a_run_that_another_run_overtook_does_not_take_its_manifest_for_its_own(
    yaml: str, tutelage: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def overtaken(corpus: str, manifest: Manifest) -> None:
        whole(corpus, manifest.model_copy(update={"created": "2001-01-01T00:00:00+00:00"}))
        raise CorpusError("was published by another run meanwhile.")

    whole = draft.manifests.publish_manifest
    monkeypatch.setattr(draft.manifests, "publish_manifest", overtaken)
    said = tutelage("corpus", "build", yaml)
    assert (said.status, said.err.splitlines()[-1]) == (
        1,
        "CorpusError: was published by another run meanwhile.",
    )


@pytest.mark.parametrize(
    ("arguments", "name"),
    [(["withdraw", "--id", "doc-1"], "forget_read"), (["compact"], "carry_over")],
)
def test_rewriting_whose_end_fails_behind_the_manifest_is_a_success(
    yaml: str,
    tutelage: Any,
    tmp_path: Path,
    passages: Any,
    write_jsonl: Any,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    name: str,
) -> None:
    assert tutelage("corpus", "build", yaml).status == 0
    write_jsonl(tmp_path / "in/raw.jsonl", passages(5))
    assert tutelage("corpus", "build", yaml).status == 0
    monkeypatch.setattr(rewrite, name, full)
    command, *options = arguments
    said = tutelage("corpus", command, yaml, *options)
    assert said.status == 0, said.err
    assert said.out.startswith(f"{tmp_path}/corpus: increment 3 published, ")
    assert said.err.splitlines()[-1].startswith(f"Warning: increment 3 of {tmp_path}/corpus is published")


class AfterTwoLooks(Stop):
    looks = 0

    def is_asked(self) -> bool:
        return self.looks == 2

    def wait(self, seconds: float) -> None:
        self.looks += 1


def test_a_watch_tells_of_an_increment_whose_end_fails_and_goes_on(
    yaml: str,
    tmp_path: Path,
    corpus_config: Callable[..., CorpusConfig],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    published: list[Manifest] = []
    config = corpus_config(tmp_path / "corpus", f"{tmp_path}/in/*.jsonl")
    monkeypatch.setattr(Draft, "publish", and_full(Draft.publish))
    for file in (tmp_path / "in").iterdir():
        os.utime(file, (1_700_000_000, 1_700_000_000))  # a watch waits for a file that has just changed
    watch(config, stop=AfterTwoLooks(), settle_sec=0, published=published.append, quiet=True)
    assert [manifest.number for manifest in published] == [1]
    said = capsys.readouterr().err
    assert said.count("Warning: increment 1 of ") == 1
    assert "Trying again" not in said
