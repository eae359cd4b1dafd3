"""The library, the start of every command, and our packages before all others of their names.

    from tutelage import Corpus, build, evaluate, plan, train      docs/python.md

    tutelage, python -m tutelage    run this module
    python -m trainer.train         imports it by tutelage.pth, at Python's start (composer -m, torchrun -m)
    processes that we start         import it (schemas/process.py)

Our packages have common names, and Python imports the first of a name on `sys.path`: with PYTHONPATH or
`python -m` that may be one of the working directory. The import of this module puts ours first. Two wheels
that share such a name in one site-packages overwrite each other's files; `overwritten` names them. At the top
this file imports only what Python itself has imported, because every start of a command pays for more.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pipelines.increments.api import build, plan
    from pipelines.inspect.corpus import Corpus
    from trainer.evaluation.api import evaluate
    from trainer.train import train

__all__ = ["Corpus", "build", "evaluate", "plan", "train"]

PACKAGES = ("schemas", "plugins", "pipelines", "trainer")
_HERE = os.path.dirname(os.path.abspath(__file__))


def __getattr__(name: str) -> object:
    """Import a name of the library on its first use."""
    module = {
        "Corpus": "pipelines.inspect.corpus",
        "build": "pipelines.increments.api",
        "evaluate": "trainer.evaluation.api",
        "plan": "pipelines.increments.api",
        "train": "trainer.train",
    }.get(name)
    if module is None:
        raise AttributeError(f"module 'tutelage' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(module), name)


class _OurPackages:
    """Finder of PACKAGES in the folder of this file."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: object = None) -> ModuleSpec | None:
        """Return the spec of a package of ours, None for every other module."""
        return PathFinder.find_spec(name, [_HERE]) if name in PACKAGES else None


def main() -> int:
    """Run the command that the arguments of the process name; return the exit status."""
    try:
        from plugins.commands.main import main as run
    except Exception as error:
        if (clash := overwritten()) is None:
            raise
        print(f"ConfigError: {clash} ({type(error).__name__}: {error})", file=sys.stderr)
        return 2  # as in schemas/exit_status.py, which may be no file of ours
    return run()


def overwritten() -> str | None:
    """Return a sentence about files of our wheel that were replaced or removed; None if none was."""
    import base64
    import hashlib
    from importlib import metadata

    try:
        ours = metadata.distribution("tutelage")
    except metadata.PackageNotFoundError:
        return None
    changed = []
    for file in ours.files or ():
        path = str(file.locate())
        if file.hash is None or not path.startswith(_HERE) or not path.endswith(".py"):
            continue
        try:
            with open(path, "rb") as opened:
                digest = hashlib.new(file.hash.mode, opened.read()).digest()
        except OSError:
            digest = b""
        if base64.urlsafe_b64encode(digest).decode().rstrip("=") != file.hash.value:
            changed.append(file)
    if not changed:
        return None
    rivals = sorted(
        f"{other.name} {other.version}"
        for other in metadata.distributions()
        if other.name != ours.name and not {*changed}.isdisjoint(other.files or ())
    )
    return (
        f"{changed[0]} in {_HERE} is not that of Tutelage's wheel"
        + (f", nor are {len(changed) - 1:,} other files" if changed[1:] else "")
        + (f": {' and '.join(rivals)} installed files of the same names" if rivals else "")
        + ". Install Tutelage in an environment of its own."
    )


def _hidden_by() -> str | None:
    """Return the foreign file that this process's `python -m` runs under a name of ours; None without one."""
    name = sys.orig_argv[sys.orig_argv.index("-m") + 1] if "-m" in sys.orig_argv[:-1] else ""
    if name.partition(".")[0] not in PACKAGES:
        return None
    file = name.replace(".", os.sep) + ".py"
    folders = (os.getcwd(), *sys.path)
    first = next((each for each in folders if os.path.isfile(os.path.join(each, file))), _HERE)
    return None if os.path.realpath(first) == os.path.realpath(_HERE) else os.path.join(first, file)


def _come_first() -> None:
    foreign = _hidden_by()
    if foreign is None:
        sys.meta_path.insert(0, _OurPackages)
    elif os.getenv("LOCAL_RANK", "0") == "0" and any(
        word.endswith((".yaml", ".yml")) for word in sys.orig_argv
    ):
        print(
            f"{foreign} runs, and hides Tutelage's module of that name. For Tutelage's start from another "
            "folder, or use `tutelage`, `composer -m tutelage train` or `torchrun -m tutelage train`.",
            file=sys.stderr,
        )


_come_first()

if __name__ == "__main__":
    sys.exit(main())
