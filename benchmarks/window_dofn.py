"""Requests a second of our DoFn over those of a plain asyncio client, with the same number in flight.

    python -m benchmarks.window_dofn                      all cases; about 6 minutes
    python -m benchmarks.window_dofn --in-flight 128 --latency lognormal --workers 1

Both drive chains of three rounds against a stub server on this machine. The plain client is the limit of
asyncio and aiohttp: `in-flight` tasks that post ready-made bodies and read the JSON of the answers. Ours is
the whole step in a real Beam run: it tokenises prompts, parses answers into pairs, and journals every
generation on disk before its use. The n-th request has the same latency in each measurement.

Rates are the server's: answers a second during the middle eight tenths of them, as in a long run.
`with_start_and_end` counts from the first chain to the last answer. The start and the end of the window weigh
more in it the shorter the measurement is.

Stub server, runner and workers share one machine. `busy_cores` is the median number of busy cores in each
measurement. If all cores are busy, the machine is the limit and not the client. A longer `--mean-sec` with
the same numbers in flight leaves some cores idle.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import aiohttp
import apache_beam as beam

from benchmarks.inputs import NUM_ROUNDS, make_chains, tiny_tokenizer
from benchmarks.stub_server import answer
from pipelines.runners.run import make_pipeline, parse_options
from pipelines.steps.base import REJECTS
from pipelines.steps.synthesize import SynthesizeChains
from pipelines.store.statistics import measured
from plugins.protocols import PROTOCOLS
from plugins.protocols.base import Example
from plugins.tokenizers import load_tokenizer
from schemas.corpus_config import CleanConfig
from schemas.records import Chain
from schemas.synthesis_config import SynthesisConfig


@dataclasses.dataclass
class Stub:
    """A stub server in a process of its own, and its report after its end."""

    url: str
    seen: dict[str, float] = dataclasses.field(default_factory=dict)


@contextlib.contextmanager
def stub(latency: str, mean_sec: float = 0.2) -> Iterator[Stub]:
    """Start a stub server, and stop it at the end of the block."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.stub_server",
        "--latency",
        latency,
        "--mean-sec",
        str(mean_sec),
    ]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None and process.stdout is not None
    server = Stub(url=process.stdout.readline().strip())
    try:
        yield server
    finally:
        process.stdin.close()
        server.seen = json.loads(process.stdout.read() or "{}")
        process.wait(10)


class BusyCores:
    """Number of busy cores of this machine, sampled each second of the block.

    The median ignores start and end of a measurement, when processes import and requests run out.
    """

    def __init__(self) -> None:
        self._seen: list[float] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> BusyCores:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def median(self) -> float:
        """Median over the seconds so far."""
        return statistics.median(self._seen)

    def _sample(self) -> None:
        then = _ticks()
        while not self._stop.wait(1):
            now = _ticks()
            share = 1 - (now[0] - then[0]) / (now[1] - then[1])
            self._seen.append(share * (os.cpu_count() or 1))
            then = now


def _ticks() -> tuple[int, int]:
    """Idle ticks and all ticks of all cores since boot."""
    with open("/proc/stat", encoding="ascii") as file:
        ticks = [int(each) for each in file.readline().split()[1:]]
    return ticks[3] + ticks[4], sum(ticks[:8])


def make_bodies(chains: list[Chain], tokenizer_dir: str) -> list[list[dict[str, Any]]]:
    """Request bodies of each chain's rounds, given the stub's answers."""
    config = SynthesisConfig(model=tokenizer_dir, protocol="instruction_synthesizer")
    protocol = PROTOCOLS.load(config.protocol)(load_tokenizer(tokenizer_dir), config)
    sampling = {"max_new_tokens": config.max_new_tokens, "temperature": config.temperature}
    bodies = []
    for chain in chains:
        rounds, examples = [], []
        for number, document in enumerate(chain.documents):
            prompt = [int(token) for token in protocol.prompt(examples, document)]
            rounds.append({"input_ids": prompt, "sampling_params": sampling})
            examples.append(Example(document=document, pairs=protocol.parse(answer(number)).pairs))
        bodies.append(rounds)
    return bodies


async def _plain(url: str, chains: list[Chain], in_flight: int, tokenizer_dir: str) -> float:
    """Requests a second of `in_flight` tasks that only post and read."""
    bodies = make_bodies(chains, tokenizer_dir)
    waiting = iter(bodies)

    async def work(session: aiohttp.ClientSession) -> None:
        for rounds in waiting:
            for body in rounds:
                async with session.post(f"{url}/generate", json=body) as response:
                    assert json.loads(await response.text())["text"]

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        started = time.monotonic()
        await asyncio.gather(*(work(session) for _ in range(in_flight)))
        return len(chains) * NUM_ROUNDS / (time.monotonic() - started)


