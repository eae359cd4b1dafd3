"""Our step against a real SGLang server: tokens a second, and hits of the prefix cache.

    python -m benchmarks.real_server throughput     over SGLang's own batch client, at the same concurrency
    python -m benchmarks.real_server cache          independent chains, over rounds with a barrier

Needs `make sglang` and `tutelage models fetch smollm2-135m`; starts the server itself. `--url` names
a running server instead, and `--model` its model.

throughput: the same prompts, greedy, to `sglang.function.run_batch` with as many threads as we have requests
in flight, then to our step in a Beam run of one worker process (tokenising, parsing and journal included),
then to the batch client again. The benchmark empties the server's cache before each.

cache: three-round chains whose prompts together are several times larger than the server's cache. Ours
drives each chain on its own; the reference runs one round over all chains before the next begins. The share
is the prompt tokens of rounds 2 and 3 that the server took from its cache, divided by the tokens that each
prompt shares with the prompt of the round before.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam

from benchmarks.inputs import passages_as_chains
from pipelines.runners.run import make_pipeline, parse_options
from pipelines.steps.base import REJECTS
from pipelines.steps.synthesize import SynthesizeChains
from pipelines.steps.synthesizer_loop import SynthesizerLoop
from pipelines.store.statistics import measured, synthesis_stats
from plugins.plain_token_ids import TokenIds
from plugins.protocols.base import Example
from plugins.sglang.server import lease_servers
from plugins.synthesizers.generator import GenerationFailure, GenerationRequest
from plugins.synthesizers.sglang import SGLangGenerator, SGLangSynthesizer
from schemas.corpus_config import CleanConfig
from schemas.records import Chain, Generation
from schemas.synthesis_config import ServerConfig, SynthesisConfig

_CPU_ENV = {
    "SGLANG_USE_CPU_ENGINE": "1",
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
_CPU_ARGS: dict[str, Any] = {
    "device": "cpu",
    "dtype": "float32",
    "attention-backend": "torch_native",
    "sleep-on-idle": True,
    "skip-server-warmup": True,
}


@contextlib.contextmanager
def server(arguments: argparse.Namespace, *, cache_tokens: int) -> Iterator[str]:
    """URL of the server under test."""
    if arguments.url:
        yield arguments.url
        return
    config = ServerConfig(
        python=arguments.python,
        gpus_per_server=0,
        env=_CPU_ENV,
        args={**_CPU_ARGS, "max-total-tokens": cache_tokens},
    )
    with lease_servers(config, model=arguments.model) as lease:
        yield lease.endpoints[0]


def empty_cache(url: str) -> None:
    urllib.request.urlopen(urllib.request.Request(f"{url}/flush_cache", method="POST"), timeout=60).read()


def synthesis(arguments: argparse.Namespace, url: str, **changes: Any) -> SynthesisConfig:
    values = {
        "backend": "sglang",
        "protocol": "chat",
        "model": arguments.model,
        "endpoints": (url,),
        "max_new_tokens": arguments.max_new_tokens,
        "max_in_flight": arguments.in_flight,
        "options": {"json_schema": False},
    }
    return SynthesisConfig(**{**values, **changes})


def throughput(arguments: argparse.Namespace) -> dict[str, Any]:
    """Tokens a second of ours over those of SGLang's batch client."""
    with server(arguments, cache_tokens=16384) as url:
        config = synthesis(arguments, url, prompt_file=str(Path(__file__).with_name("plain_prompt.yaml")))
        chains = passages_as_chains(arguments.requests, documents_each=1)
        theirs = [_batch_client(arguments, url, config, chains)]
        mine = _step(config, chains, url)
        theirs.append(_batch_client(arguments, url, config, chains))
    rival = sum(found["completion_tokens_per_sec"] for found in theirs) / len(theirs)
    return {
        "requests": len(chains),
        "in_flight": arguments.in_flight,
        "batch_client": theirs,
        "ours": mine,
        "ratio_completion_tokens": round(mine["completion_tokens_per_sec"] / rival, 3),
    }


def _batch_client(
    arguments: argparse.Namespace, url: str, config: SynthesisConfig, chains: list[Chain]
) -> dict[str, Any]:
    protocol = SGLangSynthesizer(config, seed=1).protocol
    prompts = [protocol.tokenizer.decode(protocol.prompt((), chain.documents[0])) for chain in chains]
    job = {
        "url": url,
        "prompts": prompts,
        "max_new_tokens": arguments.max_new_tokens,
        "in_flight": arguments.in_flight,
    }
    empty_cache(url)
    done = subprocess.run(
        [arguments.python, str(Path(__file__).with_name("batch_client.py"))],
        input=json.dumps(job),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        env={**os.environ, **_CPU_ENV},
    )
    found = json.loads(done.stdout.strip().splitlines()[-1])
    return {**found, "completion_tokens_per_sec": round(found["completion_tokens"] / found["seconds"], 2)}


