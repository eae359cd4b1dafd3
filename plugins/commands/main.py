"""`tutelage COMMAND …`: run a command with the rest of the line; see `schemas/exit_status.py`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from plugins.commands import COMMANDS
from schemas import exit_status
from schemas.crash_messages import understood
from schemas.errors import TutelageError, report
from schemas.process import drop_output, end_without_collecting, escape_unprintable
from schemas.terminal import clean_streams

_HELP = """\
usage: tutelage COMMAND ...

Turn raw domain text into a model that knows the domain.

  demo      build a small corpus, train on it and evaluate, on this machine's CPU
  init      --documents DIR --model NAME ...: write a corpus YAML and a training YAML to begin with
  check     FILE.yaml: find everything wrong with a corpus or training YAML without running it
  corpus    build, plan, watch, withdraw, compact FILE.yaml; show, trace, verify, prune, export-pairs URI
  train     FILE.yaml [key=value ...]: train with Composer on a corpus
  eval      --model NAME --tasks DIR: score any causal LM on domain tasks
  export    FILE.yaml --output DIR: a training run's checkpoint as a Hugging Face model
  chat      --model NAME: ask a model
  report    CORPUS_OR_RUN ... --output report.html: one page about corpora and runs
  push      PLACE hub:NAME: send a corpus, model or tasks to the Hugging Face hub, private
  pull      hub:NAME DIR: fetch one from there
  tasks     make FILE.yaml --output DIR: evaluation tasks about the documents of a corpus
  models    fetch smollm2-135m: a small model for the demo and tests
  tokenizer extend --tokenizer NAME --tokens FILE --output DIR: add tokens to a tokenizer
  completion bash, or zsh: a script for the shell that completes commands, options and files

`tutelage COMMAND --help` explains a command.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command of `tutelage`; return the exit status."""
    return run(_main, argv)


def _main(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_HELP, end="")
        return exit_status.DONE if arguments else exit_status.WRONG_USE
    if arguments[0] == "--version":
        import importlib.metadata

        print(importlib.metadata.version("tutelage"))
        return exit_status.DONE
    command: Callable[[list[str]], int] = COMMANDS.load(arguments[0])
    return command(arguments[1:])


def run(command: Callable[[list[str]], int], argv: Sequence[str] | None = None) -> int:
    """Run a command that owns the process; print exceptions as one sentence, without a traceback.

    Args:
        command: Takes arguments and returns the exit status.
        argv: Its arguments; None takes those of the process.
    """
    end_without_collecting()
    escape_unprintable()
    with clean_streams():
        try:
            status = command(list(sys.argv[1:] if argv is None else argv))
            sys.stdout.flush()
            return status
        except TutelageError as error:
            return report(error)
        except KeyboardInterrupt:
            print("Interrupted.", file=sys.stderr)
            return exit_status.INTERRUPTED
        except BrokenPipeError:  # standard output: `| head` has read enough
            drop_output()
            return exit_status.FAILED
        except Exception as error:
            return report(understood(error))


if __name__ == "__main__":
    sys.exit(main())
