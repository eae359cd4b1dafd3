"""A published increment is a success, whatever fails behind it.

Behind the manifest come notes for the next run, the removal of the claim and of temporary files, and what is
printed. The next run makes up for each of them; a failed command would say that nothing was published.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from types import TracebackType

from schemas.crash_messages import understood
from schemas.manifest import Manifest, read_manifest


class Publishing:
    """Around all of a run: an error behind the manifest becomes a warning.

    Attributes:
        manifest: What the run publishes, from right before it does so.
    """

    def __init__(self, corpus: str) -> None:
        self.manifest: Manifest | None = None
        self._corpus = corpus

    def __enter__(self) -> Publishing:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception) or self.manifest is None or not self._is_there(self.manifest):
            return False
        _warn(self._corpus, self.manifest, error)
        return True

    def _is_there(self, manifest: Manifest) -> bool:
        try:
            return read_manifest(self._corpus, manifest.number) == manifest
        except Exception:
            return False


@contextlib.contextmanager
def telling(corpus: str, manifest: Manifest) -> Iterator[None]:
    """Around what is told of a published increment: where it cannot be told, a warning says so."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        raise  # `| head` has read enough
    except Exception as error:
        _warn(corpus, manifest, error)


def _warn(corpus: str, manifest: Manifest, error: Exception) -> None:
    ours = understood(error)
    print(
        f"Warning: increment {manifest.number} of {corpus} is published and whole. What followed failed; the "
        f"next run makes up for it: {type(ours).__name__}: {ours}",
        file=sys.stderr,
        flush=True,
    )
