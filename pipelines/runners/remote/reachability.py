"""A run whose workers are on other machines: what they cannot reach is refused, what they need is staged.

    options of a run ─► this machine's runner: nothing to do
                     ─► DataflowRunner: refuse what only this machine has; one container on a machine
                                        whose workers start a server
                     ─► all others: stage packages (staging.py)

A path of this machine would fail on the workers only, minutes later and for money. A dry run reads and
writes nothing, so it may name any path. Other portable runners may well run on this machine or share its
disks: their paths are let through. What is only read may also lie in the workers' image, at the path it has
here: such paths are let through where the options name an image.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from apache_beam.options.pipeline_options import (
    DebugOptions,
    GoogleCloudOptions,
    PipelineOptions,
    SetupOptions,
    StandardOptions,
    TestOptions,
)

from pipelines.runners.remote.staging import has_image, stage
from pipelines.runners.run import runs_here
from plugins.readers.presets import with_preset
from schemas import storage
from schemas.corpus_config import CorpusConfig
from schemas.errors import ConfigError

_ONE_CONTAINER = "no_use_multiple_sdk_containers"
_MANY_CONTAINERS = "use_multiple_sdk_containers"
_NAME = "Name a place that both reach: gs://BUCKET/…"
_COPY = "Copy it to a place that both reach, and name that: gs://BUCKET/…"
_BUILD_IN = (
    "Give a hub name, or build it into the workers' image at this path (--sdk_container_image, "
    "docs/dataflow.md)."
)


def prepare_workers(config: CorpusConfig, options: PipelineOptions, folder: Path) -> None:
    """Make the options of a run fit for workers that are not on this machine.

    Args:
        config: The corpus.
        options: Those of the run; what workers need is added to them.
        folder: Where staged files are made; must last until the job is submitted.

    Raises:
        ConfigError: Workers could not reach something that the configuration names, or be given what they
            need.
    """
    if runs_here(options):
        return
    setup = options.view_as(SetupOptions)
    if setup.save_main_session is None:
        # Beam would send whatever module the command was started from; no step of ours lives there.
        setup.save_main_session = False
    if _is_dataflow(options):
        if not options.view_as(TestOptions).dry_run:
            check_reachable(config, image=has_image(options))
        _check_accelerator(config, options)
        _keep_servers_together(config, options)
    stage(config, options, folder)


def check_reachable(config: CorpusConfig, *, image: bool) -> None:
    """Refuse what only this machine has.

    Args:
        config: The corpus.
        image: Whether workers run an image of the user's own, which may hold files and servers.

    Raises:
        ConfigError: Something is on this machine only; names its key.
    """
    for key, value, cure in _only_here(config, image=image):
        raise ConfigError(f"{key} {value!r} is on this machine, and Dataflow's workers are on others. {cure}")
    if config.synthesis.server is not None and config.synthesizes and not image:
        raise ConfigError(
            f"synthesis.server.python {config.synthesis.server.python!r} is on this machine, and the image "
            "that Dataflow gives its workers has no SGLang. Build pipelines/runners/remote/Dockerfile "
            "and name it in --sdk_container_image (docs/dataflow.md), or set synthesis.endpoints to servers "
            "that run."
        )


def _only_here(config: CorpusConfig, *, image: bool) -> Iterator[tuple[str, str, str]]:
    """Key, value and cure of each thing that workers elsewhere have not."""
    if storage.is_local(config.corpus):
        yield "corpus", config.corpus, _NAME
    for name, stream in config.streams.items():
        for index, source in enumerate(map(with_preset, stream.sources)):
            key = f"streams.{name}.sources.{index}.uri"
            if source.reader != "huggingface" and storage.is_local(source.uri):
                yield key, source.uri, _COPY
            elif source.reader == "huggingface" and _is_path(source.uri) and not image:
                yield key, source.uri, _BUILD_IN
    if image:
        return
    for uri in config.decontaminate.tasks:
        if storage.is_local(uri):
            yield "decontaminate.tasks", uri, _COPY
    names = {"tokenizer.name": config.tokenizer.name}
    if config.synthesizes:
        names["synthesis.model"] = config.synthesis.model or ""
        names["synthesis.prompt_file"] = config.synthesis.prompt_file or ""
        for url in config.synthesis.endpoints:
            if _is_this_machine(url):
                yield "synthesis.endpoints", url, "Name the server by an address that the workers reach."
    for key, value in names.items():
        if _is_path(value):
            yield key, value, _BUILD_IN


def _is_path(name: str) -> bool:
    """Whether a name that may be a hub's means a file or directory of this machine."""
    return name.startswith(("/", ".", "~")) or (bool(name) and os.path.exists(name))


def _is_this_machine(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return address.is_loopback or address.is_unspecified


def _is_dataflow(options: PipelineOptions) -> bool:
    return str(options.view_as(StandardOptions).runner).rpartition(".")[2] == "DataflowRunner"


def _check_accelerator(config: CorpusConfig, options: PipelineOptions) -> None:
    """Dataflow takes GPUs for one step or for all machines, not both."""
    given = options.view_as(GoogleCloudOptions).dataflow_service_options or []
    if config.synthesis.accelerator and any(each.startswith("worker_accelerator") for each in given):
        raise ConfigError(
            "synthesis.accelerator and --dataflow_service_options=worker_accelerator=… are both set; keep "
            "the first for GPUs at the synthesis step alone, or the second for GPUs on every machine."
        )


def _keep_servers_together(config: CorpusConfig, options: PipelineOptions) -> None:
    """One container a machine: workers find each other's servers in their temporary directory only.

    Dataflow would give each core a container of its own, and each would start servers on the same GPUs.
    """
    debug = options.view_as(DebugOptions)
    given = debug.experiments or []
    if config.synthesis.server is not None and not {_ONE_CONTAINER, _MANY_CONTAINERS} & set(given):
        debug.add_experiment(_ONE_CONTAINER)
