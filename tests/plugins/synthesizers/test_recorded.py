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
        (
            {"document_id": "a", "instruction": "Why?"},
            ": key 'response' is missing. Expected document_id, instruction, response.",
        ),
        (
            {**ONE, "instruktion": "Why?"},
            ": key 'instruktion' is unknown. Did you mean 'instruction'? Available: document_id, "
            "instruction, options, part, rationale, response.",
        ),
        ({**ONE, "response": 3}, ": key 'response' is 3, expected a string."),
        ({**ONE, "options": "x"}, ": key 'options' is \"x\", expected a list of strings."),
        ({**ONE, "options": ["x", 1]}, ": key 'options' is [\"x\", 1], expected a list of strings."),
        ({**ONE, "rationale": ["x" * 90]}, f": key 'rationale' is [\"{'x' * 58}…, expected a string."),
        ({**ONE, "response": " "}, ": key 'response' is \" \", expected a string that is not blank."),
        ({**ONE, "instruction": ""}, ": key 'instruction' is \"\", expected a string that is not blank."),
        ({**ONE, "document_id": ""}, ": key 'document_id' is \"\", expected a string that is not blank."),
        ([ONE["response"]], ' is ["femoral"], expected an object with document_id, instruction, response.'),
        ('{"a" 1}', " is not a JSON object: Expecting ':' delimiter at column 6 (char 5)."),
    ],
)
def test_a_line_that_holds_no_pair_is_named(tmp_path: Path, row: Any, message: str) -> None:
    file = write(tmp_path / "pairs.jsonl", ONE, row)
    with pytest.raises(ConfigError) as caught:
        synthesize(file, document("a"))
    assert str(caught.value) == f"synthesis.options.pairs {file}: line 2{message}"


def test_a_line_that_repeats_a_pair_is_used_once_and_counted(tmp_path: Path) -> None:
    (found,) = synthesize(write(tmp_path / "pairs.jsonl", ONE, CHOICE, ONE), document("a"))
    assert [pair.instruction for pair in found.pairs] == ["Which nerve?", "Pick one."]
    assert found.dropped == {"repeated_pairs": 1}


def test_a_file_without_a_pair_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"pairs\.jsonl' holds no pair\. Write one JSON object a line"):
        synthesize(write(tmp_path / "pairs.jsonl", "", " "), document("a"))


def test_a_file_that_is_missing_or_damaged_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"synthesis\.options\.pairs .*gone\.jsonl' cannot be read"):
        synthesize(tmp_path / "gone.jsonl", document("a"))
    with pytest.raises(ConfigError, match=r"synthesis\.options\.pairs .* cannot be read: .*Is a directory"):
        synthesize(tmp_path, document("a"))
    cut = write(tmp_path / "cut.jsonl.zst", ONE)
    cut.write_bytes(cut.read_bytes()[:-4])
    with pytest.raises(ConfigError, match=r"cut\.jsonl\.zst' cannot be read"):
        synthesize(cut, document("a"))
