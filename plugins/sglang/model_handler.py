"""SGLang for anyone's Beam pipeline: a ModelHandler for `RunInference`.

    from apache_beam.ml.inference.base import KeyedModelHandler, RunInference
    from plugins.sglang.model_handler import SGLangModelHandler, SGLangPrompt

    handler = SGLangModelHandler(
        endpoints=["http://127.0.0.1:30000"], sampling_params={"max_new_tokens": 200, "temperature": 0}
    )
    prompts | RunInference(handler)                       # text, token ids or SGLangPrompts
    keyed   | RunInference(KeyedModelHandler(handler))    # (key, prompt) pairs

Each element gives a PredictionResult whose `inference` is a Generation or, as a value, a
GenerationFailure: a refused prompt costs itself, a lost server costs no bundle. Sampling arguments are
merged key by key: those of the handler, then `inference_args` of RunInference, then those of the element.

Cost: RunInference waits for the slowest prompt of each batch. With lognormal latencies and 128 requests
in flight that gave 63 requests/s where plain asyncio without batches gave 301. Batches of 4 times
`max_in_flight`, the default, soften this; for most throughput write a DoFn around SGLangClient with a
sliding window, as `pipelines/transforms/synthesize.py` has it. Beam has no hook that unloads a model: it
closes when it is garbage collected, at the latest when the worker process ends.
"""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from apache_beam.metrics import Metrics
from apache_beam.ml.inference.base import ModelHandler, PredictionResult

from plugins.sglang.client import ClientOptions, SGLangClient
from plugins.sglang.prompts import Request, SGLangPrompt, checked_params, request_of
from plugins.synthesizers.generator import GenerationFailure
from schemas.corpus_config import ServerConfig
from schemas.errors import ConfigError
from schemas.records import Generation

_Answer = Generation | GenerationFailure

_NAMESPACE = "tutelage-sglang"
_CLOSE_SEC = 10.0


class SGLangModelHandler(ModelHandler[str | Sequence[int] | SGLangPrompt, PredictionResult, "SGLangModel"]):
    """Answers prompts with SGLang. Give either `endpoints` or `server`.

    Counts `prompt_tokens`, `completion_tokens`, `cached_tokens` and `failed_REASON` under the namespace
    `tutelage-sglang`, beside Beam's own metrics.

    Args:
        endpoints: URLs of running servers, such as `http://127.0.0.1:30000`.
        server: Instead of endpoints, servers that each worker's machine starts for itself.
        model: Directory or hub name for the server, unless it names its own; with endpoints no more than
            a name. It becomes the `model_id` of the results.
        sampling_params: Of every prompt that does not say otherwise, by SGLang's names.
        options: Limits and patience of the client, for each worker process.
        min_batch_size: Fewest prompts of a batch while there are more to come; `max_batch_size` unless
            given. With less, Beam estimates a size by itself and aims at 10 s a batch.
        max_batch_size: Most prompts of a batch; 4 times `options.max_in_flight` unless given.

    Raises:
        ConfigError: An argument is refused.
    """

    def __init__(
        self,
        *,
        endpoints: Sequence[str] = (),
        server: ServerConfig | None = None,
        model: str = "",
        sampling_params: Mapping[str, Any] | None = None,
        options: ClientOptions | None = None,
        min_batch_size: int | None = None,
        max_batch_size: int | None = None,
    ):
        super().__init__()
        self._endpoints = (endpoints,) if isinstance(endpoints, str) else tuple(endpoints)
        self._server = server
        self._model = (server.model if server else None) or model
        self._options = options or ClientOptions()
        self._max_batch_size = 4 * self._options.max_in_flight if max_batch_size is None else max_batch_size
        self._min_batch_size = self._max_batch_size if min_batch_size is None else min_batch_size
        if bool(self._endpoints) == (server is not None):
            found = "both" if server else "neither"
            raise ConfigError(
                f"SGLangModelHandler got {found} of endpoints and server; give endpoints=[URL, ...] of "
                "running servers, or server=ServerConfig(...) to start some."
            )
        if server and not self._model:
            raise ConfigError(
                "SGLangModelHandler got a server but no model; give model=, a directory or hub name."
            )
        for endpoint in self._endpoints:
            if not isinstance(endpoint, str) or not endpoint.startswith(("http://", "https://")):
                raise ConfigError(f"endpoints holds {endpoint!r}; expected a URL with http:// or https://.")
        if not 1 <= self._min_batch_size <= self._max_batch_size:
            raise ConfigError(
                f"min_batch_size is {self._min_batch_size} and max_batch_size {self._max_batch_size}; "
                "expected 1 <= min_batch_size <= max_batch_size."
            )
        self._sampling_params = checked_params("sampling_params", sampling_params or {})

    def load_model(self) -> SGLangModel:
        """Make a client for this process; first start the servers if they are ours, which may take minutes.

        Clients are cheap, so each process has its own; servers are shared through their leases.

        Raises:
            ServerError: A server does not come up.
        """
        if self._server is None:
            return SGLangModel(self._endpoints, self._options)
        from plugins.sglang.server import lease_servers

        lease = lease_servers(self._server, model=self._model)
        try:
            return SGLangModel(lease.endpoints, self._options, on_close=lease.release)
        except BaseException:
            lease.release()
            raise

    def run_inference(
        self, batch: Sequence[Any], model: SGLangModel, inference_args: Mapping[str, Any] | None = None
    ) -> list[PredictionResult]:
        """Answer a batch, in order. Raises nothing for what a prompt or a server does."""
        defaults = {**self._sampling_params, **(inference_args or {})}
        found = [request_of(element, defaults) for element in batch]
        answered = iter(model.answer([one for one in found if not isinstance(one, GenerationFailure)]))
        answers = [one if isinstance(one, GenerationFailure) else next(answered) for one in found]
        _count(answers)
        return [
            PredictionResult(element, answer, self._model or None)
            for element, answer in zip(batch, answers, strict=True)
        ]

    def validate_inference_args(self, inference_args: Mapping[str, Any] | None) -> None:
        """Refuse sampling arguments that no prompt could be sent with, when the pipeline is built."""
        checked_params("inference_args", inference_args or {})

    def update_model_path(self, model_path: str | None = None) -> None:
        """Refuse Beam's automatic refresh, which would otherwise go on with the old model silently."""
        if model_path:
            raise ConfigError(
                f"RunInference asks for the model {model_path!r}, but a running SGLang server keeps the one "
                "it has; leave out watch_model_pattern and model_metadata_pcoll."
            )

    def batch_elements_kwargs(self) -> Mapping[str, Any]:
        return {"min_batch_size": self._min_batch_size, "max_batch_size": self._max_batch_size}

    def get_num_bytes(self, batch: Sequence[Any]) -> int:
        """About the bytes of a batch; Beam's own pickles it, and not everything can be pickled."""
        return sum(len(str(element)) for element in batch)

    def get_metrics_namespace(self) -> str:
        return _NAMESPACE


