"""What all our DoFns share: counters, and rejects as a second output."""

from __future__ import annotations

from typing import Any

import apache_beam as beam

from pipelines.counters import Counters
from schemas.records import Reject

REJECTS = "rejects"


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
