"""RunInference with SGLang's ModelHandler in real Beam runs, against a stand-in server on a thread."""

from __future__ import annotations

import json
import pickle
import socket
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.ml.inference.base import KeyedModelHandler, KeyModelMapping, PredictionResult, RunInference
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.utils.multi_process_shared import MultiProcessShared

from pipelines.runner import make_pipeline, parse_options
from plugins.sglang.model_handler import SGLangModelHandler, SGLangPrompt
from plugins.synthesizers.generator import GenerationFailure
from schemas.errors import ConfigError
from schemas.records import Generation
from tests.plugins.sglang.stand_in import QUICK, StandIn, answer


class Run:
    """RunInference in a pipeline of its own; `direct` is FnApiRunner with one worker."""

    def __init__(self, folder: Path):
        self._file = folder / "results"

    def __call__(self, elements: list[Any], handler: Any, *more: str, **arguments: Any) -> list[Any]:
        pipeline = make_pipeline(parse_options(list(more))) if more else beam.Pipeline(runner=FnApiRunner())
        results = (
            pipeline
            | "Create" >> beam.Create(elements)
            | "Spread" >> beam.Reshuffle()
            | "Answer" >> RunInference(handler, **arguments)
            | "Gather" >> beam.combiners.ToList()
        )
        results | "Keep" >> beam.Map(_keep, str(self._file))
        self.result = pipeline.run()
        self.result.wait_until_finish()
        found: list[Any] = pickle.loads(self._file.read_bytes())
        return found

    def counters(self) -> dict[str, int]:
        """What the last run counted in the handler's namespace."""
        query = self.result.metrics().query(beam.metrics.MetricsFilter().with_namespace("tutelage-sglang"))
        return {one.key.metric.name: one.committed for one in query["counters"]}


def _keep(results: list[Any], file: str) -> None:
    Path(file).write_bytes(pickle.dumps(results))


def inferences(results: list[PredictionResult]) -> dict[Any, Any]:
    """What became of each example."""
    return {_hashable(result.example): result.inference for result in results}


def _hashable(example: Any) -> Any:
    return tuple(example) if isinstance(example, list) else example


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(tmp_path)


def free_url() -> str:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}"


class TestPrompts:
    def test_texts_are_answered(self, run: Run, server: StandIn, handler: SGLangModelHandler) -> None:
        results = run(["a", "bb"], handler)
        assert all(isinstance(result, PredictionResult) for result in results)
        assert inferences(results) == {"a": answer("a"), "bb": answer("bb")}
        assert server.sampling == {"a": {}, "bb": {}}

    def test_a_list_or_tuple_of_token_ids_is_one_prompt(
        self, run: Run, server: StandIn, handler: SGLangModelHandler
    ) -> None:
        results = run([[5, 6, 7], (8,)], handler)
        assert inferences(results) == {(5, 6, 7): answer([5, 6, 7]), (8,): answer([8])}
        assert sorted(body["input_ids"] for body in server.bodies) == [[5, 6, 7], [8]]

    def test_a_prompt_with_its_own_arguments_goes_through_a_shuffle(
        self, run: Run, server: StandIn, handler: SGLangModelHandler
    ) -> None:
        prompts = [
            SGLangPrompt(prompt="a", sampling_params={"top_p": 0.5, "stop": ["x"]}, affinity="chain-1"),
            SGLangPrompt(prompt=[5, 6]),
        ]
        results = {json.dumps(result.example.prompt): result for result in run(prompts, handler)}
        assert results['"a"'] == PredictionResult(prompts[0], answer("a"))
        assert results["[5, 6]"].inference == answer([5, 6])
        assert {"text": "a", "sampling_params": {"top_p": 0.5, "stop": ["x"]}} in server.bodies

    def test_prompts_may_be_made_by_a_preprocess_fn(
        self, run: Run, server: StandIn, handler: SGLangModelHandler
    ) -> None:
        def ask(word: str) -> SGLangPrompt:
            return SGLangPrompt(prompt=f"What is {word}?", sampling_params={"max_new_tokens": len(word)})

        answers = handler.with_preprocess_fn(ask).with_postprocess_fn(lambda result: result.inference.text)
        assert run(["ash"], answers) == ["re: What is ash?"]
        assert server.sampling == {"What is ash?": {"max_new_tokens": 3}}


class TestSampling:
    def test_an_elements_arguments_win_over_those_of_the_run_and_these_over_the_handlers(
        self, run: Run, server: StandIn
    ) -> None:
        handler = SGLangModelHandler(
            endpoints=[server.url],
            sampling_params={"max_new_tokens": 1, "temperature": 0.1, "top_p": 0.1},
            options=QUICK,
        )
        own = SGLangPrompt(prompt="own", sampling_params={"top_p": 0.3})
        run(["plain", own], handler, inference_args={"temperature": 0.2, "top_p": 0.2})
        assert server.sampling == {
            "plain": {"max_new_tokens": 1, "temperature": 0.2, "top_p": 0.2},
            "own": {"max_new_tokens": 1, "temperature": 0.2, "top_p": 0.3},
        }

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"n": 2}, "n is 2; a prompt gets one answer: for more, give it several times."),
            (
                {"stop": {"x"}},
                "sampling arguments {'stop': {'x'}} are no JSON: Object of type set is not JSON",
            ),
            (
                {"top_p": float("nan")},
                "sampling arguments {'top_p': nan} are no JSON: Out of range float values are not JSON "
                "compliant",
            ),
            ([("top_p", 1)], "sampling arguments are [('top_p', 1)]; expected a mapping of names."),
        ],
    )
    def test_arguments_that_no_prompt_can_be_sent_with_are_refused_when_the_pipeline_is_built(
        self, arguments: Any, message: str
    ) -> None:
        with pytest.raises(ConfigError) as caught:
            SGLangModelHandler(endpoints=["http://a:1"], sampling_params=arguments)
        assert str(caught.value).startswith(f"sampling_params: {message}")
        handler = SGLangModelHandler(endpoints=["http://a:1"])
        with pytest.raises(ConfigError) as caught:
            (
                beam.Pipeline(runner=FnApiRunner())
                | beam.Create(["a"])
                | RunInference(handler, inference_args=arguments)
            )
        assert str(caught.value).startswith(f"inference_args: {message}")


