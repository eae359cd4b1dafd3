"""Corpus tokenizer: each corpus contains its tokenizer, so it can be read from any folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from plugins.corpus_tokenizer import load_corpus_tokenizer
from plugins.tokenizers import fingerprint, load_tokenizer
from schemas import storage
from schemas.corpus_config import CorpusConfig
from schemas.errors import CorpusError
from schemas.manifest import read_manifest

Config = Callable[..., CorpusConfig]
WORDS = "Study 0 tells of cells."


@pytest.fixture(scope="module")
def origin(
    tmp_path_factory: pytest.TempPathFactory,
    tokenizer_dir: str,
    passages: Any,
    write_jsonl: Any,
    corpus_config: Config,
    build: Any,
) -> Path:
    """The folder of a corpus whose tokenizer was named by a relative path; that path is deleted."""
    root = tmp_path_factory.mktemp("origin")
    shutil.copytree(tokenizer_dir, root / "models/tiny")
    config = corpus_config(
        root / "corpus", write_jsonl(root / "in.jsonl", passages(3)), tokenizer={"name": "models/tiny"}
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        build(config)
    shutil.rmtree(root / "models")
    return root


@pytest.fixture
def corpus(origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A copy of that corpus, with another working directory and no hub."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    shutil.copytree(origin / "corpus", tmp_path / "corpus")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return str(tmp_path / "corpus")


@pytest.fixture
def remote(corpus: str) -> Iterator[str]:
    """The same corpus on a remote file system."""
    memory = fsspec.filesystem("memory")
    memory.put(corpus, "/kept", recursive=True)
    yield "memory://kept"
    memory.rm("/kept", recursive=True)


def folder_of(corpus: str) -> Path:
    return Path(corpus, "tokenizer", read_manifest(corpus).tokenizer)


@pytest.mark.slow
@pytest.mark.parametrize("place", ["corpus", "remote"])
def test_rows_are_shown_with_the_corpus_s_own_tokenizer(
    request: pytest.FixtureRequest, tutelage: Any, place: str
) -> None:
    uri = request.getfixturevalue(place)
    assert read_manifest(uri).tokenizer_name == "models/tiny"
    shown = tutelage("corpus", "show", uri, "--texts", "0", "--rows", "1")
    assert (shown.status, shown.err) == (0, "")
    assert WORDS in shown.out
    row = tutelage("corpus", "show", uri, "--row", "domain:0", "--json")
    assert any(WORDS in segment["decoded"] for segment in json.loads(row.out)["segments"])
    assert tutelage("corpus", "trace", uri, "doc-0").status == 0
    assert tutelage("corpus", "verify", uri).status == 0
    assert tutelage("corpus", "export-pairs", uri).status == 0


@pytest.mark.slow
def test_it_is_the_tokenizer_of_the_build(corpus: str, tokenizer_dir: str) -> None:
    manifest = read_manifest(corpus)
    found = load_corpus_tokenizer(corpus, manifest)
    assert fingerprint(found) == fingerprint(load_tokenizer(tokenizer_dir)) == manifest.tokenizer
    assert found.name_or_path == "models/tiny"
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        assert (folder_of(corpus) / name).read_bytes() == Path(tokenizer_dir, name).read_bytes()


def test_a_damaged_or_missing_file_of_it_is_named(tutelage: Any, corpus: str) -> None:
    file = folder_of(corpus) / "tokenizer.json"
    file.write_bytes(file.read_bytes().replace(b"protein", b"protean"))
    for argv in (("verify", corpus), ("show", corpus, "--rows", "1")):
        done = tutelage("corpus", *argv)
        assert done.status == 1
        assert f"{file}: is damaged: its hash is " in done.out + done.err
    file.unlink()
    done = tutelage("corpus", "show", corpus, "--rows", "1")
    assert done.err.endswith(f"{file}: is missing. Restore it.\n")


def test_files_of_another_tokenizer_are_refused(corpus: str) -> None:
    manifest = read_manifest(corpus).model_copy(update={"tokenizer": "0" * 32})
    shutil.copytree(folder_of(corpus), Path(corpus, "tokenizer", "0" * 32))
    with pytest.raises(CorpusError, match="is not the tokenizer that made the rows"):
        load_corpus_tokenizer(corpus, manifest)


def test_a_listing_that_leads_out_of_its_folder_is_refused(corpus: str, tmp_path: Path) -> None:
    listing = folder_of(corpus) / "files.json"
    listing.write_text(json.dumps({"../../../escaped": "00"}))
    with pytest.raises(CorpusError, match=r"names a file .*escaped', which no tokenizer has"):
        load_corpus_tokenizer(corpus, read_manifest(corpus))


@pytest.mark.slow
def test_a_corpus_built_before_falls_back_to_the_name_and_the_next_build_adds_the_files(
    tutelage: Any,
    corpus: str,
    tokenizer_dir: str,
    corpus_config: Config,
    build: Any,
    write_jsonl: Any,
    tmp_path: Path,
) -> None:
    storage.remove_tree(f"{corpus}/tokenizer")
    done = tutelage("corpus", "show", corpus, "--rows", "1")
    assert done.status == 2
    assert (
        f"{corpus} holds no tokenizer, as corpora of earlier versions (the next build adds it), and "
        in done.err
    )
    assert "tokenizer 'models/tiny' cannot be loaded: ConnectionError" in done.err
    assert done.err.count("\n") == 1
    shutil.copytree(tokenizer_dir, "models/tiny")
    assert WORDS in tutelage("corpus", "show", corpus, "--texts", "0", "--rows", "9").out
    rows = [{"id": "new", "text": "A new text about the cells of a patient is taken in here."}]
    build(corpus_config(corpus, write_jsonl(tmp_path / "new.jsonl", rows), tokenizer={"name": "models/tiny"}))
    assert (folder_of(corpus) / "files.json").exists()
    shutil.rmtree("models")
    assert WORDS in tutelage("corpus", "show", corpus, "--texts", "0", "--rows", "9").out


@pytest.mark.slow
def test_a_build_that_publishes_nothing_leaves_no_tokenizer(
    tmp_path: Path, corpus_config: Config, build: Any, write_jsonl: Any
) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", [{"id": "a", "text": "Few words."}])
    with pytest.raises(Exception, match="nothing was published"):
        build(corpus_config(tmp_path / "corpus", source))
    assert not (tmp_path / "corpus/tokenizer").exists()
