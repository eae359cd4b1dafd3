"""Pairs that a file holds, and what becomes of a file that holds something else."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import zstandard

from plugins.synthesizers.recorded import RecordedSynthesizer
from schemas.errors import ConfigError
from schemas.records import Chain, Document, InstructionPair, SynthesizedDocument
from schemas.synthesis_config import SynthesisConfig

ONE = {"document_id": "a", "instruction": "Which nerve?", "response": "femoral"}
CHOICE = {**ONE, "instruction": "Pick one.", "options": ["femoral", "sciatic"], "rationale": "It says so."}
OF_A_FILE = {**ONE, "document_id": "notes/b.txt"}


def synthesize(file: Path, *documents: Document) -> tuple[SynthesizedDocument, ...]:
    config = SynthesisConfig(backend="recorded", options={"pairs": str(file)})
    synthesizer = RecordedSynthesizer(config, seed=1)
    synthesizer.open()
    return asyncio.run(synthesizer.synthesize(Chain(chain_id="c", documents=documents)))


def document(name: str, text: str = "The femoral nerve.", part: str = "") -> Document:
    made = Document.of(name, text, source="s")
    return made if not part else Document(**{**_fields(made), "part": part})


def _fields(record: Any) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__dataclass_fields__}


def write(path: Path, *rows: Any) -> Path:
    lines = "".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows)
    path.write_bytes(zstandard.compress(lines.encode()) if path.suffix == ".zst" else lines.encode())
    return path


@pytest.mark.parametrize("name", ["pairs.jsonl", "pairs.jsonl.zst"])
def test_each_document_gets_its_pairs_and_one_without_any_none(tmp_path: Path, name: str) -> None:
    file = write(tmp_path / name, ONE, "", CHOICE, OF_A_FILE)
    found = synthesize(file, document("a"), document("/data/notes/b.txt"), document("c"))
    plain = InstructionPair(instruction="Which nerve?", response="femoral")
    choice = InstructionPair(
        instruction="Pick one.",
        response="femoral",
        options=("femoral", "sciatic"),
        rationale="It says so.",
    )
    assert [each.pairs for each in found] == [(plain, choice), (plain,), ()]
    assert [each.follows_previous for each in found] == [False, True, False]


def test_a_part_gets_the_pairs_that_name_it_or_whose_response_it_holds(tmp_path: Path) -> None:
    named = {**ONE, "response": "sacral", "part": "2/2"}
    file = write(tmp_path / "pairs.jsonl", ONE, named)
    first, second = synthesize(file, document("a", part="1/2"), document("a", "The rest of it.", part="2/2"))
    assert [pair.response for pair in first.pairs] == ["femoral"]
    assert [pair.response for pair in second.pairs] == ["sacral"]
    assert (first.dropped, second.dropped) == ({"pairs_of_other_parts": 1},) * 2


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"document_id": "a", "instruction": "Why?"}, "line 2: a RecordedPair lacks response"),
        ({**ONE, "option": ["x"]}, "line 2: a RecordedPair has a key 'option', which is unknown"),
        (
            {"document_id": "a", "instruction": "Why?", "respons": "It is."},
            "line 2: a RecordedPair has a key 'respons', which is unknown",
        ),
        ({**ONE, "response": 3}, "line 2: .*response"),
        ({**ONE, "response": " "}, "line 2: its text is empty"),
        ("{", "line 2: "),
    ],
)
def test_a_line_that_holds_no_pair_is_named(tmp_path: Path, row: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"^synthesis\.options\.pairs .*pairs\.jsonl: {message}"):
        synthesize(write(tmp_path / "pairs.jsonl", ONE, row), document("a"))


def test_a_line_that_repeats_a_pair_is_used_once_and_counted(tmp_path: Path) -> None:
    (found,) = synthesize(write(tmp_path / "pairs.jsonl", ONE, CHOICE, ONE), document("a"))
    assert [pair.instruction for pair in found.pairs] == ["Which nerve?", "Pick one."]
    assert found.dropped == {"repeated_pairs": 1}


def test_pairs_about_documents_that_a_corpus_lacks_are_counted_by_document(tmp_path: Path) -> None:
    file = write(tmp_path / "pairs.jsonl", ONE, CHOICE, OF_A_FILE, {**ONE, "document_id": "gone"})
    synthesizer = RecordedSynthesizer(
        SynthesisConfig(backend="recorded", options={"pairs": str(file)}), seed=1
    )
    synthesizer.open()
    assert synthesizer.unused_pairs(["/data/notes/b.txt", "c"]) == {"a": 2, "gone": 1}
    assert synthesizer.unused_pairs(["a", "gone", "notes/b.txt"]) == {}


def test_a_file_without_a_pair_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"pairs\.jsonl' holds no pair\. Write one JSON object a line"):
        synthesize(write(tmp_path / "pairs.jsonl", "", " "), document("a"))


def test_a_file_that_is_missing_or_damaged_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"synthesis\.options\.pairs .*gone\.jsonl' cannot be read"):
        synthesize(tmp_path / "gone.jsonl", document("a"))
    cut = write(tmp_path / "cut.jsonl.zst", ONE)
    cut.write_bytes(cut.read_bytes()[:-4])
    with pytest.raises(ConfigError, match=r"cut\.jsonl\.zst' cannot be read"):
        synthesize(cut, document("a"))
