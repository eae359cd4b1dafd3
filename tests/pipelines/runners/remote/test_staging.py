from __future__ import annotations

import base64
import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Callable
from email.parser import HeaderParser
from importlib.metadata import Distribution, PathDistribution
from pathlib import Path
from typing import Any

import pytest
from apache_beam.options.pipeline_options import SetupOptions
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from pipelines.runners.remote import staging
from pipelines.runners.remote.staging import needed, roots, stage
from pipelines.runners.remote.wheel import make_wheel
from pipelines.runners.run import parse_options
from schemas.corpus_config import CorpusConfig
from schemas.errors import ConfigError

ROOT = Path(__file__).resolve().parents[4]
WORKER = "pipelines/runners/local/worker_process.py"
ELSEWHERE = ["--runner=DataflowRunner"]


@pytest.fixture
def config(corpus_config: Callable[..., CorpusConfig]) -> CorpusConfig:
    return corpus_config("gs://bucket/corpus", "gs://bucket/raw/*.jsonl")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of tutelage, made from the editable install that runs the tests."""
    return make_wheel(Distribution.from_name("tutelage"), tmp_path_factory.mktemp("wheel"))


@pytest.fixture
def installed(tmp_path: Path) -> Callable[..., Path]:
    """Install a distribution into a folder in the role of site-packages."""

    def install(name: str, version: str, *, requires: tuple[str, ...] = (), **files: str) -> Path:
        site = tmp_path / "site"
        info = site / f"{name}-{version}.dist-info"
        info.mkdir(parents=True)
        needs = "".join(f"Requires-Dist: {each}\n" for each in requires)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}")
        (info / "WHEEL").write_text("Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        for path, text in files.items():
            (site / path).parent.mkdir(parents=True, exist_ok=True)
            (site / path).write_text(text)
        written = [f"{info.name}/METADATA", f"{info.name}/WHEEL", *files]
        record = "".join(f"{path},,\n" for path in [*written, f"{info.name}/RECORD", "../../bin/tool"])
        (info / "RECORD").write_text(record)
        return info

    return install


def names_in(wheel: Path) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


def test_our_wheel_holds_every_module_and_data_file_of_the_checkout(wheel: Path) -> None:
    wanted = {
        path.relative_to(ROOT).as_posix()
        for package in ("schemas", "plugins", "pipelines", "trainer")
        for pattern in ("*.py", "*.yaml", "*.txt", "py.typed")
        for path in (ROOT / package).rglob(pattern)
    }
    assert len(wanted) > 100
    assert wanted - names_in(wheel) == set()
    assert {name for name in names_in(wheel) if "__pycache__" in name or name.endswith(".pth")} == set()


def test_our_wheel_says_how_it_is_called_and_what_it_needs(wheel: Path) -> None:
    version = Distribution.from_name("tutelage").version
    assert wheel.name == f"tutelage-{version}-py3-none-any.whl"
    archive = zipfile.ZipFile(wheel)
    metadata = HeaderParser().parsestr(archive.read(f"tutelage-{version}.dist-info/METADATA").decode())
    assert (metadata["Name"], metadata["Version"]) == ("tutelage", version)
    assert any(each.startswith("apache-beam[gcp]") for each in metadata.get_all("Requires-Dist"))
    entry_points = archive.read(f"tutelage-{version}.dist-info/entry_points.txt").decode()
    assert "tutelage = tutelage:main" in entry_points
    assert "tutelage.py" in names_in(wheel)


def test_a_wheel_made_twice_has_the_same_bytes(wheel: Path, tmp_path: Path) -> None:
    again = make_wheel(Distribution.from_name("tutelage"), tmp_path)
    assert again.read_bytes() == wheel.read_bytes()


@pytest.mark.slow
def test_an_installer_takes_the_wheel_with_its_checksums(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*install, "--target", str(target), str(wheel)], check=True, timeout=120)
    assert (target / WORKER).read_bytes() == (ROOT / WORKER).read_bytes()
    # The files from pip are an ordinary install, and give the same wheel.
    (info,) = target.glob("tutelage-*.dist-info")
    (tmp_path / "again").mkdir()
    assert names_in(make_wheel(PathDistribution(info), tmp_path / "again")) == names_in(wheel)


def test_a_wheel_of_an_ordinary_install_holds_what_its_record_names(
    installed: Callable[..., Path], tmp_path: Path
) -> None:
    info = installed(
        "Some.Plugin", "1.2", **{"some_plugin/__init__.py": "A = 1\n", "some_plugin/data.yaml": "a: 1\n"}
    )
    made = make_wheel(PathDistribution(info), tmp_path)
    assert made.name == "some_plugin-1.2-py3-none-any.whl"
    assert names_in(made) == {
        "some_plugin/__init__.py",
        "some_plugin/data.yaml",
        "some_plugin-1.2.dist-info/METADATA",
        "some_plugin-1.2.dist-info/RECORD",
        "some_plugin-1.2.dist-info/WHEEL",
    }
    record = zipfile.ZipFile(made).read("some_plugin-1.2.dist-info/RECORD").decode().splitlines()
    checksum = base64.urlsafe_b64encode(hashlib.sha256(b"A = 1\n").digest()).decode().rstrip("=")
    assert f"some_plugin/__init__.py,sha256={checksum},6" in record
    assert record[-1] == "some_plugin-1.2.dist-info/RECORD,,"


def test_a_distribution_without_modules_is_refused(installed: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^empty: no module of it was found here"):
        make_wheel(PathDistribution(installed("empty", "1.0")), tmp_path)


def test_pins_are_the_versions_installed_here_and_hold_all_that_pipelines_run_on(
    config: CorpusConfig, tmp_path: Path
) -> None:
    options = parse_options(ELSEWHERE)
    stage(config, options, tmp_path)
    setup = options.view_as(SetupOptions)
    pins = dict(line.split("==") for line in Path(setup.requirements_file).read_text().splitlines())
    for name in ("apache-beam", "transformers", "tokenizers", "aiohttp", "gcsfs"):
        assert pins[name] == Distribution.from_name(name).version.partition("+")[0]
    assert (
        pins.keys() & {"tutelage", "torch", "mosaicml-streaming", "pytest", "mypy", "scikit-learn"} == set()
    )
    wheels = {Path(path).name.partition("-")[0]: path for path in setup.extra_packages}
    assert names_in(Path(wheels.pop("tutelage"))) > {WORKER, "plugins/sglang/server_defaults.yaml"}
    assert all(Distribution.from_name(name).read_text("direct_url.json") for name in wheels)
    assert setup.requirements_cache == "skip"


def test_what_is_staged_for_a_folder_is_what_the_lock_of_the_pipelines_names(
    corpus_config: Callable[..., CorpusConfig],
) -> None:
    """The resolver of an installer and the metadata of installed packages give the same names.

    The test needs the Beam version of the lock; `make test-pipelines` has it.
    """
    lock = (ROOT / ".ci/requirements/pipelines.txt").read_text().replace("\\\n", " ")
    lines = [line.partition(" --hash")[0] for line in lock.splitlines() if line and line[0] not in "# "]
    locked = {each.name for each in map(Requirement, lines) if each.marker is None or each.marker.evaluate()}
    if f"apache-beam=={Distribution.from_name('apache-beam').version}" not in lock:
        pytest.skip("the lock has another Beam than this environment")
    streams = {"domain": {"sources": [{"uri": "gs://bucket/raw"}]}}
    wanted = roots(corpus_config("gs://bucket/corpus", streams=streams))
    found = {canonicalize_name(each.metadata["Name"]) for each in needed(wanted)}
    assert found - {"tutelage"} == locked


@pytest.mark.parametrize(
    "own",
    [
        "--sdk_container_image=registry/image:1",
        "--setup_file=./pyproject.toml",
        "--requirements_file=mine.txt",
        "--extra_package=mine.whl",
        "--environment_type=LOOPBACK",
        "--environment_config=image:1",
    ],
)
def test_who_says_what_workers_run_on_is_given_nothing_more(
    own: str, config: CorpusConfig, tmp_path: Path
) -> None:
    options = parse_options([*ELSEWHERE, own])
    before = options.get_all_options()
    stage(config, options, tmp_path)
    assert options.get_all_options() == before
    assert list(tmp_path.iterdir()) == []


def test_a_requirements_cache_that_is_asked_for_stays(config: CorpusConfig, tmp_path: Path) -> None:
    options = parse_options([*ELSEWHERE, "--requirements_cache=/tmp/cache"])
    stage(config, options, tmp_path)
    assert options.view_as(SetupOptions).requirements_cache == "/tmp/cache"


def test_file_systems_of_the_uris_are_needed(config: CorpusConfig) -> None:
    assert "gcsfs" in {each.name for each in roots(config)}
    local = config.model_copy(update={"corpus": "corpus", "streams": {}})
    assert [str(each) for each in roots(local)] == ["tutelage[pipelines]"]


def test_a_scheme_without_its_package_is_refused(config: CorpusConfig) -> None:
    with pytest.raises(ConfigError, match=r"^nowhere:// cannot be used here: Protocol not known: nowhere"):
        roots(config.model_copy(update={"corpus": "nowhere://bucket/corpus"}))


@pytest.mark.parametrize("reader", ["huggingface", "pdf", "docx"])
def test_a_reader_with_an_extra_needs_that_extra(
    corpus_config: Callable[..., CorpusConfig], reader: str
) -> None:
    streams = {"domain": {"sources": [{"reader": reader, "uri": "org/set"}, {"reader": "text", "uri": "a"}]}}
    config = corpus_config("corpus", streams=streams)
    assert [str(each) for each in roots(config)] == [f"tutelage[{','.join(sorted([reader, 'pipelines']))}]"]


def test_a_model_in_the_workers_needs_torch_there(corpus_config: Callable[..., CorpusConfig]) -> None:
    config = corpus_config("corpus", "raw.jsonl", synthesis={"backend": "transformers", "model": "org/model"})
    assert [str(each) for each in roots(config)] == ["tutelage[pipelines,trainer]"]


def known(monkeypatch: pytest.MonkeyPatch, *infos: Path) -> None:
    """Make these distributions the only installed ones."""
    found = {info.name.partition("-")[0]: PathDistribution(info) for info in infos}

    def distribution(name: str) -> Distribution:
        if name not in found:
            raise staging.importlib.metadata.PackageNotFoundError(name)
        return found[name]

    monkeypatch.setattr(staging.importlib.metadata, "distribution", distribution)


def test_requirements_are_followed_through_extras_and_markers(
    installed: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    known(
        monkeypatch,
        installed("top", "1.0", requires=("plain", 'fast; extra == "speed"', 'docs; extra == "docs"')),
        installed("plain", "2.0", requires=("deep>=1", 'never; python_version < "3"')),
        installed("fast", "3.0", requires=("top",)),  # a cycle
        installed("deep", "1.5"),
        installed("docs", "9.0"),
        installed("never", "9.0"),
    )
    found = [f"{each.metadata['Name']} {each.version}" for each in needed([Requirement("top[speed]")])]
    assert found == ["deep 1.5", "fast 3.0", "plain 2.0", "top 1.0"]


def test_versions_that_do_not_fit_are_refused_before_a_worker_refuses_them(
    installed: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    known(monkeypatch, installed("top", "1.0", requires=("deep<5",)), installed("deep", "5.1"))
    with pytest.raises(ConfigError) as caught:
        needed([Requirement("top")])
    assert str(caught.value).startswith("top 1.0 requires deep<5, and deep 5.1 is installed here: ")


def test_what_is_asked_for_by_name_must_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    known(monkeypatch)
    with pytest.raises(ConfigError, match=r"^tutelage\[pipelines\] is not installed here, and workers"):
        needed([Requirement("tutelage[pipelines]")])


def test_a_package_from_a_directory_is_staged_as_a_wheel(
    config: CorpusConfig,
    installed: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    plugin = installed("plugin", "1.0", **{"plugin.py": "A = 1\n"})
    (plugin / "direct_url.json").write_text('{"url": "file:///home/me/plugin", "dir_info": {}}')
    ours = Distribution.from_name("tutelage")
    monkeypatch.setattr(staging, "needed", lambda required: [PathDistribution(plugin), ours])
    options = parse_options(ELSEWHERE)
    stage(config, options, tmp_path)
    setup = options.view_as(SetupOptions)
    assert Path(setup.requirements_file).read_text() == ""
    assert [Path(path).name for path in setup.extra_packages] == [
        "plugin-1.0-py3-none-any.whl",
        f"tutelage-{ours.version}-py3-none-any.whl",
    ]


def test_who_plugs_in_through_an_entry_point_is_needed(
    config: CorpusConfig, installed: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = installed("plugin", "1.0", **{"plugin.py": "A = 1\n"})
    (plugin / "entry_points.txt").write_text("[tutelage.readers]\nodd = plugin:Reader\n")
    (point,) = PathDistribution(plugin).entry_points

    def entry_points(*, group: str) -> list[Any]:
        return [point] if group == "tutelage.readers" else []

    monkeypatch.setattr(staging.importlib.metadata, "entry_points", entry_points)
    assert "plugin" in {each.name for each in roots(config)}
