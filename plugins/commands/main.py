"""`tutelage COMMAND …`: finds the command and hands it the rest of the line.

Exit statuses are in schemas/exit_status.py.
"""

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

  demo      the whole way on the bundled corpus, on this machine's CPU
  corpus    build, plan, watch, withdraw, compact FILE.yaml; show, trace, verify, prune, export-pairs URI
  train     FILE.yaml [key=value ...]: train with Composer on a corpus
  eval      --model NAME --tasks DIR: score any causal LM on domain tasks
  export    FILE.yaml --output DIR: a training run's checkpoint as a Hugging Face model
  chat      --model NAME: ask a model
  models    fetch smollm2-135m: the small model of demo and tests
  tokenizer extend --tokenizer NAME --tokens FILE --output DIR: a tokenizer with more tokens

`tutelage COMMAND --help` says more.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; what it raises is printed without a traceback."""
    return run(_main, argv)


def _main(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_HELP, end="")
        return exit_status.DONE if arguments else exit_status.WRONG_USE
    if arguments[0] == "--version":
        import importlib.metadata

        print(importlib.metadata.version("tutelage"))
        return 0
    command: Callable[[list[str]], int] = COMMANDS.load(arguments[0])
    return command(arguments[1:])


def run(command: Callable[[list[str]], int], argv: Sequence[str] | None = None) -> int:
    """Run a command as all of a process; what it raises is printed as a sentence, without a traceback.

    Args:
        command: Takes arguments and returns the exit status.
        argv: Its arguments; those of the process by default, for `python -m`.
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
        except BrokenPipeError:  # of standard output: `| head` has read enough
            drop_output()
            return exit_status.FAILED
        except Exception as error:
            return report(understood(error))


if __name__ == "__main__":
    sys.exit(main())
