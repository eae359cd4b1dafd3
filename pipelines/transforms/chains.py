"""Documents into chains of M, in hash order inside hash buckets.

The same documents give the same chains on any number of workers and in any order of arrival, and no
worker holds more than a bucket.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import apache_beam as beam

from schemas.corpus_config import ChainConfig
from schemas.records import Chain, Document, digest


class FormChains(beam.PTransform):
    """Group documents into chains of at most `max_documents`."""

    def __init__(self, config: ChainConfig):
        super().__init__()
        self.config = config

    def expand(self, documents: beam.PCollection) -> beam.PCollection:
        num_documents = documents | "CountForBuckets" >> beam.combiners.Count.Globally()
        return (
            documents
            | "KeyByBucket"
            >> beam.Map(_with_bucket, beam.pvalue.AsSingleton(num_documents), self.config.bucket_documents)
            | "GroupByBucket" >> beam.GroupByKey()
            | "CutBuckets" >> beam.FlatMap(_cut, self.config.max_documents)
        )


def _with_bucket(document: Document, num_documents: int, bucket_documents: int) -> tuple[int, Document]:
    num_buckets = math.ceil(num_documents / bucket_documents)
    return int(document.content_hash[:16], 16) * num_buckets >> 64, document


def _cut(bucket: tuple[int, Iterable[Document]], max_documents: int) -> Iterator[Chain]:
    documents = sorted(bucket[1], key=lambda document: document.content_hash)
    for start in range(0, len(documents), max_documents):
        members = tuple(documents[start : start + max_documents])
        yield Chain(chain_id=digest(*(document.content_hash for document in members)), documents=members)
