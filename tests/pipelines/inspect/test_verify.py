"""`tutelage corpus verify`: a sound corpus passes; each kind of damage is reported with its file."""

from __future__ import annotations

import bz2
import gzip
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import xxhash
import zstandard

from schemas.corpus_config import CorpusConfig
from schemas.errors import CorpusError
from schemas.mds import compress, decompress, rows_of
from tests.tiny import located

ROOT = Path(__file__).resolve().parents[3]
SEQ_LEN = 1024


@pytest.fixture(scope="module")
def built(
    tmp_path_factory: pytest.TempPathFactory, write_jsonl: Any, passages: Any, corpus_config: Any, build: Any
) -> str:
    """Two increments of one stream, each of several shards."""
    root = tmp_path_factory.mktemp("verify")
    config: CorpusConfig = corpus_config(
        root / "corpus",
        write_jsonl(root / "domain.jsonl", passages(120)),
        pack={"seq_len": SEQ_LEN},
        shards={"size_limit_bytes": 1 << 15},
    )
    build(config)
    write_jsonl(root / "domain.jsonl", passages(180))
    build(config)
    return config.corpus


@pytest.fixture
def corpus(built: str, tmp_path: Path) -> str:
    """A copy of the corpus that a test may damage."""
    return shutil.copytree(built, tmp_path / "corpus").as_posix()


def shard_files(corpus: str, number: int = 1) -> list[Path]:
    return sorted(Path(corpus).glob(f"increments/{number:06d}-*/shards/domain/*/*.mds.zstd"))


def index_of(corpus: str, number: int = 1) -> tuple[Path, dict[str, Any]]:
    path = located(corpus, f"increments/{number:06d}/shards/domain/index.json")
    return path, json.loads(path.read_text())


def announce(corpus: str, victim: Path, raw: bytes) -> None:
    """Replace the bytes of a shard, and update its index to match."""
    packed = zstandard.compress(raw)
    victim.write_bytes(packed)
    path, index = index_of(corpus)
    for shard in index["shards"]:
        if shard["zip_data"]["basename"] == f"{victim.parent.name}/{victim.name}":
            shard["raw_data"].update(bytes=len(raw), hashes={"xxh64": xxhash.xxh64(raw).hexdigest()})
            shard["zip_data"].update(bytes=len(packed), hashes={"xxh64": xxhash.xxh64(packed).hexdigest()})
    path.write_text(json.dumps(index))


def unpacked(path: Path) -> bytearray:
    with zstandard.ZstdDecompressor().stream_reader(path.read_bytes()) as stream:
        return bytearray(stream.read())


@pytest.mark.slow
def test_a_ledger_that_is_missing_or_changed_is_named(tutelage: Any, corpus: str) -> None:
    first, second = (located(corpus, f"ledger/{number:06d}.domain.ledger") for number in (1, 2))
    first.unlink()
    data = bytearray(second.read_bytes())
    data[100] ^= 1
    second.write_bytes(data)
    done = tutelage("corpus", "verify", corpus, "--json")
    assert done.status == 1
    assert [(each["file"], each["finding"][:40]) for each in json.loads(done.out)["damages"]] == [
        (str(first), "is missing"),
        (str(second), "is damaged: its bytes do not have the ha"),
    ]


@pytest.mark.slow
def test_a_sound_corpus_passes_with_what_was_read(tutelage: Any, corpus: str) -> None:
    done = tutelage("corpus", "verify", corpus, "--json")
    assert (done.status, done.err) == (0, "")
    files = [*shard_files(corpus), *shard_files(corpus, 2)]
    rows = sum(shard["samples"] for number in (1, 2) for shard in index_of(corpus, number)[1]["shards"])
    assert len(files) > 4
    assert json.loads(done.out) == {
        "corpus": corpus,
        "manifest": 2,
        "num_files": len(files),
        "num_bytes": sum(file.stat().st_size for file in files),
        "num_rows": rows,
        "num_pairs": 180,
        "damages": [],
    }
    shown = tutelage("corpus", "verify", corpus).out
    assert shown.startswith(f"{corpus}, manifest 2: {len(files)} shard files of ")
    assert shown.endswith(f" MB, {rows:,} rows, 180 pairs: all sound.\n")


