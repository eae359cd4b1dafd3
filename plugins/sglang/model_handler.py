"""SGLang in any Beam pipeline: a ModelHandler for `RunInference`.

    handler = SGLangModelHandler(
        endpoints=["http://127.0.0.1:30000"], sampling_params={"max_new_tokens": 200, "temperature": 0}
    )
    prompts | RunInference(handler)                       # text, or a list of token ids
    keyed   | RunInference(KeyedModelHandler(handler))    # (key, prompt) pairs

Each element gives a PredictionResult whose `inference` is a Generation, or a GenerationFailure as a value:
neither a refused prompt nor a lost server fails a bundle. `inference_args` of RunInference are sampling
parameters, and override those of the handler.

RunInference waits for the slowest prompt of each batch. For more throughput write a DoFn around SGLangClient
with a sliding window, as `pipelines/steps/synthesize.py` does.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from apache_beam.metrics import Metrics
from apache_beam.ml.inference.base import ModelHandler, PredictionResult

from plugins.servers.retries import ClientOptions
from plugins.sglang.client import SGLangClient
from plugins.synthesizers.generator import GenerationFailure
from schemas.content_hash import digest
from schemas.errors import ConfigError
from schemas.records import Generation
from schemas.synthesis_config import ServerConfig

_NAMESPACE = "tutelage-sglang"


class SGLangModelHandler(ModelHandler[str | Sequence[int], PredictionResult, "SGLangModel"]):
    """Answers prompts with SGLang. Give either `endpoints` or `server`.

    Counts `prompt_tokens`, `completion_tokens`, `cached_tokens` and `failed_REASON` under the namespace
    `tutelage-sglang`, beside Beam's own metrics.

    Args:
        endpoints: URLs of running servers, such as `http://127.0.0.1:30000`.
        server: Servers that each worker's machine starts, instead of endpoints.
        model: Directory or hub name for these servers, and the `model_id` of the results.
        sampling_params: Sampling parameters with SGLang's names.
        options: Limits and retries of the client, for each worker process.
    """

    def __init__(
        self,
        *,
        endpoints: Sequence[str] = (),
        server: ServerConfig | None = None,
        model: str = "",
        sampling_params: Mapping[str, Any] | None = None,
        options: ClientOptions | None = None,
    ):
        super().__init__()
        self._endpoints = tuple(endpoints)
        self._server = server
        self._model = (server.model if server else None) or model
        self._sampling_params = dict(sampling_params or {})
        self._options = options or ClientOptions()
        if bool(self._endpoints) == (server is not None) or (server and not self._model):
            raise ConfigError("SGLangModelHandler needs endpoints=[URL, ...], or server= and model=.")

    def load_model(self) -> SGLangModel:
        """Make a client for this process; with `server`, start the servers first."""
        if self._server is None:
            return SGLangModel(self._endpoints, self._options)
        from plugins.sglang.server import lease_servers

        lease = lease_servers(self._server, model=self._model)
        return SGLangModel(lease.endpoints, self._options, on_close=lease.release)

    def run_inference(
        self, batch: Sequence[Any], model: SGLangModel, inference_args: Mapping[str, Any] | None = None
    ) -> list[PredictionResult]:
        """Answer a batch in order. A failing prompt or server raises nothing."""
        answers = model.answer(list(batch), {**self._sampling_params, **(inference_args or {})})
        counts: Counter[str] = Counter()
        for answer in answers:
            if isinstance(answer, GenerationFailure):
                counts[f"failed_{answer.reason}"] += 1
            else:
                for name in ("prompt_tokens", "completion_tokens", "cached_tokens"):
                    counts[name] += getattr(answer, name)
        for name, count in counts.items():
            Metrics.counter(_NAMESPACE, name).inc(count)
        return [
            PredictionResult(prompt, answer, self._model or None)
            for prompt, answer in zip(batch, answers, strict=True)
        ]

    def validate_inference_args(self, inference_args: Mapping[str, Any] | None) -> None:
        """Accept all arguments: they are sampling parameters."""

    def batch_elements_kwargs(self) -> Mapping[str, Any]:
        size = 4 * self._options.max_in_flight  # a large batch waits less for its slowest prompt
        return {"min_batch_size": size, "max_batch_size": size}


class SGLangModel:
    """A client with an event loop on its own thread; garbage collection closes it."""

    def __init__(self, endpoints: Sequence[str], options: ClientOptions, on_close: Any = lambda: None):
        self._client = SGLangClient(endpoints, options)
        self._loop = asyncio.new_event_loop()
        thread = threading.Thread(target=self._loop.run_forever, name=_NAMESPACE, daemon=True)
        thread.start()
        self.close = weakref.finalize(self, _close, self._client, self._loop, thread, on_close)

    def answer(
        self, prompts: Sequence[Any], sampling_params: Mapping[str, Any]
    ) -> list[Generation | GenerationFailure]:
        """Answer prompts in order, with as many requests in flight as the options allow."""

        async def one(prompt: Any) -> Generation | GenerationFailure:
            kind = "text" if isinstance(prompt, str) else "input_ids"
            body = {kind: prompt, "sampling_params": sampling_params}
            try:
                return await self._client.send(body, affinity=digest(str(prompt)))
            except TypeError as error:  # not JSON
                return GenerationFailure(reason="bad_prompt", detail=str(error))

        async def each() -> list[Generation | GenerationFailure]:
            return await asyncio.gather(*map(one, prompts))

        return asyncio.run_coroutine_threadsafe(each(), self._loop).result()


def _close(client: SGLangClient, loop: Any, thread: threading.Thread, on_close: Any) -> None:
    async def end() -> None:
        in_flight = asyncio.all_tasks() - {asyncio.current_task()}
        for task in in_flight:
            task.cancel()
        await asyncio.gather(*in_flight, return_exceptions=True)
        await client.close()
        loop.stop()

    asyncio.run_coroutine_threadsafe(end(), loop)
    if threading.current_thread() is not thread:  # garbage collection may run on any thread
        thread.join(10)
    on_close()
