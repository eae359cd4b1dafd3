"""Remote workers: refused paths and added options."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from apache_beam.options.pipeline_options import DebugOptions, SetupOptions

from pipelines.runners.remote.reachability import prepare_workers
from pipelines.runners.run import parse_options
from schemas.corpus_config import CorpusConfig
from schemas.errors import ConfigError

DATAFLOW = "--runner=DataflowRunner"
IMAGE = "--sdk_container_image=registry/image:1"


@pytest.fixture
def reachable(corpus_config: Callable[..., CorpusConfig]) -> Callable[..., CorpusConfig]:
    """A corpus whose files and servers Dataflow's workers can reach; keywords replace keys."""

    def make(**changes: Any) -> CorpusConfig:
        values = {"corpus": "gs://bucket/corpus", "tokenizer": {"name": "org/tokenizer"}, **changes}
        return corpus_config(values.pop("corpus"), "gs://bucket/raw/*.jsonl", **values)

    return make


def prepare(config: CorpusConfig, folder: Path, *options: str) -> Any:
    parsed = parse_options(options)
    prepare_workers(config, parsed, folder)
    return parsed


def test_what_workers_reach_is_let_through_and_packages_are_staged(
    reachable: Callable[..., CorpusConfig], tmp_path: Path
) -> None:
    options = prepare(reachable(), tmp_path, DATAFLOW)
    setup = options.view_as(SetupOptions)
    assert setup.requirements_file == str(tmp_path / "requirements.txt")
    assert setup.save_main_session is False


def source(**fields: str) -> dict[str, Any]:
    return {"domain": {"synthesize": True, "sources": [{"reader": "jsonl", **fields}]}}


def sglang(**fields: Any) -> dict[str, Any]:
    return {"backend": "sglang", "model": "org/model", "endpoints": ["http://10.0.0.5:30000"], **fields}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"corpus": "runs/corpus"},
            "corpus 'runs/corpus' is on this machine, and Dataflow's workers are on others. "
            "Name a place that both reach: gs://BUCKET/…",
        ),
        (
            {"streams": source(uri="file:///data/*.jsonl")},
            "streams.domain.sources.0.uri 'file:///data/*.jsonl' is on this machine, and Dataflow's workers "
            "are on others. Copy it to a place that both reach, and name that: gs://BUCKET/…",
        ),
        (
            {"decontaminate": {"tasks": "tasks/*.jsonl"}},
            "decontaminate.tasks 'tasks/*.jsonl' is on this machi",
        ),
        (
            {"tokenizer": {"name": "./models/tokenizer"}},
            "tokenizer.name './models/tokenizer' is on this machi",
        ),
        ({"synthesis": sglang(model="/models/one")}, "synthesis.model '/models/one' is on this machine"),
        (
            {"synthesis": sglang(prompt_file="./p.yaml")},
            "synthesis.prompt_file './p.yaml' is on this machine",
        ),
        (
            {"synthesis": sglang(endpoints=["http://localhost:30000"])},
            "synthesis.endpoints 'http://localhost:30000' is on this machine, and Dataflow's workers are on "
            "others. Name the server by an address that the workers reach.",
        ),
        (
            {"synthesis": sglang(endpoints=["http://10.0.0.5:30000", "http://127.0.0.1:30000"])},
            "synthesis.endpoints 'http://127.0.0.1:30000' is on this machine",
        ),
        (
            {"synthesis": sglang(endpoints=[], server={"python": "/opt/sglang/bin/python"})},
            "synthesis.server.python '/opt/sglang/bin/python' is on this machine, and the image that",
        ),
    ],
)
def test_what_only_this_machine_has_is_refused_by_its_key(
    changes: dict[str, Any], message: str, reachable: Callable[..., CorpusConfig], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        prepare(reachable(**changes), tmp_path, DATAFLOW)
    assert str(caught.value).startswith(message)
    assert list(tmp_path.iterdir()) == []


def test_a_directory_is_told_from_a_hub_name_by_being_there(
    reachable: Callable[..., CorpusConfig], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "org" / "tokenizer").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"^tokenizer\.name 'org/tokenizer' is on this machine"):
        prepare(reachable(), tmp_path, DATAFLOW)


