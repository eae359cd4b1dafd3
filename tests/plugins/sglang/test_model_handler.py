"""SGLang's ModelHandler in real Beam runs, against a stand-in server on a thread."""

from __future__ import annotations

import asyncio
import gc
import json
import pickle
import socket
import subprocess
import sys
import threading
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pytest
from aiohttp import web
from apache_beam.internal import cloudpickle_pickler
from apache_beam.ml.inference.base import KeyedModelHandler, KeyModelMapping, PredictionResult, RunInference
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.utils.multi_process_shared import MultiProcessShared

from pipelines.runner import make_pipeline, parse_options
from plugins.sglang.client import ClientOptions
from plugins.sglang.model_handler import SGLangModelHandler, SGLangPrompt
from plugins.synthesizers.generator import GenerationFailure
from schemas.corpus_config import ServerConfig
from schemas.errors import ConfigError
from schemas.records import Generation

ROOT = Path(__file__).resolve().parents[3]
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


@pytest.fixture
def server(serve: Callable[[web.Application], str]) -> StandIn:
    stand_in = StandIn()
    stand_in.url = serve(stand_in.app())
    return stand_in


@pytest.fixture
def handler(server: StandIn) -> SGLangModelHandler:
    return SGLangModelHandler(endpoints=[server.url], options=QUICK)


def free_url() -> str:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}"


def answer(prompt: str | list[int]) -> Generation:
    return Generation(
        text=f"re: {prompt}",
        finish_reason="stop",
        prompt_tokens=len(prompt),
        completion_tokens=2,
        cached_tokens=1,
    )


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


