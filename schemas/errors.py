"""What can go wrong, as exceptions a person can act on.

Every message says which key, file or record, what was found, what was expected and what to do.
Each class takes its message alone, so an error raised on a Beam worker survives pickling.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable


class TutelageError(Exception):
    """A failure with a message meant for the person who ran the command (exit status 1)."""


class ConfigError(TutelageError):
    """Wrong use: a bad YAML key or value, an unknown name, a file that is not there (exit status 2)."""


class InputError(TutelageError):
    """A source that cannot be read at all, or that yields nothing to work on."""


class RecordError(TutelageError):
    """One record breaks a rule of the records it flows among."""


class SynthesisError(TutelageError):
    """A synthesizer cannot work, or too many of its requests failed."""


class ServerError(SynthesisError):
    """An inference server cannot be reached or refuses what it is sent."""


class WorkerError(TutelageError):
    """A worker process of this machine ended before its work was done."""


class CorpusError(TutelageError):
    """A corpus on disk is missing, damaged, or held by another run."""


class StorageError(TutelageError, OSError):
    """A file cannot be written whole: its disk is full, or a quota or limit is reached."""


class TrainingError(TutelageError):
    """Training cannot start or go on."""


class MachineError(TutelageError):
    """This machine or a store refuses something: no space, no permission, no memory."""


class UnexpectedError(TutelageError):
    """Something that nobody foresaw, which is a fault of this program."""


_EXTRAS = {
    "pipelines": "aiohttp apache_beam brotli fastokens ftfy gcsfs jinja2 orjson phonenumbers py3langid "
    "pyarrow semantic_text_splitter snappy tokenizers transformers xxhash",
    "trainer": "accelerate composer matplotlib peft sklearn streaming torch torchvision",
    "models": "gguf",
    "huggingface": "datasets",
}
"""Top-level modules by the first of our extras that carries them."""


def missing_package(needed_by: str, error: ImportError) -> ConfigError:
    """Say that an import failed, and which extra of Tutelage carries the package."""
    return ConfigError(
        f"{needed_by} needs a package that is not installed: {error}. "
        f"Install the extra that carries it: pip install 'tutelage[{extra_with(error) or 'all'}]'."
    )


def extra_with(error: ImportError) -> str | None:
    """Return the extra of ours that carries the module whose import failed; None for a module of no extra."""
    module = (error.name or "").partition(".")[0]
    return next((extra for extra, modules in _EXTRAS.items() if module in modules.split()), None)


def report(error: TutelageError) -> int:
    """Print an error for the person who ran the command; returns the exit status."""
    print(f"{type(error).__name__}: {error}", file=sys.stderr)
    return 2 if isinstance(error, ConfigError) else 1


def unknown_name(kind: str, name: str, available: Iterable[str], *, shown: str = "") -> str:
    """Say that `name` (written as `shown`) is no known `kind`, with the nearest known name and them all."""
    names = sorted(available)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"{kind} {(shown or name)!r} is unknown.{hint} Available: {', '.join(names) or 'none'}."
