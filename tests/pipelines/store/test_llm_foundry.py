"""llm-foundry's text dataset on our unchanged shards: it reads the column `tokens`.

The pins of llm-foundry clash with ours, so the real package runs under its own interpreter. The variable
TUTELAGE_FOUNDRY_PYTHON names the interpreter; without the variable that test is skipped. On top of our own
environment (`.pth`) the installation takes a few seconds and 0.1 GB:

    uv venv --python 3.11 FOLDER
    realpath .venv/lib/python3.11/site-packages > FOLDER/lib/python3.11/site-packages/ours.pth
    uv pip install --python FOLDER/bin/python --no-deps llm-foundry==0.22.0 GitPython==3.1.44 gitdb smmap \
        einops==0.8.1 sentencepiece==0.2.0 'datasets<3.7' multiprocess 'dill<0.3.9' pandas pytz tzdata \
        beautifulsoup4 soupsieve 'typer<1' shellingham click 'mlflow-skinny<3' 'setuptools<80' cachetools \
        databricks-sdk sqlparse opentelemetry-api opentelemetry-sdk
    export TUTELAGE_FOUNDRY_PYTHON=FOLDER/bin/python
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.store.packed_rows import read_rows
from schemas.corpus_config import CorpusConfig
from schemas.manifest import read_manifest

SEQ_LEN = 512

READER = """
import json, sys
from llmfoundry.data.text_data import build_text_dataloader
from transformers import AutoTokenizer

seq_len, tokenizer_dir, cache, *shards = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(tokenizer_dir)
tokenizer.pad_token = "<s>"
dataset = {
    "streams": {str(i): {"remote": uri, "local": f"{cache}/{i}"} for i, uri in enumerate(shards)},
    "shuffle": False,
    "max_seq_len": int(seq_len),
    "eos_token_id": tokenizer.eos_token_id,
}
loader = build_text_dataloader(
    tokenizer, 2, dataset, drop_last=False, num_workers=0, pin_memory=False, prefetch_factor=None,
    persistent_workers=False,
).dataloader
batches = [{name: batch[name].tolist() for name in ("input_ids", "sequence_id")} for batch in loader]
print("ANSWER " + json.dumps(batches))
"""


@pytest.fixture(scope="module")
def corpus(
    tmp_path_factory: pytest.TempPathFactory, write_jsonl: Any, passages: Any, corpus_config: Any, build: Any
) -> str:
    root = tmp_path_factory.mktemp("foundry")
    config: CorpusConfig = corpus_config(
        root / "corpus", write_jsonl(root / "domain.jsonl", passages(12)), pack={"seq_len": SEQ_LEN}
    )
    build(config)
    write_jsonl(root / "domain.jsonl", passages(16))
    build(config)
    return config.corpus


def shard_uris(corpus: str) -> list[str]:
    return [f"{corpus}/{shards.path}" for shards in read_manifest(corpus).shard_sets("domain")]


def stored_rows(corpus: str) -> list[dict[str, Any]]:
    return [row for shards in read_manifest(corpus).shard_sets("domain") for row in read_rows(corpus, shards)]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_llm_foundry_reads_every_row_and_finds_its_texts_by_their_eos(
    corpus: str, tokenizer_dir: str, tmp_path: Path
) -> None:
    python = os.environ.get("TUTELAGE_FOUNDRY_PYTHON")
    if not python:
        pytest.skip("TUTELAGE_FOUNDRY_PYTHON names no interpreter with llm-foundry; see the top of this file")
    done = subprocess.run(
        [python, "-c", READER, str(SEQ_LEN), tokenizer_dir, str(tmp_path), *shard_uris(corpus)],
        capture_output=True,
        text=True,
        timeout=280,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
    )
    answers = [line for line in done.stdout.splitlines() if line.startswith("ANSWER ")]
    assert answers, done.stderr[-4000:]
    batches = json.loads(answers[-1].removeprefix("ANSWER "))
    ids = [row for batch in batches for row in batch["input_ids"]]
    sequence_ids = [row for batch in batches for row in batch["sequence_id"]]
    stored = stored_rows(corpus)
    assert ids == [row["tokens"].tolist() for row in stored]
    assert max(len(row["segment_lengths"]) for row in stored) > 1
    for row, sequence_id in zip(stored, sequence_ids, strict=True):
        lengths = row["segment_lengths"].tolist()
        texts = np.repeat(np.arange(len(lengths)), lengths).tolist()
        assert sequence_id[: len(texts)] == texts


@pytest.mark.slow
def test_rows_keep_the_contract_of_its_reader(corpus: str, tmp_path: Path) -> None:
    """In llm-foundry 0.22 StreamingTextDataset reads `tokens[:max_seq_len]` of an array as int64. It stacks
    rows of one length, and would tokenize a column `text` instead."""
    torch = pytest.importorskip("torch")
    StreamingDataset = pytest.importorskip("streaming").StreamingDataset
    local = tmp_path / "shards"
    shutil.copytree(shard_uris(corpus)[0], local)
    samples = list(StreamingDataset(local=str(local), batch_size=1))
    assert len(samples) == read_manifest(corpus).shard_sets("domain")[0].num_samples
    for sample in samples:
        assert set(sample) == {"tokens", "segment_lengths"}
        assert isinstance(sample["tokens"], np.ndarray)
    rows_BT = torch.stack(
        [torch.from_numpy(sample["tokens"][:SEQ_LEN].copy()).to(torch.int64) for sample in samples]
    )
    assert rows_BT.shape == (len(samples), SEQ_LEN)