def failure(results: list[PredictionResult]) -> GenerationFailure:
    """The inference of the only result, which failed."""
    (result,) = results
    assert isinstance(result.inference, GenerationFailure)
    return result.inference


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

    def test_token_ids_of_numpy_are_token_ids(self, server: StandIn, handler: SGLangModelHandler) -> None:
        results = handler.run_inference([list(np.array([5, 6]))], handler.load_model())
        assert results[0].inference == answer([5, 6])

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

    def test_half_an_emoji_is_sent_as_a_replacement_character(
        self, server: StandIn, handler: SGLangModelHandler
    ) -> None:
        handler.run_inference(["cut \ud83d"], handler.load_model())
        assert server.bodies[0]["text"] == "cut \ufffd"


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

    def test_a_json_schema_may_be_a_mapping_and_is_sent_as_text(self, server: StandIn) -> None:
        schema = {"type": "object"}
        handler = SGLangModelHandler(endpoints=[server.url], sampling_params={"json_schema": schema})
        own = SGLangPrompt(
            prompt="own", sampling_params=types.MappingProxyType({"json_schema": {"type": "array"}})
        )
        handler.run_inference(["a", own], handler.load_model())
        assert {text: json.loads(sent["json_schema"]) for text, sent in server.sampling.items()} == {
            "a": schema,
            "own": {"type": "array"},
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
            "bad one": GenerationFailure(reason="refused", detail="HTTP 400: no such luck"),
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

    @pytest.mark.parametrize(
        ("element", "detail"),
        [
            (
                None,
                "found NoneType None; expected text, a list or tuple of token ids, or an SGLangPrompt",
            ),
            (b"bytes", "found bytes b'bytes'; expected text"),
            (5, "found int 5; expected text"),
            ("", "found str ''; a prompt needs at least one token"),
            ([], "found list []; a prompt needs at least one token"),
            (SGLangPrompt(prompt=""), "found str ''; a prompt needs"),
            (SGLangPrompt(prompt=SGLangPrompt(prompt="a")), "found SGLangPrompt SGLangPrompt("),  # type: ignore[arg-type]
            ([1, -1], "found list [1, -1]; expected token ids of 0 or more"),
            ([1, 2.0], "found list [1, 2.0]; expected whole numbers, which are token ids (for pairs"),
            (("key", "a"), "found tuple ('key', 'a'); expected whole numbers"),
            (SGLangPrompt(prompt="a", affinity=3), "affinity is 3; expected a string"),  # type: ignore[arg-type]
            (
                SGLangPrompt(prompt="a", sampling_params=[]),  # type: ignore[arg-type]
                "sampling arguments are []; expected a mapping of names",
            ),
            (SGLangPrompt(prompt="a", sampling_params={"n": 3}), "n is 3; a prompt gets one answer"),
            (
                SGLangPrompt(prompt="a", sampling_params={"top_p": np.float32(1)}),
                "sampling arguments {'top_p': ",
            ),
        ],
    )
    def test_what_is_no_prompt_fails_without_a_request(
        self, server: StandIn, handler: SGLangModelHandler, element: Any, detail: str
    ) -> None:
        bad, good = handler.run_inference([element, "a"], handler.load_model())
        assert bad.example is element
        assert failure([bad]).reason == "bad_prompt"
        assert failure([bad]).detail.startswith(detail)
        assert good == PredictionResult("a", answer("a"))
        assert server.bodies == [{"text": "a", "sampling_params": {}}]
        assert handler.get_num_bytes([element, "a", threading.Lock()]) > 0

    def test_a_pair_without_a_keyed_handler_is_a_value_too(
        self, run: Run, server: StandIn, handler: SGLangModelHandler
    ) -> None:
        failed = failure(run([("k", "a")], handler))
        assert failed.detail.endswith("(for pairs of a key and a prompt, use KeyedModelHandler)")
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

    def test_answers_come_in_the_order_of_the_prompts(
        self, server: StandIn, handler: SGLangModelHandler
    ) -> None:
        prompts = [f"prompt {n}" if n % 4 else "" for n in range(40)]
        results = handler.run_inference(prompts, handler.load_model(), {"top_k": 1})
        assert [result.example for result in results] == prompts
        assert [result.inference.text for result in results if result.example] == [
            f"re: {prompt}" for prompt in prompts if prompt
        ]

    def test_as_many_prompts_of_a_batch_are_in_flight_as_allowed(self, run: Run, server: StandIn) -> None:
        server.delay_sec = 0.1
        options = QUICK.model_copy(update={"max_in_flight": 8})
        run([f"prompt {n}" for n in range(32)], SGLangModelHandler(endpoints=[server.url], options=options))
        assert 4 <= server.most_in_flight <= 8

    def test_batches_are_four_times_what_may_be_in_flight_unless_said_otherwise(self) -> None:
        def sizes(**arguments: Any) -> tuple[int, int]:
            made = SGLangModelHandler(endpoints=["http://a:1"], **arguments).batch_elements_kwargs()
            assert list(made) == ["min_batch_size", "max_batch_size"]
            return made["min_batch_size"], made["max_batch_size"]

        assert sizes() == (256, 256)
        assert sizes(options=ClientOptions(max_in_flight=5)) == (20, 20)
        assert sizes(max_batch_size=7) == (7, 7)
        assert sizes(min_batch_size=3, max_batch_size=7) == (3, 7)

    def test_prompts_without_affinity_spread_over_the_endpoints_and_others_stay_together(
        self, server: StandIn, serve: Callable[[web.Application], str]
    ) -> None:
        other = StandIn()
        other.url = serve(other.app())
        handler = SGLangModelHandler(endpoints=[server.url, other.url], options=QUICK)
        model = handler.load_model()
        handler.run_inference([f"prompt {n}" for n in range(40)], model)
        spread = len(server.bodies), len(other.bodies)
        handler.run_inference([SGLangPrompt(prompt=f"p {n}", affinity="x") for n in range(40)], model)
        model.close()
        assert min(spread) > 5 and sum(spread) == 40
        assert sorted([len(server.bodies) - spread[0], len(other.bodies) - spread[1]]) == [0, 40]

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

    def test_a_handler_survives_pickling(self, server: StandIn, handler: SGLangModelHandler) -> None:
        for copy in (
            pickle.loads(pickle.dumps(handler)),
            cloudpickle_pickler.loads(cloudpickle_pickler.dumps(handler)),
        ):
            assert copy.run_inference(["a"], copy.load_model())[0].inference == answer("a")

    def test_a_prompt_survives_pickling(self) -> None:
        prompt = SGLangPrompt(prompt=(1, 2), sampling_params={"top_p": 0.5}, affinity="x")
        assert pickle.loads(pickle.dumps(prompt)) == prompt

    def test_a_refresh_of_the_model_is_refused(self, handler: SGLangModelHandler) -> None:
        handler.update_model_path(None)
        with pytest.raises(ConfigError, match=r"^RunInference asks for the model 'other', but a running"):
            handler.update_model_path("other")


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "tutelage-sglang"]


