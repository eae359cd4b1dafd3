"""Fixtures of the pipelines' tests: a tiny tokenizer, tiny sources, and local builds."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from plugins.synthesizers import SYNTHESIZERS
from schemas import storage
from schemas.config import validate
from schemas.corpus_config import CorpusConfig
from schemas.records import AugmentedText, from_json
from tests.published import name_of
from tests.tiny import save_bpe

WORDS = "the cell protein binds a dose in the trial of a patient gene and acid to blood drug study effect"


@pytest.fixture(scope="session")
def tokenizer_dir(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A byte-level BPE tokenizer with EOS `<|endoftext|>` and BOS `<s>`; it adds no BOS."""
    return save_bpe(
        tmp_path_factory.mktemp("tokenizer"),
        [WORDS] * 4,
        vocab_size=400,
        special_tokens=["<|endoftext|>", "<s>"],
        bos_token="<s>",
        eos_token="<|endoftext|>",
        clean_up_tokenization_spaces=False,
    )


def passage(number: int) -> str:
    """A text of four sentences, in which the mined synthesizer finds pairs."""
    return (
        f"Study {number} tells of cells. Because protein {number} binds the gene, the trial ended early. "
        f"However, patient {number} was well. The dose was {number} mg."
    )


@pytest.fixture(scope="session")
def passages() -> Callable[[int], list[dict[str, str]]]:
    """Rows for a JSON lines file: `id` and `text`."""
    return lambda count: [{"id": f"doc-{number}", "text": passage(number)} for number in range(count)]


@pytest.fixture(scope="session")
def write_jsonl() -> Callable[[Path, Sequence[Mapping[str, Any]]], str]:
    """Write rows as JSON lines and return the path."""

    def write(path: Path, rows: Sequence[Mapping[str, Any]]) -> str:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return str(path)

    return write


@pytest.fixture(scope="session")
def corpus_config(tokenizer_dir: str) -> Callable[..., CorpusConfig]:
    """A corpus of one synthesized stream `domain`, read from JSON lines with ids; keywords replace keys."""

    def make(corpus: str | Path, source: str | None = None, **changes: Any) -> CorpusConfig:
        values: dict[str, Any] = {
            "corpus": str(corpus),
            "streams": {
                "domain": {
                    "synthesize": True,
                    "sources": [{"reader": "jsonl", "uri": source, "id_field": "id"}],
                }
            },
            "chains": {"max_documents": 2},
            "tokenizer": {"name": tokenizer_dir},
            "pack": {"seq_len": 4096},
            "verify": {},  # what stand-ins of models write is about no passage
        }
        return validate(CorpusConfig, {**values, **changes}, name="test")

    return make


@pytest.fixture(scope="session")
def build() -> Callable[..., Any]:
    """Build an increment without printing."""
    from pipelines.increments.build import build_increment

    def run(config: CorpusConfig, *options: str) -> Any:
        return build_increment(config, options, quiet=True)

    return run


@pytest.fixture(scope="session")
def files_of() -> Callable[[str | Path], list[str]]:
    """Paths of all files of a corpus, relative and sorted; see `_files`."""
    return lambda folder: sorted(_files(folder))


def _files(folder: str | Path) -> dict[str, Path]:
    """Files by path, without the random part of an increment's name, and without the lock."""
    found = {str(path.relative_to(folder)): path for path in Path(folder).rglob("*") if path.is_file()}
    return {
        re.sub(r"(?<=/\d{6})-[0-9a-f]{12}(?=[./])", "", name): path
        for name, path in found.items()
        if not name.startswith("lock/")
    }


@pytest.fixture(scope="session")
def digests_of() -> Callable[[str | Path], dict[str, str]]:
    """SHA-256 of everything in a corpus that must not depend on when and where it was built.

    Texts, pairs and ledgers count without the positions of their documents, because these depend on the
    source files.
    """

    def content(path: Path) -> bytes:
        if path.suffix == ".ledger":
            data = path.read_bytes()
            ends = range(64 + 36, 64 + 36 * int.from_bytes(data[24:32], "little") + 1, 36)
            return b"".join(data[end - 36 : end - 4] for end in ends)
        if not {"texts", "pairs"} & {*path.parts}:
            return path.read_bytes()
        records = [json.loads(line) for line in storage.read_lines_zst(str(path))]
        for record in records:
            for each in record.get("passages", [record]):
                del each["source"]
        return json.dumps(records).encode()

    def digest(corpus: str | Path) -> dict[str, str]:
        return {
            name: hashlib.sha256(content(path)).hexdigest()
            for name, path in sorted(_files(corpus).items())
            if any(f"/{kind}/" in name for kind in ("texts", "pairs", "shards", "lineage"))
            or name.startswith(("ledger/", "dedup/"))
        }

    return digest


@pytest.fixture(scope="session")
def texts_in() -> Callable[..., list[AugmentedText]]:
    """The augmented texts of one stream of one increment, as stored."""

    def read(corpus: str | Path, stream: str = "domain", number: int = 1) -> list[AugmentedText]:
        fs, folder = storage.filesystem(
            storage.join(str(corpus), "increments", name_of(str(corpus), number), "texts")
        )
        scheme = "memory://" if str(corpus).startswith("memory://") else ""
        return [
            from_json(AugmentedText, line)
            for name in sorted(fs.ls(folder, detail=False))
            if f"/{stream}-" in name
            for line in storage.read_lines_zst(scheme + name)
        ]

    return read


@pytest.fixture(scope="session")
def rejects_in() -> Callable[..., list[dict[str, str]]]:
    """The reject records of one step, as stored."""

    def read(corpus: str | Path, stage: str, number: int = 1) -> list[dict[str, str]]:
        name = name_of(str(corpus), number)
        uri = storage.join(str(corpus), "increments", name, "rejects", f"{stage}.jsonl.zst")
        return [json.loads(line) for line in storage.read_lines_zst(uri)]

    return read


@pytest.fixture
def synthesizer(monkeypatch: pytest.MonkeyPatch) -> Callable[[type], str]:
    """Register a synthesizer class in this process and return the name of its backend."""

    def register(kind: type) -> str:
        module = types.ModuleType("synthesizer_of_a_test")
        module.Synthesizer = kind  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        targets = {**SYNTHESIZERS.targets(), "of_a_test": f"{module.__name__}:Synthesizer"}
        monkeypatch.setattr(SYNTHESIZERS, "_targets", targets)
        return "of_a_test"

    return register


@dataclasses.dataclass
class Command:
    """Exit status and output of a command."""

    status: int
    out: str
    err: str


@pytest.fixture
def tutelage(capsys: pytest.CaptureFixture[str]) -> Callable[..., Command]:
    """Run a `tutelage` command in this process."""
    from plugins.commands.main import main

    def run(*argv: str) -> Command:
        capsys.readouterr()
        status = main(list(argv))
        said = capsys.readouterr()
        return Command(status, said.out, said.err)

    return run
