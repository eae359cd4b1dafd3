"""The band keys of what was taken in, to the index that later increments are compared with.

    fingerprints ─► rows by partition ─► sort and write each ─► index.json, last

Several workers write side by side, none with more than a partition in memory, and a partition that is written
twice is the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import apache_beam as beam
import numpy as np

from pipelines.store.near_index import (
    PartitionEntry,
    num_partitions,
    partition_of,
    write_index,
    write_partition,
)
from schemas.corpus_config import NearDedupConfig

_BATCH_DOCUMENTS = 4096


class WriteNearIndex(beam.PTransform):
    """Write the index of one stream of one increment; none where there are no documents.

    Takes the fingerprints of DropNearDuplicates.

    Args:
        uri: Directory of the index.
        config: How the keys were made.
    """

    def __init__(self, uri: str, config: NearDedupConfig):
        super().__init__()
        self.uri = uri
        self.config = config

    def expand(self, fingerprints: beam.PCollection) -> beam.PCollection:
        count = beam.pvalue.AsSingleton(
            fingerprints
            | "CountDocuments" >> beam.combiners.Count.Globally()
            | "CountPartitions" >> beam.Map(_num_partitions, self.config.bands)
        )
        return (
            fingerprints
            | "Batch" >> beam.BatchElements(min_batch_size=16, max_batch_size=_BATCH_DOCUMENTS)
            | "RowsByPartition" >> beam.FlatMap(_by_partition, count)
            | "GroupByPartition" >> beam.GroupByKey()
            | "WritePartition" >> beam.Map(_write_partition, self.uri)
            | "GroupPartitions" >> beam.GroupByKey()
            | "WriteIndex" >> beam.Map(_write_index, count, self.uri, self.config)
        )


def _num_partitions(num_documents: int, bands: int) -> int:
    return num_partitions(num_documents * bands)


def _by_partition(fingerprints: list[bytes], count: int) -> Iterator[tuple[int, bytes]]:
    """Rows as they are in the index, one after the other, those of each partition together."""
    table = np.frombuffer(b"".join(fingerprints), "<u8").reshape(len(fingerprints), -1)
    keys = table[:, 1:].ravel()
    contents = np.repeat(table[:, 0], table.shape[1] - 1)
    partitions = partition_of(keys, count)
    order = np.argsort(partitions, kind="stable")
    rows = np.stack([keys, contents], axis=1)[order]
    present, starts = np.unique(partitions[order], return_index=True)
    for partition, part in zip(present.tolist(), np.split(rows, starts[1:]), strict=True):
        yield partition, part.tobytes()


def _write_partition(
    partition: tuple[int, Iterable[bytes]], uri: str
) -> tuple[None, tuple[int, PartitionEntry]]:
    number, parts = partition
    rows = np.frombuffer(b"".join(parts), "<u8").reshape(-1, 2)
    return None, write_partition(uri, number, rows[:, 0], rows[:, 1])


def _write_index(
    entries: tuple[None, Iterable[tuple[int, PartitionEntry]]], count: int, uri: str, config: NearDedupConfig
) -> None:
    write_index(uri, config, entries[1], count=count)
