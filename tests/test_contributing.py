"""Examples of CONTRIBUTING.md: each one runs as described."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from plugins.filters.base import Verdict
from plugins.tokenizers import load_tokenizer
from schemas.corpus_config import SourceConfig
from schemas.records import Chain, Document, InstructionPair, SynthesizedDocument
from schemas.synthesis_config import SynthesisConfig
from tests.tiny import save_bytes

TEXT = (Path(__file__).resolve().parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")
DOCUMENT = Document.of("d", "Cells divide.", source="s", metadata={"title": "Mitosis"})
PAIR = InstructionPair(instruction="Give the text a title.", response="Mitosis")


def example(name: str) -> Any:
    """Return the class of a name from the code block that defines it."""
    (code,) = [block for block in re.findall(r"(?s)```python\n(.*?)```", TEXT) if f"class {name}(" in block]
    assert len(code.splitlines()) <= 18
    found: dict[str, Any] = {}
    exec(compile(code, name, "exec"), found)
    return found[name]


def test_the_reader_gives_a_document_a_line(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("name,body\nx,Cells divide.\n")
    source = SourceConfig(reader="csv", uri="a.csv", text_field="body", id_field="name")
    (document,) = example("CsvReader")(source).read(str(tmp_path / "a.csv"))
    assert (document.document_id, document.text) == ("x", "Cells divide.")


def test_the_filter_refuses_a_short_text() -> None:
    assert example("LengthFilter")({"min_words": 3})(DOCUMENT) == Verdict(
        rule="min_words", value=2, limit="at least 3"
    )


def test_the_synthesizer_asks_for_a_title() -> None:
    synthesizer = example("TitleSynthesizer")(SynthesisConfig(), seed=1)
    (made,) = asyncio.run(synthesizer.synthesize(Chain(chain_id="c", documents=(DOCUMENT,))))
    assert made == SynthesizedDocument(document=DOCUMENT, pairs=(PAIR,))


def test_the_protocol_reads_one_pair(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(save_bytes(tmp_path, ["<s>"], bos_token="<s>"))
    protocol = example("OneQuestion")(tokenizer, SynthesisConfig(model=str(tmp_path)))
    prompt = tokenizer.decode(protocol.prompt((), DOCUMENT))
    assert prompt == "Cells divide.\n\nQuestion:"
    assert protocol.parse(" Give the text a title. Answer: Mitosis").pairs == (PAIR,)
    assert protocol.parse("no pair").num_bad_pieces == 1


def test_the_template_family_joins_passages() -> None:
    rendered = example("PlainFamily")().render(
        [SynthesizedDocument(document=DOCUMENT, pairs=(PAIR,))] * 2, seed=1
    )
    passage = "Cells divide.\nGive the text a title. Mitosis"
    assert (rendered.text, rendered.spans) == (f"{passage}\n\n{passage}", ((0, 44), (46, 90)))


def test_the_callback_logs_every_second_batch() -> None:
    pytest.importorskip("composer")
    counted: list[dict[str, int]] = []
    counter = example("BatchCount")(every=2)
    for batch in range(1, 5):
        state = SimpleNamespace(timestamp=SimpleNamespace(batch=batch))
        counter.batch_end(state, SimpleNamespace(log_metrics=counted.append))
    assert counted == [{"batches": 2}, {"batches": 4}]
