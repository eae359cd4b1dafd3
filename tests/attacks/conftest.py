"""A small corpus in the role of a stranger's: one file of each kind."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from schemas.config import validate
from schemas.corpus_config import CorpusConfig
from tests.attacks.sandbox import Sandbox, watched
from tests.tiny import located, save_bpe

KEY = "ab" * 16


def _text(number: int) -> str:
    return (
        f"Study {number} tells of cells. Because protein {number} binds the gene, the trial ended early. "
        f"However, patient {number} was well. The dose was {number} mg."
    )


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two increments of a stream, with every kind of file that a corpus may hold."""
    from pipelines.increments.build import build_increment

    root = tmp_path_factory.mktemp("stranger")
    tokenizer = save_bpe(
        root / "tokenizer",
        [_text(1)] * 4,
        vocab_size=400,
        special_tokens=["<|endoftext|>"],
        eos_token="<|endoftext|>",
        clean_up_tokenization_spaces=False,
    )
    source = root / "domain.jsonl"
    values = {
        "corpus": str(root / "corpus"),
        "streams": {
            "domain": {
                "synthesize": True,
                "sources": [{"reader": "jsonl", "uri": str(source), "id_field": "id"}],
            }
        },
        "chains": {"max_documents": 2},
        "tokenizer": {"name": tokenizer},
        "pack": {"seq_len": 512},
        "shards": {"size_limit_bytes": 1 << 13},
    }
    for numbers in (range(12), range(20)):
        rows = [{"id": f"doc-{number}", "text": _text(number)} for number in numbers]
        rows += [{"id": "copy", "text": _text(3)}, {"id": "empty", "text": ""}]
        source.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
        build_increment(validate(CorpusConfig, values, name="test"), [], quiet=True)
    generation = {"text": "t", "finish_reason": "stop", "prompt_tokens": 3, "completion_tokens": 2}
    journal = root / "corpus/journal"
    journal.mkdir()
    line = json.dumps({"key": KEY, "generation": {**generation, "cached_tokens": 0}, "attempt": 7})
    (journal / "1-x-0001.jsonl").write_text(f"{line}\n" * 2)
    (journal / "retry.json").write_text("7")
    report = {"ngram": 13, "min_words": 5, "max_rows": 4, "tasks": {}}
    located(root / "corpus", "increments/000001/decontamination.json").write_text(json.dumps(report))
    return root / "corpus"


@pytest.fixture
def sandbox(built: Path, tmp_path: Path) -> Sandbox:
    """A copy of the corpus beside files of the user. Nothing may touch those files."""
    shutil.copytree(built, tmp_path / "corpus")
    (tmp_path / "home").mkdir()
    (tmp_path / "home/keys").write_text("secret")
    with watched(tmp_path):
        yield Sandbox(tmp_path)
