"""SGLang's ModelHandler and its model, asked without a pipeline (`test_run_inference.py` has those)."""

from __future__ import annotations

import gc
import json
import pickle
import subprocess
import sys
import threading
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from apache_beam.internal import cloudpickle_pickler
from apache_beam.ml.inference.base import PredictionResult

from plugins.sglang.client import ClientOptions
from plugins.sglang.model_handler import SGLangModelHandler, SGLangPrompt
from plugins.synthesizers.generator import GenerationFailure
from schemas.corpus_config import ServerConfig
from schemas.errors import ConfigError
from tests.plugins.sglang.stand_in import QUICK, StandIn, answer

ROOT = Path(__file__).resolve().parents[3]


class TestPrompts:
    def test_token_ids_of_numpy_are_token_ids(self, server: StandIn, handler: SGLangModelHandler) -> None:
        results = handler.run_inference([list(np.array([5, 6]))], handler.load_model())
        assert results[0].inference == answer([5, 6])

    def test_half_an_emoji_is_sent_as_a_replacement_character(
        self, server: StandIn, handler: SGLangModelHandler
    ) -> None:
        handler.run_inference(["cut \ud83d"], handler.load_model())
        assert server.bodies[0]["text"] == "cut \ufffd"

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
        assert isinstance(bad.inference, GenerationFailure)
        assert bad.inference.reason == "bad_prompt"
        assert bad.inference.detail.startswith(detail)
        assert good == PredictionResult("a", answer("a"))
        assert server.bodies == [{"text": "a", "sampling_params": {}}]
        assert handler.get_num_bytes([element, "a", threading.Lock()]) > 0

    def test_a_prompt_survives_pickling(self) -> None:
        prompt = SGLangPrompt(prompt=(1, 2), sampling_params={"top_p": 0.5}, affinity="x")
        assert pickle.loads(pickle.dumps(prompt)) == prompt


class TestHandler:
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

    def test_answers_come_in_the_order_of_the_prompts(
        self, server: StandIn, handler: SGLangModelHandler
    ) -> None:
        prompts = [f"prompt {n}" if n % 4 else "" for n in range(40)]
        results = handler.run_inference(prompts, handler.load_model(), {"top_k": 1})
        assert [result.example for result in results] == prompts
        assert [result.inference.text for result in results if result.example] == [
            f"re: {prompt}" for prompt in prompts if prompt
        ]

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

    def test_a_handler_survives_pickling(self, server: StandIn, handler: SGLangModelHandler) -> None:
        for copy in (
            pickle.loads(pickle.dumps(handler)),
            cloudpickle_pickler.loads(cloudpickle_pickler.dumps(handler)),
        ):
            assert copy.run_inference(["a"], copy.load_model())[0].inference == answer("a")

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
