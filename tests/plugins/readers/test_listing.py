"""Listing of a path, glob or directory, and of its unreadable entries."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from plugins.readers.listing import Listing, expand, list_uri, shown_name
from schemas import storage
from schemas.errors import InputError

NOT_ENTERED = "is a subfolder; {}/** also means its files"
REFUSED = "cannot be opened: Permission denied"


@pytest.fixture(autouse=True)
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("b.txt", "a.txt", "c.jsonl", ".hidden", "deep/d.txt", "deep/er/e.txt"):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def locked(monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder that not even root may read."""

    def refusing(real: Any) -> Any:
        def call(path: Any = ".") -> Any:
            if not isinstance(path, int) and os.path.normpath(path) == "data/deep/er":
                raise PermissionError(13, "Permission denied", path)
            return real(path)

        return call

    monkeypatch.setattr(os, "scandir", refusing(os.scandir))
    monkeypatch.setattr(os, "listdir", refusing(os.listdir))
    return "data/deep/er"


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("data/b.txt", ["data/b.txt"]),
        ("data/*.txt", ["data/a.txt", "data/b.txt"]),
        ("data/[bc].*", ["data/b.txt", "data/c.jsonl"]),
        ("data/deep/er", ["data/deep/er/e.txt"]),
        ("data/**/*.txt", ["data/a.txt", "data/b.txt", "data/deep/d.txt", "data/deep/er/e.txt"]),
    ],
)
def test_relative_paths_stay_relative_and_are_sorted(uri: str, expected: list[str]) -> None:
    assert list_uri(uri) == Listing(expected)
    assert expand(uri) == expected


def test_a_folder_inside_a_folder_is_named_and_hidden_entries_are_counted() -> None:
    files = ["data/a.txt", "data/b.txt", "data/c.jsonl"]
    expected = Listing(files, {"data/deep": NOT_ENTERED.format("data")}, hidden=1)
    assert list_uri("data") == expected
    assert list_uri("data/").unreadable == expected.unreadable
    with pytest.raises(InputError) as caught:
        expand("data")
    assert str(caught.value) == "'data': data/deep is a subfolder; data/** also means its files"


def test_a_file_that_is_matched_twice_is_listed_once() -> None:
    files = ["data/a.txt", "data/b.txt", "data/c.jsonl", "data/deep/d.txt", "data/deep/er/e.txt"]
    assert list_uri("data/**") == Listing(files, hidden=1)


def test_folders_among_the_matches_of_a_glob_give_their_files_and_not_those_below() -> None:
    files = ["data/a.txt", "data/b.txt", "data/c.jsonl", "data/deep/d.txt"]
    assert list_uri("data/*") == Listing(files, {"data/deep/er": NOT_ENTERED.format("data/deep")})


def test_a_file_uri_is_a_path(tmp_path: Path) -> None:
    assert expand(f"file://{tmp_path}/data/*.jsonl") == [f"{tmp_path}/data/c.jsonl"]


@pytest.mark.parametrize("uri", ["data/z.txt", "data/*.md", "nowhere", "memory://nowhere/at/all"])
def test_nothing_is_nothing(uri: str) -> None:
    assert list_uri(uri) == Listing([])


@pytest.mark.parametrize("uri", ["data/links", "data/links/*", "data/**/*.jsonl", "data/links/gone.jsonl"])
def test_a_broken_link_is_named(uri: str) -> None:
    (Path("data/links")).mkdir()
    Path("data/links/gone.jsonl").symlink_to("nowhere.jsonl")
    assert list_uri(uri).unreadable == {"data/links/gone.jsonl": "is a broken link"}


@pytest.mark.timeout(20)
def test_links_that_lead_round_are_named_and_not_followed() -> None:
    Path("data/deep/up").symlink_to("..")
    Path("data/deep/er/up").symlink_to("../..")
    Path("data/deep/same.txt").symlink_to("same.txt")
    Path("data/other").symlink_to("deep/er")
    round_about = {name: "is a link to a folder above it" for name in ("data/deep/up", "data/deep/er/up")}
    found = list_uri("data/**/*.txt")
    assert found.files == [
        *("data/a.txt", "data/b.txt", "data/deep/d.txt", "data/deep/er/e.txt", "data/other/e.txt")
    ]
    assert found.unreadable == {
        **round_about,
        "data/other/up": "is a link to a folder above it",
        "data/deep/same.txt": "cannot be opened: Too many levels of symbolic links",
    }


