"""RunInference with SGLang's ModelHandler in real Beam runs, against a stand-in server on a thread."""

from __future__ import annotations

import gc
import pickle
import threading
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from aiohttp import web
from apache_beam.ml.inference.base import KeyedModelHandler, PredictionResult, RunInference
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from plugins.sglang.model_handler import SGLangModelHandler
from plugins.synthesizers.generator import GenerationFailure
from schemas.errors import ConfigError
from schemas.synthesis_config import ServerConfig
from tests.plugins.sglang.stand_in import QUICK, StandIn, answer


@pytest.fixture
def server(serve: Callable[[web.Application], str]) -> StandIn:
    stand_in = StandIn()
    stand_in.url = serve(stand_in.app())
    return stand_in


@pytest.fixture
def handler(server: StandIn) -> SGLangModelHandler:
    return SGLangModelHandler(
        endpoints=[server.url], sampling_params={"max_new_tokens": 1, "top_p": 0.1}, options=QUICK
    )


def run(elements: list[Any], handler: Any, file: Path, **arguments: Any) -> tuple[list[Any], dict[str, int]]:
    """Results and counters of RunInference."""
    pipeline = beam.Pipeline(runner=FnApiRunner())
    results = pipeline | beam.Create(elements) | RunInference(handler, **arguments)
    results | beam.combiners.ToList() | "Keep" >> beam.Map(_keep, str(file))
    result = pipeline.run()
    result.wait_until_finish()
    query = result.metrics().query(beam.metrics.MetricsFilter().with_namespace("tutelage-sglang"))
    counted = {one.key.metric.name: one.committed for one in query["counters"]}
    return pickle.loads(file.read_bytes()), counted


def _keep(results: list[Any], file: str) -> None:
    Path(file).write_bytes(pickle.dumps(results))


def test_prompts_are_answered_and_a_refused_one_costs_itself(
    server: StandIn, handler: SGLangModelHandler, tmp_path: Path
) -> None:
    prompts = ["a", [5, 6, 7], "bad one", {1}]
    results, counted = run(prompts, handler, tmp_path / "results", inference_args={"top_p": 0.2})
    found = {str(result.example): result.inference for result in results}
    assert found == {
        "a": answer("a"),
        "[5, 6, 7]": answer([5, 6, 7]),
        "bad one": GenerationFailure(
            reason="refused", detail=f"{server.url}/generate answered HTTP 400: no such luck"
        ),
        "{1}": GenerationFailure(reason="bad_prompt", detail="Type is not JSON serializable: set"),
    }
    assert all(body["sampling_params"] == {"max_new_tokens": 1, "top_p": 0.2} for body in server.bodies)
    assert counted == {
        "prompt_tokens": 4,
        "completion_tokens": 4,
        "cached_tokens": 2,
        "failed_refused": 1,
        "failed_bad_prompt": 1,
    }


def test_keys_stay_with_their_answers(handler: SGLangModelHandler, tmp_path: Path) -> None:
    pairs = [(f"k{n}", f"prompt {n}") for n in range(9)]
    results, _ = run(pairs, KeyedModelHandler(handler), tmp_path / "results")
    assert sorted((key, result.inference) for key, result in results) == [
        (key, answer(prompt)) for key, prompt in pairs
    ]


def test_a_handler_survives_pickling(handler: SGLangModelHandler) -> None:
    copy = pickle.loads(pickle.dumps(handler))
    assert copy.run_inference(["a"], copy.load_model()) == [PredictionResult("a", answer("a"))]


def test_a_model_closes_when_nobody_holds_it_and_gives_up_what_is_in_flight(
    server: StandIn, handler: SGLangModelHandler
) -> None:
    def threads() -> list[str]:
        return [each.name for each in threading.enumerate() if each.name == "tutelage-sglang"]

    gc.collect()
    before = len(threads())
    model = handler.load_model()
    server.delay_sec = 60
    waiting = threading.Thread(target=_fails, args=(handler, model))
    waiting.start()
    while not server.bodies:
        waiting.join(0.01)
    model.close()
    waiting.join(10)
    assert not waiting.is_alive() and len(threads()) == before
    model = handler.load_model()
    del model
    gc.collect()
    assert len(threads()) == before


def _fails(handler: SGLangModelHandler, model: Any) -> None:
    with pytest.raises(BaseException, match=""):
        handler.run_inference(["a"], model)


def test_servers_are_leased_when_the_model_is_loaded_and_released_when_it_closes(
    server: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []
    lease = types.SimpleNamespace(endpoints=(server.url,), release=lambda: told.append("released"))
    monkeypatch.setattr(
        "plugins.sglang.server.lease_servers", lambda config, model: told.append(model) or lease
    )
    config = ServerConfig(python="/opt/sglang/bin/python", gpus_per_server=0)
    handler = SGLangModelHandler(server=config, model="my/model", options=QUICK)
    model = handler.load_model()
    assert handler.run_inference(["a"], model) == [PredictionResult("a", answer("a"), "my/model")]
    assert told == ["my/model"]
    model.close()
    assert told == ["my/model", "released"]


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"endpoints": ["http://a:1"], "server": ServerConfig(python="p")},
        {"server": ServerConfig(python="p")},
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"^SGLangModelHandler needs endpoints=\[URL, \.\.\.\]"):
        SGLangModelHandler(**arguments)
