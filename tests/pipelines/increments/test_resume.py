"""Builds through an SGLang server, killed half way: no answered request is sent again."""

from __future__ import annotations

import asyncio
import collections
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from schemas.corpus_config import CorpusConfig

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
NUM_DOCUMENTS = 12
BUILD = (
    "import sys; from pipelines.increments.build import build_increment; "
    "from schemas.corpus_config import CorpusConfig; "
    "build_increment(CorpusConfig.model_validate_json(sys.argv[1]))"
)


class StandIn:
    """Server that answers `/generate` like SGLang, up to `limit` requests; then it hangs.

    Attributes:
        answered: How often each prompt was answered.
        limit: Requests that the server answers before it hangs, or None.
    """

    def __init__(self) -> None:
        self.answered: collections.Counter[tuple[int, ...]] = collections.Counter()
        self.limit: int | None = None
        self.url = ""

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/generate", self._generate)
        app.router.add_get("/health", self._health)
        return app

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response()

    async def _generate(self, request: web.Request) -> web.Response:
        prompt = tuple((await request.json())["input_ids"])
        if self.limit is not None and sum(self.answered.values()) >= self.limit:
            await asyncio.sleep(3600)
        self.answered[prompt] += 1
        text = f"<QUE> What is {sum(prompt)}? <ANS> A number. </END>"
        meta = {
            "finish_reason": {"type": "stop"},
            "prompt_tokens": len(prompt),
            "completion_tokens": 9,
            "cached_tokens": 0,
        }
        return web.json_response({"text": text, "meta_info": meta})


@pytest.fixture
def server(serve: Callable[[web.Application], str]) -> StandIn:
    stand_in = StandIn()
    stand_in.url = serve(stand_in.app())
    return stand_in


@pytest.fixture
def config(
    server: StandIn,
    tmp_path: Path,
    tokenizer_dir: str,
    passages: Callable[[int], Any],
    write_jsonl: Callable[..., str],
    corpus_config: Callable[..., CorpusConfig],
) -> CorpusConfig:
    source = write_jsonl(tmp_path / "in.jsonl", passages(NUM_DOCUMENTS))
    synthesis = {
        "backend": "sglang",
        "protocol": "instruction_synthesizer",
        "model": tokenizer_dir,
        "endpoints": [server.url],
        "max_new_tokens": 32,
        "max_in_flight": 2,
    }
    return corpus_config(tmp_path / "corpus", source, synthesis=synthesis)


@pytest.mark.parametrize("limit", [1, 5])
def test_a_killed_run_starts_again_without_repeating_a_finished_request(
    config: CorpusConfig, server: StandIn, limit: int, build: Any, digests_of: Any, tmp_path: Path
) -> None:
    server.limit = limit
    process = subprocess.Popen(
        [sys.executable, "-c", BUILD, config.model_dump_json()], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    journal = Path(config.corpus) / "journal"
    try:
        deadline = time.monotonic() + 120
        while sum(len(file.read_bytes().splitlines()) for file in journal.glob("*.jsonl")) < limit:
            assert process.poll() is None, process.communicate()[1]
            assert time.monotonic() < deadline, "the journal does not grow"
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert sum(server.answered.values()) == limit

    server.limit = None
    assert build(config).increments[0].num_documents == NUM_DOCUMENTS
    assert len(server.answered) == NUM_DOCUMENTS
    assert set(server.answered.values()) == {1}

    # The same journal gives the same bytes in an unbroken run, without any request.
    unbroken = config.model_copy(update={"corpus": str(tmp_path / "unbroken")})
    shutil.copytree(journal, Path(unbroken.corpus) / "journal")
    build(unbroken)
    assert digests_of(unbroken.corpus) == digests_of(config.corpus)
    assert sum(server.answered.values()) == NUM_DOCUMENTS
