"""Publication of an increment: one run writes it, and then publishes it whole or removes it.

    take the lease ─► write into folders of this run alone ─► manifest/NNNNNN.json, last
                                └─► an error, or nothing to publish: remove all of it

Until the manifest exists, the corpus is unchanged. The next run removes the remains of a killed run: at once
if the process has surely ended; otherwise after it has published the same number, because the other run can
then no longer publish.

Once the manifest exists, the run is a success, whatever fails afterwards: notes for the next run, removal of
the lease and of temporary files, the printed summary. The next run makes up for these, so such an error
becomes a warning.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping, Sequence

from apache_beam.options.pipeline_options import PipelineOptions

from pipelines.increments.changed_source_files import FilePart
from pipelines.increments.lease import Lease, held, writable
from pipelines.increments.prepared_run import Prepared, prepared
from pipelines.inspect.report.corpus_part import write_report
from pipelines.runners.progress import ProgressView
from pipelines.store.dataset_card import write_card
from pipelines.store.statistics import Measured, write_stats
from plugins.corpus_tokenizer import keep_tokenizer
from schemas import manifest as manifests
from schemas import storage
from schemas.corpus_config import CorpusConfig
from schemas.corpus_layout import (
    increment_entries,
    increment_name,
    increment_uri,
    manifest_numbers,
    number_of,
)
from schemas.crash_messages import understood
from schemas.errors import CorpusError
from schemas.manifest import Increment, Manifest


class Draft:
    """An increment that a run writes; `drafted` makes it."""

    def __init__(self, run: Prepared, view: ProgressView, lease: Lease, started: float):
        self.run = run
        self.view = view
        self.manifest: Manifest | None = None  # the one to publish, set just before it is written
        self._lease = lease
        self._started = started

    def publish(self, increments: Sequence[Increment], found: Measured) -> None:
        """Write statistics and card of the newest of all increments, and make it part of the corpus.

        Its report comes afterwards: it is no part of the corpus, and nobody waits for it.

        Raises:
            CorpusError: Another run took the lease over, or published this number.
        """
        spec, config = self.run.spec, self.run.spec.config
        manifest = self.run.manifest(increments)
        wall_sec = time.monotonic() - self._started
        stats = write_stats(spec.increment, config, manifest, found, wall_sec=wall_sec)
        write_card(spec.increment, config, manifest, stats)
        self.manifest = manifest
        self._lease.check()
        if self.run.tokenizer_files:
            keep_tokenizer(config.corpus, self.run.tokenizer, self.run.tokenizer_files)
        self._lease.check()
        manifests.publish_manifest(config.corpus, manifest)
        write_report(config.corpus, manifest)

    def check(self) -> None:
        """Raise a CorpusError if another run took the lease over."""
        self._lease.check()

    def is_ours(self) -> bool:
        """True if no other run took the lease over."""
        return self._lease.is_ours()

    def close(self) -> None:
        """Remove an unpublished increment; of a published one, the remains of ended runs of its number."""
        spec, corpus = self.run.spec, self.run.spec.config.corpus
        is_published = spec.number in manifest_numbers(corpus) and (
            spec.name in manifests.read_manifest(corpus, spec.number).names()
        )
        if not is_published:
            remove_increment(corpus, spec.name)
            return
        with contextlib.suppress(OSError):  # `prune` removes them too
            for name in {name for name, _ in increment_entries(corpus)} - {spec.name}:
                if number_of(name) == spec.number:
                    remove_increment(corpus, name)


@contextlib.contextmanager
def drafted(
    config: CorpusConfig,
    options: PipelineOptions,
    *,
    before: Manifest | None,
    files: Mapping[str, Sequence[FilePart]],
    quiet: bool,
    started: float,
) -> Iterator[Draft]:
    """Prepare a run, hold the lease of the corpus and write the next increment.

    An error after publication becomes a warning. `started` is the start of the run by `time.monotonic`.

    Raises:
        ConfigError: A value or option is refused.
        CorpusError: The run does not fit the corpus, another run is at work on it or published the number, or
            the corpus cannot be written.
    """
    corpus = config.corpus
    draft: Draft | None = None
    try:
        with contextlib.ExitStack() as stack:
            run = stack.enter_context(prepared(config, options, before=before, files=files))
            view = ProgressView(quiet=quiet, num_parts=sum(map(len, files.values())))
            lease = stack.enter_context(held(corpus, run.spec.token, view.say))
            # Only now, with the lease: a run that publishes writes its manifest before it releases the lease.
            if manifests.newest_number(corpus) >= run.spec.number:
                raise CorpusError(
                    f"{corpus}: another run published manifest {run.spec.number} meanwhile. Build again."
                )
            if lease.taken_from is not None:
                remove_increment(corpus, increment_name(run.spec.number, lease.taken_from.token))
            with writable(run.spec.increment):
                if storage.is_local(corpus):
                    storage.make_folders(storage.filesystem(run.spec.increment)[1])
            draft = Draft(run, view, lease, started)
            stack.callback(draft.close)
            yield draft
    except Exception as error:
        if draft is None or draft.manifest is None or not _is_published(corpus, draft.manifest):
            raise
        _warn(corpus, draft.manifest, error)


def remove_increment(corpus: str, name: str) -> None:
    """Remove the folder and the tables of an increment that no manifest names."""
    storage.remove_tree(increment_uri(corpus, name))
    for each, uri in increment_entries(corpus):
        if each == name:
            storage.remove_tree(uri)


@contextlib.contextmanager
def after_publication(corpus: str, manifest: Manifest) -> Iterator[None]:
    """Turn an error while a published increment is printed into a warning."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        raise  # `| head` has read enough
    except Exception as error:
        _warn(corpus, manifest, error)


def _is_published(corpus: str, manifest: Manifest) -> bool:
    try:
        return manifests.read_manifest(corpus, manifest.number) == manifest
    except Exception:
        return False


def _warn(corpus: str, manifest: Manifest, error: Exception) -> None:
    ours = understood(error)
    print(
        f"Warning: increment {manifest.number} of {corpus} is published and whole. A later step failed; the "
        f"next run makes up for it: {type(ours).__name__}: {ours}",
        file=sys.stderr,
        flush=True,
    )
