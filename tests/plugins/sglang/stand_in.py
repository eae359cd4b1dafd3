"""A stand-in for an SGLang server, and its expected answers, for the tests of the ModelHandler."""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web

from plugins.sglang.retries import ClientOptions
from schemas.records import Generation

QUICK = ClientOptions(
    request_timeout_sec=10, max_attempts=2, patience_sec=0.2, backoff_sec=0.01, max_backoff_sec=0.02
)


class StandIn:
    """Answers `/generate` like SGLang: with what it was asked. Refuses prompts that begin with "bad".

    Attributes:
        bodies: What it was asked.
        delay_sec: How long an answer takes.
        most_in_flight: Most requests that were under way at once.
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
        """The sampling parameters that each text was sent with."""
        return {body["text"]: body["sampling_params"] for body in self.bodies}


def answer(prompt: str | list[int]) -> Generation:
    """What a StandIn's answer to a prompt is read as."""
    return Generation(
        text=f"re: {prompt}",
        finish_reason="stop",
        prompt_tokens=len(prompt),
        completion_tokens=2,
        cached_tokens=1,
    )
