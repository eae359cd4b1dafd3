"""Prepare a run on other machines: refuse what its workers cannot reach, and stage their packages.

    options of a run ─► this machine's runner: nothing to do
                     ─► DataflowRunner: refuse resources that only this machine has; one container a machine
                                        if workers start a server
                     ─► all others: stage packages (staging.py)

A path of this machine would fail only on the workers, minutes later and for money. A dry run reads and writes
nothing, so it may name any path. Other portable runners may run on this machine or share its disks, so their
paths pass. A file that is only read may also be in the workers' image, at its path here; such paths pass if
the options name an image.
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
_REACHED = "Name the server by an address that the workers reach."
_COPY = "Copy it to a place that both reach, and name that: gs://BUCKET/…"
_BUILD_IN = (
    "Give a hub name, or build it into the workers' image at this path (--sdk_container_image, "
    "docs/dataflow.md)."
)


def prepare_workers(config: CorpusConfig, options: PipelineOptions, folder: Path) -> None:
    """Prepare the options of a run for workers on other machines, and stage the packages of these.

    The folder for staged files must exist until the job is submitted.

    Raises:
        ConfigError: Workers cannot reach something that the configuration names, or a package of theirs
            cannot be staged.
    """
    if runs_here(options):
        return
    setup = options.view_as(SetupOptions)
    if setup.save_main_session is None:
        # Otherwise Beam sends the main module of the command, which holds no step of ours.
        setup.save_main_session = False
    if str(options.view_as(StandardOptions).runner).rpartition(".")[2] == "DataflowRunner":
        if not options.view_as(TestOptions).dry_run:
            check_reachable(config, image=has_image(options))
        _check_accelerator(config, options)
        _keep_servers_together(config, options)
    stage(config, options, folder)


def check_reachable(config: CorpusConfig, *, image: bool) -> None:
    """Refuse paths and servers that only this machine has; an `image` of the user may hold some of them.

    Raises:
        ConfigError: A value is on this machine only; names its key.
    """
    for key, value, cure in _only_here(config, image=image):
        raise ConfigError(f"{key} {value!r} is on this machine, and Dataflow's workers are on others. {cure}")
    if config.synthesis.server is not None and config.synthesizes and not image:
        raise ConfigError(
            f"synthesis.server.python {config.synthesis.server.python!r} is on this machine, and the image "
            "that Dataflow gives its workers has no SGLang. Build "
            "pipelines/runners/remote/Dockerfile and name it in --sdk_container_image (docs/dataflow.md), or "
            "set synthesis.endpoints to servers that run."
        )


def _only_here(config: CorpusConfig, *, image: bool) -> Iterator[tuple[str, str, str]]:
    """Yield key, value and cure of each resource that only this machine has."""
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
        names["synthesis.tokenizer"] = config.synthesis.tokenizer or ""
        names["synthesis.prompt_file"] = config.synthesis.prompt_file or ""
        names |= {f"template_files.{at}": path for at, path in enumerate(config.template_files)}
        if isinstance(pairs := config.synthesis.options.get("pairs"), str) and storage.is_local(pairs):
            yield "synthesis.options.pairs", pairs, _COPY
        for url in config.synthesis.endpoints:
            if _is_this_machine(url):
                yield "synthesis.endpoints", url, _REACHED
    for rule, options in (config.verify or {}).items():
        own = options or {}
        names[f"verify.{rule}.model"] = str(own.get("model") or "")
        urls = own.get("endpoints") or ()
        for url in (urls,) if isinstance(urls, str) else urls:
            if _is_this_machine(url):
                yield f"verify.{rule}.endpoints", url, _REACHED
    for key, value in names.items():
        if _is_path(value):
            yield key, value, _BUILD_IN


def _is_path(name: str) -> bool:
    """True if a name, which may be a hub's, means a file or directory of this machine."""
    return name.startswith(("/", ".", "~")) or (bool(name) and os.path.exists(name))


def _is_this_machine(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return address.is_loopback or address.is_unspecified


def _check_accelerator(config: CorpusConfig, options: PipelineOptions) -> None:
    """Refuse GPUs for one step and for all machines at once: Dataflow takes one of them."""
    given = options.view_as(GoogleCloudOptions).dataflow_service_options or []
    if config.synthesis.accelerator and any(each.startswith("worker_accelerator") for each in given):
        raise ConfigError(
            "synthesis.accelerator and --dataflow_service_options=worker_accelerator=… are both set; keep "
            "the first for GPUs at the synthesis step alone, or the second for GPUs on every machine."
        )


def _keep_servers_together(config: CorpusConfig, options: PipelineOptions) -> None:
    """Ask for one container a machine, because workers share servers through their temporary directory.

    Dataflow would run one container for each core, and each would start servers on the same GPUs.
    """
    debug = options.view_as(DebugOptions)
    given = debug.experiments or []
    if config.synthesis.server is not None and not {_ONE_CONTAINER, _MANY_CONTAINERS} & set(given):
        debug.add_experiment(_ONE_CONTAINER)
