"""An increment in the making: written by one run, then published, or as if it had never been.

    take the lease ─► (whatever is written into folders of this run's own) ─► manifest/NNNNNN.json, last
                                        └─► an error, or nothing to publish: all of it is removed

Until the manifest is there the corpus is as it was. What a killed run left is removed by the next: at once
where the run is surely gone; otherwise once the next has published the same number, for then the other
cannot publish any more.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from pipelines.increments.lease import Lease, held, writable
from pipelines.store.layout import remove_increment, unpublished
from schemas import manifest as manifests
from schemas import storage
from schemas.errors import CorpusError
from schemas.manifest import Manifest, increment_name, increment_uri


class Draft:
    """Made by `drafted`."""

    def __init__(self, corpus: str, number: int, token: str, lease: Lease):
        self._corpus = corpus
        self._number = number
        self._name = increment_name(number, token)
        self._lease = lease

    def check(self) -> None:
        """See before each step of publishing that the lease is still ours.

        Raises:
            CorpusError: Another run took it over.
        """
        self._lease.check()

    def publish(self, manifest: Manifest) -> None:
        """Make the increment part of the corpus.

        Raises:
            CorpusError: Another run took the lease over, or published its number.
        """
        self.check()
        manifests.publish_manifest(self._corpus, manifest)

    def is_ours(self) -> bool:
        """Whether no other run took the lease over."""
        return self._lease.is_ours()

    def close(self) -> None:
        """Remove an unpublished increment; of a published one, what ended runs left under its number."""
        if not self._is_published():
            remove_increment(self._corpus, self._name)
            return
        with contextlib.suppress(OSError):  # `prune` removes it too
            for name in unpublished(self._corpus, self._number, self._name):
                remove_increment(self._corpus, name)

    def _is_published(self) -> bool:
        if self._number not in manifests.manifest_numbers(self._corpus):
            return False
        return self._name in manifests.read_manifest(self._corpus, self._number).names()


@contextlib.contextmanager
def drafted(corpus: str, number: int, token: str, say: Callable[[str], None]) -> Iterator[Draft]:
    """Hold the lease of a corpus and write the increment of a number and a token.

    Raises:
        CorpusError: Another run is at work on the corpus or has published the number, or the corpus cannot be
            written.
    """
    with held(corpus, token, say) as lease:
        # Asked only now: a run that published has written its manifest before it let go.
        if manifests.newest_number(corpus) >= number:
            raise CorpusError(f"{corpus}: another run published manifest {number} meanwhile. Build again.")
        if lease.taken_from is not None:
            remove_increment(corpus, increment_name(number, lease.taken_from.token))
        uri = increment_uri(corpus, increment_name(number, token))
        with writable(uri):
            if storage.is_local(uri):
                storage.make_folders(storage.filesystem(uri)[1])
        draft = Draft(corpus, number, token, lease)
        try:
            yield draft
        finally:
            draft.close()
