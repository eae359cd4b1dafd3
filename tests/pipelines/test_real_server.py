"""Synthesis with a real SGLang server on the local CPU, started by our launcher.

One server serves all tests of this file in order; tests that end it come last. SmolLM2-135M answers in
seconds, and is a real model in everything but the quality of its answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from plugins.protocols import PROTOCOLS
from plugins.protocols.base import SynthesisProtocol
from plugins.servers.retries import ClientOptions
from plugins.sglang.client import SGLangClient
from plugins.sglang.server import lease_servers
from plugins.synthesizers.generator import GenerationFailure, GenerationRequest
from plugins.synthesizers.openai import OpenAISynthesizer
from plugins.tokenizers import load_tokenizer
from schemas.corpus_config import CorpusConfig
from schemas.records import Chain, Document, Generation, SynthesizedDocument
from schemas.synthesis_config import ServerConfig, SynthesisConfig
from tests.published import read_stats
from tests.tiny import revealed_json

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

ROOT = Path(__file__).resolve().parents[2]
NUM_DOCUMENTS = 8
TWO_WORKERS = ("--direct_running_mode=multi_processing", "--direct_num_workers=2")
BUILD = (
    "import sys; from pipelines.increments.build import build_increment; "
    "from schemas.corpus_config import CorpusConfig; "
    f"build_increment(CorpusConfig.model_validate_json(sys.argv[1]), {TWO_WORKERS!r})"
)
PATIENT = ClientOptions(max_in_flight=8, patience_sec=600, max_backoff_sec=2)


class RealServer:
    """A running server, with its counters and processes.

    Attributes:
        config: Configuration of the server.
        url: URL of the server.
        folder: TMPDIR of the processes that share the server.
    """

    def __init__(self, config: ServerConfig, url: str, folder: str):
        self.config = config
        self.url = url
        self.folder = folder

    def metric(self, name: str, *labels: str) -> float:
        """The sum of a counter's or gauge's values whose line holds all these labels."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=30) as response:
            text = response.read().decode()
        found = re.findall(rf"(?m)^sglang:{name}(\{{.*\}})? ([0-9.e+]+)$", text)
        return sum(float(value) for given, value in found if all(label in given for label in labels))

    def answered(self) -> int:
        """Number of answered requests to `/generate`."""
        return int(self.metric("http_responses_total", 'endpoint="/generate"', 'status_code="200"'))

    def wait_until_idle(self) -> None:
        """Wait until no request is in flight and the counter of responses is steady.

        The gauges of the scheduler (`num_running_reqs`) lag behind on a busy machine.
        """
        until(lambda: self.metric("http_requests_active", 'endpoint="/generate"') == 0)
        seen = [-1]

        def is_steady() -> bool:
            time.sleep(1)
            seen.append(self.answered())
            return seen[-1] == seen[-2]

        until(is_steady)

    def processes(self) -> list[int]:
        """Ids of the server's main processes, including restarted ones."""
        port = self.url.rsplit(":", 1)[1]
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                words = path.read_bytes().split(b"\0")
                if b"sglang.launch_server" in words and port.encode() in words:
                    found.append(int(path.parent.name))
        return found