def test_every_damaged_file_is_named(tutelage: Any, corpus: str) -> None:
    missing, truncated, garbled, *_ = shard_files(corpus)
    missing.unlink()
    whole = truncated.read_bytes()
    truncated.write_bytes(whole[:-3])
    bits = bytearray(garbled.read_bytes())
    bits[len(bits) // 2] ^= 1
    garbled.write_bytes(bits)
    done = tutelage("corpus", "verify", corpus, "--json")
    assert done.status == 1
    expected = index_of(corpus)[1]["shards"][2]["zip_data"]["hashes"]["xxh64"]
    assert json.loads(done.out)["damages"] == [
        {"file": str(missing), "finding": "shard is missing"},
        {
            "file": str(truncated),
            "finding": f"shard has {len(whole) - 3} bytes, its index says {len(whole)}: it is truncated or "
            "not the one that was published",
        },
        {
            "file": str(garbled),
            "finding": f"shard has xxh64 {xxhash.xxh64(bytes(bits)).hexdigest()}, its index says {expected}",
        },
    ]
    shown = tutelage("corpus", "verify", corpus).out.splitlines()
    assert shown[0] == f"{missing}: shard is missing."
    assert shown[-1].endswith(": 3 found wrong. Restore it from a copy, or pin an older manifest.")


def test_damage_in_a_later_increment_does_not_touch_an_older_manifest(tutelage: Any, corpus: str) -> None:
    shard_files(corpus, 2)[0].unlink()
    assert tutelage("corpus", "verify", corpus, "--manifest", "1").status == 0
    assert tutelage("corpus", "verify", corpus).status == 1


def test_a_corpus_on_another_file_system_is_hashed_too(tutelage: Any, corpus: str, tmp_path: Path) -> None:
    remote = f"memory://{tmp_path.name}/verified"
    memory = fsspec.filesystem("memory")
    memory.put(corpus, remote, recursive=True)
    assert tutelage("corpus", "verify", remote).status == 0
    name = str(shard_files(corpus)[0].relative_to(corpus))
    whole = memory.cat_file(f"{remote}/{name}")
    memory.pipe_file(f"{remote}/{name}", whole[:-1] + bytes([whole[-1] ^ 1]))
    done = tutelage("corpus", "verify", remote)
    assert done.status == 1
    assert done.out.startswith(f"{remote}/{name}: shard has xxh64 ")


def test_an_index_that_is_missing_or_garbled_is_named(tutelage: Any, corpus: str) -> None:
    first, _ = index_of(corpus)
    second, _ = index_of(corpus, 2)
    first.unlink()
    second.write_text('{"shards": [{"raw_data": null}]}')
    shown = tutelage("corpus", "verify", corpus).out
    assert f"{first}: is missing, so its shards cannot be read" in shown
    assert f"{second}: is damaged: key 'version' is missing (" in shown


def test_an_index_that_announces_other_numbers_than_the_manifest_is_named(tutelage: Any, corpus: str) -> None:
    path, index = index_of(corpus)
    total = sum(shard["samples"] for shard in index["shards"])
    index["shards"][0]["samples"] += 1
    path.write_text(json.dumps(index))
    victim = shard_files(corpus)[0]
    rows = index["shards"][0]["samples"]
    findings = json.loads(tutelage("corpus", "verify", corpus, "--json").out)["damages"]
    assert findings == [
        {
            "file": str(path),
            "finding": f"announces {total + 1} rows, the manifest {total}: the directory was changed after "
            "it was published",
        },
        {"file": str(victim), "finding": f"shard holds {rows - 1} rows, its index says {rows}"},
    ]


def test_rows_that_fit_neither_length_nor_texts_are_named(tutelage: Any, corpus: str) -> None:
    victim = shard_files(corpus)[0]
    raw = unpacked(victim)
    num_rows = int(np.frombuffer(raw, "<u4", 1)[0])
    starts = np.frombuffer(bytes(raw), "<u4", num_rows + 1, offset=4)
    # A row: sizes of both columns, 2 bytes of shape, segment lengths, 2 bytes of shape, tokens.
    first_length_at = int(starts[0]) + 8 + 2
    raw[first_length_at : first_length_at + 4] = np.int32(SEQ_LEN + 1).tobytes()
    last_token_at = int(starts[2]) - 4
    raw[last_token_at : last_token_at + 4] = np.int32(-5).tobytes()
    announce(corpus, victim, bytes(raw))
    findings = json.loads(tutelage("corpus", "verify", corpus, "--json").out)["damages"]
    assert [each["file"] for each in findings[:2]] == [str(victim)] * 2
    assert findings[0]["finding"].startswith("row 0 has texts of ")
    assert findings[0]["finding"].endswith(f"together, more than its {SEQ_LEN}")
    assert findings[1]["finding"] == "row 1 holds token id -5"
    assert findings[2]["file"].endswith("/index.json")
    assert " tokens, the manifest says " in findings[2]["finding"]
    assert len(findings) == 3


def test_a_manifest_of_another_row_length_is_named_at_every_shard(tutelage: Any, corpus: str) -> None:
    path = Path(corpus) / "manifest/000001.json"
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, "seq_len": SEQ_LEN * 2}))
    findings = json.loads(tutelage("corpus", "verify", corpus, "--manifest", "1", "--json").out)["damages"]
    first = str(shard_files(corpus)[0])
    num_rows = index_of(corpus)[1]["shards"][0]["samples"]
    assert [each["finding"] for each in findings if each["file"] == first] == [
        *(f"row {number} has 1024 tokens, the manifest says rows of 2048" for number in range(3)),
        f"{num_rows - 3} more rows are wrong",
    ]
    assert {each["file"] for each in findings} == set(map(str, shard_files(corpus)))


