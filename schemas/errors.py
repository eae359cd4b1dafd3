"""Exceptions with a message that a person can act on.

Each message names the key, file or record, what was found, what was expected and what to do.
Each class takes its message alone, so that an error raised on a Beam worker survives pickling.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable

from schemas import exit_status


class TutelageError(Exception):
    """A failure with a message for the person who ran the command."""

    exit_status = exit_status.FAILED


class ConfigError(TutelageError):
    """Wrong use: a bad YAML key or value, an unknown name, a missing file."""

    exit_status = exit_status.WRONG_USE


class InputError(TutelageError):
    """A source cannot be read, or holds nothing to work on."""


class RecordError(TutelageError):
    """A record breaks a rule of its kind."""


class SynthesisError(TutelageError):
    """A synthesizer cannot work, or too many of its requests failed."""


class ServerError(SynthesisError):
    """An inference server cannot be reached, or refuses requests."""


class WorkerError(TutelageError):
    """A worker process on this machine ended before its work was done."""


class CorpusError(TutelageError):
    """A corpus on disk is missing, damaged, or locked by another run."""


class StorageError(TutelageError, OSError):
    """A file cannot be written completely: the disk is full, or a quota or limit is reached."""


class TrainingError(TutelageError):
    """Training cannot start or continue."""


class MachineError(TutelageError):
    """This machine or a remote store fails: no space, no permission, no memory."""


class UnexpectedError(TutelageError):
    """An exception that no code expects: a bug of this program."""


_EXTRAS = {
    "pipelines": "aiohttp apache_beam brotli chardet fastokens ftfy gcsfs jinja2 orjson "
    "phonenumbers py3langid pyarrow semantic_text_splitter snappy tokenizers transformers xxhash",
    "trainer": "accelerate composer matplotlib peft sklearn streaming torch torchvision",
    "models": "gguf",
    "huggingface": "datasets",
    "html": "lxml trafilatura webencodings",
    "mediawiki": "mwparserfromhell",
    "warc": "fastwarc",
    "pdf": "pypdfium2",
    "docx": "mammoth",
    "markdown": "markdown_it",
    "rst": "docutils",
}
"""Top-level modules by the first of our extras that carries them."""


def missing_package(needed_by: str, error: ImportError) -> ConfigError:
    """Say that an import failed, and which extra of Tutelage carries the package."""
    extra = extra_with(error)
    return (None if extra else overwritten(error)) or ConfigError(
        f"{needed_by} needs a package that is not installed: {error}. "
        f"Install the extra that carries it: pip install 'tutelage[{extra or 'all'}]'."
    )


def overwritten(error: Exception) -> ConfigError | None:
    """Say that another package replaced files of ours, which may have caused an error; None if none did."""
    import tutelage

    clash = tutelage.overwritten()
    return ConfigError(f"{clash} ({type(error).__name__}: {error})") if clash else None


def extra_with(error: ImportError) -> str | None:
    """Return the extra of ours that carries the module whose import failed; None for a module of no extra."""
    module = (error.name or "").partition(".")[0]
    return next((extra for extra, modules in _EXTRAS.items() if module in modules.split()), None)


def report(error: TutelageError) -> int:
    """Print an error on standard error; return the exit status."""
    print(f"{type(error).__name__}: {error}", file=sys.stderr)
    return error.exit_status


def unknown_name(kind: str, name: str, available: Iterable[str], *, shown: str = "") -> str:
    """Message about an unknown `name` (written as `shown`), with the nearest known name and all of them."""
    names = sorted(available)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"{kind} {(shown or name)!r} is unknown.{hint} Available: {', '.join(names) or 'none'}."
