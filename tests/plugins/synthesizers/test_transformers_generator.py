"""The in-process backend with a tiny random Llama: batches, ends, errors."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from plugins.synthesizers import SYNTHESIZERS
from plugins.synthesizers.generator import GenerationFailure, GenerationRequest
from plugins.synthesizers.transformers import TransformersGenerator, TransformersOptions
from schemas.errors import ConfigError
from schemas.records import Chain, Document, Generation
from schemas.synthesis_config import SynthesisConfig

EOS = 1
PROMPTS = [(10, 20, 30), (40, 41, 42, 43, 44, 45, 46, 47), (99,), (7, 7, 7, 120, 130), (200, 201)]


def ask(prompt: Sequence[int], max_new_tokens: int = 12, **more: Any) -> GenerationRequest:
    return GenerationRequest(prompt_ids=tuple(prompt), max_new_tokens=max_new_tokens, **more)


Answer = Generation | GenerationFailure


@pytest.fixture
def opened(tiny_model: str) -> Callable[..., Any]:
    """Context manager of an open generator. Keyword arguments are its options."""

    @contextmanager
    def open_generator(**options: Any) -> Iterator[TransformersGenerator]:
        values = {"batch_size": 8, "fill_sec": 0.05, **options}
        generator = TransformersGenerator(SynthesisConfig(model=tiny_model), TransformersOptions(**values))
        generator.open()
        try:
            yield generator
        finally:
            asyncio.run(generator.close())

    return open_generator


def answers(generator: TransformersGenerator, requests: Sequence[GenerationRequest]) -> list[Answer]:
    async def gather() -> list[Answer]:
        return list(await asyncio.gather(*map(generator.generate, requests)))

    return asyncio.run(gather())


@pytest.fixture
def batches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the model's batches."""
    sizes: list[int] = []
    original = TransformersGenerator._generate

    def generate(self: TransformersGenerator, requests: list[GenerationRequest]) -> list[Generation]:
        sizes.append(len(requests))
        return original(self, requests)

    monkeypatch.setattr(TransformersGenerator, "_generate", generate)
    return sizes


@pytest.mark.parametrize("repetition_penalty", [1.0, 1.5])
def test_a_batch_answers_as_each_prompt_alone(
    opened: Callable[..., Any], batches: list[int], repetition_penalty: float
) -> None:
    requests = [ask(prompt) for prompt in PROMPTS]
    with opened(repetition_penalty=repetition_penalty) as generator:
        together = answers(generator, requests)
        assert max(batches) == len(PROMPTS)
        alone = [answers(generator, [request])[0] for request in requests]
    assert together == alone
    assert len({answer.text for answer in alone if isinstance(answer, Generation)}) == len(PROMPTS)
    assert [answer.prompt_tokens for answer in alone if isinstance(answer, Generation)] == [3, 8, 1, 5, 2]


@pytest.mark.slow
@pytest.mark.parametrize("family", ["rwkv", "phi3"])
def test_prompts_that_padding_would_change_share_a_batch_with_their_own_length(
    family: str,
    tiny_model: str,
    tmp_path: Path,
    batches: list[int],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    longrope = {"type": "longrope", "short_factor": [1.0] * 4, "long_factor": [8.0] * 4}
    options = {
        "rwkv": {"attention_hidden_size": 32, "context_length": 128},
        "phi3": {
            **{"num_attention_heads": 4, "num_key_value_heads": 4, "intermediate_size": 48},
            **{"rope_scaling": longrope, "original_max_position_embeddings": 16, "pad_token_id": 1},
        },
    }[family]
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder, ignore=shutil.ignore_patterns("*.safetensors", "*config.json"))
    shutil.copy(Path(tiny_model, "tokenizer_config.json"), folder)
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        family, vocab_size=2048, hidden_size=32, num_hidden_layers=2, initializer_range=0.3, **options
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    generator = TransformersGenerator(
        SynthesisConfig(model=str(folder)), TransformersOptions(batch_size=8, fill_sec=0.05)
    )
    generator.open()
    requests = [ask(prompt) for prompt in PROMPTS]
    together = answers(generator, requests)
    assert sorted(batches) == [1, 1, 1, 1, 1]  # all lengths differ
    alone = [answers(generator, [request])[0] for request in requests]
    assert together == alone
    assert f"synthesis.model {folder}: only prompts of equal length" in capsys.readouterr().err
    monkeypatch.setattr(generator, "_harm_of_padding", "")
    assert answers(generator, requests) != alone or family == "phi3"
    asyncio.run(generator.close())


