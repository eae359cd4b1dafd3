"""Unexpected exceptions in steps and in whole builds."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from pipelines.increments.failure_limits import refuse_unexpected
from pipelines.steps.base import StepFn, guarded
from pipelines.steps.tokenize import TokenizeTexts
from schemas import storage
from schemas.corpus_config import TokenizerConfig
from schemas.errors import ConfigError, InputError
from schemas.records import AugmentedText, Document, Passage, Reject, SynthesizedDocument, to_json


def document(name: str) -> Document:
    return Document.of(name, f"text of {name}", source=f"a.jsonl:{name}")


def text(body: str) -> AugmentedText:
    passage = Passage(document_id=body, content_hash="0", source=f"a:{body}", start=0, end=len(body))
    return AugmentedText(text_id=body, text=body, passages=(passage,), num_pairs=0, template="raw", seed=0)


@dataclasses.dataclass(eq=False)
class Fails(StepFn):
    step = "fails"
    error: BaseException

    def __post_init__(self) -> None:
        self.setup()

    @guarded
    def process(self, element: Any) -> Iterator[Any]:
        yield "given before it"
        raise self.error


@pytest.mark.parametrize(
    "element",
    [
        document("x"),
        (SynthesizedDocument(document=document("x")),),
        [SynthesizedDocument(document=document("x")), SynthesizedDocument(document=document("y"))],
        [text("x"), text("y")],
    ],
)
def test_a_step_rejects_each_document_of_an_element_and_gives_nothing_of_it(element: Any) -> None:
    rejects = [each.value for each in Fails(KeyError("odd")).process(element)]
    names = ["x", "y"] if isinstance(element, list) else ["x"]
    assert [each.document_id for each in rejects] == names
    assert {(each.stage, each.reason, each.detail) for each in rejects} == {
        ("fails", "unexpected_error", "KeyError: 'odd'")
    }
    assert all(each.source.endswith(f":{each.document_id}") for each in rejects)


@pytest.mark.parametrize("error", [ConfigError("ours"), OSError("disk"), MemoryError(), KeyboardInterrupt()])
def test_a_step_raises_what_is_not_of_a_record(error: BaseException) -> None:
    with pytest.raises(type(error)):
        list(Fails(error).process(document("x")))


def test_of_a_batch_only_the_text_that_fails_is_rejected(
    tokenizer_dir: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = TokenizeTexts(TokenizerConfig(name=tokenizer_dir))
    step.setup()
    whole = step._tokenized

    def picky(texts: Sequence[AugmentedText]) -> Iterator[Any]:
        if any(each.text == "bad" for each in texts):
            raise ValueError("odd")
        return whole(texts)

    monkeypatch.setattr(step, "_tokenized", picky)
    first, rejected, third = step.process([text("one"), text("bad"), text("two")])
    assert (first.text.text, third.text.text) == ("one", "two")
    assert (rejected.value.document_id, rejected.value.detail) == ("bad", "ValueError: odd")


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ({"read/documents": 5, "clean/rejected_unexpected_error": 1}, None),
        ({"read/documents": 900, "clean/rejected_unexpected_error": 10}, None),
        ({"read/documents": 900, "clean/rejected_unexpected_error": 11}, "11 of 900 documents"),
        ({"read/documents": 1_200, "clean/rejected_unexpected_error": 12}, None),
        (
            {
                "read/documents": 1_200,
                "clean/rejected_unexpected_error": 9,
                "render/rejected_unexpected_error": 4,
            },
            "13 of 1200 documents",
        ),
        ({"read/documents": 2, "clean/rejected_unexpected_error": 2}, "2 of 2 documents"),
        ({"read/rejected_unexpected_error": 1}, "1 of 1 documents"),
        (
            {
                "read/documents": 5_000,
                "read/rejected_unexpected_error": 20,
                "read/files": 30,
                "read/files_cut_short": 20,
            },
            "20 of 30 files",
        ),
        ({}, None),
    ],
)
def test_a_few_unexpected_errors_are_allowed_and_many_end_the_run(
    tmp_path: Any, counts: dict[str, int], said: str | None
) -> None:
    rejects = [
        Reject(stage="clean", reason=reason, document_id="", source="a:1", detail="TypeError: odd")
        for reason in ("too_short", "unexpected_error")
    ]
    storage.write_lines_zst(f"{tmp_path}/rejects/clean.jsonl.zst", map(to_json, rejects))
    if said is None:
        refuse_unexpected(str(tmp_path), counts)
        return
    with pytest.raises(InputError) as caught:
        refuse_unexpected(str(tmp_path), counts)
    assert str(caught.value).startswith(f"{said} led to unexpected errors; at most ")
    if "clean/rejected_unexpected_error" in counts:
        assert str(caught.value).endswith("First: a:1: unexpected_error (TypeError: odd).")