def test_what_is_only_read_may_lie_in_the_image(
    reachable: Callable[..., CorpusConfig], tmp_path: Path
) -> None:
    config = reachable(
        tokenizer={"name": "/models/tokenizer"},
        decontaminate={"tasks": "/tasks"},
        synthesis=sglang(model="/models/one", endpoints=[], server={"python": "/opt/sglang/bin/python"}),
    )
    prepare(config, tmp_path, DATAFLOW, IMAGE)
    with pytest.raises(ConfigError, match=r"^corpus '/corpus' is on this machine"):
        prepare(config.model_copy(update={"corpus": "/corpus"}), tmp_path, DATAFLOW, IMAGE)


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--runner=FnApiRunner"],
        ["--runner=PortableRunner", "--job_endpoint=localhost:8099", "--environment_type=LOOPBACK"],
        ["--runner=FlinkRunner", "--flink_master=host:8081"],
        [DATAFLOW, "--dry_run=True"],
    ],
)
def test_other_runners_and_dry_runs_may_name_any_path(
    options: list[str], reachable: Callable[..., CorpusConfig], tmp_path: Path
) -> None:
    prepare(reachable(corpus=str(tmp_path / "corpus"), tokenizer={"name": "/models/one"}), tmp_path, *options)


def test_this_machines_runner_is_given_nothing(
    reachable: Callable[..., CorpusConfig], tmp_path: Path
) -> None:
    options = prepare(reachable(), tmp_path, "--runner=FnApiRunner")
    assert options.view_as(SetupOptions).requirements_file is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("given", "experiments"),
    [
        ([], ["no_use_multiple_sdk_containers"]),
        (["--experiments=use_multiple_sdk_containers"], ["use_multiple_sdk_containers"]),
        (["--experiments=shuffle_mode=service"], ["shuffle_mode=service", "no_use_multiple_sdk_containers"]),
    ],
)
def test_workers_that_start_servers_share_one_container_unless_told_otherwise(
    given: list[str], experiments: list[str], reachable: Callable[..., CorpusConfig], tmp_path: Path
) -> None:
    config = reachable(synthesis=sglang(endpoints=[], server={"python": "/opt/sglang/bin/python"}))
    options = prepare(config, tmp_path, DATAFLOW, IMAGE, *given)
    assert options.view_as(DebugOptions).experiments == experiments


def test_workers_that_ask_running_servers_have_a_container_for_each_core(
    reachable: Callable[..., CorpusConfig], tmp_path: Path
) -> None:
    options = prepare(reachable(synthesis=sglang()), tmp_path, DATAFLOW, IMAGE)
    assert not options.view_as(DebugOptions).experiments


def test_gpus_for_one_step_and_for_all_machines_are_not_asked_for_together(
    reachable: Callable[..., CorpusConfig], tmp_path: Path
) -> None:
    config = reachable(synthesis=sglang(accelerator="type:nvidia-l4;count:1;install-nvidia-driver"))
    everywhere = "--dataflow_service_options=worker_accelerator=type:nvidia-l4;count:1;install-nvidia-driver"
    with pytest.raises(ConfigError, match=r"^synthesis\.accelerator and --dataflow_service_options="):
        prepare(config, tmp_path, DATAFLOW, IMAGE, everywhere)
    prepare(config, tmp_path, DATAFLOW, IMAGE, "--dataflow_service_options=enable_prime")


@pytest.mark.parametrize(
    "accelerator", ["nvidia-l4", "type:nvidia-l4", "type:nvidia-l4;count:0", "type:L4;count:1"]
)
def test_an_accelerator_that_dataflow_could_not_read_is_refused(
    accelerator: str, reachable: Callable[..., CorpusConfig]
) -> None:
    with pytest.raises(ConfigError, match=r"synthesis\.accelerator"):
        reachable(synthesis=sglang(accelerator=accelerator))


def test_an_accelerator_may_name_its_machine(reachable: Callable[..., CorpusConfig]) -> None:
    wanted = "type:nvidia-l4;count:1;machine_type:g2-standard-8;install-nvidia-driver"
    assert reachable(synthesis=sglang(accelerator=wanted)).synthesis.accelerator == wanted
