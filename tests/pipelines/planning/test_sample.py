"""Samples of sources: which records are drawn, their sources, effects of cleaning and filters, and output."""

from __future__ import annotations

import gzip
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest

from pipelines.command import main
from pipelines.planning.plan_table import print_sample
from pipelines.planning.sample import Sample, sample_sources
from schemas.corpus_config import CorpusConfig
from schemas.errors import ConfigError, InputError

NOTE = "The patient was seen in the morning and given aspirin because of the pain in the chest."
TEXT = "".join(f"<p>{number} of them came. {NOTE}</p>" for number in ("Ten", "Nine", "Six", "Four"))
PAGE = f"<!doctype html><html><body><nav>Home</nav><article><h1>Aspirin</h1>{TEXT}</article></body></html>"

Mixed = Callable[..., CorpusConfig]


@pytest.fixture
def mixed(corpus_config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mixed:
    """A corpus of a folder of mixed files: 8 notes, 300 rows, and what a test adds. Keywords replace keys.

    The folder's path is relative, because names of files seed the sample.
    """
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "files"
    folder.mkdir()
    for number in range(8):
        (folder / f"n{number}.txt").write_text(
            f"Note {number}. {NOTE}\n\n\n\nWrite to a{number}@example.org."
        )
    rows = (json.dumps({"text": f"Row {number}. {NOTE}" if number % 3 else "short"}) for number in range(300))
    (folder / "rows.jsonl").write_text("\n".join(rows))

    def make(**changes: Any) -> CorpusConfig:
        streams = {"domain": {"synthesize": False, "sources": [{"uri": "files"}]}}
        config: CorpusConfig = corpus_config(tmp_path / "corpus", streams=streams, **changes)
        return config

    return make


def names(sample: Sample) -> list[str]:
    return [each.name.rpartition("/")[2] for each in sample.shown]


def test_kinds_take_turns_and_rows_are_not_the_first_of_their_file(mixed: Mixed) -> None:
    sample = sample_sources(mixed(), 12)
    assert sample.num_records == 12 and sample.num_documents == 12 and sample.num_listed == 9
    assert sample.kinds["domain: text"]["documents"] == sample.kinds["domain: json"]["documents"] == 6
    rows = [name for name in names(sample) if name.startswith("rows")]
    offsets = [int(name.partition("@")[2]) for name in rows]
    assert len(rows) == 2 and offsets != [0, 106]
    assert len({name.partition(":")[0] for name in names(sample)}) == 4  # three notes and the rows


def test_a_sample_is_the_same_for_its_seed_and_another_for_another(mixed: Mixed) -> None:
    first = sample_sources(mixed(), 12)
    assert first == sample_sources(mixed(), 12)
    assert names(first) != names(sample_sources(mixed(seed=18), 12))


def test_all_records_come_if_the_sample_is_larger_than_the_sources(mixed: Mixed) -> None:
    sample = sample_sources(mixed(), 1_000)
    assert (sample.num_records, sample.num_files) == (308, 9)
    assert sample.kinds["domain: json"] == {"files": 1, "documents": 300}


def test_a_large_file_is_not_read_to_its_end(mixed: Mixed, tmp_path: Path) -> None:
    good = b"".join(
        json.dumps({"text": f"Row {number}. {NOTE}"}).encode() + b"\n" for number in range(60_000)
    )
    broken = gzip.compress(good)[:-200_000]
    (tmp_path / "files" / "large.jsonl.gz").write_bytes(broken)
    sample = sample_sources(mixed(), 30)
    assert "rejected: truncated_file" not in sample.kinds["domain: json"]
    assert sample.num_records == 30


def test_a_file_in_parts_begins_at_a_random_place(mixed: Mixed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plugins.readers.jsonl.RANGE_BYTES", 10_000)
    sample = sample_sources(mixed(), 8)
    rows = [name for name in names(sample) if name.startswith("rows")]
    assert min(int(name.partition("@")[2]) for name in rows) > 1_000  # the first ten rows have 800 bytes


def test_a_large_file_of_json_over_several_lines_is_read_from_its_beginning(
    mixed: Mixed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("plugins.readers.jsonl.RANGE_BYTES", 10_000)
    rows = [{"text": f"Row {number}. {NOTE}"} for number in range(300)]
    (tmp_path / "files" / "rows.jsonl").write_text(json.dumps(rows, indent=1))
    assert sample_sources(mixed(), 20).kinds["domain: json"] == {"files": 1, "documents": 12}


def test_effects_of_cleaning_and_filters_have_counts_and_an_example(mixed: Mixed) -> None:
    config = mixed(
        clean={"mask_personal_data": {"email": True}}, filters={"gopher_quality": {"min_words": 20}}
    )
    sample = sample_sources(config, 1_000)
    found = {(each.step, each.rule): each for each in sample.effects}
    short = found["clean", "too_short"]
    assert (short.count, short.is_drop, short.found, short.text) == (
        100,
        True,
        "1 words, at least 5",
        "short",
    )
    masked = found["clean", "masked_email"]
    assert (masked.count, masked.is_drop) == (8, False) and "@example.org" in masked.text
    dropped = found["gopher_quality", "gopher_quality.min_words"]
    assert dropped.count == 200 and dropped.found.endswith("at least 20") and dropped.text.startswith("Row ")
    assert sample.num_kept == 8 and sample.num_documents == 308 and sample.no_effect == []
    note = next(each for each in sample.shown if each.kind == "domain: text")
    assert "\n\n\n\n" in note.source and "@example.org" in note.source
    assert "\n\n\n" not in note.text and "<EMAIL>" in note.text and note.dropped == ""


def test_a_step_without_effect_is_named(mixed: Mixed, tmp_path: Path) -> None:
    (tmp_path / "files" / "rows.jsonl").unlink()
    sample = sample_sources(mixed(filters={"c4": {"min_sentences": 0}}), 12)
    assert sample.no_effect == ["clean", "c4"] and sample.effects == []


def test_an_unexpected_error_of_a_filter_is_a_reject(mixed: Mixed, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def passes_over(self, document: Any) -> bool:
            raise ValueError("no such thing")

    monkeypatch.setattr("pipelines.steps.filter.make_filters", lambda _: {"c4": Broken()})
    sample = sample_sources(mixed(filters={"c4": {}}), 4)
    assert sample.num_kept == 0
    assert {each.step: each.found for each in sample.effects}["filter"] == "ValueError: no such thing"


def test_sources_are_shown_as_they_are(mixed: Mixed, tmp_path: Path) -> None:
    pytest.importorskip("trafilatura")
    folder = tmp_path / "files"
    (folder / "page.html").write_text(PAGE)
    (folder / "table.csv").write_text(f'text,number\n"{NOTE}",1\n')
    (folder / "blob.dat").write_bytes(b"\x00\x01" * 50)
    with zipfile.ZipFile(folder / "packed.zip", "w") as archive:
        archive.writestr("in/page.html", PAGE)
    sample = sample_sources(mixed(), 12)
    of = {each.kind: each for each in sample.shown}
    assert of["domain: html"].source == PAGE
    assert of["domain: html"].text.startswith(f"Aspirin\n\nTen of them came. {NOTE}\n\nNine")
    assert of["domain: csv"].source == f"text: {NOTE}\nnumber: 1"
    assert of["domain: json"].source == f"text: {of['domain: json'].text}"
    assert of["domain: zip: html"].source.endswith("bytes at !/in/page.html]")
    assert sample.kinds["domain: binary"]["rejected: no_reader"] == 1
    reject = next(each for each in sample.effects if each.rule == "no_reader")
    assert reject.step == "read" and "kind binary" in reject.found


def test_pages_are_shown_in_their_own_encoding(mixed: Mixed, tmp_path: Path) -> None:
    pytest.importorskip("trafilatura")
    page = PAGE.replace("<nav>", '<meta charset="shift_jis"><nav>').replace(
        NOTE, "港町の坂の途中に、時計屋がある。" * 4
    )
    (tmp_path / "files" / "page.html").write_bytes(page.encode("shift_jis"))
    shown = next(each for each in sample_sources(mixed(), 6).shown if each.kind == "domain: html")
    assert "港町の坂" in shown.source and "港町の坂" in shown.text


def test_a_file_that_the_storage_refuses_is_named(mixed: Mixed, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise PermissionError("not yours")

    monkeypatch.setattr("plugins.readers.folder.FolderReader.rows_of", refuse)
    with pytest.raises(InputError, match=r"n\d\.txt|rows\.jsonl"):
        sample_sources(mixed(), 3)


def test_nothing_is_written_and_no_part_of_it_runs_beam(
    mixed: Mixed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apache_beam.Pipeline.run", lambda *_: pytest.fail("a pipeline ran"))
    before = sorted(tmp_path.rglob("*"))
    sample_sources(mixed(), 12)
    assert sorted(tmp_path.rglob("*")) == before


def test_terminal_codes_are_harmless_in_a_pipe_and_on_terminals(
    mixed: Mixed, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "files" / "a.md").write_text(f"\x1b]52;c;evil\x07 {NOTE}")
    sample = sample_sources(mixed(), 6)
    print_sample(sample)
    piped = capsys.readouterr().out
    assert "\x1b" not in piped and "\x07" not in piped and "\\u001b]52" in piped
    assert "── " in piped and "text to train on:\n" in piped
    monkeypatch.setenv("FORCE_COLOR", "1")
    for columns, is_beside in (("40", False), ("160", True)):
        monkeypatch.setenv("COLUMNS", columns)
        print_sample(sample)
        out = capsys.readouterr().out
        assert "\x1b]" not in out and "\x07" not in out
        assert any("source" in line and "text to train on" in line for line in out.splitlines()) is is_beside


def test_sources_on_another_file_system_are_sampled_too(corpus_config: Any, tmp_path: Path) -> None:
    files = fsspec.filesystem("memory")
    files.pipe("/sampled/rows.jsonl", b"".join(json.dumps({"text": f"Row {number}. {NOTE}"}).encode() + b"\n"
                                               for number in range(20)))  # fmt: skip
    files.pipe("/sampled/below/note.txt", NOTE.encode())
    files.pipe("/sampled/below/blob.dat", b"\x00\x01" * 50)
    with files.open("/sampled/packed.zip", "wb") as file, zipfile.ZipFile(file, "w") as archive:
        archive.writestr("in/inner.txt", f"Inside. {NOTE}")
    streams = {"domain": {"synthesize": False, "sources": [{"uri": "memory://sampled"}]}}
    sample = sample_sources(corpus_config(tmp_path / "corpus", streams=streams), 50)
    files.rm("/sampled", recursive=True)
    assert sample.kinds == {
        "domain: binary": {"files": 1, "rejected: no_reader": 1},
        "domain: json": {"files": 1, "documents": 20},
        "domain: text": {"files": 1, "documents": 1},
        "domain: zip": {"files": 1},
        "domain: zip: text": {"documents": 1},
    }
    assert (sample.num_records, sample.num_kept, sample.left_out) == (23, 22, ())
    of = {each.kind: each for each in sample.shown}
    assert of["domain: text"].source == of["domain: text"].text == NOTE
    assert of["domain: text"].name == "memory:///sampled/below/note.txt"


@pytest.fixture
def yaml_file(mixed: Mixed, tmp_path: Path) -> str:
    path = tmp_path / "corpus.yaml"
    path.write_text(mixed().model_dump_json(exclude_unset=True))
    return str(path)


def test_the_command_prints_json(yaml_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", yaml_file, "--sample", "6", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["num_records"] == 6 and len(found["shown"]) == 5
    assert {*found["shown"][0]} == {"name", "kind", "source", "text", "num_characters", "dropped"}


@pytest.mark.parametrize("number", ["0", "-1", "1001"])
def test_a_number_of_records_out_of_bounds_is_refused(number: str, yaml_file: str) -> None:
    with pytest.raises(ConfigError, match=r"--sample is .*; expected 1 to 1,000"):
        main(["plan", yaml_file, f"--sample={number}"])


def test_a_text_as_number_is_refused(yaml_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        main(["plan", yaml_file, "--sample", "all"])
    assert error.value.code == 2
    assert "--sample" in capsys.readouterr().err


@pytest.mark.parametrize("others", [["--tokens-per-sec", "5"], ["--", "--runner=DirectRunner"]])
def test_options_that_a_sample_does_not_use_are_refused(others: list[str], yaml_file: str) -> None:
    with pytest.raises(ConfigError, match="--sample counts no requests"):
        main(["plan", yaml_file, "--sample", "5", *others])