class SGLangModel:
    """A client on an event loop of its own thread: what `load_model` loads.

    Only its methods are used, with plain values, so that it also works behind a proxy of Beam's, as
    KeyedModelHandler with several handlers has it.

    Args:
        endpoints: URLs of servers.
        options: Limits and patience.
        on_close: Called once it is closed.
    """

    def __init__(
        self, endpoints: Sequence[str], options: ClientOptions, on_close: Callable[[], None] | None = None
    ):
        self._client = SGLangClient(endpoints, options)
        self._loop = asyncio.new_event_loop()
        # The thread must not know `self`, which would then never be collected.
        thread = threading.Thread(
            target=_serve, args=(self._loop, self._client), name=_NAMESPACE, daemon=True
        )
        thread.start()
        self._finalizer = weakref.finalize(self, _close, self._loop, thread, on_close)

    def answer(self, requests: Sequence[Request]) -> list[_Answer]:
        """Send bodies with their affinities, as many at once as the options allow; answers in order."""
        return asyncio.run_coroutine_threadsafe(_send_all(self._client, requests), self._loop).result()

    def close(self) -> None:
        """Close the connections and end the thread; happens by itself when nobody holds it any more."""
        self._finalizer()


async def _send_all(client: SGLangClient, requests: Sequence[Request]) -> list[_Answer]:
    return list(await asyncio.gather(*(client.send(body, affinity=affinity) for body, affinity in requests)))


def _serve(loop: asyncio.AbstractEventLoop, client: SGLangClient) -> None:
    loop.run_forever()
    loop.run_until_complete(_end(client))
    loop.close()


async def _end(client: SGLangClient) -> None:
    under_way = asyncio.all_tasks() - {asyncio.current_task()}
    for task in under_way:
        task.cancel()
    await asyncio.gather(*under_way, return_exceptions=True)
    await client.close()


def _close(
    loop: asyncio.AbstractEventLoop, thread: threading.Thread, on_close: Callable[[], None] | None
) -> None:
    try:
        loop.call_soon_threadsafe(loop.stop)
        if threading.current_thread() is not thread:  # garbage is collected on any thread
            thread.join(_CLOSE_SEC)
    finally:
        if on_close is not None:
            on_close()


def _count(answers: Sequence[_Answer]) -> None:
    counts: Counter[str] = Counter()
    for answer in answers:
        if isinstance(answer, GenerationFailure):
            counts[f"failed_{answer.reason}"] += 1
        else:
            for name in ("prompt_tokens", "completion_tokens", "cached_tokens"):
                counts[name] += getattr(answer, name)
    for name, count in counts.items():
        Metrics.counter(_NAMESPACE, name).inc(count)
