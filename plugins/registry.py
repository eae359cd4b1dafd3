"""Registries: names of plugins, each loaded only on demand.

A registry maps a name to `"module:Attribute"`. Listing names imports nothing; `load` imports one module.
Other packages add names through entry points of the registry's group. The error for an unknown name suggests
the nearest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from schemas.errors import ConfigError, missing_package, overwritten, unknown_name


class Registry:
    """A lazy mapping from names to `"module:Attribute"` targets.

    Args:
        kind: Kind of plugin, in the singular, for messages ("reader").
        group: Entry-point group through which other packages add names ("tutelage.readers").
        targets: Our own names.
    """

    def __init__(self, kind: str, group: str, targets: Mapping[str, str]):
        self.kind = kind
        self.group = group
        self._targets = dict(targets)

    def targets(self) -> dict[str, str]:
        """Return all names with their targets; our own win over entry points of the same name."""
        from importlib import metadata  # here, since the list of commands does not need it

        found = {point.name: point.value for point in metadata.entry_points(group=self.group)}
        return {**found, **self._targets}

    def names(self) -> list[str]:
        """Return all names, sorted."""
        return sorted(self.targets())

    def load(self, name: str) -> Any:
        """Import and return the class or function of a name.

        Raises:
            ConfigError: The name is unknown, or its target cannot be imported.
        """
        target = self._targets.get(name) or self.targets().get(name)
        if target is None:
            raise ConfigError(unknown_name(self.kind, name, self.names()))
        from importlib import metadata

        point = metadata.EntryPoint(name=name, value=target, group=self.group)
        try:
            return point.load()
        except (ImportError, AttributeError) as error:
            if name in self._targets and isinstance(error, ImportError):
                raise missing_package(f"{self.kind} {name!r}", error) from error
            raise overwritten(error) or ConfigError(
                f"{self.kind} {name!r} is registered as {target!r}, which cannot be loaded: {error}. "
                "Correct its entry point, or install what its package needs."
            ) from error
