"""`tutelage corpus`: build an increment, plan one, show what is in a corpus."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence

from schemas.config import load_config
from schemas.corpus_config import CorpusConfig


def main(argv: Sequence[str]) -> int:
    """Run `tutelage corpus …`; the exit status."""
    ours, beam_options = _split_at_dashes(list(argv))
    parser = argparse.ArgumentParser(prog="tutelage corpus", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser(
        "build",
        help="take in what is new in the sources, as one increment",
        usage="tutelage corpus build FILE.yaml [key=value ...] [--json] [-- beam options]",
    )
    build.add_argument("file", help="a corpus YAML")
    build.add_argument("overrides", nargs="*", metavar="key=value", help="values that win over the file's")
    build.add_argument("--json", action="store_true", help="print the result as JSON, and no progress")
    plan = commands.add_parser(
        "plan",
        help="what a build would do: documents, chains, requests, tokens, hours; sends and writes nothing",
        usage="tutelage corpus plan FILE.yaml [key=value ...] [--json] "
        "[--requests-per-sec X | --tokens-per-sec X] [-- beam options]",
    )
    plan.add_argument("file", help="a corpus YAML")
    plan.add_argument("overrides", nargs="*", metavar="key=value", help="values that win over the file's")
    plan.add_argument("--json", action="store_true", help="print the plan as JSON, and no progress")
    plan.add_argument(
        "--requests-per-sec", type=float, metavar="X", help="requests that all servers together answer"
    )
    plan.add_argument(
        "--tokens-per-sec", type=float, metavar="X", help="tokens that all servers together generate"
    )
    show = commands.add_parser("show", help="what is in a corpus: counts, texts, packed rows")
    show.add_argument("uri", help="directory of the corpus")
    show.add_argument("--manifest", type=int, help="number of the manifest; default the newest")
    show.add_argument("--stream", help="stream to show texts and rows of; default the first")
    show.add_argument("--texts", type=int, default=1, help="texts to show (default 1)")
    show.add_argument("--rows", type=int, default=0, help="packed rows to show, decoded (default 0)")
    show.add_argument("--json", action="store_true", help="print the manifest as JSON")
    arguments = parser.parse_args(ours)
    if arguments.command == "show":
        from pipelines.show import show_corpus

        return show_corpus(arguments)
    if arguments.command == "plan":
        return _plan(arguments, beam_options)
    return _build(arguments, beam_options)


def _plan(arguments: argparse.Namespace, beam_options: list[str]) -> int:
    config = load_config(CorpusConfig, arguments.file, arguments.overrides)
    from pipelines.quiet import quiet_libraries

    quiet_libraries()
    from pipelines.plan import plan_increment
    from pipelines.plan_table import print_plan

    plan = plan_increment(
        config,
        beam_options,
        requests_per_sec=arguments.requests_per_sec,
        tokens_per_sec=arguments.tokens_per_sec,
        quiet=arguments.json,
    )
    if arguments.json:
        print(json.dumps(plan.as_json(), ensure_ascii=False))
    else:
        print_plan(plan)
    return 0


def _build(arguments: argparse.Namespace, beam_options: list[str]) -> int:
    config = load_config(CorpusConfig, arguments.file, arguments.overrides)
    from pipelines.quiet import quiet_libraries

    quiet_libraries()
    from pipelines.build import build_increment
    from pipelines.statistics import read_stats

    manifest = build_increment(config, beam_options, quiet=arguments.json)
    if arguments.json:
        print(manifest.model_dump_json() if manifest else json.dumps(None))
        return 0
    if manifest is None:
        print(f"{config.corpus}: nothing new; the corpus is as it was.")
        return 0
    increment = manifest.increments[-1]
    stats = read_stats(config.corpus, manifest.number)
    counts = stats["counts"]
    print(
        f"{config.corpus}: increment {manifest.number} published, {increment.num_documents:,} documents, "
        f"{stats['wall_sec']:.0f} s."
    )
    for name, shards in increment.streams.items():
        filled = shards.num_tokens / (shards.num_samples * manifest.seq_len)
        print(
            f"  {name}: {shards.num_texts:,} texts, {shards.num_tokens:,} tokens in "
            f"{shards.num_samples:,} rows of {manifest.seq_len} ({filled:.1%} filled)"
        )
    if counts.get("synthesize/documents"):
        print(
            f"  synthesis: {counts['synthesize/pairs']:,} pairs for "
            f"{counts['synthesize/documents_with_pairs']:,} of {counts['synthesize/documents']:,} documents"
        )
    found = {name: task for name, task in stats["decontamination"].items() if task["rows_found"]}
    if found:
        shares = ", ".join(
            f"{task['rows_found']:,} of {task['rows']:,} of {name}" for name, task in found.items()
        )
        print(
            f"  task rows found and kept out: {shares} "
            f"(increments/{manifest.number:06d}/decontamination.json)"
        )
    rejected = {name: count for name, count in counts.items() if "/rejected_" in name}
    if rejected:
        reasons = ", ".join(
            f"{count:,} {name.replace('/rejected_', ': ')}" for name, count in rejected.items()
        )
        print(f"  rejects: {reasons} (records in increments/{manifest.number:06d}/rejects)")
    return 0


def _split_at_dashes(argv: list[str]) -> tuple[list[str], list[str]]:
    if "--" not in argv:
        return argv, []
    at = argv.index("--")
    return argv[:at], argv[at + 1 :]