def test_a_pipe_is_named_and_not_waited_for() -> None:
    os.mkfifo("data/deep/er/pipe.txt")
    assert list_uri("data/deep/er/*").unreadable == {"data/deep/er/pipe.txt": "is a device, pipe or socket"}


@pytest.mark.parametrize(
    "uri", ["data/deep/er", "data/deep/er/*.txt", "data/deep/**", "data/**/*.txt", "data/*/er/*", "**/e.txt"]
)
def test_a_folder_that_may_not_be_opened_is_named(uri: str, locked: str) -> None:
    assert {os.path.normpath(name): why for name, why in list_uri(uri).unreadable.items()} == {
        locked: REFUSED
    }


def test_a_file_that_may_not_be_looked_at_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.stat

    def refusing(path: Any, **options: Any) -> Any:
        if path == "data/a.txt":
            raise PermissionError(13, "Permission denied", path)
        return real(path, **options)

    monkeypatch.setattr(os, "stat", refusing)
    assert list_uri("data/*.txt") == Listing(["data/b.txt"], {"data/a.txt": REFUSED})


def test_a_folder_that_a_glob_has_no_look_at_does_not_matter(locked: str) -> None:
    assert list_uri("data/deep/*.txt") == Listing(["data/deep/d.txt"])


@pytest.mark.parametrize("name", ["a[1].txt", "what?.txt", "star*.txt", "folder[12]/a.txt"])
def test_a_path_that_exists_is_taken_as_it_stands(name: str, memory: str) -> None:
    for other in (name, "a1.txt", "whats.txt", "starlight.txt", "folder1/a.txt"):
        Path(other).parent.mkdir(exist_ok=True)
        Path(other).write_bytes(b"x")
        storage.write_bytes(f"{memory}/{other}", b"x")
    folder = "folder[12]"
    root = memory.replace("memory://", "memory:///")
    assert list_uri(name) == Listing([name])
    assert list_uri(f"{memory}/{name}") == Listing([f"{root}/{name}"])
    if name.startswith(folder):
        assert list_uri(folder) == Listing([name])
        assert list_uri(f"{memory}/{folder}") == Listing([f"{root}/{name}"])


def test_other_file_systems_are_listed_alike(memory: str) -> None:
    for name in ("b.txt", "a.txt", "c.jsonl", ".hidden", "deep/d.txt", "deep/er/e.txt"):
        storage.write_bytes(f"{memory}/{name}", b"x")
    root = memory.replace("memory://", "memory:///")
    whole = [f"{root}/a.txt", f"{root}/b.txt", f"{root}/c.jsonl"]
    assert list_uri(f"{memory}/*.txt") == Listing(whole[:2])
    assert list_uri(f"{memory}/c.jsonl") == Listing(whole[2:])
    assert list_uri(f"{memory}/**/d.txt") == Listing([f"{root}/deep/d.txt"])
    assert list_uri(memory) == Listing(whole, {f"{root}/deep": NOT_ENTERED.format(root)}, hidden=1)
    below = [f"{root}/deep/d.txt", f"{root}/deep/er/e.txt"]
    assert list_uri(f"{memory}/**").files[-2:] == below
    assert list_uri(f"{memory}/**").unreadable == {}
    (inside,) = list_uri(f"{memory}/*").unreadable
    assert inside == f"{root}/deep/er"


def test_a_storage_that_refuses_says_so(memory: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fs, _ = storage.filesystem(memory)

    def refuse(self: Any, path: str, **options: Any) -> Any:
        raise PermissionError("Access Denied")

    monkeypatch.setattr(type(fs), "info", refuse)
    with pytest.raises(InputError) as caught:
        list_uri(memory)
    assert str(caught.value) == f"{memory!r} cannot be listed: Access Denied."


def test_a_name_that_is_no_utf8_is_listed_and_shown() -> None:
    os.mkdir(b"data/names")
    Path(os.fsdecode(b"data/names/caf\xe9.jsonl")).write_bytes(b"x")
    (name,) = list_uri("data/names").files
    assert os.fsencode(name) == b"data/names/caf\xe9.jsonl"
    assert shown_name(name) == r"data/names/caf\xe9.jsonl"
    assert shown_name("data/naïve.jsonl") == "data/naïve.jsonl"
    with pytest.raises(InputError, match=r"caf\\xe9.jsonl is a name that is not UTF-8; rename the file"):
        expand("data/names")
