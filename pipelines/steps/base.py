"""Base class of all steps: counters, and rejects as a second output."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, Protocol

import apache_beam as beam

from pipelines.runners.counters import Counters, progress_dir
from schemas.errors import TutelageError
from schemas.records import UNEXPECTED, AugmentedText, InstructionPair, Reject, SynthesizedDocument

REJECTS = "rejects"

NOT_OF_A_RECORD = (TutelageError, OSError, MemoryError)
"""Exceptions that concern the run, its storage or its machine, not one record. They end the run."""

_BATCH_CHARACTERS = 1 << 22


class Named(Protocol):
    """A document, or a record that stands for one."""

    @property
    def document_id(self) -> str: ...

    @property
    def source(self) -> str: ...


@dataclasses.dataclass(eq=False)
class StepFn(beam.DoFn):
    """A DoFn that counts and rejects under the name of its step. Subclasses with fields are dataclasses."""

    step: ClassVar[str]  # name of the step in rejects and statistics
    tags: ClassVar[tuple[str, ...]] = (REJECTS,)  # names of all outputs beside the main one
    # The copies in workers bring the folder along.
    progress_dir: str | None = dataclasses.field(default_factory=progress_dir, init=False)

    def setup(self) -> None:
        """Make the counters; Beam calls it once for each copy in a worker."""
        self.counters = Counters(self.step, self.progress_dir)

    def finish_bundle(self) -> Any:
        """Write the counts to the progress file."""
        self.counters.flush()

    def reject(
        self, reason: str, record: Named, detail: str = "", *, pairs: tuple[InstructionPair, ...] = ()
    ) -> beam.pvalue.TaggedOutput:
        """Count the reject of a document and tag it for the output of rejects."""
        return self.pass_on(
            Reject(
                stage=self.step,
                reason=reason,
                document_id=record.document_id,
                source=record.source,
                detail=detail,
                pairs=pairs,
            )
        )

    def pass_on(self, reject: Reject) -> beam.pvalue.TaggedOutput:
        """Count a reject that was made elsewhere and tag it."""
        self.counters.add(f"rejected_{reject.reason}")
        return beam.pvalue.TaggedOutput(REJECTS, reject)

    def of_batch(self, batch: Sequence[Any], make: Callable[[Sequence[Any]], Iterator[Any]]) -> Iterator[Any]:
        """Yield what `make` yields for a batch; after an unexpected exception, for one element at a time."""
        try:
            yield from list(make(batch))
        except NOT_OF_A_RECORD:
            raise
        except Exception:
            alone = guarded(lambda self, element: make([element]))
            for element in batch:
                yield from alone(self, element)


def outputs_of(
    values: beam.PCollection, label: str, step: StepFn, *side_inputs: Any, **resource_hints: str
) -> dict[str, beam.PCollection]:
    """Apply a step; returns its main output under `ok` and the others under their tags."""
    pardo = beam.ParDo(step, *side_inputs).with_resource_hints(**resource_hints)
    made = values | label >> pardo.with_outputs(*step.tags, main="ok")
    return {tag: made[tag] for tag in ("ok", *step.tags)}


def batches_of(num_characters: Callable[[Any], int]) -> beam.PTransform:
    """Batch values up to a number of characters."""
    return beam.BatchElements(
        min_batch_size=_BATCH_CHARACTERS // 64,
        max_batch_size=_BATCH_CHARACTERS,
        element_size_fn=num_characters,
    )


def guarded(process: Callable[[Any, Any], Iterator[Any]]) -> Callable[[Any, Any], Iterator[Any]]:
    """Make a step's `process` reject the documents of an element that leads to an unexpected exception.

    The step gives nothing else for such an element. `pipelines/increments/failure_limits.py` decides how many
    of them end the run.
    """

    @functools.wraps(process)
    def process_or_reject(self: StepFn, element: Any) -> Iterator[Any]:
        try:
            made = list(process(self, element))
        except NOT_OF_A_RECORD:
            raise
        except Exception as error:
            found = f"{type(error).__name__}: {error}"
            made = [self.reject(UNEXPECTED, document, found) for document in _documents_of(element)]
        yield from made

    return process_or_reject


def _documents_of(element: Any) -> Iterator[Named]:
    """Yield a document, those of a chain, or the passages of texts."""
    if isinstance(element, (list, tuple)):
        for each in element:
            yield from _documents_of(each)
    elif isinstance(element, AugmentedText):
        yield from element.passages
    else:
        yield element.document if isinstance(element, SynthesizedDocument) else element
