"""Which files a path, glob or directory means, and what of it could not be listed.

    path that exists, whatever characters it holds ─► the file, or the files of the directory
    path that does not exist ─► a glob: matching files, and the files of matching directories

A directory means the files directly in it; `DIR/**` means those below it as well. What else is there is
named, so that nothing is left out in silence: directories that may not be opened, links to nothing, devices
and pipes, directories inside a directory. Its hidden entries are counted.
"""

from __future__ import annotations

import dataclasses
import glob as globbing
import os
import re
import stat
from collections.abc import Iterable, Iterator, Mapping

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
        found = globbing.glob(path, recursive=True)
        unreadable = dict(_unreadable(_searched(path)))  # glob passes over them without a word
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
            elif os.path.normpath(name) not in known:
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


def _searched(pattern: str) -> Iterator[str]:
    """The folders whose entries a glob compares with its pattern."""
    parts = pattern.split("/")
    for place, part in enumerate(parts):
        if globbing.has_magic(part):
            folder = "/".join([*parts[:place], *(["**"] if part == "**" else []), ""])
            yield from globbing.glob(folder, recursive=True) if globbing.has_magic(folder) else [folder]


def _unreadable(folders: Iterable[str]) -> Iterator[tuple[str, str]]:
    for folder in set(folders):
        try:
            with os.scandir(folder or "."):
                pass
        except (FileNotFoundError, NotADirectoryError):  # nothing there to match
            continue
        except OSError as error:
            yield folder, _refused(error)


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
