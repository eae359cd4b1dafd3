"""Quality filters, in the order in which the YAML names them; the first that refuses a document decides.

A document in a language that a filter does not judge passes over it and is counted: `passed_over_by_c4`;
`passed_over_by_gopher_quality.min_stop_words` if only a rule cannot judge it.

The reject's reason is the filter and its rule, `gopher_quality.min_words`, which is the key to change under
`filters`. Its detail says what was measured and what was allowed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from pipelines.steps.base import StepFn, guarded
from plugins.filters import FilterOptions, make_filters
from plugins.filters.base import Unjudged, Verdict
from schemas.records import Document


@dataclasses.dataclass(eq=False)
class FilterDocuments(StepFn):
    """Pass each document through all filters; reject it at the first that refuses it."""

    step = "filter"
    filters: FilterOptions

    def setup(self) -> None:
        super().setup()
        self._made = make_filters(self.filters)

    @guarded
    def process(self, document: Document) -> Iterator[Any]:
        for name, accept in self._made.items():
            if accept.passes_over(document):
                self.counters.add(f"passed_over_by_{name}")
                continue
            outcome = accept(document)
            if isinstance(outcome, Verdict):
                yield self.reject(f"{name}.{outcome.rule}", document, outcome.detail)
                return
            if isinstance(outcome, Unjudged):
                self.counters.add(f"passed_over_by_{name}.{outcome.rule}")
                outcome = outcome.document
            if outcome.text != document.text:
                self.counters.add(f"shortened_by_{name}")
            document = outcome
        self.counters.add("documents")
        yield document
