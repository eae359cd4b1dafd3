"""What workers on other machines are given: this package as a wheel, and pins of what it runs on.

    tutelage[pipelines], plugins by entry point, file systems of the URIs
        │  every Requires-Dist, followed through what is installed here
        ▼
    each distribution ─┬─ came from an index ────────────────► `name==version` in requirements.txt
                       └─ came from a directory or a file, ──► a wheel, made again from its files (wheel.py)
                          and Tutelage in any case

Workers install the pins from their own index when they start, so that they run the versions of the machine
that submits. Beam would rather download every package beforehand and upload it (`--requirements_cache`); it
asks for manylinux2014 wheels there, which not every package has, so a build uses that cache only on request.
Every worker waits for its pins (0.7 GB). An image that holds them starts at once (see the Dockerfile here).

Cost: about two seconds, most of it reading metadata.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution
from pathlib import Path

from apache_beam.options.pipeline_options import (
    PipelineOptions,
    PortableOptions,
    SetupOptions,
    WorkerOptions,
)
from fsspec.registry import get_filesystem_class
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from pipelines.runners.remote.wheel import is_from_index, make_wheel
from plugins.filters import FILTERS
from plugins.protocols import PROTOCOLS
from plugins.readers import READERS
from plugins.readers.presets import with_preset
from plugins.synthesizers import SYNTHESIZERS
from plugins.templates import TEMPLATES
from schemas.corpus_config import CorpusConfig
from schemas.errors import ConfigError

_OURS = "tutelage"
_ON_WORKERS = (FILTERS, PROTOCOLS, READERS, SYNTHESIZERS, TEMPLATES)
_CURE = (
    "Or run the workers from an image that holds all of it: --sdk_container_image=IMAGE (docs/dataflow.md)."
)


def stage(config: CorpusConfig, options: PipelineOptions, folder: Path) -> None:
    """Have Beam stage what workers need, unless the options say themselves where workers get it from.

    Args:
        config: The corpus; its URIs and readers decide which packages are needed.
        options: Those of the run; `requirements_file`, `extra_packages` and `requirements_cache` are set.
        folder: Where the staged files are made; must last until the job is submitted.

    Raises:
        ConfigError: A package that workers need is not installed here, or does not fit another one.
    """
    if brings_its_own(options):
        return
    pins: list[str] = []
    wheels: list[str] = []
    for distribution in needed(roots(config)):
        name = canonicalize_name(distribution.metadata["Name"])
        if name == _OURS or not is_from_index(distribution):
            wheels.append(str(make_wheel(distribution, folder)))
        else:
            pins.append(f"{name}=={Version(distribution.version).public}")
    requirements = folder / "requirements.txt"
    requirements.write_text("".join(f"{pin}\n" for pin in pins), encoding="utf-8")
    setup = options.view_as(SetupOptions)
    setup.requirements_file = str(requirements)
    setup.extra_packages = wheels
    if setup.requirements_cache is None:
        setup.requirements_cache = "skip"


def brings_its_own(options: PipelineOptions) -> bool:
    """Whether the options say what the workers run on: an image, packages, or a portable environment."""
    setup, portable = options.view_as(SetupOptions), options.view_as(PortableOptions)
    given = [setup.setup_file, setup.requirements_file, setup.extra_packages]
    environment = [portable.environment_config, portable.environment_options]
    return has_image(options) or any(given) or any(environment) or portable.environment_type == "LOOPBACK"


def has_image(options: PipelineOptions) -> bool:
    """Whether the options name an image for the workers."""
    workers = options.view_as(WorkerOptions)
    return bool(workers.sdk_container_image or workers.worker_harness_container_image)  # the old name


def roots(config: CorpusConfig) -> list[Requirement]:
    """What a corpus needs on its workers by name; all else is what these require."""
    sources = [with_preset(source) for stream in config.streams.values() for source in stream.sources]
    extras = {"pipelines"}
    if any(source.reader == "huggingface" for source in sources):
        extras.add("huggingface")
    if config.synthesis.backend == "transformers":  # torch
        extras.add("trainer")
    plugins = {
        point.dist.name
        for registry in _ON_WORKERS
        for point in importlib.metadata.entry_points(group=registry.group)
        if point.dist is not None
    }
    uris = [config.corpus, *config.decontaminate.tasks]
    uris += [source.uri for source in sources if source.reader != "huggingface"]
    return [
        Requirement(name)
        for name in sorted({f"{_OURS}[{','.join(sorted(extras))}]", *plugins, *_file_systems(uris)})
    ]


def _file_systems(uris: Iterable[str]) -> Iterator[str]:
    """The distributions that read and write URIs, such as gcsfs for gs://."""
    schemes = {part.partition("://")[0] for uri in uris for part in uri.split("::") if "://" in part}
    for scheme in sorted(schemes):
        try:
            module = get_filesystem_class(scheme).__module__.partition(".")[0]
        except (ImportError, ValueError) as error:
            raise ConfigError(f"{scheme}:// cannot be used here: {error}") from error
        if module == "fsspec":
            continue
        try:
            yield importlib.metadata.distribution(module).name
        except importlib.metadata.PackageNotFoundError:  # it goes by another name; finding that out is slow
            yield importlib.metadata.packages_distributions()[module][0]


def needed(required: Iterable[Requirement]) -> list[Distribution]:
    """Installed distributions that requirements lead to, their own requirements included, by name.

    One that is required and not installed is left to the installer on the workers.

    Raises:
        ConfigError: A requirement that was passed in is not installed, or the installed version of
            anything is not the one that is asked for.
    """
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [(each, "") for each in required]
    while waiting:
        requirement, asked_by = waiting.pop()
        name = canonicalize_name(requirement.name)
        if name not in found:
            try:
                found[name] = importlib.metadata.distribution(name)
            except importlib.metadata.PackageNotFoundError:
                if asked_by:
                    continue
                raise ConfigError(
                    f"{requirement} is not installed here, and workers on other machines need it. "
                    f"Install it with pip or uv. {_CURE}"
                ) from None
        distribution = found[name]
        if not requirement.specifier.contains(distribution.version, prereleases=True):
            raise ConfigError(
                f"{asked_by or 'Tutelage'} asks for {requirement}, and {name} {distribution.version} is "
                "installed here: an installer on the workers would refuse both together. Install versions "
                f"that fit, such as those of .ci/requirements/pipelines.txt. {_CURE}"
            )
        for extra in {"", *requirement.extras}:
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            for each in map(Requirement, distribution.requires or ()):
                if each.marker is None or each.marker.evaluate({"extra": extra}):
                    waiting.append((each, f"{name} {distribution.version}"))
    return [found[name] for name in sorted(found)]
