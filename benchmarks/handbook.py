"""Files of the bundled handbook: texts in the formats of several readers, their pairs, and held-out tasks.

drugs ─► articles.jsonl.zst, cases.parquet, leaflets/*.txt     the texts
     ─► pairs.jsonl                                            for the synthesizer `recorded`
     ─► tasks/*.jsonl                                          questions and passages
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

from benchmarks.pharmacopoeia import (
    ATTRIBUTES,
    KINDS,
    Drug,
    pairs_about,
    question_about,
    rearranged,
    text_about,
)


def write_handbook(folder: Path, drugs: Iterable[Drug], *, seed: int) -> None:
    """Write texts in the formats of several readers, their pairs, and tasks of held-out questions.

    Document ids are those that the readers of `pipelines/yamls/demo.yaml` give.
    """
    drugs = list(drugs)

    def rows(*kinds: str) -> Iterator[dict[str, str]]:
        for drug in drugs:
            for kind in kinds:
                yield {"id": f"{drug.name.lower()}-{kind}", "text": text_about(drug, kind, seed=seed)}

    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(f"{json.dumps(row)}\n" for row in rows("monograph", "history"))
    (folder / "articles.jsonl.zst").write_bytes(zstandard.ZstdCompressor(level=19).compress(lines.encode()))
    pq.write_table(pa.Table.from_pylist(list(rows("case"))), folder / "cases.parquet")
    (folder / "leaflets").mkdir(exist_ok=True)
    for row in rows("leaflet"):
        (folder / "leaflets" / f"{row['id']}.txt").write_text(row["text"] + "\n", encoding="utf-8")
    pairs = [
        {"document_id": f"leaflets/{name}.txt" if kind == "leaflet" else name, **pair}
        for drug in drugs
        for kind in KINDS
        for name in [f"{drug.name.lower()}-{kind}"]
        for pair in pairs_about(drug, kind, seed=seed)
    ]
    _write_lines(folder / "pairs.jsonl", pairs)
    questions = [
        question_about(drug, attribute, wording=wording, seed=seed)
        for drug in drugs
        for attribute in ATTRIBUTES
        for wording in (0, 1)
    ]
    _write_lines(folder / "tasks" / "handbook_choice.jsonl", questions)
    texts = [text_about(drug, kind, seed=seed) for drug in drugs for kind in KINDS]
    passages = [
        {"text": rearranged(drug, KINDS[at % len(KINDS)], texts=texts, seed=seed)}
        for at, drug in enumerate(drugs)
    ]
    _write_lines(folder / "tasks" / "handbook_passages.jsonl", passages)


def _write_lines(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