class TestModel:
    @pytest.fixture(autouse=True)
    def no_model_is_left_of_other_tests(self) -> None:
        from apache_beam.utils.shared import Shared

        Shared().acquire(lambda: None)  # Beam keeps the last one alive until then
        gc.collect()
        self.others = threads()

    def test_it_closes_when_nobody_holds_it_any_more(
        self, server: StandIn, handler: SGLangModelHandler
    ) -> None:
        model = handler.load_model()
        handler.run_inference(["a"], model)
        assert len(threads()) == len(self.others) + 1
        del model
        gc.collect()
        assert threads() == self.others

    def test_it_may_be_closed_more_than_once(self, handler: SGLangModelHandler) -> None:
        model = handler.load_model()
        model.close()
        model.close()
        assert threads() == self.others

    def test_closing_gives_up_what_is_under_way(self, server: StandIn, handler: SGLangModelHandler) -> None:
        server.delay_sec = 60
        model = handler.load_model()
        ended: list[BaseException] = []

        def answer_slowly() -> None:
            try:
                handler.run_inference(["a"], model)
            except BaseException as error:
                ended.append(error)

        waiting = threading.Thread(target=answer_slowly)
        waiting.start()
        while not server.bodies:
            waiting.join(0.01)
        model.close()
        waiting.join(10)
        assert [type(error).__name__ for error in ended] == ["CancelledError"]

    def test_a_process_that_still_holds_it_ends_cleanly(self, server: StandIn) -> None:
        code = (
            "import sys\n"
            "from plugins.sglang.client import ClientOptions\n"
            "from plugins.sglang.model_handler import SGLangModel\n"
            "model = SGLangModel([sys.argv[1]], ClientOptions(), on_close=lambda: print('released'))\n"
            "body = {'text': 'a', 'sampling_params': {}}\n"
            "print(model.answer([(body, '')])[0].text)\n"
        )
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code, server.url],
            capture_output=True,
            text=True,
            cwd=ROOT,
            timeout=120,
        )
        assert (done.returncode, done.stdout) == (0, "re: a\nreleased\n"), done.stderr
        assert "Unclosed" not in done.stderr and "Traceback" not in done.stderr


class Lease:
    """What `lease_servers` gives, and what it was asked for."""

    def __init__(self, endpoints: tuple[str, ...]):
        self.endpoints = endpoints
        self.released = 0
        self.asked: list[tuple[ServerConfig, str]] = []

    def lease_servers(self, config: ServerConfig, *, model: str) -> Lease:
        self.asked.append((config, model))
        return self

    def release(self) -> None:
        self.released += 1


class TestServers:
    CONFIG = ServerConfig(python="/opt/sglang/bin/python", gpus_per_server=0)

    @pytest.fixture
    def lease(self, server: StandIn, monkeypatch: pytest.MonkeyPatch) -> Lease:
        lease = Lease((server.url,))
        stand_in = types.ModuleType("plugins.sglang.server")
        stand_in.lease_servers = lease.lease_servers  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "plugins.sglang.server", stand_in)
        return lease

    def test_servers_are_leased_when_the_model_is_loaded_and_released_when_it_closes(
        self, lease: Lease
    ) -> None:
        handler = SGLangModelHandler(server=self.CONFIG, model="my/model", options=QUICK)
        assert lease.asked == []
        model = handler.load_model()
        assert lease.asked == [(self.CONFIG, "my/model")]
        assert handler.run_inference(["a"], model) == [PredictionResult("a", answer("a"), "my/model")]
        assert lease.released == 0
        model.close()
        model.close()
        assert lease.released == 1

    def test_a_server_that_names_its_own_model_needs_no_other(self, lease: Lease) -> None:
        own = self.CONFIG.model_copy(update={"model": "its/own"})
        handler = SGLangModelHandler(server=own, model="my/model")
        handler.load_model().close()
        assert lease.asked == [(own, "its/own")]
        assert SGLangModelHandler(server=own).run_inference([], handler.load_model()) == []

    def test_a_lease_is_released_when_the_model_cannot_be_loaded(self, lease: Lease) -> None:
        lease.endpoints = ()
        with pytest.raises(ConfigError):
            SGLangModelHandler(server=self.CONFIG, model="m").load_model()
        assert lease.released == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {},
            "SGLangModelHandler got neither of endpoints and server; give endpoints=[URL, ...] of running "
            "servers, or server=ServerConfig(...) to start some.",
        ),
        (
            {"endpoints": ["http://a:1"], "server": TestServers.CONFIG, "model": "m"},
            "SGLangModelHandler got both of endpoints and server; give",
        ),
        ({"server": TestServers.CONFIG}, "SGLangModelHandler got a server but no model; give model=, a dir"),
        ({"endpoints": ["a:1"]}, "endpoints holds 'a:1'; expected a URL with http:// or https://."),
        ({"endpoints": ["http://a:1", None]}, "endpoints holds None; expected a URL"),
        (
            {"endpoints": ["http://a:1"], "max_batch_size": 0},
            "min_batch_size is 0 and max_batch_size 0; expected 1 <= min_batch_size <= max_batch_size.",
        ),
        (
            {"endpoints": ["http://a:1"], "min_batch_size": 9, "max_batch_size": 8},
            "min_batch_size is 9 and max_batch_size 8; expected 1 <= min_batch_size",
        ),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        SGLangModelHandler(**arguments)
    assert str(caught.value).startswith(message)


def test_one_endpoint_may_be_given_as_a_string(server: StandIn) -> None:
    handler = SGLangModelHandler(endpoints=server.url, options=QUICK)
    assert handler.run_inference(["a"], handler.load_model())[0].inference == answer("a")


def test_the_client_can_be_imported_without_beam() -> None:
    code = "import plugins.sglang.client, sys; assert 'apache_beam' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, timeout=60)
