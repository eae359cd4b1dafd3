"""llm-foundry's conversion of a file of JSON lines to shards, in one process: tokens a second.

llm-foundry's ConcatTokensDataset makes the rows and MDSWriter writes them, as in its own converter.
Runs under the interpreter of llm-foundry, started by `benchmarks/packing.py`.
"""

import json
import sys
import time

from llmfoundry.data import ConcatTokensDataset
from streaming import MDSWriter
from transformers import AutoTokenizer


def main() -> None:
    source, tokenizer, target, seq_len = sys.argv[1:]
    with open(source, encoding="utf-8") as file:
        texts = [json.loads(line) for line in file]
    rows = ConcatTokensDataset(
        hf_dataset=texts,
        tokenizer=AutoTokenizer.from_pretrained(tokenizer),
        max_length=int(seq_len),
        bos_text="",
        eos_text="<|im_end|>",
        no_wrap=True,
    )
    count = 0
    started = time.perf_counter()
    with MDSWriter(columns={"tokens": "ndarray:int32"}, out=target, compression="zstd:3") as writer:
        for row in rows:
            writer.write(row)
            count += len(row["tokens"])
    print(json.dumps({"tokens_per_sec": count / (time.perf_counter() - started)}))


if __name__ == "__main__":
    main()
