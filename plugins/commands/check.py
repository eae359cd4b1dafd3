"""`tutelage check FILE.yaml`: find everything wrong with a corpus or training without running it.

    keys ─► which YAML it is: `CorpusConfig` or `TrainConfig` ─► values ─► checks of its package, one by one

It asks no model, and writes nothing but a probe of the disk. A finding is one line with its cure.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable, Generator, Sequence

from plugins.commands.parser import Parser
from schemas import exit_status
from schemas.config import Section, load_config, read_yaml
from schemas.corpus_config import CorpusConfig
from schemas.crash_messages import understood
from schemas.errors import ConfigError
from schemas.train_config import TrainConfig

Checks = Generator[Callable[[], object], bool, None]
"""Checks, each of which raises what it finds. The generator is sent whether the last one found nothing."""

_KINDS: dict[type[Section], tuple[str, str]] = {
    CorpusConfig: ("corpus", "pipelines.command"),
    TrainConfig: ("training", "trainer.startup.check_run"),
}
"""Name of each kind of YAML, and the module with `checks` for it."""


def main(argv: Sequence[str]) -> int:
    """Run the command; return the exit status."""
    parser = Parser(
        prog="tutelage check",
        description="Find everything wrong in a YAML that can be found without running.",
    )
    parser.add_argument("file", metavar="FILE.yaml", help="YAML of a corpus or of a training")
    parser.add_argument("overrides", nargs="*", default=[], metavar="key=value", help="values that override")
    parser.add_argument(
        "--gpus", type=int, metavar="N", help="of a training: it runs on N GPUs of another machine"
    )
    parser.add_argument("--json", action="store_true", help="print the findings as JSON")
    arguments = parser.parse_args(argv)
    if arguments.gpus is not None and arguments.gpus < 1:
        raise ConfigError(f"--gpus is {arguments.gpus}; expected at least 1.")
    kind = kind_of(arguments.file)
    name, module = _KINDS[kind]
    if arguments.gpus is not None and kind is not TrainConfig:
        raise ConfigError(
            f"--gpus is about trainings, and {arguments.file} is the YAML of a corpus. Leave it out."
        )
    findings, is_whole = find(kind, module, arguments.file, arguments.overrides, num_gpus=arguments.gpus)
    if arguments.json:
        found = {"file": arguments.file, "kind": name, "findings": findings, "complete": is_whole}
        print(json.dumps(found, ensure_ascii=False))
    else:
        for each in findings:
            print(each)
        count = f"{len(findings)} to mend" if findings else "nothing to mend"
        rest = "" if is_whole else " Files, names and options are looked at once these keys are right."
        print(f"{arguments.file}: YAML of a {name}, {count}.{rest}", file=sys.stderr)
    return exit_status.WRONG_USE if findings else exit_status.DONE


def kind_of(file: str) -> type[Section]:
    """Return the configuration that most top-level keys of a YAML belong to.

    Raises:
        ConfigError: It is no YAML, or has keys of neither.
    """
    keys = {str(key) for key in read_yaml(file)}
    shares = {kind: len(keys & {*kind.model_fields}) for kind in _KINDS}
    if not any(shares.values()):
        raise ConfigError(
            f"{file}: has no key of a corpus YAML (corpus, streams, tokenizer, …) nor of a training YAML "
            "(run_name, model, train_loader, …). `tutelage init` writes both."
        )
    return max(shares, key=lambda kind: shares[kind])


def find(
    kind: type[Section], module: str, file: str, overrides: Sequence[str], *, num_gpus: int | None
) -> tuple[list[str], bool]:
    """Return what is wrong, a line each, and False if wrong keys or values ended the search."""
    try:
        config = load_config(kind, file, overrides)
    except ConfigError as error:
        lines = str(error).splitlines()
        return lines if all(line.startswith(f"{file}: ") for line in lines) else [" ".join(lines)], False
    found: dict[str, None] = {}
    try:
        checks: Checks = importlib.import_module(module).checks(config, num_gpus=num_gpus)
        check = next(checks)
        while True:
            good = True
            try:
                check()
            except Exception as error:
                good = False
                found[" ".join(str(understood(error)).split())] = None
            check = checks.send(good)
    except StopIteration:
        pass
    except Exception as error:  # such as a package that is not installed
        found[" ".join(str(understood(error)).split())] = None
    return list(found), True
