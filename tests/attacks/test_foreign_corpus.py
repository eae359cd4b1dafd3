"""Stranger's corpora that name outside files and pickled columns: nothing is written or run."""

from __future__ import annotations

import json
import os
import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xxhash

from plugins.commands.main import main
from schemas import storage
from schemas.errors import ConfigError, CorpusError, TrainingError
from schemas.manifest import read_manifest
from schemas.shard_index import read_index
from schemas.train_config import DatasetConfig, LoaderConfig, TrainStreamConfig
from tests.attacks.sandbox import Sandbox, watched

INDEX = "increments/000001*/shards/domain/index.json"


def change(sandbox: Sandbox, alter: Callable[[dict[str, Any]], None]) -> Path:
    """Alter the first shard in the index, as a stranger might."""
    (path,) = sandbox.corpus.glob(INDEX)
    index = json.loads(path.read_bytes())
    alter(index["shards"][0])
    path.write_text(json.dumps(index))
    return path


def load(corpus: Path, cache: Path, num_workers: int = 0) -> list[list[int]]:
    """Read a corpus as `train` does, and return the tokens of each row."""
    from trainer.data.resolve_streams import resolve_streams
    from trainer.data.row_loader import build_loader
    from trainer.data.verify_shards import verify_shards

    streams = {"domain": TrainStreamConfig(corpus=str(corpus))}
    dataset = DatasetConfig(streams=streams, cache_dir=str(cache))
    config = LoaderConfig(dataset=dataset, num_workers=num_workers)
    resolved = resolve_streams(config.dataset)
    for shards in resolved[0].shard_sets:
        verify_shards(str(corpus), shards)
    loader = build_loader(config, resolved, batch_size=1, vocab_size=2048)
    return [batch["input_ids"][0].tolist() for batch in loader]


def escape(name: str) -> Callable[[dict[str, Any]], None]:
    def alter(shard: dict[str, Any]) -> None:
        shard["raw_data"]["basename"] = name

    return alter


