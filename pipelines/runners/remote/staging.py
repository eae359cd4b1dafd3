"""Packages for workers on other machines: this package as a wheel, and pins of its dependencies.

    tutelage[pipelines], plugins by entry point, file systems of the URIs
        │  every Requires-Dist, followed through the installed distributions
        ▼
    each distribution ─┬─ installed from an index ─────────────► `name==version` in requirements.txt
                       └─ installed from a directory or file, ─► a wheel, rebuilt from its files (wheel.py)
                          and Tutelage always

Workers install the pins from their own index when they start, so that they run the versions of the machine
that submits. Beam's default is to download every package first and upload it (`--requirements_cache`). There
it asks for manylinux2014 wheels, which not every package has, so a build uses that cache only on request.
Every worker waits for its pins (0.7 GB). An image that holds them starts at once (see the Dockerfile here).

Cost: about two seconds, mostly to read metadata.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution
from pathlib import Path

from apache_beam.options.pipeline_options import PipelineOptions, PortableOptions, SetupOptions, WorkerOptions
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
from plugins.verifiers import VERIFIERS
from plugins.verifiers.base import ModelVerifier
from plugins.verifiers.rules import make_rules, rules_of
from schemas.corpus_config import CorpusConfig
from schemas.errors import ConfigError

_OURS = "tutelage"
_ON_WORKERS = (FILTERS, PROTOCOLS, READERS, SYNTHESIZERS, TEMPLATES, VERIFIERS)
_READER_EXTRAS = frozenset({"docling", "docx", "huggingface", "markdown", "pdf", "rst"})
"""Readers whose libraries are in an extra of the same name."""

_CURE = (
    "Or run the workers from an image that holds all of it: --sdk_container_image=IMAGE (docs/dataflow.md)."
)


def stage(config: CorpusConfig, options: PipelineOptions, folder: Path) -> None:
    """Stage the packages of the workers through Beam, unless the options bring packages of their own.

    It sets `requirements_file`, `extra_packages` and `requirements_cache`. The folder for staged files must
    exist until the job is submitted.

    Raises:
        ConfigError: A package that workers need is not installed here, or conflicts with another one.
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
    """True if the options name an image, packages, or a portable environment for the workers."""
    setup, portable = options.view_as(SetupOptions), options.view_as(PortableOptions)
    given = [setup.setup_file, setup.requirements_file, setup.extra_packages]
    environment = [portable.environment_config, portable.environment_options]
    return has_image(options) or any(given) or any(environment) or portable.environment_type == "LOOPBACK"


def has_image(options: PipelineOptions) -> bool:
    """True if the options name an image for the workers."""
    workers = options.view_as(WorkerOptions)
    return bool(workers.sdk_container_image or workers.worker_harness_container_image)  # the old name


def roots(config: CorpusConfig) -> list[Requirement]:
    """Return the distributions that a corpus needs on its workers; these require all others."""
    sources = [with_preset(source) for stream in config.streams.values() for source in stream.sources]
    extras = {"pipelines"}
    offered = set(importlib.metadata.metadata(_OURS).get_all("Provides-Extra") or ())
    for source in sources:
        extras |= {source.reader or "", source.extract or ""} & offered
        if source.reader in (None, "folder"):
            extras.add("documents")
    rules = make_rules(rules_of(config), config.synthesis, seed=config.seed).values()
    backends = {rule.config.backend for rule in rules if isinstance(rule, ModelVerifier)}
    if "transformers" in {config.synthesis.backend, *backends}:  # torch
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
    """Yield the distributions that read and write URIs, such as gcsfs for gs://."""
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
        except importlib.metadata.PackageNotFoundError:  # it has another name, which is slow to look up
            yield importlib.metadata.packages_distributions()[module][0]


def needed(required: Iterable[Requirement]) -> list[Distribution]:
    """Return the installed distributions of requirements and of all that these require, sorted by name.

    The installer on the workers resolves a dependency that is not installed here.

    Raises:
        ConfigError: A requirement of the arguments is not installed, or an installed version does not match a
            requirement.
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
                f"{asked_by or 'Tutelage'} requires {requirement}, and {name} {distribution.version} is "
                "installed here: an installer on the workers would refuse both together. Install matching "
                f"versions, such as those of .ci/requirements/pipelines.txt. {_CURE}"
            )
        for extra in {"", *requirement.extras}:
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            for each in map(Requirement, distribution.requires or ()):
                if each.marker is None or each.marker.evaluate({"extra": extra}):
                    waiting.append((each, f"{name} {distribution.version}"))
    return [found[name] for name in sorted(found)]
