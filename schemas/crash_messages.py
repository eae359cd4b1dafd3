"""What nobody foresaw, as a sentence: what went wrong, where, what to do. The traceback goes to a file.

The machine (a full disk, no permission, no memory), a store, nesting without end: each kind has its cure.
Anything else is a fault of this program and says so. Beam hands an error of a worker on as the text of a
traceback; the error is read out of that.
"""

from __future__ import annotations

import builtins
import errno
import os
import re
import shutil
import sys
import tempfile
import traceback
from collections.abc import Iterator

from schemas.errors import MachineError, TutelageError, UnexpectedError, extra_with, missing_package

_FREE_SPACE = "Free space there, or use another place; then run again."
_PERMISSION = "Give yourself the permission, or use another place."
_CURES = {
    errno.ENOSPC: _FREE_SPACE,
    errno.EDQUOT: "Free space of your quota, or use another place; then run again.",
    errno.EROFS: "Use a place that can be written.",
    errno.EACCES: _PERMISSION,
    errno.EPERM: _PERMISSION,
    errno.EMFILE: "Raise the limit of open files (`ulimit -n`), or use fewer workers.",
    errno.ENFILE: "This machine has too many open files; end other programs, or raise its limit.",
    errno.ENAMETOOLONG: "Use a shorter name or folder.",
    errno.EFBIG: "Raise the limit of a file's size (`ulimit -f`), or use another file system.",
    errno.ENOTDIR: "A file stands where a folder is needed; move it away, or use another place.",
    errno.EISDIR: "A folder stands where a file is needed; move it away, or use another place.",
    errno.ENOENT: "Was it removed meanwhile? Put it back, or correct the path.",
    errno.ELOOP: "Its links lead round in a circle; correct them.",
    errno.EIO: "The disk or its network file system failed; see to it, then run again.",
    errno.ESTALE: "The network file system lost it; mount it again, then run again.",
    errno.ENOMEM: "Use fewer workers, or a machine with more memory.",
    errno.EAGAIN: "Raise the limit of processes (`ulimit -u`), or use fewer workers.",
    errno.ECONNREFUSED: "Nobody listens at that address; start the server, or correct the address.",
    errno.ETIMEDOUT: "Check the network, then run again.",
}
_NUMBERS = {
    FileNotFoundError: errno.ENOENT,
    PermissionError: errno.EACCES,
    NotADirectoryError: errno.ENOTDIR,
    IsADirectoryError: errno.EISDIR,
    ConnectionRefusedError: errno.ECONNREFUSED,
    TimeoutError: errno.ETIMEDOUT,
}
_FULL = (errno.ENOSPC, errno.EDQUOT)
_STORES = {"adlfs", "aiobotocore", "aiohttp", "azure", "botocore", "fsspec", "gcsfs", "google", "s3fs"}
_MOST_CAUSES = 20
_IN_A_TRACEBACK = re.compile(
    r"^(?:[\w.]+\.)?(?P<name>\w*(?:Error|Exception|Interrupt)): (?:\[Errno (?P<errno>\d+)\] )?(?P<said>.*)$",
    re.MULTILINE,
)
_WHILE_RUNNING = re.compile(r" \[while running '[^']*'\]")
_QUOTED_END = re.compile(r": '(?P<path>[^']*)'$")


def understood(error: BaseException) -> TutelageError:
    """An error that a person can act on, of any other; its traceback lies in the file that it names."""
    if isinstance(error, TutelageError):
        return error
    if isinstance(error, ModuleNotFoundError) and extra_with(error):
        return missing_package("this command", error)
    kind, sentence = _sentence(error)
    return kind(f"{sentence} {_where_the_traceback_is(error)}")


def machines_fault(error: BaseException) -> MachineError | None:
    """The error of a machine or store behind another one; None where it is something else."""
    kind, sentence = _sentence(error)
    if not issubclass(kind, MachineError):
        return None
    return MachineError(f"{sentence} {_where_the_traceback_is(error)}")


