"""datatrove's side of `throughput.py`: its reader, and for pages its extractor without its sandbox process.

Runs under the interpreter of datatrove.
"""

import json
import os
import sys
import time
import zlib

from datatrove.pipeline.extractors import Trafilatura
from datatrove.pipeline.readers import JsonlReader, ParquetReader, WarcReader
from datatrove.pipeline.readers.csv import CsvReader

READERS = {
    "csv": CsvReader,
    "jsonl": JsonlReader,
    "parquet": ParquetReader,
    "warc": WarcReader,
    "wet": WarcReader,
}


def texts(kind, path):
    if kind == "html":
        extractor = Trafilatura()
        for name in sorted(os.listdir(path)):
            with open(os.path.join(path, name), encoding="utf-8") as file:
                yield extractor.extract(file.read())
        return
    folder, name = os.path.split(path)
    compression = "gzip" if name.endswith(".gz") else None
    options = {} if kind == "parquet" else {"compression": compression}
    extractor = Trafilatura() if kind == "warc" else None
    for document in READERS[kind](folder, glob_pattern=name, **options).run():
        yield extractor.extract(document.text) if extractor else document.text


def main() -> None:
    kind, path = sys.argv[1:]
    for _ in texts(kind, path):
        break
    started = time.process_time()
    found = list(texts(kind, path))
    seconds = time.process_time() - started
    digest = sum(zlib.crc32((text or "").strip().encode()) for text in found) % (1 << 32)
    print(json.dumps({"cpu_sec": seconds, "num_documents": len(found), "digest": digest}))


if __name__ == "__main__":
    main()
