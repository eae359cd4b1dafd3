"""A tiny model, tiny corpora, and a temporary directory of its own for every test."""

from __future__ import annotations

import contextlib
import gc
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.tiny import save_bpe, save_llama
from tests.trainer.bucket import serve_bucket

SEQ_LEN = 32
WORDS = "the cell protein binds a dose in the trial of a patient gene and acid to blood drug study effect"


@pytest.fixture(autouse=True, scope="module")
def shared_memory_let_go() -> Iterator[None]:
    """Release shared memory: each StreamingDataset attaches to that of all others until the process ends."""
    yield
    memory = sys.modules.get("streaming.base.shared.memory")
    if memory is not None:
        for each in gc.get_objects():
            if type(each) is memory.SharedMemory:
                with contextlib.suppress(BufferError):  # a dataset still uses it
                    each.cleanup()


@pytest.fixture
def bucket() -> Iterator[tuple[str, dict[str, bytes]]]:
    """Address of a stand-in for Google Cloud Storage, and the objects in its bucket."""
    with serve_bucket() as served:
        yield served


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A random two-layer Llama with a byte-level BPE tokenizer, saved to disk."""
    folder = tmp_path_factory.mktemp("tiny-model")
    save_bpe(
        folder,
        [WORDS] * 4,
        vocab_size=600,
        special_tokens=["<s>", "</s>"],
        bos_token="<s>",
        eos_token="</s>",
        pad_token="</s>",
    )
    return save_llama(folder, vocab_size=2048, seed=5, max_position_embeddings=128, tie_word_embeddings=True)


Row = tuple[Sequence[int], Sequence[int]]


def random_rows(num_rows: int, *, first: int, seed: int = 0) -> list[Row]:
    """Rows of two texts and a little padding; the first token, `first + row`, names the row."""
    rng = np.random.default_rng(seed)
    rows: list[Row] = []
    for i in range(num_rows):
        lengths = [int(rng.integers(8, 16)), int(rng.integers(8, 15))]
        tokens = [first + i, *rng.integers(2, 60, sum(lengths) - 1).tolist()]
        rows.append((tokens + [1] * (SEQ_LEN - len(tokens)), lengths))
    return rows


@pytest.fixture
def make_corpus(tmp_path: Path, tiny_model: str) -> Callable[..., str]:
    """Write a corpus: `make_corpus({"domain": [rows of increment 1, rows of increment 2]})`."""

    def make(
        streams: dict[str, list[list[Row]]],
        *,
        name: str = "corpus",
        fingerprint: str | None = None,
        seq_len: int = SEQ_LEN,
        compression: str | None = "zstd:3",
        hashes: list[str] | None = None,
    ) -> str:
        from streaming import MDSWriter
        from streaming.base.util import merge_index

        from plugins.tokenizers import fingerprint as fingerprint_of
        from plugins.tokenizers import load_tokenizer
        from schemas.manifest import Increment, Manifest, ShardSet, publish_manifest

        corpus = tmp_path / name
        increments: list[Increment] = []
        for number in range(1, 1 + max(len(parts) for parts in streams.values())):
            sets: dict[str, ShardSet] = {}
            for stream, parts in streams.items():
                if number > len(parts):
                    continue
                rows = parts[number - 1]
                path = f"increments/{number:06d}/shards/{stream}"
                with MDSWriter(
                    out=str(corpus / path / "00000"),
                    columns={"tokens": "ndarray:int32", "segment_lengths": "ndarray:int32"},
                    compression=compression,
                    hashes=hashes,
                    size_limit=1 << 12,
                ) as writer:
                    for tokens, lengths in rows:
                        writer.write(
                            {
                                "tokens": np.array(tokens, np.int32),
                                "segment_lengths": np.array(lengths, np.int32),
                            }
                        )
                merge_index([str(corpus / path / "00000" / "index.json")], str(corpus / path))
                sets[stream] = ShardSet(
                    path=path,
                    num_samples=len(rows),
                    num_tokens=sum(sum(lengths) for _, lengths in rows),
                    num_texts=sum(len(lengths) for _, lengths in rows),
                )
            increments.append(Increment(number=number, streams=sets, num_documents=1))
            publish_manifest(
                str(corpus),
                Manifest(
                    number=number,
                    created="2026-11-22T00:00:00Z",
                    seq_len=seq_len,
                    tokenizer=fingerprint or fingerprint_of(load_tokenizer(tiny_model)),
                    tokenizer_name="tiny",
                    pad_token_id=1,
                    config_hash="0",
                    increments=tuple(increments),
                ),
            )
        return str(corpus)

    return make


@pytest.fixture
def corpus(make_corpus: Callable[..., str]) -> str:
    """Two streams: domain of 48 rows in two increments, general of 60 rows."""
    return make_corpus(
        {
            "domain": [random_rows(30, first=100), random_rows(18, first=130, seed=1)],
            "general": [random_rows(60, first=300, seed=2)],
        }
    )


@pytest.fixture
def write_config(tmp_path: Path, tiny_model: str, corpus: str) -> Callable[..., str]:
    """Write a training YAML of the tiny model; keyword arguments change top-level keys."""

    def write(**changes: Any) -> str:
        values: dict[str, Any] = {
            "run_name": "tiny",
            "model": {"pretrained_model_name_or_path": tiny_model},
            "train_loader": {
                "dataset": {
                    "streams": {
                        "domain": {"corpus": corpus, "proportion": 0.5},
                        "general": {"corpus": corpus, "proportion": 0.5},
                    }
                }
            },
            "max_duration": "6ba",
            "global_train_batch_size": 4,
            "precision": "fp32",
            "optimizer": {"name": "decoupled_adamw", "lr": "1e-3"},
            "scheduler": {"name": "cosine_with_warmup", "t_warmup": "2ba"},
            "algorithms": {"gradient_clipping": {"clipping_type": "norm", "clipping_threshold": 1.0}},
        }
        values.update(changes)
        if values["max_duration"] == "1ba" and "scheduler" not in changes:
            values["scheduler"]["t_warmup"] = "0ba"
        path = tmp_path / "train.yaml"
        path.write_text(yaml.safe_dump(values, sort_keys=False))
        return str(path)

    return write
