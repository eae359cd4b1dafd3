"""Listing of a path, glob or directory: its files, and the entries that are no readable files.

    path that exists, with any characters ─► the file, or the files of the directory
    path that does not exist ─► a glob: matching files, and the files of matching directories

A directory means the files directly in it; `DIR/**` means also those below it. So that nothing is left out
silently, a listing names directories without permission, broken and circular links, devices and pipes, and
directories inside a directory. It counts hidden entries.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import glob as globbing
import os
import re
import stat
from collections.abc import Iterator, Mapping

from schemas import storage
from schemas.errors import InputError

_SHOWN = 3
_RAW_BYTES = re.compile("[\udc80-\udcff]")
"""Python's characters for the bytes of a file name that are not UTF-8."""


@dataclasses.dataclass(frozen=True, slots=True)
class Listing:
    """Files of a path, glob or directory."""

    files: list[str]  # sorted; relative paths stay so: names derived from them do not depend on the machine
    # Reasons by path, for entries that are no readable files.
    unreadable: Mapping[str, str] = dataclasses.field(default_factory=dict)
    hidden: int = 0  # number of hidden entries of directories, which are skipped
    # Reasons by path, for links of a folder of mixed files that are not followed.
    links: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def described(self) -> str:
        """Return the first unreadable entries and links, with their reasons."""
        found = {**self.unreadable, **self.links}
        shown = [f"{shown_name(path)} {why}" for path, why in sorted(found.items())]
        more = f"; and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
        return "; ".join(shown[:_SHOWN]) + more


def list_uri(uri: str) -> Listing:
    """List a path, glob or directory; the listing may be empty.

    Raises:
        InputError: The storage refuses to list it.
    """
    try:
        return _local(uri.removeprefix("file://")) if storage.is_local(uri) else _remote(uri)
    except OSError as error:
        raise InputError(f"{uri!r} cannot be listed: {error}.") from error


def list_folder(folder: str) -> Listing:
    """List the files of a local folder at any depth.

    Of links only those to files in the folder are followed: others lead round, or to files that its owner
    did not put there. A glob, such as `DIR/**`, follows all.

    Raises:
        InputError: The storage refuses to list it.
    """
    root = os.path.realpath(folder)
    entries: list[str] = []
    refused: dict[str, str] = {}
    links: dict[str, str] = {}
    hidden = 0
    for at, folders, names in os.walk(folder, onerror=lambda error: refused.update(_of_walk(error))):
        hidden += sum(name.startswith(".") for name in (*folders, *names))
        folders[:] = [name for name in folders if not name.startswith(".")]
        for path in (os.path.join(at, name) for name in (*folders, *names) if not name.startswith(".")):
            if os.path.islink(path):
                links[path] = _not_followed(path, root)
            if not os.path.isdir(path) and not links.get(path):
                entries.append(path)
    problems = {path: problem for path in entries if (problem := _problem(path))}
    files = sorted(path for path in entries if path not in problems)
    return Listing(files, {**refused, **problems}, hidden, {path: why for path, why in links.items() if why})


def _of_walk(error: OSError) -> dict[str, str]:
    return {str(error.filename): _refused(error)}


def _not_followed(link: str, root: str) -> str:
    """Return why a link of a folder is not followed, or ""."""
    target = os.path.realpath(link)
    if not os.path.exists(target):
        return "is a broken link"
    if os.path.commonpath([root, target]) != root:
        return "is a link that leads out of the folder"
    return "is a link to a folder, which is read in its own place" if os.path.isdir(target) else ""


def expand(uri: str) -> list[str]:
    """List the files of a path, glob or directory, all of which must be readable.

    Raises:
        InputError: An entry cannot be read, or has a name that is not UTF-8.
    """
    found = list_uri(uri)
    if found.unreadable:
        raise InputError(f"{uri!r}: {found.described()}")
    for name in found.files:
        if shown_name(name) != name:
            raise InputError(f"{uri!r}: {shown_name(name)} is a name that is not UTF-8; rename the file")
    return found.files


def shown_name(path: str) -> str:
    r"""Return a path as text: bytes that are not UTF-8, which Linux allows in names, become `\xe9`."""
    return _RAW_BYTES.sub(lambda found: f"\\x{ord(found[0]) - 0xDC00:02x}", path)


