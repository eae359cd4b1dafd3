"""Which files a path, glob or directory means, and what of it could not be listed.

    path that exists, whatever characters it holds ─► the file, or the files of the directory
    path that does not exist ─► a glob: matching files, and the files of matching directories

A directory means the files directly in it; `DIR/**` means those below it as well. What else is there is
named, so that nothing is left out in silence: directories that may not be opened, links to nothing and links
that lead round, devices and pipes, directories inside a directory. Its hidden entries are counted.
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
"""How Python spells the bytes of a file name that are not UTF-8."""


@dataclasses.dataclass(frozen=True, slots=True)
class Listing:
    """What a path, glob or directory means.

    Attributes:
        files: The files, sorted. Relative paths stay relative, so that names derived from them do not
            depend on the machine.
        unreadable: By path, why it is none of the files.
        hidden: Number of hidden entries of directories, which are passed over.
    """

    files: list[str]
    unreadable: Mapping[str, str] = dataclasses.field(default_factory=dict)
    hidden: int = 0

    def described(self) -> str:
        """The first of what is unreadable, with the reasons."""
        shown = [f"{shown_name(path)} {why}" for path, why in sorted(self.unreadable.items())]
        more = f"; and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
        return "; ".join(shown[:_SHOWN]) + more


def list_uri(uri: str) -> Listing:
    """List what a path, glob or directory means; it may be nothing.

    Raises:
        InputError: The storage refuses to list it.
    """
    try:
        return _local(uri.removeprefix("file://")) if storage.is_local(uri) else _remote(uri)
    except OSError as error:
        raise InputError(f"{uri!r} cannot be listed: {error}.") from error


def expand(uri: str) -> list[str]:
    """List the files that a path, glob or directory means, where nothing may be left out and names are text.

    Raises:
        InputError: Something there cannot be read, or has a name that is not UTF-8.
    """
    found = list_uri(uri)
    if found.unreadable:
        raise InputError(f"{uri!r}: {found.described()}")
    for name in found.files:
        if shown_name(name) != name:
            raise InputError(f"{uri!r}: {shown_name(name)} is a name that is not UTF-8; rename the file")
    return found.files


def shown_name(path: str) -> str:
    r"""A path as text: bytes that are not UTF-8, which Linux allows in names, become `\xe9`."""
    return _RAW_BYTES.sub(lambda found: f"\\x{ord(found[0]) - 0xDC00:02x}", path)


def _local(path: str) -> Listing:
    unreadable: dict[str, str] = {}
    if _is_there(path):
        found = [path]
    elif not globbing.has_magic(path):
        found = []
    else:
        found = _matches(path, unreadable)
    files: set[str] = set()
    hidden = 0
    folders = {name for name in found if os.path.isdir(name)}
    known = {os.path.normpath(name) for name in folders}
    for name in found:
        if name not in folders:
            _sort_in(name, files, unreadable)
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
                _sort_in(name, files, unreadable)
            elif os.path.normpath(name) not in known and name not in unreadable:
                unreadable[name] = _not_entered(folder)
    return Listing(sorted(files), unreadable, hidden)


def _is_there(path: str) -> bool:
    """Whether there is a path, a link to nothing included; one that may not be looked at is an error."""
    try:
        os.lstat(path)
    except PermissionError:
        raise
    except (OSError, ValueError):
        return False
    return True


def _sort_in(name: str, files: set[str], unreadable: dict[str, str]) -> None:
    try:
        is_file = stat.S_ISREG(os.stat(name).st_mode)
    except FileNotFoundError:
        unreadable[name] = "is a link to nothing"
    except OSError as error:
        unreadable[name] = _refused(error)
    else:
        if is_file:
            files.add(name)
        else:
            unreadable[name] = "is a device, pipe or socket"


def _matches(pattern: str, unreadable: dict[str, str]) -> list[str]:
    """What a glob matches, folder by folder: the library's own goes round a loop of links for ever.

    Hidden entries are matched only where the pattern names the dot. Folders that may not be opened, and links
    to a folder that they lie in, are added to `unreadable`.
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
    """Names in a folder that match one part of a glob."""
    try:
        names = os.listdir(folder or ".")
    except (FileNotFoundError, NotADirectoryError):  # nothing there to match
        return []
    except OSError as error:
        unreadable[folder] = _refused(error)
        return []
    return [name for name in fnmatch.filter(names, pattern) if pattern[0] == "." or not name.startswith(".")]


def _below(folder: str, unreadable: dict[str, str], above: tuple[str, ...] = ()) -> Iterator[str]:
    """A folder and all folders in it, at any depth, but hidden ones."""
    above = (*above, os.path.realpath(folder))
    yield folder
    for path in (os.path.join(folder, name) for name in _entries(folder, "*", unreadable)):
        if os.path.isdir(path):
            if os.path.realpath(path) in above:
                unreadable[path] = "is a link to a folder that it lies in"
            else:
                yield from _below(path, unreadable, above)


def _not_entered(folder: str) -> str:
    return f"is a folder inside a folder, {folder.rstrip('/')}/** means its files too"


def _refused(error: OSError) -> str:
    return f"cannot be opened: {error.strerror or error}"


def _remote(uri: str) -> Listing:
    fs, path = storage.filesystem(uri)
    protocol = uri.split("://", 1)[0]
    try:  # not `exists`, which takes a refusal for a no
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
    files = sorted(f"{protocol}://{name}" for name, info in found.items() if info["type"] == "file")
    others = {f"{protocol}://{name}": info["type"] for name, info in found.items() if info["type"] != "file"}
    unreadable |= {name: f"is no file but {kind}" for name, kind in others.items()}
    return Listing(files, unreadable, hidden)
