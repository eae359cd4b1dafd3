from __future__ import annotations

import dataclasses
import pickle

import pytest

from pipelines.transforms.render import RenderTexts, raw_text, runs
from schemas.records import (
    AugmentedText,
    Document,
    InstructionPair,
    Passage,
    SynthesizedDocument,
    content_hash,
    digest,
)


def done(name: str, *, pairs: int = 1, follows: bool = False) -> SynthesizedDocument:
    return SynthesizedDocument(
        document=Document.of(name, f"Text of {name}.", source=name),
        pairs=tuple(
            InstructionPair(instruction=f"Ask {name} {i}?", response=f"Answer {i}.") for i in range(pairs)
        ),
        follows_previous=follows,
    )


@pytest.fixture
def render() -> RenderTexts:
    step: RenderTexts = pickle.loads(
        pickle.dumps(RenderTexts("reading_comprehension", synthesizer="mined", seed=3, progress_dir=None))
    )
    step.setup()
    return step


def test_a_chain_is_cut_where_a_document_does_not_follow_the_one_before() -> None:
    chain = [
        done("a"),
        done("b", follows=True),
        done("c"),
        done("d", pairs=0),
        done("e"),
        done("f", follows=True),
    ]
    assert [[each.document.document_id for each in run] for run in runs(chain)] == [
        ["a", "b"],
        ["c"],
        ["d"],
        ["e", "f"],
    ]


def test_an_empty_chain_has_no_runs() -> None:
    assert list(runs([])) == []


def test_each_run_becomes_one_text_that_names_its_documents(render: RenderTexts) -> None:
    first, second = render.process([done("a", pairs=2), done("b", follows=True), done("c", pairs=0)])
    assert (first.document_ids, first.num_pairs) == (("a", "b"), 3)
    assert first.template.startswith("reading_comprehension/")
    for part in ("Text of a.", "Text of b.", "Ask a 0?", "Ask a 1?", "Ask b 0?"):
        assert part in first.text
    assert (second.document_ids, second.num_pairs, second.template) == (("c",), 0, "raw")
    assert second.text == "Text of c."


def test_a_passage_tells_where_its_document_and_pairs_come_from(render: RenderTexts) -> None:
    whole = Document.of("long", "Text one. Text two.", source="file:7")
    part = dataclasses.replace(
        Document.of("long", "Text two.", source="file:7 part 2/2"), part="2/2", whole_hash=whole.content_hash
    )
    pairs = (InstructionPair(instruction="Ask?", response="Answer."),)
    (text,) = render.process(
        [
            dataclasses.replace(done("a", pairs=2), generation="key of a"),
            SynthesizedDocument(document=part, pairs=pairs, follows_previous=True, generation="key of part"),
        ]
    )
    (raw,) = render.process([SynthesizedDocument(document=part, failure="timeout: none")])
    first, second = text.passages
    assert (first.document_id, first.part, first.num_pairs, first.generation) == ("a", "", 2, "key of a")
    assert (second.document_id, second.part, second.num_pairs) == ("long", "2/2", 1)
    assert (second.source, second.generation) == ("file:7 part 2/2", "key of part")
    assert first.content_hash == content_hash("Text of a.")
    assert second.content_hash == whole.content_hash
    one, two = (text.text[each.start : each.end] for each in text.passages)
    assert "Text of a." in one and "Ask a 1?" in one and "Ask?" not in one
    assert "Text two." in two and "Ask?" in two and "Ask a" not in two
    assert (first.start, second.end) == (0, len(text.text))
    assert (raw.passages[0].failure, raw.passages[0].generation) == ("timeout: none", "")


def test_the_same_run_gives_the_same_text_and_another_seed_another_choice() -> None:
    def texts(seed: int) -> list[AugmentedText]:
        step = RenderTexts("reading_comprehension", synthesizer="mined", seed=seed, progress_dir=None)
        step.setup()
        return [text for i in range(20) for text in step.process([done(f"doc {i}", pairs=2)])]

    assert texts(3) == texts(3)
    assert [text.text_id for text in texts(3)] == [text.text_id for text in texts(4)]
    assert [text.text for text in texts(3)] != [text.text for text in texts(4)]


def test_a_stream_without_synthesis_keeps_its_texts_as_they_are() -> None:
    document = Document.of("a", "Text of a.", source="file")
    assert raw_text(document) == AugmentedText(
        text_id=digest("a", document.content_hash),
        text="Text of a.",
        passages=(
            Passage(
                document_id="a",
                content_hash=document.content_hash,
                source="file",
                start=0,
                end=len("Text of a."),
            ),
        ),
        num_pairs=0,
        template="raw",
        seed=0,
    )
