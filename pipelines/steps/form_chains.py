"""Chains of M documents, in hash order inside hash buckets.

The same documents give the same chains on any number of workers and in any order of arrival. No worker holds
more than a bucket.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator

import apache_beam as beam

from pipelines.steps.base import StepFn
from schemas.content_hash import digest
from schemas.corpus_config import ChainConfig
from schemas.records import Chain, Document


@beam.ptransform_fn
def FormChains(documents: beam.PCollection, config: ChainConfig) -> beam.PCollection:
    """Group documents into chains of at most `max_documents`."""
    num_documents = documents | "CountForBuckets" >> beam.combiners.Count.Globally()
    return (
        documents
        | "KeyByBucket"
        >> beam.Map(_with_bucket, beam.pvalue.AsSingleton(num_documents), config.bucket_documents)
        | "GroupByBucket" >> beam.GroupByKey()
        | "CutBuckets" >> beam.ParDo(_CutBuckets(config.max_documents))
    )


def _with_bucket(document: Document, num_documents: int, bucket_documents: int) -> tuple[int, Document]:
    num_buckets = math.ceil(num_documents / bucket_documents)
    return int(document.content_hash[:16], 16) * num_buckets >> 64, document


@dataclasses.dataclass(eq=False)
class _CutBuckets(StepFn):
    step = "chains"
    max_documents: int

    def process(self, bucket: tuple[int, Iterable[Document]]) -> Iterator[Chain]:
        documents = sorted(bucket[1], key=lambda each: (each.content_hash, each.document_id, each.part))
        self.counters.add("documents", len(documents))
        for start in range(0, len(documents), self.max_documents):
            members = tuple(documents[start : start + self.max_documents])
            self.counters.add("chains")
            yield Chain(chain_id=digest(*(each.content_hash for each in members)), documents=members)
