"""Source entries that cannot be listed or parsed: they fail a build, or are named and counted."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.increments.build import build_increment
from pipelines.increments.changed_source_files import list_files
from pipelines.increments.withdraw import withdraw
from pipelines.planning.plan import plan_increment
from schemas.corpus_config import CorpusConfig
from schemas.errors import InputError
from tests.published import read_stats

pytestmark = pytest.mark.slow

Config = Callable[..., CorpusConfig]

SIX = {
    "zh": "肾动脉起自腹主动脉，在第一和第二腰椎之间的高度分出。左肾动脉较短，右肾动脉较长并经过"
    "下腔静脉的后方。肾动脉狭窄时血压升高，因此医生应当反复测量患者的血压，并且在必要时检查肾功能。手术后患者需要休息两周，"
    "期间每天测量一次体温和血压。",
    "ja": "腎動脈は腹部大動脈から分岐し、腎臓に血液を供給する。狭窄が起こると血圧が上昇するため、医師は患者の"
    "血圧を繰り返し測定しなければならない。手術後は二週間の安静が必要である。",
    "th": "หลอดเลือดแดงไตแตกแขนงจากหลอดเลือดแดงใหญ่ในช่องท้องและนำเลือดไปเลี้ยงไตเมื่อหลอดเลือดตีบ"
    "ความดันโลหิตจะสูงขึ้นแพทย์จึงต้องวัดความดันของผู้ป่วยซ้ำ",
    "ar": "ينشأ الشريان الكلوي من الشريان الأبهر البطني ويزود الكلية بالدم، وعندما يضيق يرتفع ضغط الدم، "
    "ولذلك يقيس الطبيب الضغط مرارا.",
    "ko": "신장동맥은 복부대동맥에서 갈라져 신장에 혈액을 공급하며, 좁아지면 혈압이 올라가므로 "
    "의사는 환자의 혈압을 반복해서 측정해야 한다.",
    "hi": "वृक्क धमनी उदर महाधमनी से निकलती है और गुर्दे को रक्त पहुँचाती है; संकरी होने पर रक्तचाप बढ़ता है।",
}
"""Passages of some 100 characters."""


@pytest.fixture
def folder(tmp_path: Path, passages: Any, write_jsonl: Any) -> Path:
    """A folder of one good file."""
    path = Path(write_jsonl(tmp_path / "in/a.jsonl", passages(4)))
    os.utime(path, (1_700_000_000, 1_700_000_000))
    return path.parent


@pytest.fixture
def config_of(tmp_path: Path, corpus_config: Config) -> Config:
    """A corpus of one source with the given fields."""

    def make(uri: Path | str, **fields: Any) -> CorpusConfig:
        source = {"reader": "jsonl", "uri": str(uri), **fields}
        return corpus_config(tmp_path / "corpus", streams={"domain": {"sources": [source]}})

    return make


def harm(folder: Path, kind: str) -> str:
    """Put an entry that is no regular file into a folder, and return its description in messages."""
    if kind == "a folder":
        (folder / "old").mkdir()
        return f"{folder}/old is a subfolder; {folder}/** also means its files"
    if kind == "a broken link":
        (folder / "b.jsonl").symlink_to("gone.jsonl")
        return f"{folder}/b.jsonl is a broken link"
    os.mkfifo(folder / "b.jsonl")
    return f"{folder}/b.jsonl is a device, pipe or socket"


@pytest.mark.parametrize("kind", ["a folder", "a broken link", "a pipe"])
@pytest.mark.parametrize("run", [build_increment, plan_increment])
def test_what_cannot_be_listed_ends_a_run_before_it_begins(
    folder: Path, config_of: Config, kind: str, run: Any
) -> None:
    said = harm(folder, kind)
    with pytest.raises(InputError) as caught:
        run(config_of(folder), quiet=True)
    assert str(caught.value) == (
        f"source uri '{folder}': {said}. Fix that, name the files by a glob, or set "
        "allow_unreadable: true on the source to skip them."
    )
    assert not (folder.parent / "corpus").exists()


@pytest.mark.parametrize("kind", ["a folder", "a broken link", "a pipe"])
def test_where_it_is_allowed_it_is_named_and_counted(
    folder: Path, config_of: Config, capfd: pytest.CaptureFixture[str], kind: str
) -> None:
    said = harm(folder, kind)
    (folder / ".hidden").touch()
    config = config_of(folder, allow_unreadable=True)
    manifest = build_increment(config)
    assert manifest is not None and manifest.increments[0].num_documents == 4
    lines = [f"Left out of '{folder}': {said}.", f"Left out of '{folder}': 1 hidden."]
    assert capfd.readouterr().err.splitlines()[:2] == lines
    counts = read_stats(config.corpus, 1)["counts"]
    assert (counts["list/unreadable"], counts["list/hidden"]) == (1, 1)
    assert build_increment(config_of(f"{folder}/a.jsonl")) is None  # no second read without the option
    assert capfd.readouterr().err.startswith("No file is new or changed")


def test_files_below_a_folder_are_read_by_two_stars(
    folder: Path, config_of: Config, build: Any, write_jsonl: Any, passages: Any
) -> None:
    write_jsonl(folder / "2023/12/b.jsonl", passages(7)[4:])
    assert build(config_of(f"{folder}/**")).increments[0].num_documents == 7


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        (
            "b.jsonl",
            '{"text": "one"}'.encode("utf-16"),
            "not_utf8 (the file begins with the byte order mark of UTF-16; `encoding: utf-16` "
            "or `auto` on its source reads it)",
        ),
        (
            "b.jsonl",
            b'{"text": "caf\xe9"}\n' * 1_000,
            "invalid_utf8 (byte b'\\xe9' at offset 13 of the row, expected UTF-8. If the file is in "
            "Windows-1252, `encoding: cp1252` or `auto` on its source reads it)",
        ),
        (
            "README.md",
            b"A data set.\n",
            "invalid_json (Expecting value: character 1; the row begins 'A data set.')",
        ),
    ],
)
def test_a_file_without_a_readable_row_ends_a_build_unless_it_is_allowed(
    folder: Path, config_of: Config, build: Any, name: str, data: bytes, said: str
) -> None:
    (folder / name).write_bytes(data)
    with pytest.raises(InputError) as caught:
        build(config_of(folder))
    assert str(caught.value) == (
        f"{folder}/{name}: none of its rows can be read: {said}. Repair it, leave it out of the "
        "uri, or set allow_unreadable: true on its source. Nothing was published."
    )
    config = config_of(folder, allow_unreadable=True)
    assert build(config).increments[0].num_documents == 4
    counts = read_stats(config.corpus, 1)["counts"]
    assert (counts["read/files"], counts["read/files_unreadable"]) == (2, 1)


def test_a_build_tells_what_was_left_out(
    folder: Path, config_of: Config, tutelage: Any, tmp_path: Path
) -> None:
    harm(folder, "a folder")
    (folder / ".hidden").touch()
    (folder / "b.jsonl").write_bytes(b"\xff\xfe{\x00")
    (folder / "c.jsonl").touch()
    yaml = tmp_path / "corpus.yaml"
    yaml.write_text(json.dumps(config_of(folder, allow_unreadable=True).model_dump(mode="json")))
    done = tutelage("corpus", "build", str(yaml))
    assert done.status == 0
    left_out = "1 unreadable, 1 hidden, 1 files without a readable row, 1 empty files"
    assert f"  left out of the sources: {left_out} (named on standard error or in rejects/read)\n" in done.out


@pytest.mark.parametrize("row", ['{"body": "x"}', '{"text": 5}'])
def test_a_file_whose_rows_lack_the_fields_ends_a_build_unless_it_is_allowed(
    folder: Path, config_of: Config, build: Any, row: str
) -> None:
    (folder / "b.jsonl").write_text(f"{row}\n" * 3)
    with pytest.raises(InputError, match=r"b\.jsonl: none of its rows can be read: (missing|not)_\w+ \("):
        build(config_of(folder))
    build(config := config_of(folder, allow_unreadable=True))
    assert read_stats(config.corpus, 1)["counts"]["read/files_unreadable"] == 1


def test_a_file_whose_name_is_no_utf8_is_read_and_named(
    tmp_path: Path, config_of: Config, passages: Any, build: Any, texts_in: Any, tutelage: Any
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    rows = "".join(json.dumps({"text": row["text"]}) + "\n" for row in passages(3))
    Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.jsonl")).write_text(rows)
    config = config_of(folder)
    assert build(config).increments[0].num_documents == 3
    ids = sorted(name for text in texts_in(config.corpus) for name in text.document_ids)
    assert [name.rpartition(":@")[0] for name in ids] == [rf"{folder}/caf\xe9.jsonl"] * 3
    said = tutelage("corpus", "trace", config.corpus, ids[0])
    assert (said.status, ids[0] in said.out) == (0, True)
    manifest = withdraw(config, sources=[os.fsdecode(os.fsencode(folder) + b"/caf\xe9.jsonl")], quiet=True)
    assert manifest.increments[-1].num_withdrawn == 3


def test_a_source_that_exists_is_withdrawn_as_it_stands(
    tmp_path: Path, config_of: Config, passages: Any, build: Any, write_jsonl: Any
) -> None:
    write_jsonl(tmp_path / "in/a[1].jsonl", passages(3))
    write_jsonl(tmp_path / "in/a1.jsonl", passages(7)[3:])
    config = config_of(tmp_path / "in")
    assert build(config).increments[0].num_documents == 7
    assert (
        withdraw(config, sources=[f"{tmp_path}/in/a[1].jsonl"], quiet=True).increments[-1].num_withdrawn == 3
    )
    assert (
        withdraw(config, sources=[f"{tmp_path}/in/a[0-9].jsonl"], quiet=True).increments[-1].num_withdrawn
        == 4
    )


def test_passages_of_six_languages_come_in_by_default(
    tmp_path: Path, config_of: Config, build: Any, write_jsonl: Any
) -> None:
    rows = [{"id": name, "text": text} for name, text in SIX.items()]
    config = config_of(write_jsonl(tmp_path / "in/six.jsonl", rows), id_field="id")
    assert build(config).increments[0].num_documents == 6


def test_a_folder_passes_over_links_and_says_so_and_one_without_a_file_ends_the_build(
    folder: Path, corpus_config: Config, tmp_path: Path
) -> None:
    (folder / "gone.txt").symlink_to("nowhere")
    (folder / "up").symlink_to("..")
    config = corpus_config(tmp_path / "corpus", streams={"domain": {"sources": [{"uri": str(folder)}]}})
    listed = list_files(config)
    assert listed.counts == {"list/links": 2}
    assert listed.left_out == (
        f"Left out of '{folder}': {folder}/gone.txt is a broken link; "
        f"{folder}/up is a link that leads out of the folder.",
    )
    (folder / "a.jsonl").unlink()
    with pytest.raises(InputError) as caught:
        list_files(config)
    assert str(caught.value) == (
        f"source uri '{folder}' is a folder without a file (0 hidden entries and 2 links are left out)."
    )
    empty = tmp_path / "empty"
    empty.mkdir()
    config = corpus_config(tmp_path / "corpus", streams={"domain": {"sources": [{"uri": str(empty)}]}})
    with pytest.raises(InputError, match=r"is a folder without a file[.]$"):
        list_files(config)