def test_a_shard_that_ends_in_the_middle_of_its_rows_is_named(tutelage: Any, corpus: str) -> None:
    victim = shard_files(corpus)[0]
    raw = bytes(unpacked(victim))
    announce(corpus, victim, raw[:-7])
    findings = json.loads(tutelage("corpus", "verify", corpus, "--json").out)["damages"]
    assert findings == [
        {
            "file": str(victim),
            "finding": f"shard says that its rows end at byte {len(raw)}, and has {len(raw) - 7} bytes",
        }
    ]


def test_a_corpus_that_is_not_there_fails(tutelage: Any, tmp_path: Path) -> None:
    done = tutelage("corpus", "verify", str(tmp_path / "nothing"))
    assert done.status == 1
    assert "holds no published corpus" in done.err


def test_rows_are_what_streaming_reads(built: str, tmp_path: Path) -> None:
    reader_from_json = pytest.importorskip("streaming.base.format").reader_from_json
    folder = tmp_path / "shards"
    index = index_of(built)[1]
    for path, shard in zip(shard_files(built), index["shards"], strict=True):
        raw = folder / shard["raw_data"]["basename"]
        raw.parent.mkdir(parents=True, exist_ok=True)
        raw.write_bytes(unpacked(path))
    read = [
        row
        for shard in index["shards"]
        for reader in [reader_from_json(str(folder), None, shard)]
        for row in (reader[number] for number in range(shard["samples"]))
    ]
    ours = [
        row
        for shard in shard_files(built)
        for row in rows_of(bytes(unpacked(shard)), ["segment_lengths", "tokens"])
    ]
    assert len(ours) == len(read) > 10
    for mine, theirs in zip(ours, read, strict=True):
        assert mine["tokens"].tolist() == theirs["tokens"].tolist()
        assert mine["segment_lengths"].tolist() == theirs["segment_lengths"].tolist()


@pytest.mark.parametrize("compression", ["zstd:3", "gz", "bz2:9", "br"])
def test_what_is_compressed_is_unpacked_up_to_a_limit(compression: str) -> None:
    data = bytes(range(256)) * 40
    packed = compress(data, compression)
    assert decompress(packed, compression, limit=len(data)) == data
    assert decompress(packed, compression, limit=99) == data[:100]


def test_a_snappy_file_that_announces_more_than_its_limit_is_not_unpacked() -> None:
    data = bytes(range(256)) * 40
    packed = compress(data, "snappy")
    assert decompress(packed, "snappy", limit=len(data)) == data
    with pytest.raises(CorpusError, match="it announces 10240 bytes, more than 99"):
        decompress(packed, "snappy", limit=99)


@pytest.mark.parametrize(
    ("packed", "compression"),
    [
        (b"nonsense", "zstd"),
        (gzip.compress(b"x" * 99, mtime=0)[:-9], "gz"),
        (bz2.compress(b"x")[:-9], "bz2"),
        (b"", "xz"),
    ],
)
def test_what_cannot_be_unpacked_is_an_error(packed: bytes, compression: str) -> None:
    with pytest.raises(CorpusError, match=rf"cannot be decompressed \({compression}\): "):
        decompress(packed, compression, limit=99)


@pytest.mark.slow
def test_it_imports_neither_torch_nor_streaming_nor_beam(built: str) -> None:
    code = (
        "import sys; from plugins.commands.main import main; status = main(sys.argv[1:]); "
        "print([name for name in ('torch', 'streaming', 'apache_beam') if name in sys.modules], status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "corpus", "verify", built],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
    )
    assert done.stdout.splitlines()[-1] == "[] 0", done.stderr
