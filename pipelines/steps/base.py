"""What all our DoFns share: counters, and rejects as a second output."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import apache_beam as beam

from pipelines.runners.counters import Counters
from schemas.errors import TutelageError
from schemas.records import UNEXPECTED, AugmentedText, Document, Passage, Reject, SynthesizedDocument

REJECTS = "rejects"

NOT_OF_A_RECORD = (TutelageError, OSError, MemoryError)
"""What says something of the run, its storage or its machine, and ends it."""


class StepFn(beam.DoFn):
    """A DoFn that counts under the name of its step.

    Args:
        step: Name of the step, as in rejects and statistics.
        progress_dir: See Counters.
    """

    def __init__(self, step: str, progress_dir: str | None):
        self.step = step
        self.progress_dir = progress_dir

    def setup(self) -> None:
        """Called once in each worker, where the counters live."""
        self.counters = Counters(self.step, self.progress_dir)

    def finish_bundle(self) -> Any:
        """Make the counts visible."""
        self.counters.flush()

    def reject(
        self, reason: str, *, document_id: str, source: str, detail: str = ""
    ) -> beam.pvalue.TaggedOutput:
        """Count a reject and tag it for the rejects' output."""
        return self.pass_on(
            Reject(stage=self.step, reason=reason, document_id=document_id, source=source, detail=detail)
        )

    def pass_on(self, reject: Reject) -> beam.pvalue.TaggedOutput:
        """Count a reject made elsewhere and tag it."""
        self.counters.add(f"rejected_{reject.reason}")
        return beam.pvalue.TaggedOutput(REJECTS, reject)

    def unexpected(self, error: Exception, document: Document | Passage) -> beam.pvalue.TaggedOutput:
        """Count and tag a document for which nobody foresaw what happened."""
        return self.reject(
            UNEXPECTED,
            document_id=document.document_id,
            source=document.source,
            detail=f"{type(error).__name__}: {error}",
        )

    def of_batch(self, batch: Sequence[Any], make: Callable[[Sequence[Any]], Iterator[Any]]) -> Iterator[Any]:
        """What `make` gives for a batch; for each element alone where it leads to an unexpected exception."""
        try:
            yield from list(make(batch))
        except NOT_OF_A_RECORD:
            raise
        except Exception:
            alone = guarded(lambda self, element: make([element]))
            for element in batch:
                yield from alone(self, element)


def guarded(process: Callable[[Any, Any], Iterator[Any]]) -> Callable[[Any, Any], Iterator[Any]]:
    """Have a step's `process` reject the documents of an element that leads to an unexpected exception.

    Of such an element nothing else is given. Their limit in a run: `pipelines/increments/failure_limits.py`.
    """

    @functools.wraps(process)
    def process_or_reject(self: StepFn, element: Any) -> Iterator[Any]:
        try:
            made = list(process(self, element))
        except NOT_OF_A_RECORD:
            raise
        except Exception as error:
            made = [self.unexpected(error, document) for document in _documents_of(element)]
        yield from made

    return process_or_reject


def _documents_of(element: Any) -> Iterator[Document | Passage]:
    """What has a document_id and a source: a document, those of a chain, or the passages of texts."""
    if isinstance(element, (list, tuple)):
        for each in element:
            yield from _documents_of(each)
    elif isinstance(element, AugmentedText):
        yield from element.passages
    else:
        yield element.document if isinstance(element, SynthesizedDocument) else element
