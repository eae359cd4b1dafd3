"""Domain of a seed: texts about made-up drugs, pairs about them, general texts, and rows of evaluation tasks.

Each fact stands in four texts. In the pairs each fact has four wordings, one a text. No pair has a held-out
wording, or asks to complete a sentence.

The general texts are the bundled questions and answers in the format of the evaluation's questions, so that
an arm without pairs knows it. Each tenth is held out.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from benchmarks.pharmacopoeia import (
    ATTRIBUTES,
    HELD_OUT_KIND,
    KINDS,
    Drug,
    make_drugs,
    question_about,
    text_about,
)
from plugins.readers import decompression
from schemas import storage

ASKED, TOLD = "asked", "told"
NUM_OPTIONS = 12

GENERAL = Path(__file__).resolve().parents[2] / "examples/general/instructions.jsonl.zst"


def asked_attributes(drug: Drug, *, seed: int) -> list[str]:
    """Return the half of a drug's attributes that pairs ask about, drawn by seed."""
    return random.Random(f"half:{seed}:{drug.name}").sample(sorted(ATTRIBUTES), len(ATTRIBUTES) // 2)


def write_domain(folder: Path, *, drugs: int, seed: int) -> None:
    """Write texts, general texts, the pairs of two arms, and the rows of five tasks in `tasks/`.

    The id of a question is `asked:DRUG:ATTRIBUTE:WORDING` or `told:…`.
    """
    made = make_drugs(drugs, seed=seed)
    half = {drug.name: asked_attributes(drug, seed=seed) for drug in made}
    texts = [
        {"id": _document_id(drug, kind), "text": text_about(drug, kind, seed=seed)}
        for drug in made
        for kind in KINDS
    ]
    _write_lines(folder / "texts.jsonl", texts)
    for name, asked in (("half", half), ("all", {name: list(ATTRIBUTES) for name in half})):
        pairs = [pair for drug in made for pair in pairs_in_all_wordings(drug, asked[drug.name])]
        _write_lines(folder / f"pairs-{name}.jsonl", pairs)
    facts = [(drug, attribute, attribute in half[drug.name]) for drug in made for attribute in ATTRIBUTES]
    questions = [
        _grouped(
            question_about(drug, attribute, wording=wording, seed=seed, num_options=NUM_OPTIONS), is_asked
        )
        for drug, attribute, is_asked in facts
        for wording in (0, 1)
    ]
    _write_lines(folder / "tasks" / "questions.jsonl", questions)
    of_first_wording = [row for row in questions if str(row["id"]).endswith(":0")]
    completions = [
        row | {"input": ATTRIBUTES[attribute].begun.format(drug=drug.name)}
        for row, (drug, attribute, _) in zip(of_first_wording, facts, strict=True)
    ]
    _write_lines(folder / "tasks" / "completions.jsonl", completions)
    written = [
        {"id": row["id"], "input": row["input"], "label": drug.facts[attribute]}
        for row, (drug, attribute, _) in zip(of_first_wording, facts, strict=True)
    ]
    _write_lines(folder / "tasks" / "written.jsonl", written)
    letters = [{"id": drug.name, "text": text_about(drug, HELD_OUT_KIND, seed=seed)} for drug in made]
    _write_lines(folder / "tasks" / "letters.jsonl", letters)
    general = list(_general_texts())
    _write_lines(folder / "tasks" / "general.jsonl", general[::10])
    _write_lines(folder / "general.jsonl", [row for at, row in enumerate(general) if at % 10])


def _general_texts() -> Iterator[dict[str, object]]:
    for line in decompression.lines(str(GENERAL)):
        row = json.loads(line)
        yield {"id": row["id"], "text": f"Question: {row['question']}\nAnswer: {row['response']}"}


def pairs_in_all_wordings(drug: Drug, attributes: Iterable[str]) -> list[dict[str, object]]:
    """Return lines for the synthesizer `recorded`: each attribute once a text, in four different wordings."""
    pairs: list[dict[str, object]] = []
    for at, kind in enumerate(KINDS):
        for number, attribute in enumerate(attributes):
            wording = (at + number) % len(KINDS)
            pairs.append(
                {
                    "document_id": _document_id(drug, kind),
                    "instruction": ATTRIBUTES[attribute].asked[wording].format(drug=drug.name),
                    "response": drug.facts[attribute],
                }
            )
    return pairs


def _grouped(row: dict[str, object], is_asked: bool) -> dict[str, object]:
    return row | {"id": f"{ASKED if is_asked else TOLD}:{row['id']}"}


def _document_id(drug: Drug, kind: str) -> str:
    return f"{drug.name.lower()}-{kind}"


def _write_lines(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    storage.write_bytes(str(path), "".join(f"{json.dumps(row)}\n" for row in rows).encode())
