"""Messages for unexpected exceptions: cause, place and cure in one sentence, the traceback in a file.

Failures of the machine (a full disk, no permission, no memory), of a remote store, and input that nests too
deeply have a cure each. Any other exception is a bug of this program, and the message says so. Beam passes an
exception of a worker on as the text of a traceback, so this module also parses tracebacks.
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

from schemas.errors import (
    MachineError,
    TutelageError,
    UnexpectedError,
    extra_with,
    missing_package,
    overwritten,
)

_PERMISSION = "Give yourself the permission, or use another folder."
_CURES = {
    errno.ENOSPC: "Free space there, or use another disk; then run again.",
    errno.EDQUOT: "Free space in your quota, or use another disk; then run again.",
    errno.EROFS: "Use a folder that you can write to.",
    errno.EACCES: _PERMISSION,
    errno.EPERM: _PERMISSION,
    errno.EMFILE: "Raise the limit of open files (`ulimit -n`), or use fewer workers.",
    errno.ENFILE: "This machine has too many open files; end other programs, or raise its limit.",
    errno.ENAMETOOLONG: "Use a shorter file or folder name.",
    errno.EFBIG: "Raise the limit on file size (`ulimit -f`), or use another file system.",
    errno.ENOTDIR: "A file is where a folder is needed; move the file, or use another path.",
    errno.EISDIR: "A folder is where a file is needed; move the folder, or use another path.",
    errno.ENOENT: "It may have been removed; put it back, or correct the path.",
    errno.ELOOP: "Its symbolic links form a loop; correct them.",
    errno.EIO: "The disk or network file system failed; repair it, then run again.",
    errno.ESTALE: "The network file system lost the file; mount it again, then run again.",
    errno.ENOMEM: "Use fewer workers, or a machine with more memory.",
    errno.EAGAIN: "Raise the limit on processes (`ulimit -u`), or use fewer workers.",
    errno.ECONNREFUSED: "No server listens at that address; start the server, or correct the address.",
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
_STORES = {
    *("adlfs", "aiobotocore", "aiohttp", "azure", "botocore", "fsspec", "gcsfs", "google", "s3fs"),
    *("huggingface_hub", "requests", "httpx"),
}
_MAX_CAUSES = 20
_IN_A_TRACEBACK = re.compile(
    r"^(?:[\w.]+\.)?(?P<name>\w*(?:Error|Exception|Interrupt)): (?:\[Errno (?P<errno>\d+)\] )?(?P<said>.*)$",
    re.MULTILINE,
)
_WHILE_RUNNING = re.compile(r" \[while running '[^']*'\]")
_QUOTED_END = re.compile(r": '(?P<path>[^']*)'$")


def understood(error: Exception) -> TutelageError:
    """Convert any exception to one that a person can act on; its message names a file with the traceback."""
    if isinstance(error, TutelageError):
        return error
    if isinstance(error, ModuleNotFoundError) and extra_with(error):
        return missing_package("this command", error)
    if found := machines_fault(error) or overwritten(error):
        return found
    return UnexpectedError(f"{_bug_report(error)} {_save_traceback(error)}")


def machines_fault(error: BaseException) -> MachineError | None:
    """The failure of this machine or of a remote store that caused an exception; None for other causes."""
    for cause in _causes(error):
        if (message := _machine_message(cause)) is not None:
            return MachineError(f"{message} {_save_traceback(error)}")
    return None


def _bug_report(error: BaseException) -> str:
    message = _WHILE_RUNNING.sub("", str(error)).strip()
    first, *more = message.splitlines() or [""]
    name = type(error).__name__
    if more and (found := list(_IN_A_TRACEBACK.finditer(message))):
        name, first = found[-1]["name"], found[-1]["said"]
    what = f"{name}: {first}" if first else name
    return f"{what} ({_place(error)}). This is a bug in Tutelage; please report it."


def _machine_message(error: BaseException) -> str | None:
    if isinstance(error, OSError) and (number := _errno(error)) is not None:
        if "No usable temporary directory" in str(error):
            return (
                f"no folder for temporary files can be written: {error.strerror}. Set TMPDIR to a folder "
                "that you can write to and that has space."
            )
        return _os_message(number, error.strerror or _first_line(error), error.filename)
    if isinstance(error, MemoryError):
        return "memory ran out. Use fewer workers, smaller batches, or a machine with more memory."
    if isinstance(error, RecursionError):
        return f"the input is nested too deeply ({_place(error)}). Correct it, or leave it out."
    if type(error).__name__ == "OutOfMemoryError":  # torch's
        return (
            f"the GPU's memory ran out: {_first_line(error)} Lower device_train_microbatch_size, or "
            "--batch-tokens of an evaluation."
        )
    if type(error).__module__.partition(".")[0] in _STORES:
        return (
            f"a remote store or server failed: {type(error).__name__}: {_first_line(error)}. Check its "
            "address, your credentials and the network, then run again."
        )
    return _traceback_message(str(error))


def _errno(error: OSError) -> int | None:
    """The error's number; fsspec's stores raise the subclasses of OSError without one."""
    if error.errno is not None:
        return error.errno
    return next((number for kind, number in _NUMBERS.items() if isinstance(error, kind)), None)


def _traceback_message(text: str) -> str | None:
    """Message about a worker's exception from Beam's text: a traceback, or a copied exception's message."""
    for found in reversed(list(_IN_A_TRACEBACK.finditer(text))):
        kind = getattr(builtins, found["name"], None)
        said = _WHILE_RUNNING.sub("", found["said"]).strip()
        if found["errno"]:
            path = _QUOTED_END.search(said)
            return _os_message(
                int(found["errno"]), said[: path.start()] if path else said, path["path"] if path else None
            )
        if isinstance(kind, type) and issubclass(kind, (MemoryError, RecursionError)):
            return _machine_message(kind())
    if re.match(r"\[Errno \d+\] ", text):
        return _traceback_message(f"OSError: {text.splitlines()[0]}")
    return None


def _os_message(number: int, said: str, path: object) -> str:
    if isinstance(path, (str, bytes)):
        where = os.fsdecode(path)
    else:
        where = _candidates_for_full_disk() if number in _FULL else "a file or connection"
    cure = _CURES.get(number, "Check the path and its disk, then run again.")
    return f"{where}: {said[:1].lower()}{said[1:]}. {cure}"


def _candidates_for_full_disk() -> str:
    """Likely targets of a failed write whose error names no file."""
    folders = dict.fromkeys((tempfile.gettempdir(), os.getcwd()))
    named = [f"{each} ({shutil.disk_usage(each).free / 1e6:,.0f} MB free)" for each in folders]
    return ", or ".join(named if sys.stdout.isatty() else [*named, "standard output"])


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause: BaseException | None = error
    for _ in range(_MAX_CAUSES):
        if cause is None:
            return
        yield cause
        # Beam raises a copy of an exception with a longer message; a context of another type is unrelated.
        copied = cause.__context__ if type(cause.__context__) is type(cause) else None
        cause = cause.__cause__ or copied


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"{os.path.basename(frames[-1].filename)}, line {frames[-1].lineno}" if frames else "unknown place"


def _save_traceback(error: BaseException) -> str:
    """Write the traceback to a file that only this user can read; return it if no file can be written."""
    whole = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    try:
        descriptor, path = tempfile.mkstemp(prefix="tutelage-error-", suffix=".log")
        with open(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(whole)
    except OSError as full:
        return f"The traceback could not be saved ({full}); here it is:\n{whole}"
    return f"Traceback: {path}"