def _plain_in_a_process(*arguments: object) -> float:
    return asyncio.run(_plain(*arguments))  # type: ignore[arg-type]


def plain(url: str, chains: list[Chain], in_flight: int, workers: int, tokenizer_dir: str) -> float:
    """Requests a second of one plain client per worker, each with its share of the chains."""
    shares = [(url, chains[start::workers], in_flight, tokenizer_dir) for start in range(workers)]
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        return sum(pool.starmap(_plain_in_a_process, shares))


def ours(url: str, chains: list[Chain], in_flight: int, workers: int, tokenizer_dir: str) -> float:
    """Requests a second of the step in a Beam run with `workers` worker processes."""
    config = SynthesisConfig(
        backend="sglang",
        protocol="instruction_synthesizer",
        model=tokenizer_dir,
        endpoints=(url,),
        max_in_flight=in_flight,
    )
    options = ["--direct_running_mode=multi_processing", f"--direct_num_workers={workers}"]
    with tempfile.TemporaryDirectory() as journal:
        step = SynthesizeChains(config, clean=CleanConfig(), seed=1, journal=journal)
        pipeline = make_pipeline(parse_options(options))
        (
            pipeline
            | beam.Create(chains)
            | beam.Reshuffle()
            | beam.ParDo(step, len(chains) * NUM_ROUNDS).with_outputs(REJECTS, main="ok")
        )
        result = pipeline.run()
        result.wait_until_finish()
        found = measured(result.metrics())
    requests = found.counts["synthesize/requests"]
    assert requests == len(chains) * NUM_ROUNDS, found.counts
    return requests / found.synthesis_sec


@dataclasses.dataclass(frozen=True)
class Case:
    """One setting to measure."""

    latency: str
    mean_sec: float
    in_flight: int
    workers: int

    def run(self, seconds: float, tokenizer_dir: str) -> dict[str, object]:
        """Measure the plain client, ours, and the plain client again."""
        ceiling = self.in_flight * self.workers / self.mean_sec
        chains = make_chains(int(ceiling * seconds / NUM_ROUNDS))
        work = (chains, self.in_flight, self.workers, tokenizer_dir)

        def measure(client: Callable[..., float]) -> tuple[Stub, float, float]:
            with stub(self.latency, self.mean_sec) as server, BusyCores() as busy:  # same latencies
                whole = client(server.url, *work)
                busy_cores = busy.median()
            return server, whole, busy_cores

        (before, whole_before, plain_cores), (mine, whole, our_cores), (after, whole_after, _) = (
            measure(client) for client in (plain, ours, plain)
        )
        rivals = [each.seen["per_sec"] for each in (before, after)]
        return {
            **dataclasses.asdict(self),
            "latency_limit": ceiling,
            "plain_per_sec": [round(each) for each in rivals],
            "ours_per_sec": round(mine.seen["per_sec"]),
            "ratio": round(mine.seen["per_sec"] / statistics.mean(rivals), 3),
            "in_flight_seen": {
                "plain": [round(each.seen["in_flight"]) for each in (before, after)],
                "ours": round(mine.seen["in_flight"]),
            },
            "with_start_and_end": {
                "plain_per_sec": [round(whole_before), round(whole_after)],
                "ours_per_sec": round(whole),
                "ratio": round(2 * whole / (whole_before + whole_after), 3),
            },
            "busy_cores": {"plain": round(plain_cores, 2), "ours": round(our_cores, 2)},
        }


def main() -> None:
    """Run the cases selected on the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--latency", choices=["fixed", "lognormal"], action="append")
    parser.add_argument("--mean-sec", type=float, default=0.2, help="mean latency of a request")
    parser.add_argument("--in-flight", type=int, action="append")
    parser.add_argument("--workers", type=int, action="append")
    parser.add_argument("--seconds", type=float, default=15.0, help="about how long each measurement takes")
    arguments = parser.parse_args()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    with tempfile.TemporaryDirectory() as folder:
        tokenizer_dir = tiny_tokenizer(folder)
        for workers in arguments.workers or [1, 2]:
            for latency in arguments.latency or ["fixed", "lognormal"]:
                for in_flight in arguments.in_flight or [128, 256]:
                    case = Case(latency, arguments.mean_sec, in_flight, workers)
                    print(json.dumps(case.run(arguments.seconds, tokenizer_dir)), flush=True)


if __name__ == "__main__":
    main()
