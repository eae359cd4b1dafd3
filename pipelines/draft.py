"""An increment in the making: claimed by one run, then published, or as if it had never been.

    claim increments/NNNNNN ─► (whatever is written into it) ─► manifest/NNNNNN.json, last
                                        └─► an error, or nothing to publish: all of it is removed

Until the manifest is there the corpus is as it was; what a killed run leaves is removed by the next.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from pipelines.claim import claim, holds, release
from pipelines.places import remove_tables
from schemas import manifest as manifests
from schemas import storage
from schemas.errors import CorpusError
from schemas.manifest import Manifest, increment_uri


class Draft:
    """Made by `drafted`.

    Attributes:
        uri: Directory of the increment.
    """

    def __init__(self, corpus: str, number: int, claimed: bytes):
        self.uri = increment_uri(corpus, number)
        self._corpus = corpus
        self._number = number
        self._claimed = claimed

    def publish(self, manifest: Manifest) -> None:
        """Make the increment part of the corpus.

        Raises:
            CorpusError: Another run took the increment over, or published its number.
        """
        if not self.is_ours():
            raise CorpusError(
                f"{self.uri}: another run took this increment over. Nothing was published; "
                "make sure that only one run writes to this corpus, then run again."
            )
        manifests.publish_manifest(self._corpus, manifest)

    def is_ours(self) -> bool:
        """Whether no other run took it over."""
        return holds(self.uri, self._claimed)

    def is_published(self) -> bool:
        """Whether a manifest names it."""
        return manifests.newest_number(self._corpus) >= self._number

    def close(self) -> None:
        """Let go of it; all that an unpublished one holds is removed."""
        if not self.is_ours():
            return
        if self.is_published():
            release(self.uri)
        else:
            remove_tables(self._corpus, self._number)
            storage.remove_tree(self.uri)


@contextlib.contextmanager
def drafted(corpus: str, number: int) -> Iterator[Draft]:
    """Claim the increment of a number for a while.

    Raises:
        CorpusError: Another run is at work on it, or has published it, or it cannot be written.
    """
    uri = increment_uri(corpus, number)
    try:
        claimed = claim(uri, is_published=lambda: manifests.newest_number(corpus) >= number)
    except OSError as error:
        raise CorpusError(
            f"{uri}: cannot be written: {error}. Check `corpus`, its permissions and the space on its disk. "
            "Nothing was read or changed."
        ) from error
    draft = Draft(corpus, number, claimed)
    try:
        remove_tables(corpus, number)  # what a killed run left behind
        yield draft
    finally:
        draft.close()
