"""Access to the hub: an unreachable hub is one line of error, within seconds."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from plugins import hub
from plugins.hub import hub_options
from plugins.tokenizers import load_tokenizer
from schemas.errors import ConfigError


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> str:
    """The hub at an address without a server."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    return endpoint


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tokenizer_dir: str) -> Path:
    """The hub's cache, with a tokenizer named `some/tokenizer` in it."""
    snapshot = tmp_path / "models--some--tokenizer/snapshots/abc"
    snapshot.mkdir(parents=True)
    for path in Path(tokenizer_dir).iterdir():
        (snapshot / path.name).write_bytes(path.read_bytes())
    refs = tmp_path / "models--some--tokenizer/refs"
    refs.mkdir()
    (refs / "main").write_text("abc")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(tmp_path), raising=False)
    monkeypatch.setattr("transformers.utils.hub.TRANSFORMERS_CACHE", str(tmp_path))
    return tmp_path


def test_a_name_that_the_cache_does_not_know_is_one_line_at_once(away: str, cache: Path) -> None:
    started = time.monotonic()
    with pytest.raises(ConfigError) as caught:
        load_tokenizer("models/no-such")
    assert time.monotonic() - started < hub.PATIENCE_SEC
    said = str(caught.value)
    assert said.startswith("tokenizer 'models/no-such' cannot be loaded: ConnectionError: there is no such ")
    assert f"{away} cannot be reached (ConnectionError)." in said
    assert "\n" not in said


def test_what_the_cache_knows_is_loaded_from_it_at_once(away: str, cache: Path, tokenizer_dir: str) -> None:
    assert hub_options("some/tokenizer") == {"local_files_only": True}
    started = time.monotonic()
    found = load_tokenizer("some/tokenizer")
    assert time.monotonic() - started < hub.PATIENCE_SEC
    assert found.get_vocab() == load_tokenizer(tokenizer_dir).get_vocab()


def test_a_hub_that_never_answers_is_waited_for_only_so_long(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "PATIENCE_SEC", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(
            ConnectionError, match=r"cannot be reached \((no answer within 0.2 s|ReadTimeout)\)"
        ):
            hub_options("no/such")


def test_a_hub_that_answers_and_a_directory_need_no_options(
    serve: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from aiohttp import web

    monkeypatch.setattr(constants, "ENDPOINT", serve(web.Application()))  # 404 is an answer
    assert hub_options("no/such") == {}
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert hub_options(str(tmp_path)) == {}
    assert hub_options("/no/such/path") == {}


def refusal(kind: type[Exception]) -> Exception:
    """An exception of huggingface_hub inside one of transformers."""
    wrapped = OSError("You are trying to access a gated repo.\nMake sure to have access to it at …\n401")
    wrapped.__cause__ = kind.__new__(kind)  # the arguments of `kind` differ between versions
    return wrapped


def test_a_gated_repository_says_where_to_ask_and_how_to_log_in() -> None:
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    assert hub.why(refusal(GatedRepoError), "meta-llama/Meta-Llama-3-8B") == (
        "the repository is gated: request access at https://huggingface.co/meta-llama/Meta-Llama-3-8B, then "
        "log in with `hf auth login`, or set HF_TOKEN."
    )
    assert hub.why(refusal(RepositoryNotFoundError), "some/model") == (
        "https://huggingface.co has no repository 'some/model'. If it is private, log in with "
        "`hf auth login`, or set HF_TOKEN."
    )
    assert hub.why(OSError("no weights\nat all"), "some/model") == "OSError: no weights"


def test_a_model_and_a_tokenizer_that_are_gated_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub.errors import GatedRepoError
    from transformers import AutoConfig

    from schemas.train_config import ModelConfig
    from trainer.model.architecture import build_on_meta

    def refuse(*args: Any, **options: Any) -> Any:
        raise refusal(GatedRepoError)

    monkeypatch.setattr("trainer.model.architecture.hub_options", lambda name: {})
    monkeypatch.setattr("plugins.tokenizers.hub_options", lambda name: {})
    monkeypatch.setattr(AutoConfig, "from_pretrained", refuse)
    monkeypatch.setattr("plugins.tokenizers._class_of", refuse)
    for load in (
        lambda: build_on_meta(ModelConfig(pretrained_model_name_or_path="some/gated")),
        lambda: load_tokenizer("some/gated"),
    ):
        match = r"is gated: request access at https://huggingface\.co/some/gated, then"
        with pytest.raises(ConfigError, match=match):
            load()
