"""Rules of the repository: imports between packages, names, locks."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

ARROWS = {
    "schemas": {"schemas"},
    "plugins": {"schemas", "plugins"},
    "pipelines": {"schemas", "plugins", "pipelines"},
    "trainer": {"schemas", "plugins", "trainer"},
}
"""Our packages that each of our packages may import."""

LOCKS = ("dev.txt", "pipelines.txt", "trainer.txt")


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imported_names(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and dotted name of every import in a file, including imports inside functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), filename=str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                above = path.relative_to(ROOT).parts[: -node.level]
                yield node.lineno, ".".join([*above, node.module or ""]).strip(".")
            else:
                yield node.lineno, node.module or ""


def requirements(lock: Path) -> Iterator[str]:
    """Yield each requirement of a lock file as one line, without comments."""
    lines = [
        line for line in lock.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")
    ]
    yield from (line for line in "\n".join(lines).replace("\\\n", " ").splitlines() if line.strip())


@pytest.mark.parametrize("package", ARROWS)
def test_imports_follow_the_arrows(package: str) -> None:
    forbidden = set(ARROWS) - ARROWS[package]
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for path in modules(package)
        for line, name in imported_names(path)
        if name.split(".")[0] in forbidden
    ]
    assert wrong == []


def test_the_trainer_never_imports_beam_and_the_pipelines_never_import_composer() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for package, rival in (("trainer", "apache_beam"), ("pipelines", "composer"))
        for path in modules(package)
        for line, name in imported_names(path)
        if name.split(".")[0] == rival
    ]
    assert wrong == []


@pytest.mark.parametrize("package", ARROWS)
def test_every_module_can_be_imported_by_its_path(package: str) -> None:
    """The wheel lacks folders without `__init__.py`, and imports need names that are identifiers."""
    assert modules(package), f"{package} holds no module"
    for path in modules(package):
        parts = path.relative_to(ROOT).with_suffix("").parts
        assert all(part.isidentifier() for part in parts), path
        for folder in path.relative_to(ROOT).parents[:-1]:
            assert (ROOT / folder / "__init__.py").is_file(), f"{folder} needs an __init__.py"


@pytest.mark.parametrize(("folder", "most"), [("pipelines", 10), ("trainer", 10), ("trainer/evaluation", 14)])
def test_the_top_of_a_folder_holds_few_entries(folder: str, most: int) -> None:
    """A newcomer can read all names of a folder at one glance."""
    beside = {"__init__.py", "__pycache__", "py.typed", "yamls"}
    entries = {path.name for path in (ROOT / folder).iterdir()} - beside
    assert len(entries) <= most, sorted(entries)


def test_the_table_of_decisions_names_files_and_what_they_hold() -> None:
    table = (ROOT / "docs/architecture.md").read_text(encoding="utf-8").partition("## Where is … decided?")[2]
    rows = re.findall(r"(?m)^\| [^|]+ \| `([^`|]+)` \| `([^`|]+)` \|$", table)
    assert len(rows) >= 40
    lost = [
        f"{name} in {file}"
        for file, name in rows
        if not (ROOT / file).is_file()
        or not re.search(rf"\b{re.escape(name)}\b", (ROOT / file).read_text(encoding="utf-8"))
    ]
    assert lost == []


@pytest.mark.parametrize("package", ARROWS)
def test_a_module_begins_with_what_it_is(package: str) -> None:
    """The first line of a module is a noun phrase or an imperative, no question word."""
    wrong = [
        f"{path.relative_to(ROOT)}: {first}"
        for path in modules(package)
        if (
            first := (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]
        )
        and re.match(r"(What|Which|Where|Whether|How|Who|When|Why)\b", first)
    ]
    assert wrong == []


@pytest.mark.parametrize("package", ARROWS)
def test_our_top_level_names_are_ours_alone(package: str) -> None:
    """A rival distribution with a package of the same name would shadow ours or be shadowed by it."""
    assert set(importlib.metadata.packages_distributions()[package]) == {"tutelage"}


@pytest.mark.parametrize("name", LOCKS)
def test_locks_pin_every_requirement_with_hashes(name: str) -> None:
    found = list(requirements(ROOT / ".ci/requirements" / name))
    assert len(found) > 50
    wrong = [
        line
        for line in found
        if not re.match(r"^[a-z0-9][a-z0-9._-]*(\[[a-z0-9,._-]+\])?==[^ *]+ ", line)
        or not re.search(r" --hash=sha256:[0-9a-f]{64}(\s|$)", line)
    ]
    assert wrong == []


@pytest.mark.parametrize("name", LOCKS)
def test_locks_name_no_host_and_no_path(name: str) -> None:
    """An index URL in a lock would bind every user to the network of its author."""
    text = (ROOT / ".ci/requirements" / name).read_text(encoding="utf-8")
    assert "://" not in text
    assert " @ " not in text
    options = [line for line in text.splitlines() if line.startswith("-")]
    assert options == []
    paths = re.findall(r"(?m)(?<![\w.])/[a-z]+/\S*", text)
    assert paths == []


def test_locks_agree_on_every_version() -> None:
    """The lock of the pipelines alone may be newer: Composer's pins keep an older Beam beside the trainer."""

    def pins(name: str) -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for line in requirements(ROOT / ".ci/requirements" / name):
            project, _, rest = line.partition("==")
            found.setdefault(project.split("[")[0], set()).add(rest.split()[0])
        return found

    everything, pipelines, trainer = map(pins, LOCKS)
    assert {name: versions for name, versions in trainer.items() if versions - everything[name]} == {}
    for name in ("tokenizers", "transformers"):  # these packages determine the tokens of a corpus
        assert pipelines[name] == everything[name]


def test_pipelines_need_neither_torch_nor_streaming() -> None:
    lock = [re.split(r"[=\[]", line)[0] for line in requirements(ROOT / ".ci/requirements/pipelines.txt")]
    assert {"torch", "mosaicml", "mosaicml-streaming", "composer"} & {*lock} == set()


@pytest.mark.slow
def test_importing_the_pipelines_imports_no_torch() -> None:
    code = (
        "import sys\n"
        "import pipelines.increment, pipelines.increments.build\n"
        "print(sorted({'torch', 'streaming', 'composer', 'transformers'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.stdout == "[]\n", done.stderr


def test_every_example_is_shipped() -> None:
    """A pattern of data-files does not match subfolders, so each folder of examples needs its own pattern."""
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    patterns = re.findall(r'(?m)^"share/tutelage/([^"]+)" = \["([^"]+)"\]$', project)
    shipped = {
        path for folder, pattern in patterns for path in ROOT.glob(pattern) if pattern.startswith(folder)
    }
    assert {path for path in (ROOT / "examples").rglob("*") if path.is_file()} - shipped == set()


@pytest.mark.slow
def test_commands_that_read_a_corpus_import_no_beam(tmp_path: Path) -> None:
    """An import of Beam costs a second and prints messages of its libraries."""
    corpus = shutil.copytree(ROOT / "tests/golden/mined", tmp_path / "corpus")
    code = (
        "import sys\n"
        "from pipelines.command import main\n"
        f"for words in (['show'], ['verify'], ['prune', '--dry-run'], ['export-pairs']):\n"
        f"    assert main([words[0], {str(corpus)!r}, *words[1:]]) == 0\n"
        f"assert main(['trace', {str(corpus)!r}, 'article-6']) == 0\n"
        "heavy = {'apache_beam', 'torch', 'streaming'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stderr