def _local(path: str) -> Listing:
    unreadable: dict[str, str] = {}
    found = [path] if _is_there(path) else []
    if not found and globbing.has_magic(path):
        found = _matches(path, unreadable)
    folders = {name for name in found if os.path.isdir(name)}
    known = {os.path.normpath(name) for name in folders}
    entries = [name for name in found if name not in folders]
    hidden = 0
    for folder in folders:
        try:
            inside = os.listdir(folder)
        except OSError as error:
            unreadable[folder] = _refused(error)
            continue
        for name in (os.path.join(folder, each) for each in inside):
            if os.path.basename(name).startswith("."):
                hidden += 1
            elif not os.path.isdir(name):
                entries.append(name)
            elif os.path.normpath(name) not in known and name not in unreadable:
                unreadable[name] = _not_entered(folder)
    problems = {name: _problem(name) for name in entries}
    unreadable |= {name: problem for name, problem in problems.items() if problem}
    return Listing(sorted(name for name, problem in problems.items() if not problem), unreadable, hidden)


def _is_there(path: str) -> bool:
    """True if a path exists, also as a broken link; a lack of permission is raised."""
    try:
        os.lstat(path)
    except PermissionError:
        raise
    except (OSError, ValueError):
        return False
    return True


def _problem(name: str) -> str:
    """Return why an entry is no readable file, or ""."""
    try:
        mode = os.stat(name).st_mode
    except FileNotFoundError:
        return "is a broken link"
    except OSError as error:
        return _refused(error)
    return "" if stat.S_ISREG(mode) else "is a device, pipe or socket"


def _matches(pattern: str, unreadable: dict[str, str]) -> list[str]:
    """Return the matches of a glob, folder by folder: the library's own follows circular links for ever.

    The dot of a hidden entry must be in the pattern. Folders without permission and circular links go to
    `unreadable`.
    """
    found = ["/" if pattern.startswith("/") else ""]
    parts = [part for part in pattern.split("/") if part]
    for place, part in enumerate(parts):
        is_last = place == len(parts) - 1
        if part == "**":
            found = [inside for folder in found for inside in _below(folder, unreadable)]
        elif globbing.has_magic(part):
            inside = [os.path.join(at, name) for at in found for name in _entries(at, part, unreadable)]
            found = inside if is_last and not pattern.endswith("/") else list(filter(os.path.isdir, inside))
        else:
            found = [path for at in found if os.path.lexists(path := os.path.join(at, part))]
    return found


def _entries(folder: str, pattern: str, unreadable: dict[str, str]) -> list[str]:
    """Return the names in a folder that match one part of a glob."""
    try:
        names = os.listdir(folder or ".")
    except (FileNotFoundError, NotADirectoryError):  # no names to match
        return []
    except OSError as error:
        unreadable[folder] = _refused(error)
        return []
    return [name for name in fnmatch.filter(names, pattern) if pattern[0] == "." or not name.startswith(".")]


def _below(folder: str, unreadable: dict[str, str], above: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield a folder and all folders in it, at any depth, without hidden ones."""
    above = (*above, os.path.realpath(folder))
    yield folder
    for path in (os.path.join(folder, name) for name in _entries(folder, "*", unreadable)):
        if os.path.isdir(path):
            if os.path.realpath(path) in above:
                unreadable[path] = "is a link to a folder above it"
            else:
                yield from _below(path, unreadable, above)


def _not_entered(folder: str) -> str:
    return f"is a subfolder; {folder.rstrip('/')}/** also means its files"


def _refused(error: OSError) -> str:
    return f"cannot be opened: {error.strerror or error}"


def _remote(uri: str) -> Listing:
    fs, path = storage.filesystem(uri)
    protocol = uri.split("://", 1)[0]
    try:  # not `exists`, which returns False for a refusal
        found = {path: fs.info(path)}
    except FileNotFoundError:
        found = fs.glob(path, detail=True) if globbing.has_magic(path) else {}
    folders = {name.rstrip("/") for name, info in found.items() if info["type"] == "directory"}
    found = {name: info for name, info in found.items() if info["type"] != "directory"}
    unreadable: dict[str, str] = {}
    hidden = 0
    for folder in folders:
        for info in fs.ls(folder, detail=True):
            name = info["name"].rstrip("/")
            if name == folder:  # an object store's marker of the folder itself
                continue
            if name.rpartition("/")[2].startswith("."):
                hidden += 1
            elif info["type"] != "directory":
                found[name] = info
            elif name not in folders:
                unreadable[f"{protocol}://{name}"] = _not_entered(f"{protocol}://{folder}")
    kinds = {f"{protocol}://{name}": info["type"] for name, info in found.items()}
    unreadable |= {name: f"is of type {kind}, not a file" for name, kind in kinds.items() if kind != "file"}
    return Listing(sorted(name for name, kind in kinds.items() if kind == "file"), unreadable, hidden)