@pytest.mark.slow
@pytest.mark.parametrize("target", ["{root}/home/keys", "../../../../../home/keys", "00000/../../keys"])
def test_a_name_that_leads_out_of_the_folder_is_refused_by_all_who_read_it(
    target: str, sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    name = target.format(root=sandbox.root)
    path = change(sandbox, escape(name))
    uri = str(sandbox.corpus)
    found = f"{path}: is damaged: shards.0.raw_data.basename is {name!r}"
    for command in (["show", uri, "--rows", "2"], ["show", uri, "--row", "domain:0"]):
        assert main(["corpus", *command]) == 1
        assert found[:140] in capsys.readouterr().err
    assert main(["corpus", "verify", uri]) == 1
    assert found[:140] in capsys.readouterr().out
    with pytest.raises(CorpusError) as caught:
        load(sandbox.corpus, sandbox.cache)
    assert str(caught.value).startswith(found[:140])
    assert (sandbox.root / "home/keys").read_text() == "secret"


class Bomb:
    def __reduce__(self) -> Any:
        return os.system, ("touch ran",)


def test_a_column_that_is_a_pickle_is_not_decoded(
    sandbox: Sandbox, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(sandbox.root)
    value = pickle.dumps(Bomb())
    tokens = np.zeros(512, np.int32)
    row = (
        np.array([len(value), tokens.nbytes + 2], np.uint32).tobytes()
        + value
        + b"\x04\x00"
        + tokens.tobytes()
    )
    head = b"{}"
    begin = 12 + len(head)
    data = np.array([1, begin, begin + len(row)], np.uint32).tobytes() + head + row

    def alter(shard: dict[str, Any]) -> None:
        name = "00000/shard.00000.mds"
        (index,) = sandbox.corpus.glob(INDEX)
        index.parent.joinpath(name).write_bytes(data)
        shard.update(column_encodings=["pkl", "ndarray:int32"], compression=None, zip_data=None, samples=1)
        digest = {"xxh64": xxhash.xxh64(data).hexdigest()}
        shard["raw_data"] = {"basename": name, "bytes": len(data), "hashes": digest}

    path = change(sandbox, alter)
    for command in (["show", str(sandbox.corpus), "--row", "domain:0"], ["verify", str(sandbox.corpus)]):
        assert main(["corpus", *command]) == 1
        said = capsys.readouterr()
        assert (
            f"{path}: is damaged: shards.0.column_encodings.0 is 'pkl': input should be 'ndarray:int32'"
            in (said.out + said.err)
        )
    with pytest.raises(CorpusError, match="is 'pkl'"):
        load(sandbox.corpus, sandbox.cache)
    assert not (sandbox.root / "ran").exists()


@pytest.mark.parametrize("key", ["path", "tokenizer"])
def test_a_manifest_names_nothing_outside_its_corpus(key: str, sandbox: Sandbox) -> None:
    path = sandbox.corpus / "manifest/000002.json"
    manifest = json.loads(path.read_bytes())
    holder = manifest if key == "tokenizer" else manifest["increments"][0]["streams"]["domain"]
    holder[key] = "../../home"
    path.write_text(json.dumps(manifest))
    with pytest.raises(CorpusError, match=rf"000002\.json: .*{key} is '\.\./\.\./home'"):
        read_manifest(str(sandbox.corpus))


def test_a_name_that_looks_like_markup_is_shown_as_it_is(
    sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    (path,) = sandbox.corpus.glob("increments/000002*/texts/domain-00000.jsonl.zst")
    records = [json.loads(line) for line in storage.read_lines_zst(str(path))]
    storage.write_lines_zst(str(path), [json.dumps({**each, "text_id": "[/b]"}) for each in records])
    assert main(["corpus", "show", str(sandbox.corpus), "--texts", "1"]) == 0
    assert "text [/b]" in capsys.readouterr().out


def test_a_row_whose_lineage_is_empty_is_damaged(
    sandbox: Sandbox, capsys: pytest.CaptureFixture[str]
) -> None:
    (path,) = sandbox.corpus.glob("increments/000001*/lineage/domain-00000.jsonl.zst")
    storage.write_lines_zst(str(path), ["[]"])
    assert main(["corpus", "show", str(sandbox.corpus), "--row", "domain:0"]) == 1
    assert "its lineage says []. One of the two is damaged" in capsys.readouterr().err


@pytest.mark.slow
def test_an_index_of_streamings_own_writer_is_read(tmp_path: Path) -> None:
    """Older versions wrote corpora with that writer."""
    from streaming import MDSWriter

    from schemas.manifest import ShardSet

    for compression, hashes in (("zstd:3", ["xxh64"]), (None, None), ("gz", ["sha1", "xxh3_64"])):
        folder = tmp_path / f"increments/000001/shards/{compression or 'none'}".replace(":", "-")
        columns = {"tokens": "ndarray:int32", "segment_lengths": "ndarray:int32"}
        with MDSWriter(
            out=str(folder), columns=columns, compression=compression, hashes=hashes, size_limit=1 << 10
        ) as writer:
            for number in range(40):
                writer.write({"tokens": np.full(32, number, np.int32), "segment_lengths": np.int32([32])})
        shards = ShardSet(
            path=str(folder.relative_to(tmp_path)), num_samples=40, num_tokens=1280, num_texts=40
        )
        from pipelines.store.packed_rows import read_rows

        assert sum(shard.samples for shard in read_index(str(tmp_path), shards).shards) == 40
        assert [int(row["tokens"][0]) for row in read_rows(str(tmp_path), shards)] == list(range(40))


def swapped(folder: Path) -> Path:
    """Change a token in each cached shard; file sizes stay the same."""
    found = sorted(folder.rglob("*.mds"))
    for path in found:
        data = bytearray(path.read_bytes())
        data[-4:] = (1).to_bytes(4, "little")
        data[len(data) // 2 // 4 * 4] ^= 1
        path.write_bytes(data)
    return found[0]


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [0, 2])
def test_swapped_rows(
    num_workers: int,
    sandbox: Sandbox,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # This path is short enough for the sockets of reader processes.
    monkeypatch.setattr(tempfile, "tempdir", os.environ["TMPDIR"])
    right = load(sandbox.corpus, sandbox.cache)
    assert len(right) > 5
    capfd.readouterr()
    assert load(sandbox.corpus, sandbox.cache) == right
    assert "fetched again" not in capfd.readouterr().err
    one = swapped(sandbox.cache)
    assert load(sandbox.corpus, sandbox.cache, num_workers) == right
    assert f"{one}: cached shard " in capfd.readouterr().err


@pytest.mark.parametrize("is_told", [True, False], ids=["told by the thread", "seen in shared memory first"])
def test_a_cached_shard_that_is_a_link_is_not_followed(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, is_told: bool
) -> None:
    if not is_told:
        monkeypatch.setattr("trainer.data.row_dataset.RowDataset.on_exception", lambda *_: None)
    right = load(sandbox.corpus, sandbox.cache)
    one = sorted(sandbox.cache.rglob("*.mds"))[0]
    one.rename(sandbox.root / "tmp/elsewhere.mds")
    one.symlink_to(sandbox.root / "tmp/elsewhere.mds")
    with pytest.raises((TrainingError, CorpusError), match="leads out of the cache"):
        load(sandbox.corpus, sandbox.cache)
    assert right


def test_a_cache_that_others_may_write_to_is_refused(sandbox: Sandbox) -> None:
    sandbox.cache.mkdir()
    sandbox.cache.chmod(0o777)
    with pytest.raises(ConfigError, match="has mode 777, so others may write to it"):
        load(sandbox.corpus, sandbox.cache)
    sandbox.cache.rmdir()
    (sandbox.root / "tmp/other").mkdir()
    sandbox.cache.symlink_to(sandbox.root / "tmp/other")
    with pytest.raises(ConfigError, match="is a link or no folder"):
        load(sandbox.corpus, sandbox.cache)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives folders away")
def test_a_cache_of_another_user_is_refused(sandbox: Sandbox) -> None:
    sandbox.cache.mkdir(mode=0o700)
    os.chown(sandbox.cache, 4321, 4321)
    with pytest.raises(ConfigError, match="belongs to user 4321, and this is user 0"):
        load(sandbox.corpus, sandbox.cache)


def test_a_cache_in_a_folder_of_everybody_is_refused(tmp_path: Path) -> None:
    from trainer.data.cache_folder import private_folder

    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(ConfigError, match=rf"lies in {tmp_path}/open, where anybody may rename it"):
        private_folder(str(tmp_path / "open/cache"))
    (tmp_path / "open").chmod(0o1777)
    assert os.stat(private_folder(str(tmp_path / "open/cache"))).st_mode & 0o777 == 0o700


def test_the_watch_itself_notes_writes_and_code(tmp_path: Path) -> None:
    from tests.attacks import sandbox as module

    with watched(tmp_path):
        (tmp_path / "tmp/fine").write_text("x")
        assert module._noted == []
        (tmp_path / "written").write_text("x")
        pickle.loads(pickle.dumps(Path))
    assert [each.split(" ")[0] for each in module._noted] == ["open", "pickle.find_class"]
