"""A scripted server that misbehaves on demand, with SGLang's API or OpenAI's, and clients for it."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from aiohttp import web

from plugins.servers.openai_client import OpenAIClient
from plugins.servers.retries import ClientOptions
from plugins.sglang.client import SGLangClient
from plugins.synthesizers.generator import GenerationFailure, GenerationRequest
from schemas.records import Generation

REQUEST = GenerationRequest(prompt_ids=(0, 5, 6), max_new_tokens=7, affinity="chain-1")
QUICK = ClientOptions(
    request_timeout_sec=5, max_attempts=3, patience_sec=0.3, backoff_sec=0.01, max_backoff_sec=0.02
)
Handler = Callable[["Server", web.Request], Awaitable[web.StreamResponse]]
Answer = Generation | GenerationFailure


OWN_ID = "the id of the request"
"""Placeholder in a scripted answer for the `rid` of its request."""


def quick(**changes: Any) -> ClientOptions:
    return QUICK.model_copy(update=changes)


def good(text: str = "pairs", **meta: Any) -> web.Response:
    counts = {"prompt_tokens": 3, "completion_tokens": 2, "cached_tokens": 1}
    finish = {"finish_reason": {"type": "stop", "matched": 2}}
    return web.json_response({"text": text, "meta_info": {"id": OWN_ID, **finish, **counts, **meta}})


ANSWER = Generation(text="pairs", finish_reason="stop", prompt_tokens=3, completion_tokens=2, cached_tokens=1)


API = "sglang"
"""API of the clients and URLs; the fixture `api` changes it."""


class OpenAI(OpenAIClient):
    """Sends requests to `/completions`."""

    async def generate(self, request: GenerationRequest) -> Answer:
        body = {"input_ids": list(request.prompt_ids), "max_tokens": request.max_new_tokens}
        return await self.send("/completions", body, affinity=request.affinity, num_tokens=0)


def client_of(urls: Sequence[str], options: ClientOptions) -> SGLangClient | OpenAI:
    return SGLangClient(urls, options) if API == "sglang" else OpenAI(urls, options)


def url_of(port: int) -> str:
    return f"http://127.0.0.1:{port}" + ("/v1" if API == "openai" else "")


def as_openai(body: bytes) -> bytes:
    """An answer of SGLang in OpenAI's format; other bodies as they are."""
    try:
        value = json.loads(body)
        meta = dict(value["meta_info"])
    except (ValueError, KeyError, TypeError):
        return body
    reason = meta.pop("finish_reason")
    usage = {**meta, "prompt_tokens_details": {"cached_tokens": meta.pop("cached_tokens", None)}}
    choice = {"text": value["text"], "finish_reason": reason["type"]}
    return json.dumps({"choices": [choice], "usage": usage}).encode()


class Server:
    """A stand-in on 127.0.0.1: gives the answers of a script in turn and repeats the last one.

    Attributes:
        bodies: Bodies of the requests to `/generate`, without the ids.
        ids: The ids of these requests.
    """

    def __init__(self, *script: Handler | web.Response | Callable[[], web.Response], health: int = 200):
        self.script = list(script) or [good]
        self.health = health
        self.bodies: list[Any] = []
        self.ids: list[str] = []
        self.headers: list[Any] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self.health_checks = 0
        self.port = 0

    async def __aenter__(self) -> Server:
        app = web.Application()
        app.router.add_post("/generate", self._generate)
        app.router.add_post("/v1/completions", self._generate)
        app.router.add_post("/v1/chat/completions", self._generate)
        app.router.add_get("/health", self._health)
        app.router.add_get("/v1/models", self._health)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        return url_of(self.port)

    async def _health(self, request: web.Request) -> web.Response:
        self.health_checks += 1
        return web.Response(status=self.health)

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.ids.append(body.pop("rid", ""))
        self.bodies.append(body)
        self.headers.append(request.headers)
        own_id = self.ids[-1]
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            step: Any = self.script.pop(0) if len(self.script) > 1 else self.script[0]
            if asyncio.iscoroutinefunction(step):
                response = await step(self, request)
            else:
                response = step() if callable(step) else step
            if isinstance(response, web.Response) and isinstance(response.body, bytes):
                response.body = response.body.replace(OWN_ID.encode(), own_id.encode())
                if request.path.startswith("/v1"):
                    response.body = as_openai(response.body)
            return response
        finally:
            self.in_flight -= 1


def status(code: int, body: Any = None, **headers: str) -> Callable[[], web.Response]:
    text = body if isinstance(body, str) else json.dumps(body)
    return lambda: web.Response(status=code, text=text, headers=headers)


async def hang(server: Server, request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(30)
    raise AssertionError("nobody waits that long")


async def disconnect(server: Server, request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"text": "half of')
    assert request.transport is not None
    request.transport.abort()
    return response


def ask(
    *script: Any,
    options: ClientOptions = QUICK,
    request: GenerationRequest = REQUEST,
    times: int = 1,
    health: int = 200,
) -> tuple[list[Answer], Server]:
    """Send one request, or several at once, to one server."""

    async def run() -> tuple[list[Answer], Server]:
        async with Server(*script, health=health) as server:
            client = client_of([server.url], options)
            try:
                found = await asyncio.gather(*(client.generate(request) for _ in range(times)))
            finally:
                await client.close()
            return list(found), server

    return asyncio.run(run())


def free_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])
