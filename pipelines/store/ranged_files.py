"""Files of one folder at any fsspec URI, read in ranges by name."""

from __future__ import annotations

import os
from typing import IO, Any, cast

from schemas import storage


class RangedFolder:
    """Reads parts of files; opens nothing in advance, so the number of files costs no descriptors.

    A part is read, not mapped: the pages of a mapped file count as memory of the process, and random look-ups
    in a large file soon touch them all.
    """

    def __init__(self, uri: str):
        self.uri = uri
        self.is_local = storage.is_local(uri)
        self._fs, self._path = storage.filesystem(uri.rstrip("/"))

    def sizes(self) -> dict[str, int]:
        """Bytes of each regular file, by name in order; none if there is no such folder."""
        try:
            entries = self._fs.ls(self._path, detail=True, refresh=True)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        files = ((entry["name"].rsplit("/", 1)[-1], entry) for entry in entries if entry["type"] == "file")
        return {name: int(entry["size"]) for name, entry in sorted(files, key=lambda file: file[0])}

    def uri_of(self, name: str) -> str:
        """URI of a file."""
        return storage.join(self.uri, name)

    def open(self, name: str) -> IO[bytes]:
        """Open a file for reading from its start."""
        return cast(IO[bytes], self._fs.open(f"{self._path}/{name}", "rb"))

    def read(self, name: str, start: int, size: int) -> bytes:
        """Read `size` bytes from `start`; fewer at the end of the file.

        Raises:
            FileNotFoundError: There is no such file.
        """
        path = f"{self._path}/{name}"
        if not self.is_local:
            data: Any = self._fs.cat_file(path, start=start, end=start + size)
            return bytes(data)
        descriptor = os.open(path, os.O_RDONLY)
        try:
            return os.pread(descriptor, size, start)
        finally:
            os.close(descriptor)
