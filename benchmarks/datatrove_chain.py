"""datatrove's chain of steps over a folder of JSON lines, in one process: seconds by step.

JsonlReader, GopherQualityFilter, C4QualityFilter, the four stages of MinHash, DocumentTokenizer. Runs
under the interpreter of datatrove, started by `benchmarks/ingestion.py`.
"""

import functools
import json
import os
import sys
import tempfile
import time

from datatrove.pipeline.dedup import (
    MinhashDedupBuckets,
    MinhashDedupCluster,
    MinhashDedupFilter,
    MinhashDedupSignature,
)
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.filters import C4QualityFilter, GopherQualityFilter
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.tokens import DocumentTokenizer


def main() -> None:
    source, tokenizer = sys.argv[1:]
    config = MinhashConfig(n_grams=5, num_buckets=14, hashes_per_bucket=8)
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as work:
        names = ("signatures", "buckets", "clusters", "tokens")
        signatures, buckets, clusters, tokens = (os.path.join(work, name) for name in names)
        filters = GopherQualityFilter(), C4QualityFilter()
        signing = MinhashDedupSignature(output_folder=signatures, config=config)
        tokenizing = DocumentTokenizer(
            output_folder=tokens,
            tokenizer_name_or_path=os.path.join(tokenizer, "tokenizer.json"),
            eos_token="<|im_end|>",
            shuffle_documents=False,
        )
        # Loading tokenizers is not part of the work.
        tokenizing.tokenizer  # noqa: B018
        signing.get_shingles("Some words of a text.")

        def timed(step, work):
            started = time.perf_counter()
            made = work()
            seconds[step] = round(time.perf_counter() - started, 2)
            return made

        documents = timed("read", lambda: _list(JsonlReader(source), ()))
        for name, step in zip(("gopher_quality", "c4"), filters, strict=True):
            documents = timed(name, functools.partial(_list, step, documents))
        timed("signatures", lambda: signing.run(iter(documents), 0, 1))

        def clusters_of():
            for bucket in range(config.num_buckets):
                step = MinhashDedupBuckets(input_folder=signatures, output_folder=buckets, config=config)
                step.run(None, bucket, config.num_buckets)
            MinhashDedupCluster(input_folder=buckets, output_folder=clusters, config=config).run(None, 0, 1)

        timed("clusters", clusters_of)
        kept = timed("drop copies", lambda: _list(MinhashDedupFilter(input_folder=clusters), documents))
        timed("tokenize", lambda: tokenizing.run(iter(kept), 0, 1))
    print(json.dumps({"sec": round(sum(seconds.values()), 1), "by_step": seconds, "kept": len(kept)}))


def _list(step, documents):
    return list(step.run(iter(documents), 0, 1))


if __name__ == "__main__":
    main()