def _step(config: SynthesisConfig, chains: list[Chain], url: str) -> dict[str, Any]:
    empty_cache(url)
    with tempfile.TemporaryDirectory() as journal:
        step = SynthesizeChains(config, clean=CleanConfig(), seed=1, journal=journal)
        options = parse_options(["--direct_running_mode=multi_processing", "--direct_num_workers=1"])
        pipeline = make_pipeline(options)
        (
            pipeline
            | beam.Create(chains)
            | beam.Reshuffle()
            | beam.ParDo(step, len(chains)).with_outputs(REJECTS, main="ok")
        )
        result = pipeline.run()
        result.wait_until_finish()
        found = measured(result.metrics())
    stats = synthesis_stats(found.counts, found.synthesis_sec)
    names = ("seconds", "requests", "prompt_tokens", "completion_tokens", "completion_tokens_per_sec")
    return {name: stats[name] for name in names}


class _Recording(SGLangGenerator):
    """Remembers requests and answers by chain."""

    def __init__(self, *arguments: Any):
        super().__init__(*arguments)
        self.asked: dict[str, list[tuple[GenerationRequest, Generation]]] = {}

    async def generate(self, request: GenerationRequest) -> Generation | GenerationFailure:
        answer = await super().generate(request)
        assert isinstance(answer, Generation), answer
        self.asked.setdefault(request.affinity, []).append((request, answer))
        return answer

    def share(self) -> dict[str, Any]:
        """Prompt tokens of later rounds: cached, and cacheable."""
        cached = possible = prompts = requests = 0
        for rounds in self.asked.values():
            for (before, _), (request, answer) in itertools.pairwise(rounds):
                common = _shared(before.prompt_ids, request.prompt_ids)
                requests += 1
                prompts += answer.prompt_tokens
                possible += common
                cached += min(answer.cached_tokens, common)
        return {
            "later_requests": requests,
            "prompt_tokens": prompts,
            "could_be_cached": possible,
            "cached": cached,
            "share": round(cached / possible, 3),
        }


def _shared(before: TokenIds, now: TokenIds) -> int:
    """Length of the common prefix of two prompts, in tokens."""
    return sum(
        1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(before, now, strict=False))
    )


def cache(arguments: argparse.Namespace) -> dict[str, Any]:
    """Share of cached tokens in rounds 2 and 3, ours and with a barrier."""
    with server(arguments, cache_tokens=arguments.cache_tokens) as url:
        config = synthesis(arguments, url, prompt_file=str(Path(__file__).with_name("plain_prompt.yaml")))
        chains = passages_as_chains(3 * arguments.chains, documents_each=3)
        empty_cache(url)
        mine = _drive_chains(config, chains)
        empty_cache(url)
        barrier = asyncio.run(_drive_rounds(config, chains))
    return {"chains": len(chains), "in_flight": arguments.in_flight, "ours": mine, "barrier": barrier}


def _recording(config: SynthesisConfig) -> tuple[SGLangSynthesizer, _Recording]:
    synthesizer = SGLangSynthesizer(config, seed=1)
    generator = _Recording(config, synthesizer.generator._options)  # type: ignore[attr-defined]
    synthesizer.generator = generator
    return synthesizer, generator


def _drive_chains(config: SynthesisConfig, chains: list[Chain]) -> dict[str, Any]:
    """Drive chains as the step does: through the engine, with the step's limit of chains in flight."""
    with tempfile.TemporaryDirectory() as journal:
        engine = SynthesizerLoop(config, 1, journal)
        engine.enter()
        recording = _Recording(config, engine._synthesizer.generator._inner._options)  # type: ignore[attr-defined]
        engine._synthesizer.generator._inner = recording  # type: ignore[attr-defined]
        try:
            for future in [engine.submit(chain) for chain in chains]:  # the engine applies the step's limit
                future.result()
        finally:
            engine.leave()
    return recording.share()


async def _drive_rounds(config: SynthesisConfig, chains: list[Chain]) -> dict[str, Any]:
    """Drive chains as the reference does: a round over all chains, then the next."""
    synthesizer, generator = _recording(config)
    protocol = synthesizer.protocol
    examples: dict[str, list[Example]] = {chain.chain_id: [] for chain in chains}

    async def ask(chain: Chain, number: int) -> None:
        document = chain.documents[number]
        request = GenerationRequest(
            prompt_ids=protocol.prompt(examples[chain.chain_id], document),
            max_new_tokens=config.max_new_tokens,
            affinity=chain.chain_id,
        )
        answer = await generator.generate(request)
        assert isinstance(answer, Generation)
        pairs = protocol.read(answer.text).pairs
        shown = [*examples[chain.chain_id], Example(document=document, pairs=pairs)]
        examples[chain.chain_id] = shown if pairs else []

    for number in range(3):
        await asyncio.gather(*(ask(chain, number) for chain in chains))
    await synthesizer.close()
    return generator.share()


def main() -> None:
    """Run `throughput` or `cache`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["throughput", "cache"])
    parser.add_argument("--url", help="a running server, instead of one started here")
    parser.add_argument("--python", default=".venv-sglang/bin/python", help="the interpreter of SGLang")
    parser.add_argument("--model", default="models/smollm2-135m")
    parser.add_argument("--in-flight", type=int, default=16)
    parser.add_argument("--max-new-tokens", type=int, default=64)
    parser.add_argument("--requests", type=int, default=96, help="of throughput")
    parser.add_argument("--chains", type=int, default=24, help="of cache")
    parser.add_argument("--cache-tokens", type=int, default=4096, help="of cache: what the server can hold")
    arguments = parser.parse_args()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    run = throughput if arguments.what == "throughput" else cache
    print(json.dumps(run(arguments), indent=2))


if __name__ == "__main__":
    main()