class TestFailures:
    def test_a_refused_prompt_costs_only_itself(
        self, run: Run, server: StandIn, handler: SGLangModelHandler
    ) -> None:
        results = run(["a", "bad one", "b"], handler)
        assert inferences(results) == {
            "a": answer("a"),
            "bad one": GenerationFailure(
                reason="refused", detail=f"{server.url}/generate answered HTTP 400: no such luck"
            ),
            "b": answer("b"),
        }
        assert len(server.bodies) == 3
        counted = {"prompt_tokens": 2, "completion_tokens": 4, "cached_tokens": 2, "failed_refused": 1}
        assert {name: run.counters()[name] for name in [*counted, "num_inferences"]} == {
            **counted,
            "num_inferences": 3,
        }

    def test_a_server_that_is_not_there_gives_failures_and_the_pipeline_ends_well(self, run: Run) -> None:
        handler = SGLangModelHandler(endpoints=[free_url()], options=QUICK)
        found = inferences(run(["a", "b"], handler))
        assert {name: failed.reason for name, failed in found.items()} == {
            "a": "unreachable",
            "b": "unreachable",
        }

    def test_a_pair_without_a_keyed_handler_is_a_value_too(
        self, run: Run, server: StandIn, handler: SGLangModelHandler
    ) -> None:
        (result,) = run([("k", "a")], handler)
        assert isinstance(result.inference, GenerationFailure)
        assert result.inference.detail.endswith("(for pairs of a key and a prompt, use KeyedModelHandler)")
        assert server.bodies == []
        assert run.counters()["failed_bad_prompt"] == 1


class TestInBeam:
    def test_keys_stay_with_their_answers(
        self, run: Run, server: StandIn, handler: SGLangModelHandler
    ) -> None:
        pairs = [(f"k{n}", "bad" if n % 3 == 1 else f"prompt {n}") for n in range(9)]
        results = run(pairs, KeyedModelHandler(handler))
        assert {key: result.example for key, result in results} == dict(pairs)
        assert {key for key, result in results if isinstance(result.inference, GenerationFailure)} == {
            "k1",
            "k4",
            "k7",
        }
        assert all(
            result.inference == answer(result.example) for _, result in results if result.example != "bad"
        )

    def test_several_handlers_serve_one_keyed_step(self, run: Run, server: StandIn) -> None:
        """Beam then loads the models behind proxies of its own."""
        long, short = (
            SGLangModelHandler(endpoints=[server.url], sampling_params={"max_new_tokens": n}, options=QUICK)
            for n in (100, 1)
        )
        keyed = KeyedModelHandler([KeyModelMapping(["long"], long), KeyModelMapping(["short"], short)])
        results = run([("long", "a"), ("short", "b"), ("short", "bad")], keyed)
        assert sorted((key, result.example) for key, result in results) == [
            ("long", "a"),
            ("short", "b"),
            ("short", "bad"),
        ]
        assert server.sampling["a"] == {"max_new_tokens": 100}
        assert server.sampling["b"] == {"max_new_tokens": 1}

    def test_a_model_answers_from_another_process_through_beams_proxy(
        self, server: StandIn, handler: SGLangModelHandler, tmp_path: Path
    ) -> None:
        shared = MultiProcessShared(handler.load_model, "m", path=str(tmp_path), always_proxy=True)
        results = handler.run_inference(["a", "bad", ""], shared.acquire())
        assert [type(result.inference) for result in results] == [Generation, *[GenerationFailure] * 2]
        shared.unsafe_hard_delete()

    def test_as_many_prompts_of_a_batch_are_in_flight_as_allowed(self, run: Run, server: StandIn) -> None:
        server.delay_sec = 0.1
        options = QUICK.model_copy(update={"max_in_flight": 8})
        run([f"prompt {n}" for n in range(32)], SGLangModelHandler(endpoints=[server.url], options=options))
        assert 4 <= server.most_in_flight <= 8

    def test_two_worker_processes_answer_together(
        self, run: Run, server: StandIn, handler: SGLangModelHandler
    ) -> None:
        prompts = [f"prompt {n}" for n in range(20)]
        results = run(prompts, handler, "--direct_running_mode=multi_processing", "--direct_num_workers=2")
        assert inferences(results) == {prompt: answer(prompt) for prompt in prompts}
        assert len(server.bodies) == 20

    def test_the_results_carry_the_models_name(self, run: Run, server: StandIn) -> None:
        named = SGLangModelHandler(endpoints=[server.url], model="my/model", options=QUICK)
        assert run(["a"], named) == [PredictionResult("a", answer("a"), "my/model")]
