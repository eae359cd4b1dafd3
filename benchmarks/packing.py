"""From texts to shards: contents of rows, cost of our step against its rivals, two workers against one.

    python -m benchmarks.packing rows                                         best_fit and concat
    python -m benchmarks.packing rates --datatrove PYTHON --foundry PYTHON    one core each
    python -m benchmarks.packing workers                                      builds with one and two workers

rows: the share of text tokens, the share of cut texts among those that would fit a row, and the share of
repeated tokens that fill rows. T is 4096. The inputs are the example corpus, built by `corpus build` with
mined pairs, and real text.

rates: tokens a second of tokenizing, packing and writing together. The baselines are `encode_batch` of the
bare `tokenizers` on the same texts in the same process, and two rivals' own steps: datatrove's
DocumentTokenizer, and llm-foundry's ConcatTokensDataset with MDSWriter, as in its converter. Each rival runs
under the interpreter of its own environment, on the same core.

workers: `corpus build` of texts alone, without Unicode repair and near duplicates, with one worker process on
one core and with two on two, in turn. The time includes runner and start. A build of a single text measures
the start. The report also gives the limit of two cores of this machine: our steps without Beam, in one
process on one core and in two independent processes on one core each.

Real text comes from the files below --real, by default Debian's documentation.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import resource
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from tokenizers import Tokenizer

from benchmarks.ingestion import build, real_texts, write_files
from pipelines.increments.build import build_increment
from pipelines.inspect.lineage import texts_of
from pipelines.steps.pack import PACKERS, Tokens
from pipelines.steps.render import raw_text
from pipelines.steps.tokenize import TokenizedText, TokenizeTexts
from pipelines.steps.write_shards import WriteGroup
from plugins.plain_token_ids import plain_ids_of
from plugins.tokenizers import load_tokenizer
from schemas.config import load_config
from schemas.corpus_config import CorpusConfig, PackConfig, ShardConfig, TokenizerConfig
from schemas.records import Document

SEQ_LEN = 4096
_BATCH = 64
_ALONE_BYTES = 60_000_000
_RIVALS = {"datatrove": "datatrove_tokenize.py", "foundry": "foundry_convert.py"}


def tokens_of(texts: Iterator[str], tokenizer_dir: str) -> list[Tokens]:
    """Tokens of each text, with EOS."""
    tokenizer = load_tokenizer(tokenizer_dir)
    found: list[Tokens] = []
    batch: list[str] = []

    def flush() -> None:
        for ids in plain_ids_of(tokenizer, batch):
            found.append(np.array([*ids, tokenizer.eos_token_id], dtype=np.int32))
        batch.clear()

    for text in texts:
        batch.append(text)
        if len(batch) == _BATCH:
            flush()
    flush()
    return found


def report_rows(name: str, texts: Sequence[Tokens], group_tokens: int = ShardConfig().group_tokens) -> None:
    """Pack texts in groups, as a build does, and print the contents of the rows."""
    groups: list[list[Tokens]] = [[]]
    size = 0
    for text in texts:
        if size >= group_tokens:
            groups.append([])
            size = 0
        groups[-1].append(text)
        size += len(text)
    for method in PACKERS:
        for top_up in (False, True):
            rows = useful = repeated = cut = short = 0
            started = time.perf_counter()
            for group in groups:
                whole = np.zeros(len(group), dtype=bool)
                for row in PACKERS[method](group, seq_len=SEQ_LEN, pad_id=0, top_up=top_up):
                    rows += 1
                    useful += int(row.sample.segment_lengths.sum())
                    for piece in row.pieces:
                        whole[piece.text] |= piece.num_tokens == len(group[piece.text])
                lengths = np.array([len(text) for text in group])
                repeated -= int(lengths.sum())
                short += int((lengths <= SEQ_LEN).sum())
                cut += int((~whole & (lengths <= SEQ_LEN)).sum())
            report = {
                "texts": name,
                "method": method,
                "top_up": top_up,
                "rows": rows,
                "useful_share": round(useful / (rows * SEQ_LEN), 5),
                "repeated_share": round((repeated + useful) / useful, 5),
                "cut_share_of_texts_that_fit": round(cut / short, 5),
                "million_tokens_per_sec": round(useful / 1e6 / (time.perf_counter() - started), 1),
            }
            print(json.dumps(report), flush=True)


def example_texts(corpus: str, tokenizer_dir: str) -> Iterator[tuple[str, Iterator[str]]]:
    """Training texts of the example corpus, by stream, from a build with mined pairs."""
    config = load_config(
        CorpusConfig,
        "pipelines/yamls/demo.yaml",
        [
            f"corpus={corpus}",
            f"tokenizer.name={tokenizer_dir}",
            "synthesis.backend=mined",
            "synthesis.options={}",
        ],
    )
    manifest = build_increment(config, (), quiet=True)
    assert manifest is not None
    for stream in manifest.stream_names():
        yield stream, (text.text for text in texts_of(corpus, manifest, stream))


def rows(arguments: argparse.Namespace) -> None:
    """Report the contents of rows, for the examples and for real text."""
    with tempfile.TemporaryDirectory() as folder:
        for stream, texts in example_texts(os.path.join(folder, "corpus"), arguments.tokenizer):
            report_rows(f"examples, stream {stream}", tokens_of(texts, arguments.tokenizer))
    found = real_texts(arguments.real, arguments.megabytes * 1_000_000, num_bytes_each=(500, 20_000))
    report_rows(f"{arguments.megabytes} MB of real text", tokens_of(found, arguments.tokenizer))


def ours(texts: Sequence[str], tokenizer_dir: str, folder: str) -> float:
    """Tokens a second of our steps: tokenize, pack, write."""
    steps = (
        TokenizeTexts(TokenizerConfig(name=tokenizer_dir)),
        WriteGroup(
            increment=os.path.join(folder, "increment"),
            stream="raw",
            seed=1,
            pad_id=0,
            tokenizer=TokenizerConfig(name=tokenizer_dir),
            pack=PackConfig(seq_len=SEQ_LEN),
            shards=ShardConfig(),
        ),
    )
    for step in steps:
        step.setup()
    tokenize, write = steps
    started = time.perf_counter()
    tokenized: list[TokenizedText] = []
    for batch in batches(texts):
        made = [
            raw_text(Document.of(f"doc-{len(tokenized) + at}", text, source="benchmark"))
            for at, text in enumerate(batch)
        ]
        tokenized += tokenize.process(made)
    write.process((0, tokenized))
    return sum(len(each.tokens) for each in tokenized) / (time.perf_counter() - started)


def bare(texts: Sequence[str], tokenizer_dir: str) -> float:
    """Tokens a second of the `tokenizers` library alone, in the same batches."""
    tokenizer = Tokenizer.from_file(os.path.join(tokenizer_dir, "tokenizer.json"))
    started = time.perf_counter()
    count = sum(
        len(encoded.ids)
        for batch in batches(texts)
        for encoded in tokenizer.encode_batch(batch, add_special_tokens=False)
    )
    return count / (time.perf_counter() - started)


def batches(texts: Sequence[str]) -> Iterator[list[str]]:
    """Batches of texts, the same for both sides."""
    for at in range(0, len(texts), _BATCH):
        yield list(texts[at : at + _BATCH])


def rates(arguments: argparse.Namespace) -> None:
    """Compare our steps, the bare library before and after them, and the rivals, all on one core."""
    os.sched_setaffinity(0, {0})  # children inherit it
    os.environ.update(TOKENIZERS_PARALLELISM="false", RAYON_NUM_THREADS="1", OMP_NUM_THREADS="1")
    texts = list(real_texts(arguments.real, arguments.megabytes * 1_000_000))
    tokenizer_dir = os.path.abspath(arguments.tokenizer)
    with tempfile.TemporaryDirectory() as folder:
        before = bare(texts, tokenizer_dir)
        mine = ours(texts, tokenizer_dir, folder)
        after = bare(texts, tokenizer_dir)
        report: dict[str, Any] = {
            "documents": len(texts),
            "megabytes": round(sum(len(text.encode()) for text in texts) / 1e6),
            "bare_tokens_per_sec": [round(before), round(after)],
            "ours_tokens_per_sec": round(mine),
            "ours_over_bare": round(mine / (before + after) * 2, 3),
        }
        source = os.path.join(folder, "texts.jsonl")
        with open(source, "w", encoding="utf-8") as file:
            file.writelines(json.dumps({"text": text}) + "\n" for text in texts)
        for rival, script in _RIVALS.items():
            if python := getattr(arguments, rival):
                target = os.path.join(folder, rival)
                command = [python, str(Path(__file__).with_name(script)), source, tokenizer_dir, target]
                done = subprocess.run([*command, str(SEQ_LEN)], check=True, capture_output=True, text=True)
                rate = json.loads(done.stdout.splitlines()[-1])["tokens_per_sec"]
                report[f"{rival}_tokens_per_sec"] = round(rate)
                report[f"ours_over_{rival}"] = round(mine / rate, 2)
    print(json.dumps(report), flush=True)


def _steps_alone(core: int, share: slice, arguments: argparse.Namespace, begin: Any, rates: Any) -> None:
    os.sched_setaffinity(0, {core})
    found = list(real_texts(arguments.real, _ALONE_BYTES))[share]
    with tempfile.TemporaryDirectory() as folder:
        begin.wait()
        rates.put(ours(found, os.path.abspath(arguments.tokenizer), folder))


def rate_alone(num_processes: int, arguments: argparse.Namespace) -> float:
    """Total tokens a second of our steps without Beam, in several processes on one core each."""
    context = multiprocessing.get_context("spawn")
    begin, rates = context.Barrier(num_processes), context.Queue()
    processes = [
        context.Process(
            target=_steps_alone,
            args=(core, slice(core, None, num_processes), arguments, begin, rates),
        )
        for core in range(num_processes)
    ]
    for process in processes:
        process.start()
    found = [rates.get() for _ in processes]
    for process in processes:
        process.join()
    return sum(found)


def workers(arguments: argparse.Namespace) -> None:
    """Run whole builds of plain texts with one worker process and with two, in turn."""
    seconds: dict[str, list[float]] = {"little, 1": [], "little, 2": [], "much, 1": [], "much, 2": []}
    cpu_seconds: dict[str, list[float]] = {what: [] for what in seconds}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_files(folder / "little", iter(["A single text of a few words, which is all start."]))
        write_files(folder / "much", real_texts(arguments.real, arguments.megabytes * 1_000_000))
        for number in range(arguments.rounds):
            for what, times in seconds.items():
                text, num_workers = what.split(", ")
                values = {
                    "corpus": str(folder / f"{what}, {number}"),
                    "streams": {"raw": {"sources": [{"reader": "jsonl", "uri": f"{folder}/{text}/*.jsonl"}]}},
                    "clean": {"repair_unicode": False},
                    "dedup": {"near": None},
                    "tokenizer": {"name": os.path.abspath(arguments.tokenizer)},
                    "pack": {"seq_len": SEQ_LEN},
                    "shards": {"group_tokens": 1_000_000},
                }
                path = folder / f"{what}, {number}.yaml"
                path.write_text(yaml.safe_dump(values))
                stolen, cpu = _stolen_sec(), _cpu_sec()
                times.append(build(path, int(num_workers), int(num_workers))["seconds"])
                shutil.rmtree(values["corpus"])
                cpu_seconds[what].append(round(_cpu_sec() - cpu, 1))
                print(
                    json.dumps(
                        {
                            what: times[-1],
                            "cpu_seconds": cpu_seconds[what][-1],
                            "stolen": round(_stolen_sec() - stolen, 1),
                        }
                    ),
                    flush=True,
                )
    alone = [rate_alone(num_processes, arguments) for num_processes in (1, 2, 1)]
    start_1, start_2, one, two = map(statistics.median, seconds.values())
    report = {
        "megabytes": arguments.megabytes,
        "medians": dict(zip(seconds, (start_1, start_2, one, two), strict=True)),
        "medians_of_cpu_seconds": {what: statistics.median(each) for what, each in cpu_seconds.items()},
        "one_over_two": round(one / two, 2),
        "one_over_two_each": [
            round(a / b, 2) for a, b in zip(seconds["much, 1"], seconds["much, 2"], strict=True)
        ],
        "one_over_two_without_start": round((one - start_1) / (two - start_2), 2),
        "alone_tokens_per_sec": [round(rate) for rate in alone],
        "alone_two_over_one": round(2 * alone[1] / (alone[0] + alone[2]), 2),
    }
    print(json.dumps(report), flush=True)


def _cpu_sec() -> float:
    """Core-seconds of all ended child processes and their ended children."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _stolen_sec() -> float:
    """Core-seconds since boot that the hypervisor gave to other virtual machines."""
    with open("/proc/stat", encoding="ascii") as file:
        return int(file.readline().split()[8]) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Run the part named on the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["rows", "rates", "workers"])
    parser.add_argument("--real", metavar="FOLDER", default="/usr/share/doc", help="real text")
    parser.add_argument("--megabytes", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=3, help="times that each is built, for workers")
    parser.add_argument("--tokenizer", default="models/smollm2-135m")
    parser.add_argument("--datatrove", metavar="PYTHON", help="an interpreter with datatrove")
    parser.add_argument("--foundry", metavar="PYTHON", help="an interpreter with llm-foundry")
    arguments = parser.parse_args()
    {"rows": rows, "rates": rates, "workers": workers}[arguments.what](arguments)


if __name__ == "__main__":
    main()