def test_padding_brings_in_no_token_that_could_be_penalised(
    opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows: list[list[int]] = []
    with opened(repetition_penalty=1.5) as generator:
        generate = generator._model.generate

        def remember(**arguments: Any) -> Any:
            rows.extend(arguments["input_ids"].tolist())
            return generate(**arguments)

        monkeypatch.setattr(generator._model, "generate", remember)
        answers(generator, [ask(prompt) for prompt in PROMPTS])
    assert sorted(map(sorted, map(set, rows))) == sorted(map(sorted, map(set, PROMPTS)))
    assert {len(row) for row in rows} == {8}


def test_requests_of_one_batch_keep_their_own_lengths(opened: Callable[..., Any]) -> None:
    with opened() as generator:
        long, short = answers(generator, [ask(PROMPTS[0], 10), ask(PROMPTS[0], 4)])
    assert isinstance(long, Generation) and isinstance(short, Generation)
    assert (long.completion_tokens, short.completion_tokens) == (10, 4)
    assert (long.finish_reason, short.finish_reason) == ("length", "length")
    assert long.text.startswith(short.text.rstrip("\ufffd"))


def test_batches_are_no_larger_than_asked(opened: Callable[..., Any], batches: list[int]) -> None:
    with opened(batch_size=2) as generator:
        answers(generator, [ask(prompt, 2) for prompt in PROMPTS])
    assert sum(batches) == len(PROMPTS) and max(batches) == 2


def test_an_answer_ends_at_eos(opened: Callable[..., Any]) -> None:
    with opened() as generator:
        (whole,) = answers(generator, [ask(PROMPTS[0], 8)])
        assert isinstance(whole, Generation) and whole.finish_reason == "length"
        tokens = generator._model.generate(
            input_ids=torch_row(PROMPTS[0]), max_new_tokens=8, do_sample=False, pad_token_id=EOS
        )[0, 3:].tolist()
        third = tokens[2]
        assert third not in tokens[:2]
        generator._eos = {EOS, third}
        ended, other = answers(generator, [ask(PROMPTS[0], 8), ask(PROMPTS[1], 8)])
    assert isinstance(ended, Generation) and isinstance(other, Generation)
    assert (ended.finish_reason, ended.completion_tokens) == ("stop", 3)
    assert ended.text == generator._tokenizer.decode(tokens[:2])


def torch_row(prompt: Sequence[int]) -> Any:
    import torch

    return torch.tensor([list(prompt)])


def test_an_answer_ends_before_a_stop_string(opened: Callable[..., Any]) -> None:
    with opened() as generator:
        (whole,) = answers(generator, [ask(PROMPTS[0])])
        assert isinstance(whole, Generation)
        stop = whole.text[4:6]
        (cut,) = answers(generator, [ask(PROMPTS[0], stop=("never in it", stop))])
    assert isinstance(cut, Generation)
    assert (cut.text, cut.finish_reason) == (whole.text[: whole.text.index(stop)], "stop")


def test_an_error_of_the_model_is_a_failure(
    opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened() as generator:

        def fail(**arguments: Any) -> None:
            raise RuntimeError("out of memory")

        monkeypatch.setattr(generator._model, "generate", fail)
        failed = answers(generator, [ask(PROMPTS[0]), ask(PROMPTS[1])])
        assert (
            failed
            == [
                GenerationFailure(
                    reason="model_error", detail="RuntimeError: out of memory", ends_chain=False
                )
            ]
            * 2
        )
        monkeypatch.undo()
        (after,) = answers(generator, [ask(PROMPTS[0])])
        assert isinstance(after, Generation)


def test_a_prompt_that_the_model_cannot_read_costs_only_itself(opened: Callable[..., Any]) -> None:
    with opened() as generator:
        first, bad, last = answers(generator, [ask(PROMPTS[0]), ask((5, 100_000)), ask(PROMPTS[1])])
        alone = answers(generator, [ask(PROMPTS[0])])
    assert [first] == alone
    assert isinstance(bad, GenerationFailure)
    assert bad.reason == "model_error" and "IndexError" in bad.detail
    assert isinstance(last, Generation)


def test_a_cancelled_request_does_no_harm(opened: Callable[..., Any]) -> None:
    errors: list[dict[str, Any]] = []

    async def run(generator: TransformersGenerator) -> Answer:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: errors.append(context))
        given_up = asyncio.create_task(generator.generate(ask(PROMPTS[0])))
        await asyncio.sleep(0)
        given_up.cancel()
        return await generator.generate(ask(PROMPTS[1]))

    with opened() as generator:
        assert isinstance(asyncio.run(run(generator)), Generation)
    assert errors == []


def test_a_loop_that_is_gone_does_not_stop_the_others(opened: Callable[..., Any]) -> None:
    async def leave(generator: TransformersGenerator) -> None:
        asyncio.get_running_loop().create_task(generator.generate(ask(PROMPTS[0])))
        await asyncio.sleep(0)

    with opened(fill_sec=0.3) as generator:
        asyncio.run(leave(generator))
        (after,) = answers(generator, [ask(PROMPTS[1])])
    assert isinstance(after, Generation)


def test_close_answers_what_waits_and_ends_the_thread(tiny_model: str) -> None:
    generator = TransformersGenerator(SynthesisConfig(model=tiny_model), TransformersOptions(batch_size=1))

    def threads() -> int:
        return sum(thread.name == "tutelage-generate" for thread in threading.enumerate())

    async def run() -> list[Answer]:
        waiting = [asyncio.create_task(generator.generate(ask(prompt, 2))) for prompt in PROMPTS]
        await asyncio.sleep(0)
        await generator.close()
        return list(await asyncio.gather(*waiting))

    before = threads()
    generator.open()
    assert threads() == before + 1
    assert all(isinstance(answer, Generation) for answer in asyncio.run(run()))
    assert threads() == before
    asyncio.run(generator.close())  # a second close is no error


class TestSynthesizer:
    def test_each_document_of_a_chain_is_answered(self, tiny_model: str) -> None:
        config = SynthesisConfig(
            backend="transformers",
            model=tiny_model,
            max_new_tokens=4,
            context_tokens=500,
            protocol="instruction_synthesizer",
        )
        synthesizer = SYNTHESIZERS.load("transformers")(config, seed=1)
        counted: list[Generation] = []
        synthesizer.count = counted.append
        documents = tuple(Document.of(name, f"The {name}.", source="t") for name in ("cell", "trial"))

        async def run() -> Any:
            synthesizer.open()
            try:
                return await synthesizer.synthesize(Chain(chain_id="c", documents=documents))
            finally:
                await synthesizer.close()

        done = asyncio.run(run())
        assert [each.document for each in done] == list(documents)
        assert all(each.failure.startswith("unreadable: ") for each in done)  # a random model's words
        assert [each.completion_tokens for each in counted] == [4, 4]

    def test_a_missing_model_directory_is_told(self, tmp_path: Path, tokenizer_dir: str) -> None:
        for name in (str(tmp_path / "nowhere"), tokenizer_dir):  # the latter has no weights
            config = SynthesisConfig(backend="transformers", model=name)
            synthesizer = SYNTHESIZERS.load("transformers")(config, seed=1)
            with pytest.raises(ConfigError, match="cannot be loaded"):
                synthesizer.open()

    def test_a_model_whose_weights_are_not_in_its_files_is_refused(
        self, tmp_path: Path, tiny_model: str
    ) -> None:
        shutil.copytree(tiny_model, tmp_path / "model")
        path = tmp_path / "model" / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"num_hidden_layers": 5}))
        config = SynthesisConfig(model=str(tmp_path / "model"))
        with pytest.raises(
            ConfigError, match=r"name these weights in synthesis\.options\.weights_may_differ\."
        ):
            SYNTHESIZERS.load("transformers")(config, seed=1).open()

    def test_a_device_that_is_not_there_is_told(self, tiny_model: str) -> None:
        config = SynthesisConfig(model=tiny_model, options={"device": "cuda:99"})
        with pytest.raises(ConfigError, match=r"synthesis\.options\.device 'cuda:99' cannot be used: "):
            SYNTHESIZERS.load("transformers")(config, seed=1).open()

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"batchsize": 2}, "key 'batchsize' is unknown. Did you mean 'batch_size'?"),
            ({"batch_size": 0}, "batch_size is 0: input should be greater than or equal to 1."),
            ({"dtype": "float23"}, "dtype is 'float23': input should be 'auto', 'float32' or 'bfloat16'."),
        ],
    )
    def test_bad_options_are_refused(self, options: dict[str, Any], message: str) -> None:
        with pytest.raises(ConfigError) as caught:
            SYNTHESIZERS.load("transformers")(SynthesisConfig(model="m", options=options), seed=1)
        assert str(caught.value).startswith(f"synthesis.options: {message}")
