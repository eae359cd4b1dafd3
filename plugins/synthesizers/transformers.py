"""A causal LM of transformers inside the worker process: for small models, and where no server runs.

Requests of many chains meet in a queue; a thread takes up to `batch_size` of them, waiting a moment
for a batch to fill, pads them on the left and generates. A batch lasts as long as its longest answer,
which is what a server does better. Where padding would change a model's answers
(trainer/evaluation/padding.py), only prompts of one length share a batch.
"""

from __future__ import annotations

import asyncio
import queue
import sys
import threading
from collections.abc import Iterator
from typing import Any, Literal

import pydantic

from plugins.attention_probe import say
from plugins.causal_lm import load_causal_lm
from plugins.hub import hub_options
from plugins.synthesizers.generator import GenerationFailure, GenerationRequest, Generator
from plugins.synthesizers.language_model import LanguageModelSynthesizer
from schemas.config import Section, validate
from schemas.corpus_config import SynthesisConfig
from schemas.errors import ConfigError
from schemas.records import Generation


class TransformersOptions(Section):
    """`synthesis.options` of this backend.

    Attributes:
        batch_size: Prompts generated on together.
        fill_sec: How long a batch waits for more prompts.
        device: cpu, cuda, cuda:1, ...
        dtype: auto, float32 or bfloat16; auto is float32 on a CPU, where bfloat16 is many times slower,
            and the model's own elsewhere.
        repetition_penalty: As transformers defines it; 1.0 is none.
        weights_may_differ: Regular expressions of weights that the model's files may lack (they are random)
            or hold otherwise. Others are refused.
    """

    batch_size: int = pydantic.Field(default=16, ge=1)
    fill_sec: float = pydantic.Field(default=0.2, ge=0)
    device: str = "cpu"
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    repetition_penalty: float = pydantic.Field(default=1.0, gt=0)
    weights_may_differ: tuple[str, ...] = ()


class TransformersSynthesizer(LanguageModelSynthesizer):
    """Synthesizes with a model that is loaded in this process."""

    def __init__(self, config: SynthesisConfig, *, seed: int):
        options = validate(TransformersOptions, config.options, name="synthesis.options")
        super().__init__(
            config,
            seed=seed,
            generator=TransformersGenerator(config, options),
            shaping={"repetition_penalty": options.repetition_penalty},
        )


_Waiting = tuple[
    GenerationRequest, "asyncio.Future[Generation | GenerationFailure]", asyncio.AbstractEventLoop
]


class TransformersGenerator(Generator):
    """Generates in batches on a thread of its own."""

    def __init__(self, config: SynthesisConfig, options: TransformersOptions):
        self._config = config
        self._options = options
        self._waiting: queue.Queue[_Waiting | None] = queue.Queue()
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        from transformers import AutoTokenizer

        from trainer.evaluation.model import as_causal_model, evaluating

        name = str(self._config.model)
        self._model: Any = load_causal_lm(
            "synthesis.model",
            name,
            may_differ=self._options.weights_may_differ,
            naming="synthesis.options.weights_may_differ",
            torch_dtype=self._dtype(),
            trust_remote_code=self._config.trust_remote_code,
        )
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
                f"synthesis.options: device {self._options.device!r} cannot be used here: "
                f"{str(error).splitlines()[0]}"
            ) from error
        with evaluating(self._model):
            self._padding = as_causal_model(self._model, kinds=("generate",)).left_padding
        if self._padding.harm:
            say(f"synthesis.model {name}: {self._padding.note('prompts')}")
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

    def _without_harm(self, batch: list[_Waiting]) -> Iterator[list[_Waiting]]:
        """Parts of a batch in which padding changes no answer."""
        from trainer.evaluation.encoding import batches

        longest_answer = max(request.max_new_tokens for request, _, _ in batch)
        return batches(
            batch,
            lambda waiting: len(waiting[0].prompt_ids) + longest_answer,
            sys.maxsize,
            longest_padded=self._padding.longest_padded,
        )

    def _answer(self, batch: list[_Waiting]) -> None:
        answers: list[Generation] | list[GenerationFailure]
        try:
            answers = self._generate([request for request, _, _ in batch])
        except Exception as error:  # whatever the model raises must reach those who wait for it
            if len(batch) > 1:  # the fault may be one prompt's
                for one in batch:
                    self._answer([one])
                return
            answers = [GenerationFailure(reason="model_error", detail=f"{type(error).__name__}: {error}")]
        for (_, future, loop), answer in zip(batch, answers, strict=True):
            try:
                loop.call_soon_threadsafe(_settle, future, answer)
            except RuntimeError:  # the loop has been closed: nobody waits any more
                pass

    def _generate(self, requests: list[GenerationRequest]) -> list[Generation]:
        import torch

        longest = max(len(request.prompt_ids) for request in requests)
        ids_BT = torch.zeros(len(requests), longest, dtype=torch.long)
        mask_BT = torch.zeros_like(ids_BT)
        for row, request in enumerate(requests):
            ids_BT[row] = request.prompt_ids[0]  # a token of its own: padding is not to be penalised
            ids_BT[row, longest - len(request.prompt_ids) :] = torch.as_tensor(request.prompt_ids)
            mask_BT[row, longest - len(request.prompt_ids) :] = 1
        temperature = requests[0].temperature
        sampling = (
            {"do_sample": True, "temperature": temperature} if temperature > 0 else {"do_sample": False}
        )
        with torch.inference_mode():
            out_BT = self._model.generate(
                input_ids=ids_BT.to(self._options.device),
                attention_mask=mask_BT.to(self._options.device),
                max_new_tokens=max(request.max_new_tokens for request in requests),
                repetition_penalty=self._options.repetition_penalty,
                eos_token_id=sorted(self._eos) or None,
                pad_token_id=min(self._eos, default=0),
                **sampling,
            )
        return [
            self._generation(request, row[longest:].tolist())
            for request, row in zip(requests, out_BT, strict=True)
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


def _settle(future: asyncio.Future[Any], answer: Any) -> None:
    if not future.done():  # else its caller was cancelled
        future.set_result(answer)
