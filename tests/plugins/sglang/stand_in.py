"""A stand-in for an SGLang server, and its expected answers, for the tests of the ModelHandler."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from plugins.servers.retries import ClientOptions
from schemas.records import Generation

QUICK = ClientOptions(
    request_timeout_sec=10, max_attempts=2, patience_sec=0.2, backoff_sec=0.01, max_backoff_sec=0.02
)


class StandIn:
    """Answers `/generate` in SGLang's format with the prompt. Refuses prompts that begin with "bad".

    Attributes:
        bodies: Bodies of the requests.
        delay_sec: Time to an answer, in seconds.
        most_in_flight: Highest number of requests in flight.
    """

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.delay_sec = 0.0
        self.in_flight = self.most_in_flight = 0
        self.url = ""

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/generate", self._generate)
        app.router.add_get("/health", self._health)
        return app

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response()

    async def _generate(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.bodies.append(body)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        await asyncio.sleep(self.delay_sec)
        self.in_flight -= 1
        prompt = body.get("text", body.get("input_ids"))
        if str(prompt).startswith("bad"):
            return web.json_response({"error": {"message": "no such luck"}}, status=400)
        counts = {"prompt_tokens": len(prompt), "completion_tokens": 2, "cached_tokens": 1}
        meta = {"finish_reason": {"type": "stop", "matched": 2}, **counts}
        return web.json_response({"text": f"re: {prompt}", "meta_info": meta})

    @property
    def sampling(self) -> dict[str, dict[str, Any]]:
        """Sampling parameters of each text's request."""
        return {body["text"]: body["sampling_params"] for body in self.bodies}


def answer(prompt: str | list[int]) -> Generation:
    """The Generation that the client reads from a StandIn's answer to a prompt."""
    return Generation(
        text=f"re: {prompt}",
        finish_reason="stop",
        prompt_tokens=len(prompt),
        completion_tokens=2,
        cached_tokens=1,
    )
