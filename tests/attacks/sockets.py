"""TCP sockets that the processes of a command listen on, polled while the command runs."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import subprocess
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

_MARK = "TUTELAGE_TEST_MARK"
_LISTENS = "0A"


class Looked:
    """Observations of a command and of all its descendant processes, daemons included.

    Attributes:
        environment: Variable that marks the processes of the command; child processes inherit it.
        addresses: Addresses that the processes listened on.
        pids: Ids of the processes.
    """

    def __init__(self) -> None:
        self.environment = {_MARK: uuid.uuid4().hex}
        self.addresses: set[str] = set()
        self.pids: set[int] = set()
        self._done = threading.Event()

    def beyond_loopback(self) -> list[str]:
        """Addresses that other machines can reach."""
        return sorted(each for each in self.addresses if not _address(each).is_loopback)

    @contextlib.contextmanager
    def looking(self) -> Iterator[None]:
        """Poll the processes during the block."""
        thread = threading.Thread(target=self._keep_looking)
        thread.start()
        try:
            yield
        finally:
            self._done.set()
            thread.join()

    def _keep_looking(self) -> None:
        while not self._done.wait(0.1):
            self.look()

    def look(self) -> None:
        """Poll the processes once."""
        listening = _listening()
        mark = f"{_MARK}={self.environment[_MARK]}".encode()
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # the process ends, or belongs to another user
                if mark not in (process / "environ").read_bytes().split(b"\0"):
                    continue
                self.pids.add(int(process.name))
                for file in (process / "fd").iterdir():
                    with contextlib.suppress(OSError):
                        target = os.readlink(file)
                        if (inode := target.removeprefix("socket:[").removesuffix("]")) in listening:
                            self.addresses.add(listening[inode])


def run_looked_at(
    command: Sequence[str], *, cwd: Path, env: Mapping[str, str] | None = None, timeout_sec: float = 500
) -> tuple[subprocess.CompletedProcess[str], Looked]:
    """Run a command to its end, and poll its processes meanwhile."""
    looked = Looked()
    with looked.looking():
        done = subprocess.run(
            command,
            cwd=cwd,
            env={**os.environ, **(env or {}), **looked.environment},
            capture_output=True,
            text=True,
            timeout=timeout_sec,
        )
    return done, looked


def _listening() -> dict[str, str]:
    """Address of each listening TCP socket of this machine, by inode."""
    found = {}
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            (
                _,
                local,
                _,
                state,
                *_,
            ) = line.split()
            if state == _LISTENS:
                found[line.split()[9]] = str(_of_hex(local.partition(":")[0]))
    return found


def _of_hex(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Parse an address as the kernel prints it: words of 4 bytes in native order, here little-endian."""
    words = (bytes.fromhex(text[start : start + 8])[::-1] for start in range(0, len(text), 8))
    return _address(str(ipaddress.ip_address(b"".join(words))))


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    address = ipaddress.ip_address(text)
    return getattr(address, "ipv4_mapped", None) or address
