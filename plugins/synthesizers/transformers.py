"""Synthesizer `transformers`: a causal LM inside the worker process, for small models without a server.

Requests of many chains enter a queue. A thread takes up to `batch_size` of them, waits up to `fill_sec` for a
full batch, pads the prompts on the left and generates. A batch takes as long as its longest answer; a server
does this better. If padding changes a model's answers, only prompts of equal length share a batch.
"""

from __future__ import annotations

import asyncio
import importlib.util
import itertools
import queue
import threading
import weakref
from collections.abc import Iterator
from typing import Any, Literal

import pydantic

from plugins.attention_probe import length_dependent_positions, say
from plugins.causal_lm import load_causal_lm
from plugins.hub import hub_options
from plugins.synthesizers.generator import GenerationFailure, GenerationRequest, Generator
from plugins.synthesizers.language_model import LanguageModelSynthesizer
from schemas.config import Section, validate
from schemas.errors import ConfigError, missing_package
from schemas.records import Generation
from schemas.synthesis_config import SynthesisConfig


class TransformersOptions(Section):
    """`synthesis.options` of backend transformers.

    Attributes:
        batch_size: Maximum prompts in a batch.
        fill_sec: Seconds that a batch waits for each further prompt.
        device: cpu, cuda, cuda:1, …
        dtype: auto, float32 or bfloat16. auto is float32 on a CPU, where bfloat16 is many times slower, and
            the model's own elsewhere.
        repetition_penalty: Penalty as transformers defines it; 1.0 is none.
        weights_may_differ: Regular expressions of weights that may be missing in the model's files (they are
            then random), unused, or of another shape. Other such weights are an error.
    """

    batch_size: int = pydantic.Field(default=16, ge=1)
    fill_sec: float = pydantic.Field(default=0.2, ge=0)
    device: str = "cpu"
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    repetition_penalty: float = pydantic.Field(default=1.0, gt=0)
    weights_may_differ: tuple[str, ...] = ()


class TransformersSynthesizer(LanguageModelSynthesizer):
    """Writes pairs with a model loaded in this process.

    Raises:
        ConfigError: torch is not installed, or an option is invalid.
    """

    def __init__(self, config: SynthesisConfig, *, seed: int):
        if importlib.util.find_spec("torch") is None:
            absent = ModuleNotFoundError("No module named 'torch'", name="torch")
            raise missing_package("synthesis.backend 'transformers'", absent)
        options = validate(TransformersOptions, config.options, name="synthesis.options")
        super().__init__(
            config,
            seed=seed,
            generator=TransformersGenerator(config, options),
            shaping={"repetition_penalty": options.repetition_penalty},
        )


_loaded: weakref.WeakValueDictionary[tuple[str, str, bool], Any] = weakref.WeakValueDictionary()
_loading = threading.Lock()

_Waiting = tuple[
    GenerationRequest, "asyncio.Future[Generation | GenerationFailure]", asyncio.AbstractEventLoop
]


