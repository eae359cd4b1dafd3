"""Commands beside packages and modules that have the names of ours."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from schemas.manifest import read_manifest
from tests.installed import FOREIGN, PACKAGES, ROOT, Installed, add, foreign_packages, install_wheel

pytestmark = pytest.mark.slow

MISSING = "ConfigError: x.yaml: no such file. Name a YAML configuration.\n"


def as_folders(folder: Path) -> None:
    for name in PACKAGES:
        (folder / name).mkdir()
        (folder / name / "notes.txt").write_text("no package\n")


def as_modules(folder: Path) -> None:
    for name in PACKAGES:
        (folder / f"{name}.py").write_text(FOREIGN)


@pytest.fixture(params=[foreign_packages, as_folders, as_modules])
def beside(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A working directory with all four names."""
    folder = tmp_path / "work"
    folder.mkdir()
    request.param(folder)
    return folder


@pytest.mark.parametrize(
    "command",
    [
        ("train", "x.yaml"),
        ("corpus", "build", "x.yaml"),
        ("-m", "tutelage", "train", "x.yaml"),
        ("-m", "trainer.train", "x.yaml"),
        ("-m", "pipelines.command", "build", "x.yaml"),
    ],
    ids=" ".join,
)
def test_a_command_is_ours(installed: Installed, beside: Path, command: tuple[str, ...]) -> None:
    for more in ({}, {"PYTHONPATH": "."}, {"PYTHONPATH": str(beside)}):
        done = installed.run(*command, cwd=beside, **more)
        assert (done.returncode, done.stdout, done.stderr) == (2, "", MISSING)


@pytest.mark.parametrize(
    "launcher",
    [
        ("torch.distributed.run", "--standalone", "--nproc-per-node", "1"),
        ("composer.cli.launcher", "-n", "1"),
    ],
    ids=["torchrun", "composer"],
)
def test_a_launcher_of_many_processes_starts_ours(
    installed: Installed, tmp_path: Path, launcher: tuple[str, ...]
) -> None:
    foreign_packages(tmp_path)
    done = installed.run("-m", *launcher, "-m", "trainer.train", "x.yaml", cwd=tmp_path, timeout=240)
    assert MISSING in done.stdout + done.stderr
    assert "foreign" not in done.stdout + done.stderr


def test_a_build_with_worker_processes_is_ours(
    installed: Installed, tmp_path: Path, write_rows: Callable[..., Path]
) -> None:
    foreign_packages(tmp_path)
    rows = [{"text": f"Passage {number} tells of {number} mg."} for number in range(6)]
    source = str(write_rows(tmp_path / "domain.jsonl", *rows))
    config = {
        "corpus": "corpus",
        "streams": {"domain": {"synthesize": True, "sources": [{"reader": "jsonl", "uri": source}]}},
        "tokenizer": {"name": str(ROOT / "tests/golden/tokenizer")},
    }
    (tmp_path / "corpus.yaml").write_text(json.dumps(config))
    processes = ("--direct_running_mode=multi_processing", "--direct_num_workers=2")
    command = ("corpus", "build", "corpus.yaml", "--", *processes)
    done = installed.run(*command, cwd=tmp_path, timeout=280, PYTHONPATH=".")
    assert done.returncode == 0, done.stderr
    assert read_manifest(str(tmp_path / "corpus")).increments[0].num_documents == 6


def test_a_foreign_module_of_the_very_name_runs_and_is_named_beside_a_yaml(
    installed: Installed, tmp_path: Path
) -> None:
    (tmp_path / "trainer").mkdir()
    (tmp_path / "trainer" / "train.py").write_text("print('foreign')\n")
    (tmp_path / "trainer" / "__init__.py").touch()
    done = installed.run("-m", "trainer.train", cwd=tmp_path)
    assert (done.stdout, done.stderr) == ("foreign\n", "")
    done = installed.run("-m", "trainer.train", "x.yaml", cwd=tmp_path)
    assert done.stdout == "foreign\n"
    assert done.stderr == (
        f"{tmp_path}/trainer/train.py runs, and hides Tutelage's module of that name. For Tutelage's start "
        "from another folder, or use `tutelage`, `composer -m tutelage train` or `torchrun -m tutelage "
        "train`.\n"
    )


def test_other_programs_get_their_own_packages(installed: Installed, tmp_path: Path) -> None:
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "__init__.py").write_text("name = 'foreign'\n")
    (tmp_path / "program.py").write_text(
        "import plugins, sys; print(plugins.name, 'tutelage' in sys.modules)\n"
    )
    assert installed.run("-m", "program", cwd=tmp_path).stdout == "foreign False\n"
    assert installed.run("-c", "import program", cwd=tmp_path).stdout == "foreign False\n"


@pytest.fixture
def installed_anew(installed: Installed, tmp_path: Path) -> Installed:
    """An installation that a test may damage."""
    return install_wheel(installed.sdist, installed.wheel, tmp_path / "venv")


@pytest.mark.parametrize(
    ("file", "text", "cause"),
    [
        ("plugins/__init__.py", "import no_such_module", "ModuleNotFoundError: No module"),
        ("schemas/config.py", "DEBUG = True", "ImportError: cannot import name"),
        ("trainer/train.py", "def fit(): ...", "AttributeError: module 'trainer.train'"),
    ],
    ids=["plugins", "schemas", "trainer"],
)
def test_a_wheel_that_overwrote_our_files_is_named(
    installed_anew: Installed, tmp_path: Path, file: str, text: str, cause: str
) -> None:
    wheel = tmp_path / "rival-1.2-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(file, text)
        info = "rival-1.2.dist-info"
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: rival\nVersion: 1.2\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", f"{file},,\n")
    add(wheel, installed_anew.python)
    done = installed_anew.run("train", "x.yaml", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(
        f"ConfigError: {file} in {installed_anew.site} is not that of Tutelage's wheel: rival 1.2 installed "
        f"files of the same names. Install Tutelage in an environment of its own. ({cause}"
    )
