"""Replace internals of other libraries while a block runs. docs/internals.md lists them all."""

from __future__ import annotations

import contextlib
import inspect
import sys
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

from schemas.errors import MachineError


class Internal(NamedTuple):
    """An attribute of a module or class of another library, and our value for it."""

    owner: Any
    name: str
    ours: Any


_originals: dict[tuple[Any, str], tuple[Any, int]] = {}
"""The original value of each replaced attribute, and the number of blocks that replace it now."""
_lock = threading.Lock()


@contextlib.contextmanager
def replaced(*internals: Internal) -> Iterator[None]:
    """Replace internals until the block ends. Blocks of several threads may overlap.

    Raises:
        MachineError: An internal is missing, or takes other parameters than ours; the installed version of
            its library is not one that this program was tested with.
    """
    for each in internals:
        _check(each)
    with _lock:
        for owner, name, ours in internals:
            original, num_blocks = _originals.get((owner, name), (getattr(owner, name), 0))
            _originals[owner, name] = original, num_blocks + 1
            setattr(owner, name, ours)
    try:
        yield
    finally:
        with _lock:
            for owner, name, _ in internals:
                original, num_blocks = _originals.pop((owner, name))
                if num_blocks > 1:
                    _originals[owner, name] = original, num_blocks - 1
                else:
                    setattr(owner, name, original)


def internal_changed(owner: Any, name: str, found: str) -> MachineError:
    """The error for an internal that is not as this program expects it."""
    path = owner.__name__ if inspect.ismodule(owner) else f"{owner.__module__}.{owner.__qualname__}"
    library = path.partition(".")[0]
    version = getattr(sys.modules[library], "__version__", "of an unknown version")
    return MachineError(
        f"{library} {version}: {path}.{name} {found}. Tutelage depends on this internal: install a version "
        f"of {library} that docs/internals.md names."
    )


def _check(internal: Internal) -> None:
    owner, name, ours = internal
    if not hasattr(owner, name):
        raise internal_changed(owner, name, "does not exist")
    theirs, expected = _parameters(getattr(owner, name)), _parameters(ours)
    if theirs != expected:
        raise internal_changed(owner, name, f"takes {theirs}, expected {expected}")


def _parameters(value: Any) -> list[str] | None:
    """Names of the parameters of a function or class; None for any other value."""
    if not inspect.isroutine(value) and not inspect.isclass(value):
        return None
    variadic = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
    return [each.name for each in inspect.signature(value).parameters.values() if each.kind not in variadic]
