"""Memory of a worker process while 100,000 chains wait for it.

    python -m benchmarks.memory --chains 100000       about 4 minutes

A real Beam run with one worker process sends requests to a stub server that answers at once. All chains
arrive in one bundle. The benchmark reads the worker's resident memory after each tenth of the chains.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import tempfile
import threading
import time
from pathlib import Path

import apache_beam as beam

from benchmarks.inputs import make_chains, tiny_tokenizer
from benchmarks.window_dofn import stub
from pipelines.runners.counters import progress_files_in, read_progress
from pipelines.runners.run import make_pipeline, parse_options
from pipelines.steps.base import REJECTS
from pipelines.steps.synthesize import SynthesizeChains
from schemas.corpus_config import CleanConfig
from schemas.records import Chain
from schemas.synthesis_config import SynthesisConfig

_PART = 1_000


def _some_chains(start: int) -> list[Chain]:
    return make_chains(_PART, num_words=200, first=start, num_rounds=1)


def _worker_mib() -> float:
    """Resident memory of the only worker process."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
            status = (path.parent / "status").read_text()
        except OSError:
            continue
        if b"pipelines.runners.local.worker_process" in words:
            found = re.search(r"VmRSS:\s+(\d+) kB", status)
            return int(found[1]) / 1024 if found else 0.0
    return 0.0


def main() -> None:
    """Run the benchmark and print its readings."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--chains", type=int, default=100_000)
    parser.add_argument("--in-flight", type=int, default=64)
    arguments = parser.parse_args()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    with (
        tempfile.TemporaryDirectory() as folder,
        tempfile.TemporaryDirectory() as journal,
        tempfile.TemporaryDirectory() as progress,
        stub("fixed", mean_sec=0.01) as server,
    ):
        config = SynthesisConfig(
            backend="sglang",
            protocol="instruction_synthesizer",
            model=tiny_tokenizer(folder),
            endpoints=(server.url,),
            max_in_flight=arguments.in_flight,
        )
        with progress_files_in(progress):
            step = SynthesizeChains(config, clean=CleanConfig(), seed=1, journal=journal)
        pipeline = make_pipeline(
            parse_options(["--direct_running_mode=multi_processing", "--direct_num_workers=1"])
        )
        (
            pipeline
            | beam.Create(range(0, arguments.chains, _PART))
            | beam.FlatMap(_some_chains)
            | beam.Reshuffle()
            | beam.ParDo(step, arguments.chains).with_outputs(REJECTS, main="ok")
        )
        run = threading.Thread(target=lambda: pipeline.run().wait_until_finish(), daemon=True)
        run.start()
        tenth, read = arguments.chains // 10, []
        while run.is_alive():
            done = read_progress(progress)["synthesize/chains"]
            if done >= tenth * (len(read) + 1):
                read.append({"chains_done": done, "worker_mib": round(_worker_mib())})
                print(json.dumps(read[-1]), flush=True)
            time.sleep(0.2)
    print(json.dumps({"growth": round(read[-1]["worker_mib"] / read[0]["worker_mib"], 3)}))


if __name__ == "__main__":
    main()
