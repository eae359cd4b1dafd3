"""Rebuild the wheel of an installed distribution from its files.

    ordinary install   the files that its RECORD names
    editable install   its metadata, and the files that an ordinary install of the tree has in its packages

It needs no build tool and no network, and equal files give equal bytes. It leaves out bytecode and files
outside of packages: `share/`, and scripts, which an installer makes from the entry points.
"""

from __future__ import annotations

import base64
import contextlib
import csv
import hashlib
import importlib
import importlib.util
import io
import json
import sys
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import Distribution
from pathlib import Path
from urllib.parse import unquote, urlsplit

from packaging.utils import canonicalize_name

from schemas.errors import ConfigError

_OF_THE_INSTALLER = {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_build.json", "uv_cache.json"}
_NO_TIME = (1980, 1, 1, 0, 0, 0)


def is_from_index(distribution: Distribution) -> bool:
    """True if an installer can find a distribution by name, judged by its metadata."""
    return distribution.read_text("direct_url.json") is None


def make_wheel(distribution: Distribution, folder: Path) -> Path:
    """Rebuild the wheel of an installed distribution; return its path.

    Raises:
        ConfigError: The distribution was not installed from a wheel, so its files are unknown.
    """
    name = distribution.metadata["Name"]
    files = dict(_files_of(distribution))
    info = _info(distribution)
    if not any(path.endswith(".py") or path.endswith(".so") for path in files):
        raise ConfigError(
            f"{name}: no module of it was found here, so it cannot be staged for workers on other machines. "
            "Install it with pip or uv."
        )
    record = io.StringIO()
    rows = csv.writer(record, lineterminator="\n")
    for path, data in sorted(files.items()):
        checksum = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        rows.writerow([path, f"sha256={checksum}", len(data)])
    rows.writerow([f"{info}.dist-info/RECORD", "", ""])
    wheel = folder / f"{info}-{_tag(distribution)}.whl"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in sorted(files.items()):
            archive.writestr(_entry(path), data)
        archive.writestr(_entry(f"{info}.dist-info/RECORD"), record.getvalue())
    return wheel


def _info(distribution: Distribution) -> str:
    """Return the first part of the names of a wheel and of its dist-info folder."""
    return f"{canonicalize_name(distribution.metadata['Name']).replace('-', '_')}-{distribution.version}"


def _entry(path: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(path, _NO_TIME)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    return entry


def _tag(distribution: Distribution) -> str:
    """Return the tag of a wheel's file name: its Pythons and platforms."""
    lines = (distribution.read_text("WHEEL") or "").splitlines()
    tags = [line.partition(":")[2].strip().split("-") for line in lines if line.startswith("Tag:")]
    return "-".join(".".join(dict.fromkeys(parts)) for parts in zip(*tags, strict=True)) or "py3-none-any"


def _files_of(distribution: Distribution) -> Iterator[tuple[str, bytes]]:
    """Yield the files of a wheel: path in the wheel, and content."""
    info = _info(distribution)
    for file in distribution.files or ():
        first, *rest = file.parts
        if first == ".." or "__pycache__" in file.parts or first.startswith("__editable__"):
            continue
        if first.endswith(".dist-info"):
            if file.name not in _OF_THE_INSTALLER:
                yield "/".join([f"{info}.dist-info", *rest]), Path(str(file.locate())).read_bytes()
        else:
            yield file.as_posix(), Path(str(file.locate())).read_bytes()
    origin = json.loads(distribution.read_text("direct_url.json") or "{}")
    if origin.get("dir_info", {}).get("editable"):
        patterns = _package_data(Path(unquote(urlsplit(origin["url"]).path)))
        for module in _top_level(distribution):
            yield from _files_in_place(module, patterns)


def _top_level(distribution: Distribution) -> set[str]:
    """Return the packages and modules at the top of a distribution, from its metadata."""
    listed = (distribution.read_text("top_level.txt") or "").split()
    pointed_at = [point.value.partition(":")[0].partition(".")[0] for point in distribution.entry_points]
    return {*listed, *pointed_at}


def _package_data(project: Path) -> Mapping[str, Sequence[str]] | None:
    """Return setuptools' patterns for files beside modules, by package; None for other build tools."""
    # setuptools itself refuses a process that has imported distutils.
    with contextlib.suppress(FileNotFoundError, ImportError):
        toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
        tools = toml.loads((project / "pyproject.toml").read_text(encoding="utf-8")).get("tool", {})
        found: Mapping[str, Sequence[str]] | None = tools.get("setuptools", {}).get("package-data")
        return found
    return None


def _files_in_place(module: str, patterns: Mapping[str, Sequence[str]] | None) -> Iterator[tuple[str, bytes]]:
    """Yield the files of a package or module of an editable install; without patterns all that are in it."""
    spec = importlib.util.find_spec(module)
    if spec is None:
        return
    if spec.submodule_search_locations is None and spec.origin is not None:
        yield Path(spec.origin).name, Path(spec.origin).read_bytes()
    for root in map(Path, spec.submodule_search_locations or ()):
        listed = ["*"] if patterns is None else ["*.py", "*.so"]
        found = {path for pattern in listed for path in root.rglob(pattern)}
        found |= {path for pattern in (patterns or {}).get(module, ()) for path in root.glob(pattern)}
        for path in sorted(found):
            inside = path.relative_to(root.parent)
            is_hidden = any(part == "__pycache__" or part.startswith(".") for part in inside.parts)
            if path.is_file() and not is_hidden:
                yield inside.as_posix(), path.read_bytes()
