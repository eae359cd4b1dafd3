"""datatrove's DocumentTokenizer over a file of JSON lines, in one process: tokens a second.

Runs under the interpreter of datatrove, started by `benchmarks/packing.py`.
"""

import json
import os
import sys
import time

from datatrove.data import Document
from datatrove.pipeline.tokens import DocumentTokenizer


def main() -> None:
    source, tokenizer, target, _ = sys.argv[1:]
    with open(source, encoding="utf-8") as file:
        documents = [Document(text=json.loads(line)["text"], id=str(at)) for at, line in enumerate(file)]
    step = DocumentTokenizer(
        output_folder=target,
        tokenizer_name_or_path=os.path.join(tokenizer, "tokenizer.json"),
        eos_token="<|im_end|>",
        shuffle_documents=False,
    )
    step.tokenizer  # noqa: B018  load it before the clock starts
    started = time.perf_counter()
    step.run(iter(documents), rank=0, world_size=1)
    seconds = time.perf_counter() - started
    size = sum(
        os.path.getsize(os.path.join(folder, name))
        for folder, _, names in os.walk(target)
        for name in names
        if name.endswith(".ds")
    )
    print(json.dumps({"tokens_per_sec": size / 2 / seconds}))


if __name__ == "__main__":
    main()
