"""Registries: lazy loading, plugins of other packages, suggestions for unknown names."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from plugins.registry import Registry
from schemas.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
GROUP = "tutelage.test_things"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Another installed package with entry points of the group."""
    package = tmp_path / "site"
    info = package / "strangers-1.0.dist-info"
    info.mkdir(parents=True)
    (package / "strangers_module.py").write_text(
        "class Outer:\n    class Inner:\n        pass\n\n\nclass Mine:\n    pass\n"
    )
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: strangers\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[{GROUP}]\nouter = strangers_module:Outer\nnested = strangers_module:Outer.Inner\n"
        "extra = strangers_module:Mine [fast]\nmine = strangers_module:Mine\n"
        "gone = strangers_module:Gone\nabsent = no_such_module_here:Thing\n"
    )
    monkeypatch.syspath_prepend(str(package))
    yield package
    sys.modules.pop("strangers_module", None)


def registry(**targets: str) -> Registry:
    return Registry("thing", GROUP, targets)


def test_a_name_loads_its_target() -> None:
    assert registry(path="pathlib:Path").load("path") is Path


def test_an_unknown_name_gets_the_nearest_one() -> None:
    with pytest.raises(ConfigError) as caught:
        registry(jsonl="a:B", parquet="a:C").load("jsnl")
    assert str(caught.value) == "thing 'jsnl' is unknown. Did you mean 'jsonl'? Available: jsonl, parquet."


@pytest.mark.slow
def test_names_are_listed_without_importing_anything() -> None:
    script = (
        "import sys\n"
        "from plugins.callbacks import CALLBACKS\n"
        "from plugins.commands import COMMANDS\n"
        "from plugins.models import MODELS\n"
        "from plugins.protocols import PROTOCOLS\n"
        "from plugins.readers import READERS\n"
        "from plugins.synthesizers import SYNTHESIZERS\n"
        "from plugins.templates import TEMPLATES\n"
        "for registry in (CALLBACKS, COMMANDS, MODELS, PROTOCOLS, READERS, SYNTHESIZERS, TEMPLATES):\n"
        "    assert registry.names()\n"
        "heavy = {'torch', 'transformers', 'tokenizers', 'pyarrow', 'composer', 'aiohttp', 'apache_beam'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert done.stdout == "[]\n", done.stderr


def test_a_missing_package_is_named_with_the_cure() -> None:
    with pytest.raises(ConfigError) as caught:
        registry(far="no_such_module_here:Thing").load("far")
    assert str(caught.value) == (
        "thing 'far' needs a package that is not installed: No module named 'no_such_module_here'. "
        "Install the extra that carries it: pip install 'tutelage[all]'."
    )


def test_a_target_that_holds_no_such_thing_is_told() -> None:
    with pytest.raises(ConfigError) as caught:
        registry(gone="pathlib:Gone").load("gone")
    assert str(caught.value) == (
        "thing 'gone' is registered as 'pathlib:Gone', which cannot be loaded: "
        "module 'pathlib' has no attribute 'Gone'. "
        "Correct its entry point, or install what its package needs."
    )


def test_other_packages_add_names_through_entry_points(installed: Path) -> None:
    things = registry(path="pathlib:Path")
    assert things.names() == ["absent", "extra", "gone", "mine", "nested", "outer", "path"]
    assert "strangers_module" not in sys.modules
    outer = things.load("outer")
    assert (outer.__module__, outer.__name__) == ("strangers_module", "Outer")
    assert things.load("nested") is outer.Inner
    assert things.load("extra") is things.load("mine")


def test_our_own_name_wins_over_an_entry_point(installed: Path) -> None:
    things = registry(mine="pathlib:Path")
    assert things.load("mine") is Path
    assert things.targets()["mine"] == "pathlib:Path"
    assert any(point.name == "mine" for point in importlib.metadata.entry_points(group=GROUP))


@pytest.mark.parametrize(
    ("name", "why"), [("gone", "has no attribute 'Gone'"), ("absent", "No module named")]
)
def test_a_broken_entry_point_breaks_its_own_name_only(installed: Path, name: str, why: str) -> None:
    with pytest.raises(ConfigError, match=f"{why}.* Correct its entry point, or install what its package"):
        registry().load(name)
    assert registry().load("outer").__name__ == "Outer"
