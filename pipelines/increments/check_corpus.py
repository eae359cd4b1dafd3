"""Checks of a corpus YAML for `tutelage check`: all that a build refuses before it runs, one by one.

names and options ─► tasks, pairs file, corpus ─► tokenizer, protocol ─► each source ─► servers ─► disk
"""

from __future__ import annotations

import functools
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Generator, Iterator

from pipelines.increments.changed_source_files import list_files
from pipelines.increments.preflight_checks import name_checks, newest_manifest, with_counting_tokenizer
from pipelines.increments.prepared_run import check_protocol, check_row_length, corpus_tokenizer
from pipelines.increments.recorded_pairs import read_pairs_file
from pipelines.planning.sample import sample_sources
from pipelines.runners.run import parse_options
from plugins.servers.urls import proxy_of, shown_url
from plugins.tasks.decontamination_rows import tasks_hash
from plugins.verifiers.base import ModelVerifier
from plugins.verifiers.rules import make_rules, rules_of
from schemas import storage
from schemas.corpus_config import CorpusConfig, SourceConfig
from schemas.errors import ConfigError, InputError, ServerError
from schemas.manifest import Manifest
from schemas.synthesis_config import SynthesisConfig

_SAMPLED = 20
"""Records that are read of each source."""

_TIMEOUT_SEC = 3.0


def checks(config: CorpusConfig) -> Generator[Callable[[], object], bool, None]:
    """Yield the checks; to be sent whether the last one found nothing."""
    config = with_counting_tokenizer(config)
    named = True
    for check in name_checks(config):
        named &= yield check
    yield functools.partial(tasks_hash, config.decontaminate.tasks)
    before: list[Manifest | None] = []
    yield lambda: before.append(newest_manifest(config))
    yield lambda: corpus_tokenizer(config, before[0] if before else None)
    if named:
        yield functools.partial(read_pairs_file, config)
        yield functools.partial(check_row_length, config)
        yield functools.partial(check_protocol, config, parse_options([]))
        for key, each in _askers(config):
            for url in each.endpoints:
                yield functools.partial(check_reachable, f"{key}.endpoints", url, each.backend)
            if each.server is not None:
                yield functools.partial(_check_python, f"{key}.server.python", each.server.python)
    sizes: list[int] = []
    for name, stream in config.streams.items():
        for source in stream.sources:
            yield functools.partial(_check_source, config, name, source, sizes)
    if storage.is_local(config.corpus):
        yield lambda: _check_disk(config.corpus.removeprefix("file://"), sum(sizes))


def _check_source(config: CorpusConfig, name: str, source: SourceConfig, sizes: list[int]) -> None:
    """Refuse a source without files, with unreadable ones, or of which no record can be read."""
    stream = config.streams[name].model_copy(update={"sources": (source,)})
    alone = config.model_copy(update={"streams": {name: stream}})
    files = [file.uri.removeprefix("file://") for file in list_files(alone).files[name]]
    where = f"streams.{name}: source {source.uri!r}"
    if storage.is_local(source.uri):
        closed = [file for file in files if not os.access(file, os.R_OK)]
        if closed:
            raise InputError(
                f"{where}: {len(closed):,} of {len(files):,} files may not be read, such as {closed[0]}. "
                "Change their permissions, or name the others by a glob."
            )
        sizes.append(sum(map(os.path.getsize, files)))
    sample = sample_sources(alone.model_copy(update={"filters": {}}), _SAMPLED)
    if not sample.num_documents and sample.num_records:
        first = next((each for each in sample.effects if each.step == "read"), None)
        why = f": {first.rule} ({first.name}: {first.found})" if first else ", only deletions"
        raise InputError(
            f"{where}: none of {sample.num_records} sampled records is a document{why}. Check its reader and "
            "fields; `tutelage corpus plan FILE.yaml --sample 20` shows more."
        )


def _askers(config: CorpusConfig) -> Iterator[tuple[str, SynthesisConfig]]:
    """Yield what asks servers, by its key: the synthesizer, and rules that have servers of their own."""
    if not config.synthesizes:
        return
    yield "synthesis", config.synthesis
    for name, rule in make_rules(rules_of(config), config.synthesis, seed=config.seed).items():
        if isinstance(rule, ModelVerifier) and rule.config.endpoints != config.synthesis.endpoints:
            yield f"verify.{name}", rule.config


def check_reachable(key: str, url: str, backend: str) -> None:
    """Refuse a server that does not answer one GET within 3 s, or answers that it is not ready.

    Any answer below 500 is that of a running server: hosted ones refuse a request without a key.
    """
    proxy = proxy_of(url)
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({url.partition(":")[0]: proxy} if proxy else {})
    )
    at = f"{url.rstrip('/')}/{'health' if backend == 'sglang' else 'models'}"
    try:
        with opener.open(at, timeout=_TIMEOUT_SEC):
            return
    except urllib.error.HTTPError as error:
        if error.code < 500:
            return
        problem = f"answers with status {error.code}; wait until it is ready, or read its log"
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        problem = f"does not answer ({reason}); start the server, or correct the URL"
    raise ServerError(f"{key}: {shown_url(url)} {problem}.")


def _check_python(key: str, python: str) -> None:
    if shutil.which(python) is None:
        raise ConfigError(
            f"{key} is {python!r}, which is no program here. Give the interpreter of the environment that "
            "SGLang is installed in."
        )


def _check_disk(corpus: str, source_bytes: int) -> None:
    """Refuse a folder that cannot be written, and a disk with less room than the sources take."""
    folder = os.path.abspath(corpus)
    while not os.path.lexists(folder):
        folder = os.path.dirname(folder)
    if not os.path.isdir(folder) or not os.access(folder, os.W_OK | os.X_OK):
        raise ConfigError(
            f"corpus: {corpus!r} cannot be written: {folder!r} is no folder that this user may write to. "
            "Change its permissions, or name another place."
        )
    free = shutil.disk_usage(folder).free
    if free < source_bytes:
        raise ConfigError(
            f"corpus: the disk of {corpus!r} has {free / 1e9:,.1f} GB free, and the sources alone take "
            f"{source_bytes / 1e9:,.1f} GB. Free some space, or name another place."
        )