def _sentence(error: BaseException) -> tuple[type[TutelageError], str]:
    for cause in _causes(error):
        said = _of_the_machine(cause)
        if said is not None:
            return MachineError, said
    message = _WHILE_RUNNING.sub("", str(error)).strip()
    first, *more = message.splitlines() or [""]
    name = type(error).__name__
    if more and (found := list(_IN_A_TRACEBACK.finditer(message))):
        name, first = found[-1]["name"], found[-1]["said"]
    what = f"{name}: {first}" if first else name
    return UnexpectedError, f"{what} ({_place(error)}). Nobody foresaw this; please report it."


def _of_the_machine(error: BaseException) -> str | None:
    if isinstance(error, OSError) and (number := _number_of(error)) is not None:
        if "No usable temporary directory" in str(error):
            return (
                f"no folder for temporary files can be written: {error.strerror}. Set TMPDIR to a folder "
                "that can be written and has space."
            )
        return _of_the_system(number, error.strerror or _first_line(error), error.filename)
    if isinstance(error, MemoryError):
        return "memory ran out. Use fewer workers, smaller batches, or a machine with more memory."
    if isinstance(error, RecursionError):
        return f"what is read is nested too deeply ({_place(error)}). Correct it, or leave it out."
    if type(error).__name__ == "OutOfMemoryError":  # torch's
        return (
            f"the GPU's memory ran out: {_first_line(error)} Lower device_train_microbatch_size, or "
            "--batch-tokens of an evaluation."
        )
    if type(error).__module__.partition(".")[0] in _STORES:
        return (
            f"a store or server cannot be used: {type(error).__name__}: {_first_line(error)}. Check its "
            "address, your credentials and the network, then run again."
        )
    return _of_text(str(error))


def _number_of(error: OSError) -> int | None:
    """Its errno; stores of fsspec raise the classes without it."""
    if error.errno is not None:
        return error.errno
    return next((number for kind, number in _NUMBERS.items() if isinstance(error, kind)), None)


def _of_text(text: str) -> str | None:
    """What Beam says of an error in a worker: the text of a traceback, or the message of a copy of it."""
    for found in reversed(list(_IN_A_TRACEBACK.finditer(text))):
        kind = getattr(builtins, found["name"], None)
        said = _WHILE_RUNNING.sub("", found["said"]).strip()
        if found["errno"]:
            path = _QUOTED_END.search(said)
            return _of_the_system(
                int(found["errno"]), said[: path.start()] if path else said, path["path"] if path else None
            )
        if isinstance(kind, type) and issubclass(kind, (MemoryError, RecursionError)):
            return _of_the_machine(kind())
    if copied := re.match(r"\[Errno (\d+)\] ", text):
        return _of_text(f"OSError: {text[: copied.end()]}{text[copied.end() :].splitlines()[0]}")
    return None


def _of_the_system(number: int, said: str, path: object) -> str:
    where = os.fsdecode(path) if isinstance(path, (str, bytes)) else None
    cure = _CURES.get(number, "Check the path and its disk, then run again.")
    if where is None:
        where = _full_places() if number in _FULL else "a file or connection"
    return f"{where}: {said[:1].lower()}{said[1:]}. {cure}"


def _full_places() -> str:
    """What a write without a name was about, most likely: temporary files, the working folder, the output."""
    places = dict.fromkeys((tempfile.gettempdir(), os.getcwd()))
    named = [f"{each} ({shutil.disk_usage(each).free / 1e6:,.0f} MB free)" for each in places]
    return ", or ".join(named if sys.stdout.isatty() else [*named, "standard output"])


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    for _ in range(_MOST_CAUSES):
        if cause is None:
            return
        yield cause
        # Beam raises a copy with a longer message; another exception met on the way is another matter.
        copied = cause.__context__ if type(cause.__context__) is type(cause) else None
        cause = cause.__cause__ or copied


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"{os.path.basename(frames[-1].filename)}, line {frames[-1].lineno}" if frames else "unknown place"


def _where_the_traceback_is(error: BaseException) -> str:
    """Write the traceback to a file of this user alone, or give it where no file can be written."""
    whole = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    try:
        descriptor, path = tempfile.mkstemp(prefix="tutelage-error-", suffix=".log")
        with open(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(whole)
    except OSError as full:
        return f"No file can take the traceback ({full}); here it is:\n{whole}"
    return f"Traceback: {path}"
