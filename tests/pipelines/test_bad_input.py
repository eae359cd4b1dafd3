"""`tutelage corpus build` on real users' faulty input: exit status and exact messages."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
import yaml
import zstandard

from pipelines.steps import clean
from plugins.tokenizers import load_tokenizer
from schemas import manifest as manifests
from schemas import storage
from schemas.manifest import read_manifest
from tests.published import name_of

ROOT = Path(__file__).resolve().parents[2]
LONG_ENOUGH = "This text is long enough to be kept."


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return tmp_path / "corpus"


@pytest.fixture
def corpus_yaml(tmp_path: Path, corpus: Path, tokenizer_dir: str) -> Callable[..., str]:
    """Write a configuration whose sources are all files in `in/`; keywords replace keys."""

    def write(*, reader: str = "jsonl", uri: str | None = None, source: Any = None, **changes: Any) -> str:
        values = {
            "corpus": str(corpus),
            "streams": {
                "domain": {
                    "synthesize": True,
                    "sources": [{"reader": reader, "uri": uri or f"{tmp_path}/in", **(source or {})}],
                }
            },
            "tokenizer": {"name": tokenizer_dir},
            "pack": {"seq_len": 64},
            **changes,
        }
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "corpus.yaml").write_text(yaml.safe_dump(values))
        return str(tmp_path / "corpus.yaml")

    return write


def write_rows(path: Path, *texts: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")


def test_a_missing_configuration_is_named(tutelage: Any, tmp_path: Path) -> None:
    done = tutelage("corpus", "build", f"{tmp_path}/none.yaml")
    assert (done.status, done.out) == (2, "")
    assert done.err == f"ConfigError: {tmp_path}/none.yaml: no such file. Name a YAML configuration.\n"


def test_an_unknown_key_is_refused_with_the_nearest(tutelage: Any, corpus_yaml: Any) -> None:
    file = corpus_yaml(clean={"min_wrds": 3})
    done = tutelage("corpus", "build", file)
    assert (done.status, done.out) == (2, "")
    assert done.err == (
        f"ConfigError: {file}: key 'clean.min_wrds' is unknown. Did you mean 'min_words'? "
        "Available: boilerplate, mask_personal_data, max_characters, min_words, repair_unicode.\n"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"synthesis": {"backend": "mind"}}, "synthesizer 'mind' is unknown. Did you mean 'mined'?"),
        ({"reader": "jsnl"}, "reader 'jsnl' is unknown. Did you mean 'jsonl'?"),
        (
            {"templates": "reading_comprehensions"},
            "template family 'reading_comprehensions' is unknown. Did you mean 'reading_comprehension'?",
        ),
        ({"synthesis": {"protocol": "chatt"}}, "protocol 'chatt' is unknown. Did you mean 'chat'?"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest_before_anything_is_written(
    tutelage: Any, corpus_yaml: Any, corpus: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    write_rows(tmp_path / "in/a.jsonl", LONG_ENOUGH)
    done = tutelage("corpus", "build", corpus_yaml(**changes))
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith(f"ConfigError: {message} Available: ")
    assert not corpus.exists()


@pytest.mark.parametrize("command", ["build", "plan"])
def test_a_model_without_a_usable_chat_template_is_refused_before_anything_is_written(
    tutelage: Any, corpus_yaml: Any, corpus: Path, tmp_path: Path, tokenizer_dir: str, command: str
) -> None:
    model = tmp_path / "model"
    shutil.copytree(tokenizer_dir, model)
    config = model / "tokenizer_config.json"
    templates = [{"name": name, "template": "{{ messages[0]['content'] }}"} for name in ("rag", "chat")]
    config.write_text(json.dumps({**json.loads(config.read_text()), "chat_template": templates}))
    synthesis = {"backend": "sglang", "model": str(model), "endpoints": ["http://127.0.0.1:9"]}
    write_rows(tmp_path / "in/a.jsonl", LONG_ENOUGH)
    done = tutelage("corpus", command, corpus_yaml(synthesis=synthesis))
    assert (done.status, done.out) == (2, "")
    assert done.err == (
        f"ConfigError: synthesis.model {str(model)!r} has several chat templates, but none named "
        "'default': chat, rag. Name one of them 'default' in the tokenizer's files.\n"
    )
    assert not corpus.exists()


def test_an_unknown_beam_option_is_refused_before_anything_is_written(
    tutelage: Any, corpus_yaml: Any, corpus: Path
) -> None:
    done = tutelage("corpus", "build", corpus_yaml(), "--", "--direct_num_wokers=2")
    assert (done.status, done.out) == (2, "")
    assert done.err == (
        "ConfigError: Beam option 'direct_num_wokers' is unknown. Did you mean 'direct_num_workers'?\n"
    )
    assert not corpus.exists()


def test_a_source_that_matches_no_file_is_named(
    tutelage: Any, corpus_yaml: Any, corpus: Path, tmp_path: Path
) -> None:
    done = tutelage("corpus", "build", corpus_yaml(uri=f"{tmp_path}/in/*.jsonl.gz"))
    assert (done.status, done.out) == (1, "")
    assert done.err == (
        f"InputError: source uri '{tmp_path}/in/*.jsonl.gz' matches no file. "
        "Check the path; globs such as *.jsonl.zst work.\n"
    )
    assert not corpus.exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "the sources hold no documents; nothing was published."),
        (
            ["Too short.", "  "],
            "no document of the sources can be used; nothing was published. First rejects: "
            "{source}:@23: empty (field 'text' is empty); "
            "{source}:@0: too_short (2 words, at least 5).",
        ),
    ],
)
def test_sources_without_a_usable_document_are_an_error_and_leave_no_file(
    tutelage: Any,
    corpus_yaml: Any,
    corpus: Path,
    tmp_path: Path,
    files_of: Any,
    rows: list[str],
    message: str,
) -> None:
    write_rows(tmp_path / "in/a.jsonl", *rows)
    done = tutelage("corpus", "build", corpus_yaml())
    assert (done.status, done.out) == (1, "")
    *_, last = done.err.splitlines()
    assert last == "InputError: " + message.format(source=f"{tmp_path}/in/a.jsonl")
    assert files_of(corpus) == []


@pytest.mark.slow
def test_what_is_damaged_costs_itself_and_is_on_record(
    tutelage: Any, corpus_yaml: Any, corpus: Path, tmp_path: Path, rejects_in: Any, texts_in: Any
) -> None:
    """Lines that are not UTF-8 or JSON, and an archive that ends too early, beside good rows."""
    folder = tmp_path / "in"
    folder.mkdir()
    good = [f"Good passage number {number} stands here." for number in range(4)]
    lines = [json.dumps({"text": text}).encode() for text in good]
    (folder / "a.jsonl").write_bytes(b"\n".join([lines[0], b'{"text": "caf\xe9"}', b'{"text": ', lines[1]]))
    whole = zstandard.compress(b"\n".join(lines[2:]) + b"\n")
    (folder / "b.jsonl.zst").write_bytes(whole + zstandard.compress(b"x" * 100_000)[:-4])
    done = tutelage("corpus", "build", corpus_yaml())
    assert done.status == 0
    assert done.out.splitlines()[-1] == (
        "  rejects: 1 read: damaged_file, 1 read: invalid_json, 1 read: invalid_utf8 "
        f"(records in increments/{name_of(str(corpus), 1)}/rejects)"
    )
    found = {(each["source"], each["reason"]): each["detail"] for each in rejects_in(corpus, "read")}
    assert sorted(found) == [
        (f"{folder}/a.jsonl:@47", "invalid_utf8"),
        (f"{folder}/a.jsonl:@64", "invalid_json"),
        (f"{folder}/b.jsonl.zst:3", "damaged_file"),
    ]
    assert found[f"{folder}/a.jsonl:@47", "invalid_utf8"].startswith("byte b'\\xe9' at offset 13 of the row,")
    assert found[f"{folder}/b.jsonl.zst:3", "damaged_file"].endswith("2 lines were read before it")
    kept = "\n".join(text.text for text in texts_in(corpus))
    assert all(text in kept for text in good)


def test_a_parquet_file_without_the_text_column_is_refused_with_its_columns(
    tutelage: Any, corpus_yaml: Any, corpus: Path, tmp_path: Path, files_of: Any
) -> None:
    (tmp_path / "in").mkdir()
    pyarrow.parquet.write_table(pyarrow.table({"body": [LONG_ENOUGH], "n": [1]}), tmp_path / "in/a.parquet")
    done = tutelage("corpus", "build", corpus_yaml(reader="parquet"))
    assert done.status == 1
    *_, last = done.err.splitlines()
    assert last == (
        f"InputError: {tmp_path}/in/a.parquet: none of its rows can be read: missing_column (no column "
        "'text'; the file has body, n. Set text_field or format.). Repair it, leave it out of the uri, or "
        "set allow_unreadable: true on its source. Nothing was published."
    )
    assert files_of(corpus) == []


@pytest.mark.slow
def test_special_strings_in_a_passage_come_through_verbatim_and_as_plain_tokens(
    tutelage: Any, corpus_yaml: Any, corpus: Path, tmp_path: Path, tokenizer_dir: str, texts_in: Any
) -> None:
    StreamingDataset = pytest.importorskip("streaming").StreamingDataset

    passage = "Before <|endoftext|> between </END> and <s> after, all of it stays as it was."
    write_rows(tmp_path / "in/a.jsonl", passage)
    assert tutelage("corpus", "build", corpus_yaml(pack={"seq_len": 256})).status == 0
    (text,) = texts_in(corpus)
    assert passage in text.text
    path = read_manifest(str(corpus)).increments[0].streams["domain"].path
    (row,) = StreamingDataset(
        remote=f"{corpus}/{path}", local=str(tmp_path / "cache"), batch_size=1, shuffle=False
    )
    (length,) = row["segment_lengths"].tolist()
    *inside, last = row["tokens"][:length].tolist()
    assert last == 0  # <|endoftext|>
    assert not {0, 1} & set(inside)
    assert load_tokenizer(tokenizer_dir).decode(inside) == text.text


@pytest.mark.slow
def test_json_output_is_the_manifest_and_nothing_else(
    tutelage: Any, corpus_yaml: Any, corpus: Path, tmp_path: Path
) -> None:
    write_rows(tmp_path / "in/a.jsonl", LONG_ENOUGH)
    file = corpus_yaml()
    first = tutelage("corpus", "build", file, "--json")
    assert first.status == 0 and all(json.loads(line)["event"] for line in first.err.splitlines())
    assert json.loads(first.out) == read_manifest(str(corpus)).model_dump(mode="json")
    again = tutelage("corpus", "build", file, "--json", "--quiet")
    assert (again.status, again.out, again.err) == (0, "null\n", "")


@pytest.mark.slow
def test_a_build_from_the_shell_says_what_it_did_and_no_more(
    corpus_yaml: Any, corpus: Path, tmp_path: Path
) -> None:
    """The build runs in its own process, because libraries may print when they are imported."""
    write_rows(tmp_path / "in/a.jsonl", LONG_ENOUGH, "Short.")
    done = subprocess.run(
        [sys.executable, "-m", "plugins.commands.main", "corpus", "build", corpus_yaml()],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    said = [
        line for line in done.stderr.splitlines() if not line.startswith("[")
    ]  # progress lines of slow builds
    assert said == [f"Building increment 1 of {corpus} from 1 file (domain); pairs by mined."]
    assert done.returncode == 0
    first, *others = done.stdout.splitlines()
    assert first.startswith(f"{corpus}: increment 1 published, 1 documents, ")
    shards = read_manifest(str(corpus)).increments[0].streams["domain"]
    filled = shards.num_tokens / 64
    assert others == [
        f"  domain: 1 texts, {shards.num_tokens} tokens in 1 rows of 64 ({filled:.1%} filled)",
        "  synthesis: 0 pairs for 0 of 1 documents",
        "  domain: NO document of this increment has pairs",
        f"  rejects: 1 clean: too_short (records in increments/{name_of(str(corpus), 1)}/rejects)",
    ]


@pytest.mark.parametrize("in_the_way", ["corpus", "corpus/lock", "corpus/increments"])
def test_a_corpus_that_cannot_be_written_is_named_before_anything_is_read(
    tutelage: Any, corpus_yaml: Any, corpus: Path, tmp_path: Path, in_the_way: str
) -> None:
    """A file in place of a folder also stops root, who ignores file permissions."""
    write_rows(tmp_path / "in/a.jsonl", LONG_ENOUGH)
    place = tmp_path / in_the_way
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text("a file")
    done = tutelage("corpus", "build", corpus_yaml())
    assert (done.status, done.out) == (1, "")
    (said,) = done.err.splitlines()
    named = "increments/000001-" if in_the_way == "corpus/increments" else "lock: cannot be written: "
    assert said.startswith(f"CorpusError: {corpus}/{named}") and ": cannot be written: " in said
    assert said.endswith(
        "Check `corpus`, its permissions and the space on its disk. Nothing was read or changed."
    )
    assert place.read_text() == "a file"


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_a_disk_that_takes_no_file_is_an_error_before_anything_is_read(
    tutelage: Any, corpus_yaml: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(path: str, data: bytes) -> None:
        raise OSError(code, os.strerror(code), path)

    monkeypatch.setattr(storage, "_write_synced", refuse)
    write_rows(tmp_path / "in/a.jsonl", LONG_ENOUGH)
    done = tutelage("corpus", "build", corpus_yaml())
    assert (done.status, done.out) == (1, "")
    (said,) = done.err.splitlines()
    found = " completely" if code == errno.ENOSPC else f": [Errno {code}]"
    assert f"cannot be written{found}" in said and os.strerror(code) in said


def test_a_corpus_that_cannot_be_listed_is_an_error(
    tutelage: Any, corpus_yaml: Any, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(uri: str) -> int:
        raise PermissionError(errno.EACCES, "Permission denied", uri)

    monkeypatch.setattr(manifests, "newest_number", refuse)
    write_rows(tmp_path / "in/a.jsonl", LONG_ENOUGH)
    done = tutelage("corpus", "build", corpus_yaml())
    assert (done.status, done.err) == (
        1,
        f"CorpusError: {corpus}: cannot be read: [Errno 13] Permission denied: '{corpus}'. "
        "Check `corpus` and its permissions.\n",
    )


@pytest.mark.slow
@pytest.mark.parametrize("bad", ["one", "all"])
def test_one_document_that_fails_unexpectedly_is_a_reject_and_all_of_them_an_error(
    tutelage: Any,
    corpus_yaml: Any,
    corpus: Path,
    tmp_path: Path,
    rejects_in: Any,
    files_of: Any,
    monkeypatch: pytest.MonkeyPatch,
    bad: str,
) -> None:
    def picky(text: str, **_: Any) -> str:
        if bad == "all" or "number 1" in text:
            raise TypeError("odd")
        return text

    monkeypatch.setattr(clean, "clean_text", picky)
    write_rows(
        tmp_path / "in/a.jsonl", *(f"Good passage number {number} stands here." for number in range(4))
    )
    done = tutelage("corpus", "build", corpus_yaml())
    source = f"{tmp_path}/in/a.jsonl"
    if bad == "one":
        assert done.status == 0
        (found,) = rejects_in(corpus, "clean")
        assert (found["reason"], found["detail"]) == ("unexpected_error", "TypeError: odd")
        assert found["source"].startswith(source) and found["document_id"].startswith(source)
        return
    assert (done.status, done.out) == (1, "")
    assert done.err.splitlines()[-1].startswith(
        "InputError: 4 of 4 documents led to unexpected errors; at most 10 may, and not all. "
        f"Nothing was published. First: {source}:@0: unexpected_error (TypeError: odd); "
    )
    assert files_of(corpus) == []
