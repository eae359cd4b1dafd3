"""`tutelage corpus`: build, plan, watch, withdraw, compact, show, trace, verify, prune, export-pairs."""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import os
import sys
from collections.abc import Callable, Generator, Sequence

from pipelines.arguments import make_parser
from schemas import exit_status
from schemas.config import load_config
from schemas.corpus_config import CorpusConfig
from schemas.errors import ConfigError
from schemas.manifest import Manifest


def main(argv: Sequence[str]) -> int:
    """Run `tutelage corpus …`; return the exit status."""
    ours, beam_options = _split_at_dashes(list(argv))
    arguments = make_parser(__doc__).parse_args(ours)
    if arguments.command in _OF_A_YAML:
        config = load_config(CorpusConfig, arguments.file, arguments.overrides)
        spare_torch(config)
        if arguments.command != "plan":  # which imports Beam only for new files
            _import_beam()
        _OF_A_YAML[arguments.command](arguments, config, beam_options)
        return exit_status.DONE
    if arguments.uri.endswith((".yaml", ".yml")):
        arguments.uri = load_config(CorpusConfig, arguments.uri).corpus
    module, _, function = _OF_A_CORPUS[arguments.command].partition(":")
    status: int = getattr(importlib.import_module(module), function)(arguments)
    return status


def checks(
    config: CorpusConfig, *, num_gpus: int | None = None
) -> Generator[Callable[[], object], bool, None]:
    """Checks of a corpus YAML for `tutelage check`; `num_gpus` is for trainings only."""
    spare_torch(config)
    _import_beam()
    from pipelines.increments.check_corpus import checks

    return checks(config)


def spare_torch(config: CorpusConfig) -> None:
    """Keep transformers from importing torch in this process and its workers; tokenizers do not need it.

    The import costs each process 2.7 s of a core and 380 MB. Only a model in the process needs it: that of
    backend `transformers`, one of a rule of `verify`, or one that a plugin of another package brings.
    """
    groups = ("filters", "protocols", "readers", "synthesizers", "templates", "verifiers")
    plugs_in = any(importlib.metadata.entry_points(group=f"tutelage.{name}") for name in groups)
    judges = any({"model", "backend"} & {*(options or {})} for options in (config.verify or {}).values())
    if config.synthesis.backend != "transformers" and not plugs_in and not judges:
        os.environ.setdefault("USE_TORCH", "0")


def _build(arguments: argparse.Namespace, config: CorpusConfig, beam_options: list[str]) -> None:
    from pipelines.increments.build import build_increment

    manifest = build_increment(
        config, beam_options, reread=arguments.reread, retry_empty=arguments.retry_empty
    )
    dry = any(option.startswith("--dry_run") for option in beam_options)
    nothing = f"{'a dry run' if dry else 'nothing new'}; the corpus is unchanged."
    _print_result(config, manifest, nothing, as_json=arguments.json)


def _plan(arguments: argparse.Namespace, config: CorpusConfig, beam_options: list[str]) -> None:
    if arguments.sample is not None:
        _sample(arguments, config, beam_options)
        return
    from pipelines.planning.plan import plan_increment
    from pipelines.planning.plan_table import print_plan

    plan = plan_increment(
        config,
        beam_options,
        requests_per_sec=arguments.requests_per_sec,
        tokens_per_sec=arguments.tokens_per_sec,
    )
    if arguments.json:
        print(json.dumps(plan.as_json(), ensure_ascii=False))
    else:
        print_plan(plan)


def _sample(arguments: argparse.Namespace, config: CorpusConfig, beam_options: list[str]) -> None:
    _import_beam()
    from pipelines.planning.plan_table import print_sample
    from pipelines.planning.sample import MOST, sample_sources

    if not 1 <= arguments.sample <= MOST:
        raise ConfigError(f"--sample is {arguments.sample}; expected 1 to {MOST:,} records.")
    if beam_options or arguments.requests_per_sec is not None or arguments.tokens_per_sec is not None:
        raise ConfigError(
            "--sample counts no requests and runs without Beam. Leave out --requests-per-sec, "
            "--tokens-per-sec and the options after `--`."
        )
    sample = sample_sources(config, arguments.sample)
    if arguments.json:
        print(json.dumps(sample.as_json(), ensure_ascii=False))
    else:
        print_sample(sample)


def _import_beam() -> None:
    """Import Beam without its messages, before the modules of a command do."""
    from pipelines.runners.startup_warnings import quiet_libraries

    quiet_libraries()


def _watch(arguments: argparse.Namespace, config: CorpusConfig, beam_options: list[str]) -> None:
    for option, value, least in (
        ("--interval", arguments.interval, 0.1),
        ("--min-documents", arguments.min_documents, 1),
        ("--settle", arguments.settle, 0),
    ):
        if value < least:
            raise ConfigError(f"{option} is {value:g}; expected at least {least:g}.")
    from pipelines.increments.watch import stop_on_signals, watch

    with stop_on_signals() as stop:
        watch(
            config,
            beam_options,
            stop=stop,
            interval_sec=arguments.interval,
            min_documents=arguments.min_documents,
            settle_sec=arguments.settle,
            published=lambda manifest: _print_result(config, manifest),
        )


def _withdraw(arguments: argparse.Namespace, config: CorpusConfig, beam_options: list[str]) -> None:
    from pipelines.increments.withdraw import withdraw

    names = [*arguments.id, *_lines_of(arguments.ids_from)]
    if not names and not arguments.source:
        raise ConfigError("corpus withdraw needs --id, --ids-from or --source to name the documents.")
    manifest = withdraw(config, beam_options, document_ids=names, sources=arguments.source)
    _print_result(config, manifest, as_json=arguments.json)


def _compact(arguments: argparse.Namespace, config: CorpusConfig, beam_options: list[str]) -> None:
    from pipelines.increments.compact import compact

    manifest = compact(config, beam_options)
    nothing = "is one increment already; nothing was changed."
    _print_result(config, manifest, nothing, as_json=arguments.json)


def _print_result(
    config: CorpusConfig, manifest: Manifest | None, nothing: str = "", *, as_json: bool = False
) -> None:
    """Print the published manifest, or that nothing was published."""
    from pipelines.increments.increment_summary import print_increment
    from pipelines.increments.publish import after_publication

    if manifest is None:
        print(json.dumps(None) if as_json else f"{config.corpus}: {nothing}")
        return
    with after_publication(config.corpus, manifest):
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


_OF_A_YAML = {"build": _build, "plan": _plan, "watch": _watch, "withdraw": _withdraw, "compact": _compact}

_OF_A_CORPUS = {
    "prune": "pipelines.increments.prune:prune_command",
    "show": "pipelines.inspect.show:show",
    "trace": "pipelines.inspect.trace:trace_command",
    "verify": "pipelines.inspect.verify:verify_command",
    "export-pairs": "pipelines.inspect.export_pairs:export_pairs",
}


def _split_at_dashes(argv: list[str]) -> tuple[list[str], list[str]]:
    if "--" not in argv:
        return argv, []
    at = argv.index("--")
    return argv[:at], argv[at + 1 :]


if __name__ == "__main__":
    from plugins.commands.main import run

    sys.exit(run(main))