def until(holds: Callable[[], bool], *, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def server(cpu_server: ServerConfig, smollm2: Path) -> Iterator[RealServer]:
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as folder:
        before, tempfile.tempdir = tempfile.tempdir, folder
        try:
            lease = lease_servers(cpu_server, model=str(smollm2))
        finally:
            tempfile.tempdir = before
        real = RealServer(cpu_server, lease.endpoints[0], folder)
        try:
            yield real
        finally:
            lease.release()
            until(lambda: not real.processes(), seconds=60)


@pytest.fixture
def make_protocol(smollm2: Path) -> Callable[..., SynthesisProtocol]:
    def make(name: str, **options: Any) -> SynthesisProtocol:
        config = SynthesisConfig(model=str(smollm2), protocol=name)
        protocol: SynthesisProtocol = PROTOCOLS.load(name)(load_tokenizer(str(smollm2)), config, **options)
        return protocol

    return make


@pytest.fixture
def document() -> Document:
    text = "The femoral nerve runs outside the femoral sheath, and the artery lies inside it."
    return Document.of("d", text, source="test")


def ask(
    server: RealServer, *requests: GenerationRequest, meanwhile: Callable[[], None] | None = None
) -> list[Generation | GenerationFailure]:
    """Send requests at once, and call `meanwhile` when they are in flight."""

    async def run() -> list[Generation | GenerationFailure]:
        client = SGLangClient([server.url], PATIENT)
        try:
            sent = [asyncio.create_task(client.generate(request)) for request in requests]
            if meanwhile is not None:
                await asyncio.to_thread(until, lambda: server.metric("num_running_reqs") > 0)
                await asyncio.to_thread(meanwhile)
            return list(await asyncio.gather(*sent))
        finally:
            await client.close()

    return asyncio.run(run())


@pytest.mark.parametrize("name", ["instruction_synthesizer", "chat"])
def test_the_server_counts_the_tokens_that_were_sent_and_no_second_bos(
    server: RealServer, make_protocol: Callable[..., SynthesisProtocol], document: Document, name: str
) -> None:
    ids = tuple(make_protocol(name).prompt((), document))
    (answer,) = ask(server, GenerationRequest(prompt_ids=ids, max_new_tokens=4))
    assert isinstance(answer, Generation)
    assert (answer.prompt_tokens, answer.completion_tokens <= 4) == (len(ids), True)


def test_a_later_round_is_answered_from_the_prefix_cache(
    server: RealServer, make_protocol: Callable[..., SynthesisProtocol], document: Document
) -> None:
    ids = tuple(make_protocol("chat").prompt((), document))
    ask(server, GenerationRequest(prompt_ids=ids, max_new_tokens=1))
    (again,) = ask(server, GenerationRequest(prompt_ids=(*ids, *ids), max_new_tokens=1))
    assert isinstance(again, Generation) and again.cached_tokens >= len(ids) - 1


def test_one_prompt_that_is_too_long_costs_no_other(
    server: RealServer, make_protocol: Callable[..., SynthesisProtocol], document: Document
) -> None:
    good = GenerationRequest(prompt_ids=tuple(make_protocol("chat").prompt((), document)), max_new_tokens=4)
    too_long = GenerationRequest(prompt_ids=(5,) * 9_000, max_new_tokens=4)
    first, refused, last = ask(server, good, too_long, good)
    assert isinstance(first, Generation) and isinstance(last, Generation)
    assert isinstance(refused, GenerationFailure) and refused.reason == "refused"
    assert "longer than the model's context length" in refused.detail


def test_answers_are_held_to_the_schema(
    server: RealServer, make_protocol: Callable[..., SynthesisProtocol], document: Document
) -> None:
    protocol = make_protocol("chat", constrain_json=True)
    (answer,) = ask(
        server,
        GenerationRequest(
            prompt_ids=tuple(protocol.prompt((), document)),
            max_new_tokens=96,
            json_schema=protocol.json_schema,
        ),
    )
    assert isinstance(answer, Generation)
    assert re.match(r'\s*\{\s*"pairs"\s*:\s*\[\s*\{\s*"question"\s*:\s*"', answer.text), answer.text
    assert protocol.parse(answer.text).pairs or answer.finish_reason == "length"


@pytest.mark.parametrize("api", ["chat", "completions"])
def test_backend_openai_is_answered_by_the_servers_other_api(
    server: RealServer, smollm2: Path, document: Document, api: str
) -> None:
    config = SynthesisConfig(
        backend="openai",
        model=str(smollm2),
        endpoints=server.url,
        max_new_tokens=96,
        options={"api": api, "patience_sec": 600},
    )
    synthesizer = OpenAISynthesizer(config, seed=1)
    counted: list[Generation] = []
    synthesizer.count = counted.append  # type: ignore[method-assign]

    async def run() -> SynthesizedDocument:
        synthesizer.open()
        try:
            (done,) = await synthesizer.synthesize(Chain(chain_id="c", documents=(document,)))
            return done
        finally:
            await synthesizer.close()

    done = asyncio.run(run())
    (answer,) = counted
    assert re.match(r'\s*\{\s*"pairs"\s*:\s*\[\s*\{\s*"question"\s*:\s*"', answer.text), answer.text
    assert 0 < answer.completion_tokens <= 96
    sent = len(synthesizer.protocol.prompt((), document))
    if api == "completions":
        assert answer.prompt_tokens == sent
    else:  # the protocol's count leaves room for the server's template
        assert 0.5 * sent < answer.prompt_tokens <= sent
    assert done.pairs or done.failure.startswith("unreadable")


@pytest.fixture
def config(
    server: RealServer,
    smollm2: Path,
    tmp_path: Path,
    write_jsonl: Callable[..., str],
    passages: Callable[[int], Any],
    corpus_config: Callable[..., CorpusConfig],
) -> CorpusConfig:
    """A small corpus whose workers lease the server; the configuration has no URL."""
    source = write_jsonl(tmp_path / "in.jsonl", passages(NUM_DOCUMENTS))
    synthesis = {
        "backend": "sglang",
        "protocol": "chat",
        "model": str(smollm2),
        "server": server.config.model_dump(),
        "max_new_tokens": 32,
        "max_in_flight": 2,
        "options": {"json_schema": False},
    }
    return corpus_config(tmp_path / "corpus", source, synthesis=synthesis)


def start(config: CorpusConfig, server: RealServer) -> subprocess.Popen[str]:
    """Start a build of two worker processes in its own session."""
    return subprocess.Popen(
        [sys.executable, "-c", BUILD, revealed_json(config)],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": server.folder},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def journaled(config: CorpusConfig) -> int:
    return sum(file.read_bytes().count(b"\n") for file in (Path(config.corpus) / "journal").glob("*.jsonl"))


def test_a_killed_build_of_two_workers_goes_on_where_it_stood(
    config: CorpusConfig, server: RealServer, tmp_path: Path, digests_of: Any
) -> None:
    killed = start(config, server)
    try:
        until(lambda: journaled(config) >= 2 or killed.poll() is not None, seconds=300)
        assert killed.poll() is None, killed.communicate()[1]
    finally:
        os.killpg(killed.pid, signal.SIGKILL)
        killed.communicate()
    server.wait_until_idle()
    finished, before = journaled(config), server.answered()
    assert finished >= 2

    resumed = start(config, server)
    _, said = resumed.communicate(timeout=600)
    assert resumed.returncode == 0, said
    synthesis = read_stats(config.corpus, 1)["synthesis"]
    assert synthesis["from_journal"] >= finished
    assert synthesis["requests"] >= 1 and synthesis["failed"] == 0
    assert server.answered() - before == synthesis["requests"] == journaled(config) - finished
    assert synthesis["endpoints"][server.url]["requests"] == synthesis["requests"]

    # The same journal gives the same bytes in an unbroken run, without any request.
    unbroken = config.model_copy(update={"corpus": str(tmp_path / "unbroken")})
    shutil.copytree(Path(config.corpus) / "journal", Path(unbroken.corpus) / "journal")
    before = server.answered()
    again = start(unbroken, server)
    _, said = again.communicate(timeout=600)
    assert again.returncode == 0, said
    assert server.answered() == before
    assert digests_of(unbroken.corpus) == digests_of(config.corpus)


def long_request(protocol: SynthesisProtocol, document: Document) -> GenerationRequest:
    """Make a request that takes some seconds: only its last token ends the answer."""
    schema = json.dumps({"type": "string", "minLength": 4_000})
    return GenerationRequest(
        prompt_ids=tuple(protocol.prompt((), document)), max_new_tokens=100, json_schema=schema
    )


def test_a_request_outlives_a_server_that_is_killed_and_started_again(
    server: RealServer, make_protocol: Callable[..., SynthesisProtocol], document: Document
) -> None:
    (process,) = server.processes()
    (answer,) = ask(
        server,
        long_request(make_protocol("chat"), document),
        meanwhile=lambda: os.kill(process, signal.SIGKILL),
    )
    assert isinstance(answer, Generation) and answer.completion_tokens == 100
    assert server.processes() != [process]


def test_requests_outlive_a_server_that_is_asked_to_end(
    server: RealServer, make_protocol: Callable[..., SynthesisProtocol], document: Document
) -> None:
    (process,) = server.processes()
    late: list[Generation | GenerationFailure] = []
    request = long_request(make_protocol("chat"), document)

    def end_and_ask_again() -> None:
        os.kill(process, signal.SIGTERM)
        late.extend(ask(server, request))

    found = ask(server, request, meanwhile=end_and_ask_again)
    for answer in (*found, *late):
        assert isinstance(answer, Generation) and answer.completion_tokens == 100
