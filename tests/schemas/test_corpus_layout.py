"""Paths of a corpus: only schemas/corpus_layout.py defines them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas import corpus_layout
from schemas.corpus_layout import names_in, numbers_in, parse_manifest_uri

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("schemas", "plugins", "pipelines", "trainer")
FOLDERS = {
    value
    for name, value in vars(corpus_layout).items()
    if name.isupper() and isinstance(value, str) and value[0] != "."
} | {"stats.json", "README.md", "decontamination.json", "retry.json"}


def joined_names(path: Path) -> Iterator[tuple[int, str]]:
    """Line and literal of each corpus path name passed to `storage.join` in a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("storage.join", "join"):
            literals = [each for argument in node.args for each in ast.walk(argument)]
            for each in literals:
                if isinstance(each, ast.Constant) and str(each.value).strip("/") in FOLDERS:
                    yield each.lineno, str(each.value)


def test_no_other_module_joins_a_name_of_the_corpus() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line} joins {name!r}"
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        if path != ROOT / "schemas/corpus_layout.py"
        for line, name in joined_names(path)
    ]
    assert found == []
    assert len(list(joined_names(Path(__file__)))) == 1, "the search finds what it looks for"


@pytest.mark.parametrize(
    ("uri", "found"),
    [
        ("s3://a/corpus/manifest/000003.json", ("s3://a/corpus", 3)),
        ("corpus/manifest/1000000.json", ("corpus", 1_000_000)),
        ("corpus/manifest/000000.json", None),
        ("corpus/manifest/three.json", None),
        ("corpus/manifest/000003", None),
        ("/manifest/000003.json", None),
        ("corpus/lock/000003.json", None),
    ],
)
def test_a_manifest_is_named_by_its_uri(uri: str, found: tuple[str, int] | None) -> None:
    assert parse_manifest_uri(uri) == found


def test_entries_that_are_no_numbered_files_are_passed_over(tmp_path: Path) -> None:
    for name in ("000002.json", "1000000.json", "000000.json", "0000003.json", "12.json", "000004.json.tmp"):
        (tmp_path / name).touch()
    assert numbers_in(str(tmp_path), "") == [2, 1_000_000]
    assert names_in(f"{tmp_path}/none") == names_in(f"{tmp_path}/000002.json/none") == []


def _joined(storage: Path) -> None:
    storage.join("corpus", "manifest")  # type: ignore[attr-defined]