class TransformersGenerator(Generator):
    """Generates in batches on its own thread."""

    def __init__(self, config: SynthesisConfig, options: TransformersOptions):
        self._config = config
        self._options = options
        self._waiting: queue.Queue[_Waiting | None] = queue.Queue()
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        from transformers import AutoTokenizer

        name = str(self._config.model)
        with _loading:  # the steps of one worker share a model
            key = name, self._options.model_dump_json(), self._config.trust_remote_code
            self._model: Any = _loaded.get(key) or load_causal_lm(
                "synthesis.model",
                name,
                may_differ=self._options.weights_may_differ,
                naming="synthesis.options.weights_may_differ",
                torch_dtype=self._dtype(),
                trust_remote_code=self._config.trust_remote_code,
            )
            _loaded[key] = self._model
        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(
                name, trust_remote_code=self._config.trust_remote_code, **hub_options(name)
            )
        except (OSError, ValueError) as error:
            raise ConfigError(f"synthesis.model {name!r} cannot be loaded: {error}") from error
        try:
            self._model.to(self._options.device).eval()
        except (RuntimeError, AssertionError) as error:  # the latter says that torch has no CUDA
            raise ConfigError(
                f"synthesis.options.device {self._options.device!r} cannot be used: "
                f"{str(error).splitlines()[0]}"
            ) from error
        self._harm_of_padding = self._try_padding()
        if self._harm_of_padding:
            say(
                f"synthesis.model {name}: only prompts of equal length share a batch, because "
                f"{self._harm_of_padding}."
            )
        eos = self._model.generation_config.eos_token_id
        self._eos = {eos} if isinstance(eos, int) else set(eos or ())
        if self._tokenizer.eos_token_id is not None:
            self._eos.add(self._tokenizer.eos_token_id)
        self._thread = threading.Thread(target=self._serve, name="tutelage-generate", daemon=True)
        self._thread.start()

    def _dtype(self) -> Any:
        import torch

        if self._options.dtype != "auto":
            return getattr(torch, self._options.dtype)
        return torch.float32 if self._options.device == "cpu" else "auto"

    async def close(self) -> None:
        if self._thread is not None:
            self._waiting.put(None)
            await asyncio.to_thread(self._thread.join)
            self._thread = None

    async def generate(self, request: GenerationRequest) -> Generation | GenerationFailure:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Generation | GenerationFailure] = loop.create_future()
        self._waiting.put((request, answer, loop))
        return await answer

    def _serve(self) -> None:
        while (first := self._waiting.get()) is not None:
            batch = [first]
            ending = False
            while len(batch) < self._options.batch_size:
                try:
                    another = self._waiting.get(timeout=self._options.fill_sec)
                except queue.Empty:
                    break
                if another is None:
                    ending = True
                    break
                batch.append(another)
            for part in self._without_harm(batch):
                self._answer(part)
            if ending:
                return

    def _try_padding(self) -> str:
        """Reason why padding on the left changes the model's answers; "" if it does not."""
        import torch

        text = self._model.config.get_text_config()
        for kind, limit in filter(None, [length_dependent_positions(text)]):
            if limit < self._config.context_tokens:
                return f"its {kind} positions change with the longest text of a batch"
        if (
            getattr(text, "attention_chunk_size", None) or self._config.context_tokens
        ) < self._config.context_tokens:
            return "its attention is cut into chunks from a row's start"

        def logits_NV(num_padding: int, *, is_seen: bool = False) -> Any:
            ids_T = [0] * num_padding + [5, 3, 8, 2]
            ids_BT = torch.tensor(
                [ids_T, [6, 9, 4, 1, 7, 3, 2, 5][-len(ids_T) :]], device=self._options.device
            )
            mask_BT = torch.ones_like(ids_BT)
            mask_BT[0, :num_padding] = is_seen
            with torch.inference_mode():
                found = self._model.generate(
                    **{"input_ids": ids_BT, "attention_mask": mask_BT, "max_new_tokens": 2},
                    **{"do_sample": False, "eos_token_id": None, "pad_token_id": 0},
                    **{"return_dict_in_generate": True, "output_logits": True},
                )
            return torch.stack([step_BV[0].float() for step_BV in found.logits])

        alone_NV, padded_NV = logits_NV(0), logits_NV(4)
        as_text = float((logits_NV(4, is_seen=True)[0] - alone_NV[0]).abs().max())
        deviation = float((padded_NV - alone_NV).abs().max())
        return f"padding moves its logits by {deviation:.2g}" if deviation > max(1e-3, as_text / 4) else ""

    def _without_harm(self, batch: list[_Waiting]) -> Iterator[list[_Waiting]]:
        """Split a batch into parts that need no harmful padding."""
        if not self._harm_of_padding:
            yield batch
            return

        def length(waiting: _Waiting) -> int:
            return len(waiting[0].prompt_ids)

        for _, part in itertools.groupby(sorted(batch, key=length), key=length):
            yield list(part)

    def _answer(self, batch: list[_Waiting]) -> None:
        answers: list[Generation] | list[GenerationFailure]
        try:
            answers = self._generate([request for request, _, _ in batch])
        except Exception as error:  # the callers must get any exception of the model
            if len(batch) > 1:  # one prompt may be the cause
                for one in batch:
                    self._answer([one])
                return
            answers = [GenerationFailure(reason="model_error", detail=f"{type(error).__name__}: {error}")]
        for (_, future, loop), answer in zip(batch, answers, strict=True):
            try:
                loop.call_soon_threadsafe(_settle, future, answer)
            except RuntimeError:  # the loop is closed: no caller waits
                pass

    def _generate(self, requests: list[GenerationRequest]) -> list[Generation]:
        import torch

        longest = max(len(request.prompt_ids) for request in requests)
        ids_BT = torch.zeros(len(requests), longest, dtype=torch.long)
        mask_BT = torch.zeros_like(ids_BT)
        for row, request in enumerate(requests):
            ids_BT[row] = request.prompt_ids[0]  # a token of the prompt, so that padding gets no new penalty
            ids_BT[row, longest - len(request.prompt_ids) :] = torch.as_tensor(request.prompt_ids)
            mask_BT[row, longest - len(request.prompt_ids) :] = 1
        temperature = requests[0].temperature
        sampling = (
            {"do_sample": True, "temperature": temperature} if temperature > 0 else {"do_sample": False}
        )
        with torch.inference_mode():
            out = self._model.generate(
                input_ids=ids_BT.to(self._options.device),
                attention_mask=mask_BT.to(self._options.device),
                max_new_tokens=max(request.max_new_tokens for request in requests),
                repetition_penalty=self._options.repetition_penalty,
                eos_token_id=sorted(self._eos) or None,
                pad_token_id=min(self._eos, default=0),
                return_dict_in_generate=True,
                output_logits=any(request.choices for request in requests) or None,
                **sampling,
            )
        return [
            _chosen(request, out.logits[0][row])
            if request.choices
            else self._generation(request, ids_T[longest:].tolist())
            for row, (request, ids_T) in enumerate(zip(requests, out.sequences, strict=True))
        ]

    def _generation(self, request: GenerationRequest, ids: list[int]) -> Generation:
        ids = ids[: request.max_new_tokens]
        end = next((at for at, token_id in enumerate(ids) if token_id in self._eos), None)
        text = self._tokenizer.decode(ids[:end], skip_special_tokens=True)
        cut = min((at for stop in request.stop if (at := text.find(stop)) >= 0), default=None)
        return Generation(
            text=text[:cut],
            finish_reason="length" if end is None and cut is None else "stop",
            prompt_tokens=len(request.prompt_ids),
            completion_tokens=len(ids) if end is None else end + 1,
        )


def _chosen(request: GenerationRequest, logits_V: Any) -> Generation:
    """The likeliest choice of a request, by the logits of its first token."""
    found_V = logits_V.float().log_softmax(-1)
    logprobs = tuple(float(found_V[list(choice.ids)].logsumexp(0)) for choice in request.choices)
    return Generation(
        text=request.choices[logprobs.index(max(logprobs))].text,
        finish_reason="stop",
        prompt_tokens=len(request.prompt_ids),
        completion_tokens=1,
        logprobs=logprobs,
    )


def _settle(future: asyncio.Future[Any], answer: Any) -> None:
    if not future.done():  # done if the caller was cancelled
        future.set_result(answer)
