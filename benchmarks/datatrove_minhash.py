"""datatrove's MinHash dedup of a file of JSON lines, in one process: kept documents and seconds.

Runs under the interpreter of datatrove, started by `benchmarks/near_duplicates.py`.
"""

import json
import os
import struct
import sys
import tempfile
import time

from datatrove.data import Document
from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig


def main() -> None:
    source, target = sys.argv[1:]
    config = MinhashConfig(n_grams=5, num_buckets=14, hashes_per_bucket=8)
    names = []

    def documents():
        with open(source, encoding="utf-8") as file:
            for line in file:
                row = json.loads(line)
                names.append(row["id"])
                yield Document(text=row["text"], id=row["id"])

    with tempfile.TemporaryDirectory() as work:
        signatures, buckets, clusters = (os.path.join(work, name) for name in ("sigs", "buckets", "clusters"))
        signature = MinhashDedupSignature(output_folder=signatures, config=config)
        signature.get_shingles("Loading the tokenizer is not part of the work.")
        started = time.perf_counter()
        signature.run(documents(), rank=0, world_size=1)
        signed = time.perf_counter()
        for bucket in range(config.num_buckets):
            step = MinhashDedupBuckets(input_folder=signatures, output_folder=buckets, config=config)
            step.run(None, bucket, config.num_buckets)
        MinhashDedupCluster(input_folder=buckets, output_folder=clusters, config=config).run(None, 0, 1)
        done = time.perf_counter()
        with open(os.path.join(clusters, "000000.remove"), "rb") as file:
            data = file.read()
        removed = {place for (place,) in struct.iter_unpack("<I", data)}
    kept = [name for place, name in enumerate(names) if place not in removed]
    with open(target, "w", encoding="utf-8") as file:
        json.dump({"signed_sec": signed - started, "sec": done - started, "kept": kept}, file)


if __name__ == "__main__":
    main()
