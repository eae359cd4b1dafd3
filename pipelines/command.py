"""`tutelage corpus`: build, plan, watch, withdraw, compact, show, trace, verify, prune, export-pairs."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.metadata
import json
import os
import sys
from collections.abc import Sequence

from pipelines.arguments import make_parser
from pipelines.runners.local import fork_server
from schemas.config import load_config
from schemas.corpus_config import CorpusConfig
from schemas.errors import ConfigError
from schemas.manifest import Manifest

_MULTI_PROCESSING = "--direct_running_mode=multi_processing"


def main(argv: Sequence[str]) -> int:
    """Run `tutelage corpus …`; the exit status."""
    ours, beam_options = _split_at_dashes(list(argv))
    arguments = make_parser(__doc__).parse_args(ours)
    if "uri" in arguments and arguments.uri.endswith((".yaml", ".yml")):
        arguments.uri = load_config(CorpusConfig, arguments.uri).corpus
    if arguments.command == "prune":
        return _prune(arguments)
    if arguments.command == "show":
        from pipelines.inspect.show_corpus import show_corpus

        return show_corpus(arguments)
    if arguments.command == "trace":
        from pipelines.inspect.trace_text import show_trace

        return show_trace(arguments)
    if arguments.command == "verify":
        from pipelines.inspect.verify_text import show_verification

        return show_verification(arguments)
    if arguments.command == "export-pairs":
        from pipelines.inspect.export_pairs import export_pairs

        return export_pairs(arguments)
    run = {"build": _build, "plan": _plan, "watch": _watch, "withdraw": _withdraw, "compact": _compact}
    return run[arguments.command](arguments, beam_options)


def _config(arguments: argparse.Namespace, beam_options: Sequence[str]) -> CorpusConfig:
    """The configuration that the command line names; what is imported after it says nothing of its own."""
    config = load_config(CorpusConfig, arguments.file, arguments.overrides)
    _spare_torch(config)
    if _MULTI_PROCESSING in beam_options:
        fork_server.begin_beside()  # it imports Beam while this process does
    from pipelines.runners.startup_warnings import quiet_libraries

    quiet_libraries()
    return config


def _spare_torch(config: CorpusConfig) -> None:
    """Keep transformers from importing torch, in this process and its workers: tokenizers need none.

    It costs each process 2.7 s of a core and 380 MB. Only a model in the process needs it: that of backend
    `transformers`, or one of another package that plugs in.
    """
    groups = ("filters", "protocols", "readers", "synthesizers", "templates")
    plugs_in = any(importlib.metadata.entry_points(group=f"tutelage.{name}") for name in groups)
    if config.synthesis.backend != "transformers" and not plugs_in:
        os.environ.setdefault("USE_TORCH", "0")


def _build(arguments: argparse.Namespace, beam_options: list[str]) -> int:
    config = _config(arguments, beam_options)
    from pipelines.increments.build import build_increment

    manifest = build_increment(
        config,
        beam_options,
        quiet=arguments.json,
        reread=arguments.reread,
        retry_empty=arguments.retry_empty,
    )
    dry = any(option.startswith("--dry_run") for option in beam_options)
    _tell(
        config,
        manifest,
        f"{'a dry run' if dry else 'nothing new'}; the corpus is as it was.",
        as_json=arguments.json,
    )
    return 0


def _plan(arguments: argparse.Namespace, beam_options: list[str]) -> int:
    config = _config(arguments, beam_options)
    from pipelines.planning.plan import plan_increment
    from pipelines.planning.plan_table import print_plan

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


def _watch(arguments: argparse.Namespace, beam_options: list[str]) -> int:
    for option, value, least in (
        ("--interval", arguments.interval, 0.1),
        ("--min-documents", arguments.min_documents, 1),
        ("--settle", arguments.settle, 0),
    ):
        if value < least:
            raise ConfigError(f"{option} is {value:g}; expected at least {least:g}.")
    config = _config(arguments, beam_options)
    from pipelines.increments.watch import stop_on_signals, watch

    with stop_on_signals() as stop:
        watch(
            config,
            beam_options,
            stop=stop,
            interval_sec=arguments.interval,
            min_documents=arguments.min_documents,
            settle_sec=arguments.settle,
            published=lambda manifest: _tell(config, manifest),
        )
    return 0


def _withdraw(arguments: argparse.Namespace, beam_options: list[str]) -> int:
    config = _config(arguments, beam_options)
    from pipelines.increments.withdraw import withdraw

    names = [*arguments.id, *_lines_of(arguments.ids_from)]
    if not names and not arguments.source:
        raise ConfigError("corpus withdraw needs --id, --ids-from or --source: what is to go?")
    manifest = withdraw(
        config, beam_options, document_ids=names, sources=arguments.source, quiet=arguments.json
    )
    _tell(config, manifest, "", as_json=arguments.json)
    return 0


def _compact(arguments: argparse.Namespace, beam_options: list[str]) -> int:
    config = _config(arguments, beam_options)
    from pipelines.increments.compact import compact

    manifest = compact(config, beam_options, quiet=arguments.json)
    _tell(config, manifest, "is one increment already; nothing was done.", as_json=arguments.json)
    return 0


def _prune(arguments: argparse.Namespace) -> int:
    from pipelines.increments.prune import prune
    from pipelines.increments.prune_text import print_pruned

    pruned = prune(arguments.uri, keep=arguments.keep, journal=arguments.journal, dry_run=arguments.dry_run)
    if arguments.json:
        print(json.dumps(dataclasses.asdict(pruned)))
    else:
        print_pruned(pruned, dry_run=arguments.dry_run)
    return 0


def _tell(
    config: CorpusConfig, manifest: Manifest | None, nothing: str = "", *, as_json: bool = False
) -> None:
    """Print the manifest that was published, or that nothing was."""
    from pipelines.increments.after_publishing import telling
    from pipelines.increments.summary import print_increment

    if manifest is None:
        print(json.dumps(None) if as_json else f"{config.corpus}: {nothing}")
        return
    with telling(config.corpus, manifest):
        if as_json:
            print(manifest.model_dump_json())
        else:
            print_increment(config, manifest)


def _lines_of(path: str | None) -> list[str]:
    if path is None:
        return []
    try:
        with open(path, encoding="utf-8") as file:
            return [line.rstrip("\n") for line in file if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"--ids-from {path!r}: {error}. Give a UTF-8 file of one document_id a line."
        ) from None


def _split_at_dashes(argv: list[str]) -> tuple[list[str], list[str]]:
    if "--" not in argv:
        return argv, []
    at = argv.index("--")
    return argv[:at], argv[at + 1 :]


if __name__ == "__main__":
    from plugins.commands.main import run

    sys.exit(run(main))
