"""Cost of ingestion: each step by itself, whole builds without synthesis, builds with few new documents.

    python -m benchmarks.ingestion steps                      each step on one core; about 2 minutes
    python -m benchmarks.ingestion memory                     100, 300 and 1,000 MB; about 12 minutes
    python -m benchmarks.ingestion again                      all, nothing new, 1% new; about 12 minutes
    python -m benchmarks.ingestion chain --datatrove PYTHON   datatrove's steps and ours on a core; 3 minutes

A seeded generator makes the texts. With `--real FOLDER`, texts are cut out of the files of a folder, such as
the Debian documentation in /usr/share/doc. A build is `tutelage corpus build` in a process of its own, with
start and imports included. It has two worker processes and runs every step that needs no model: cleaning with
ftfy, Gopher's and C4's filters, exact and near duplicates, decontamination, tokenizing, packing, shards.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml

_DOCUMENT_BYTES = 10_000
_NUM_FILES = 100
_WORKERS = 2
_WORKER_COMMAND = b"pipelines.runners.local.worker_process"
_FUNCTION_WORDS = [
    "the",
    "be",
    "to",
    "of",
    "and",
    "that",
    "have",
    "with",
    "in",
    "a",
    "is",
    "it",
    "for",
    "as",
    "was",
    "on",
    "are",
    "by",
    "this",
    "from",
    "or",
    "which",
]


def made_up_texts(num_bytes: int, seed: int = 1) -> Iterator[str]:
    """Texts of sentences and paragraphs with word frequencies like those of a natural language."""
    rng = np.random.default_rng(seed)
    letters = np.array(list("etaoinshrdlcumwfgypbvk"))
    made = ["".join(rng.choice(letters, size)) for size in rng.integers(3, 10, 20_000)]
    words = np.array(_FUNCTION_WORDS * 3 + made)
    ranks = np.arange(1, len(words) + 1)
    shares = 1 / (ranks + 20)
    shares /= shares.sum()
    left = num_bytes
    while left > 0:
        size = int(rng.integers(_DOCUMENT_BYTES // 2, _DOCUMENT_BYTES * 3 // 2))
        chosen = rng.choice(words, size // 6, p=shares)
        sentences = [
            " ".join(chosen[start : start + 16]).capitalize() + "." for start in range(0, len(chosen), 16)
        ]
        text = "\n\n".join(" ".join(sentences[start : start + 6]) for start in range(0, len(sentences), 6))
        left -= len(text)
        yield text


def real_texts(
    folder: str, num_bytes: int, num_bytes_each: tuple[int, int] = (_DOCUMENT_BYTES, _DOCUMENT_BYTES)
) -> Iterator[str]:
    """Files below a folder, decompressed, without tags, cut into documents at blank lines.

    Args:
        folder: Folder of text files, plain or .gz.
        num_bytes: Size of all documents together.
        num_bytes_each: Range of a document's length; it ends with the first paragraph that reaches it.
    """
    left = num_bytes
    rng = random.Random(0)
    enough = rng.randint(*num_bytes_each)
    for path in sorted(Path(folder).rglob("*")):
        if not path.is_file() or path.is_symlink():
            continue
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
        text = re.sub(r"<[^>]*>", " ", data.decode("utf-8", "replace"))
        rest = ""
        for paragraph in text.split("\n\n"):
            rest += paragraph + "\n\n"
            if len(rest) >= enough:
                yield rest
                left -= len(rest)
                rest = ""
                enough = rng.randint(*num_bytes_each)
        if left <= 0:
            return


def texts(arguments: argparse.Namespace, num_bytes: int) -> Iterator[str]:
    """Texts of the requested kind."""
    return real_texts(arguments.real, num_bytes) if arguments.real else made_up_texts(num_bytes)


def write_files(folder: Path, found: Iterator[str]) -> tuple[int, int]:
    """Write texts as JSON lines into several files; return the number of texts and their bytes."""
    folder.mkdir()
    files = [open(folder / f"{number:03d}.jsonl", "w") for number in range(_NUM_FILES)]  # noqa: SIM115
    count = num_bytes = 0
    for count, text in enumerate(found, 1):
        files[count % _NUM_FILES].write(json.dumps({"id": f"doc-{count}", "text": text}) + "\n")
        num_bytes += len(text.encode())
    for file in files:
        file.close()
    for path in folder.iterdir():
        os.utime(path, (1_700_000_000, 1_700_000_000))
    return count, num_bytes


def corpus_yaml(folder: Path, tokenizer_dir: str) -> Path:
    """Configuration with every step that needs no model."""
    path = folder / "corpus.yaml"
    values = {
        "corpus": str(folder / "corpus"),
        "streams": {
            "raw": {"sources": [{"reader": "jsonl", "uri": f"{folder}/*/*.jsonl", "id_field": "id"}]}
        },
        "filters": {"gopher_quality": {}, "c4": {}},
        "decontaminate": {"tasks": ["examples/biomedicine/tasks"]},
        "tokenizer": {"name": os.path.abspath(tokenizer_dir)},
        "pack": {"seq_len": 2048},
    }
    path.write_text(yaml.safe_dump(values))
    return path


class Memory:
    """Peak resident memory of a build's processes, sampled during the build.

    Attributes:
        worker_mib: Memory of the largest worker process.
        runner_mib: Memory of the started process: Beam's local runner, which holds the index of shuffles.
    """

    def __init__(self, pid: int):
        self.worker_mib = self.runner_mib = 0.0
        self._pid = pid
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.2):
            self.runner_mib = max(self.runner_mib, _resident_mib(self._pid))
            for path in Path("/proc").glob("[0-9]*/cmdline"):
                try:
                    if _WORKER_COMMAND in path.read_bytes().split(b"\0"):
                        self.worker_mib = max(self.worker_mib, _resident_mib(int(path.parent.name)))
                except OSError:
                    pass


def _resident_mib(pid: int) -> float:
    try:
        found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0.0
    return int(found[1]) / 1024 if found else 0.0


def build(path: Path, num_workers: int = _WORKERS, num_cores: int | None = None) -> dict[str, Any]:
    """Run `tutelage corpus build`, on `num_cores` cores if given; return its seconds and its memory."""
    command = [
        *(("taskset", "-c", f"0-{num_cores - 1}") if num_cores else ()),
        sys.executable,
        "-m",
        "plugins.commands.main",
        *("corpus", "build", str(path), "--json", "--"),
        *("--direct_running_mode=multi_processing", f"--direct_num_workers={num_workers}"),
    ]
    started = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with Memory(process.pid) as memory:
        out, err = process.communicate()
    seconds = time.monotonic() - started
    assert process.returncode == 0, err.decode()[-2000:]
    manifest = json.loads(out)
    return {
        "seconds": round(seconds, 1),
        "worker_mib": round(memory.worker_mib),
        "runner_mib": round(memory.runner_mib),
        "documents_taken_in": manifest["increments"][-1]["num_documents"] if manifest else 0,
    }


def whole(arguments: argparse.Namespace) -> None:
    """Run builds of several sizes."""
    for megabytes in arguments.megabytes or [100, 300, 1000]:
        with tempfile.TemporaryDirectory(dir=arguments.tmp) as name:
            folder = Path(name)
            count, num_bytes = write_files(folder / "in", texts(arguments, megabytes * 1_000_000))
            found = build(corpus_yaml(folder, arguments.tokenizer))
            rate = num_bytes / 1e6 / found["seconds"]
            report = {
                "megabytes": round(num_bytes / 1e6),
                "documents": count,
                **found,
                "documents_per_sec": round(count / found["seconds"]),
                "megabytes_per_sec_and_core": round(rate / _WORKERS, 2),
            }
            print(json.dumps(report), flush=True)


def again(arguments: argparse.Namespace) -> None:
    """Build all documents, then nothing new, then 1% more."""
    megabytes = (arguments.megabytes or [1000])[0]
    with tempfile.TemporaryDirectory(dir=arguments.tmp) as name:
        folder = Path(name)
        count, _ = write_files(folder / "in", texts(arguments, megabytes * 1_000_000))
        path = corpus_yaml(folder, arguments.tokenizer)
        full, nothing = build(path), build(path)
        write_files(folder / "more", made_up_texts(megabytes * 10_000, seed=2))
        for each in (folder / "more").iterdir():  # distinct names
            each.write_text(each.read_text().replace('"doc-', '"more-'))
        little = build(path)
        report = {
            "documents": count,
            "full": full,
            "nothing_new": nothing,
            "one_percent": little,
            "one_percent_over_full": round(little["seconds"] / full["seconds"], 4),
        }
        print(json.dumps(report), flush=True)


def steps(arguments: argparse.Namespace) -> None:
    """Time each step by itself, in this process."""
    import apache_beam as beam

    from pipelines.steps.clean import CleanDocuments
    from pipelines.steps.decontaminate import DecontaminateDocuments, SharedTasks
    from pipelines.steps.dedup.minhash import MinHasher
    from pipelines.steps.filter import FilterDocuments
    from pipelines.steps.pack import PACKERS
    from pipelines.steps.render import raw_text
    from pipelines.steps.tokenize import TokenizeTexts
    from plugins.readers import open_reader
    from schemas.config import load_config
    from schemas.content_hash import content_hash
    from schemas.corpus_config import CorpusConfig, NearDedupConfig
    from schemas.records import Document

    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # one core
    megabytes = (arguments.megabytes or [50])[0]
    with tempfile.TemporaryDirectory(dir=arguments.tmp) as name:
        folder = Path(name)
        count, num_bytes = write_files(folder / "in", texts(arguments, megabytes * 1_000_000))
        config = load_config(CorpusConfig, str(corpus_yaml(folder, arguments.tokenizer)), [])
        reader = open_reader(config.streams["raw"].sources[0])

        def timed(step: str, work: Callable[[], list[Any]]) -> list[Any]:
            started = time.perf_counter()
            given = work()
            seconds = time.perf_counter() - started
            report = {
                "step": step,
                "documents_per_sec": round(count / seconds),
                "megabytes_per_sec": round(num_bytes / 1e6 / seconds, 1),
            }
            print(json.dumps(report), flush=True)
            return given

        def ready(step: Any) -> Any:
            step.setup()  # imports and tables, once a worker
            return step

        def run(step: Any, elements: list[Any]) -> list[Any]:
            return [
                each
                for element in elements
                for each in step.process(element) or ()
                if not isinstance(each, beam.pvalue.TaggedOutput)
            ]

        documents: list[Document] = timed(
            "read", lambda: [each for uri in reader.listing().files for each in reader.read(uri)]
        )
        cleaning = ready(CleanDocuments(config.clean))
        clean = timed("clean", lambda: run(cleaning, documents))
        filtering = ready(FilterDocuments(config.filters))
        timed("filter (gopher_quality, c4)", lambda: run(filtering, clean))
        timed("content hash", lambda: [content_hash(each.text) for each in clean])
        hasher = MinHasher(NearDedupConfig())
        timed("near-duplicate keys", lambda: list(hasher.keys(hasher.sign([each.text for each in clean]))))
        tasks = SharedTasks(config.decontaminate)
        comparing = ready(DecontaminateDocuments(tasks, "raw"))
        timed("decontaminate", lambda: run(comparing, clean))
        batches = [[raw_text(each) for each in clean[at : at + 64]] for at in range(0, len(clean), 64)]
        tokenizing = ready(TokenizeTexts(config.tokenizer))
        tokenized = timed("tokenize", lambda: run(tokenizing, batches))
        tokens = [each.tokens for each in tokenized]
        timed("pack", lambda: list(PACKERS[config.pack.method](tokens, seq_len=2048, pad_id=0)))


def chain(arguments: argparse.Namespace) -> None:
    """Run datatrove's steps and a build of ours, with its start and more steps, on the same core."""
    megabytes = (arguments.megabytes or [20])[0]
    with tempfile.TemporaryDirectory(dir=arguments.tmp) as name:
        folder = Path(name)
        count, num_bytes = write_files(folder / "in", texts(arguments, megabytes * 1_000_000))
        rival = str(Path(__file__).with_name("datatrove_chain.py"))
        ran = subprocess.run(
            [
                "taskset",
                "-c",
                "0",
                arguments.datatrove,
                rival,
                folder / "in",
                os.path.abspath(arguments.tokenizer),
            ],
            stdout=subprocess.PIPE,
            env={**os.environ, "TOKENIZERS_PARALLELISM": "false"},
            check=True,
        )
        theirs = json.loads(ran.stdout.splitlines()[-1])
        ours = build(corpus_yaml(folder, arguments.tokenizer), num_workers=1, num_cores=1)
        report = {
            "megabytes": round(num_bytes / 1e6),
            "documents": count,
            "datatrove": theirs,
            "ours": ours,
            "times_as_fast": round(theirs["sec"] / ours["seconds"], 2),
        }
        print(json.dumps(report), flush=True)


def main() -> None:
    """Run the part named on the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["steps", "memory", "again", "chain"])
    parser.add_argument("--real", metavar="FOLDER", help="cut texts out of its files")
    parser.add_argument("--megabytes", type=int, nargs="*")
    parser.add_argument(
        "--tokenizer", default="models/smollm2-135m", help="as `tutelage models fetch` puts it"
    )
    parser.add_argument("--datatrove", metavar="PYTHON", help="an interpreter with datatrove, for `chain`")
    parser.add_argument("--tmp", help="folder for what is written (3 times the text)")
    arguments = parser.parse_args()
    {"steps": steps, "memory": whole, "again": again, "chain": chain}[arguments.what](arguments)


if __name__ == "__main__":
    main()
