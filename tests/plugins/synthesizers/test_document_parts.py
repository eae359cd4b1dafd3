"""Cuts of long documents: their positions, no loss of text, and the fields of parts."""

from __future__ import annotations

from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest

from plugins.protocols.base import SynthesisProtocol
from plugins.protocols.instruction_synthesizer import InstructionSynthesizerProtocol
from plugins.synthesizers.document_parts import Limit, prompt_limit, split_document
from plugins.synthesizers.mined import MinedSynthesizer
from schemas.content_hash import content_hash
from schemas.errors import ConfigError
from schemas.records import Document
from schemas.synthesis_config import SynthesisConfig


def config(room: int, **more: Any) -> SynthesisConfig:
    return SynthesisConfig(model="m", context_tokens=room + 32, max_new_tokens=32, **more)


def parts_of(text: str, protocol: SynthesisProtocol, settings: SynthesisConfig) -> list[Document]:
    document = Document.of("paper-1", text, source="file:7", metadata={"title": "T"})
    return split_document(document, [prompt_limit(document, protocol=protocol, config=settings)])


@pytest.fixture
def protocol(tokenizer: Any) -> SynthesisProtocol:
    return InstructionSynthesizerProtocol(tokenizer, config(1_000))


@pytest.fixture
def around(protocol: SynthesisProtocol) -> int:
    """Number of tokens in a prompt without its document."""
    return len(protocol.prompt((), Document.of("d", "", source="s")))


def test_a_document_that_fits_is_its_own_only_part(protocol: SynthesisProtocol, around: int) -> None:
    text = "The cell. " * 10
    exactly = len(protocol.prompt((), Document.of("d", text, source="s")))
    (part,) = parts_of(text, protocol, config(exactly))
    assert (part.text, part.part, part.source) == (text, "", "file:7")
    assert len(parts_of(text, protocol, config(exactly - 1))) == 2


def test_each_part_says_which_it_is_and_whose(protocol: SynthesisProtocol) -> None:
    first, second = parts_of(f"{'one ' * 20}\n\n{'two ' * 20}", protocol, config(110))
    assert (first.text, second.text) == (("one " * 20).strip(), ("two " * 20).strip())
    assert [part.document_id for part in (first, second)] == ["paper-1", "paper-1"]
    assert [part.part for part in (first, second)] == ["1/2", "2/2"]
    assert second.source == "file:7 part 2/2"
    assert second.metadata == {"title": "T"}
    assert second.content_hash == content_hash(second.text)


@pytest.mark.parametrize(
    ("text", "cuts"),
    [
        # A paragraph's end wins over the sentences' ends beside it.
        (
            "One cell is here. Two cells are here.\n\nThree cells are here. Four cells are here.",
            ["One cell is here. Two cells are here.", "Three cells are here. Four cells are here."],
        ),
        # Without paragraphs the cut is at a sentence's end.
        (
            "One cell is in here. Two cells are in here. Three cells are here. Four cells are here.",
            [
                "One cell is in here. Two cells are in here.",
                "Three cells are here. Four cells are here.",
            ],
        ),
    ],
)
def test_paragraphs_go_before_sentences(
    protocol: SynthesisProtocol, around: int, text: str, cuts: list[str]
) -> None:
    sizes = [len(protocol.prompt((), Document.of("d", cut, source="s"))) for cut in cuts]
    assert [part.text for part in parts_of(text, protocol, config(max(sizes)))] == cuts


def test_one_long_sentence_is_cut_between_words_and_one_long_word_between_characters(
    protocol: SynthesisProtocol, around: int
) -> None:
    words = " ".join(["antidisestablishment"] * 20)
    assert " ".join(part.text for part in parts_of(words, protocol, config(around + 100))) == words
    word = "antidisestablishment" * 20
    assert "".join(part.text for part in parts_of(word, protocol, config(around + 100))) == word


def test_parts_are_about_equally_long(protocol: SynthesisProtocol, around: int) -> None:
    text = " ".join(f"Cell number {number} binds." for number in range(40))
    sizes = [len(part.text) for part in parts_of(text, protocol, config(around + 200))]
    assert len(sizes) > 3 and min(sizes) > 0.5 * max(sizes)


def test_a_length_of_ones_own_cuts_what_would_fit(protocol: SynthesisProtocol) -> None:
    text = "\n\n".join(["The cell binds a dose."] * 8)
    assert len(parts_of(text, protocol, config(2_000))) == 1
    assert len(parts_of(text, protocol, config(2_000, max_document_tokens=30))) == 4


def test_a_part_keeps_to_the_prompt_and_to_the_row(protocol: SynthesisProtocol, around: int) -> None:
    document = Document.of("d", "The cell binds. Antidisestablishment is a word. " * 20, source="s")
    prompt = prompt_limit(document, protocol=protocol, config=config(around + 150))
    by_prompt = split_document(document, [prompt])
    for room, expected in ((10_000, by_prompt), (40, None), (100, None)):
        parts = split_document(document, [prompt, Limit(room, lambda text: len(text.split()) * 5)])
        assert all(prompt.size(part.text) <= prompt.room for part in parts)
        assert all(len(part.text.split()) * 5 <= room for part in parts)
        assert "".join("".join(part.text for part in parts).split()) == "".join(document.text.split())
        if expected is not None:
            assert parts == expected
    assert len(parts) > 1


def test_without_a_model_the_length_of_ones_own_counts_in_tokens_of_the_row() -> None:
    document = Document.of("d", "The cell binds a dose. " * 40, source="s")

    def num_parts(**settings: Any) -> int:
        synthesizer = MinedSynthesizer(SynthesisConfig(**settings), seed=1)
        row = Limit(100, lambda text: len(text.split()))
        parts = synthesizer.split(document, row)
        assert max(len(part.text.split()) for part in parts) <= settings.get("max_document_tokens", 100)
        return len(parts)

    assert (num_parts(), num_parts(max_document_tokens=50), num_parts(max_document_tokens=20)) == (2, 4, 10)


def test_a_context_without_room_for_any_document_is_refused(protocol: SynthesisProtocol, around: int) -> None:
    with pytest.raises(ConfigError) as caught:
        parts_of("The cell.", protocol, config(around + 15))
    assert str(caught.value) == (
        f"synthesis.context_tokens {around + 47} leaves 15 tokens for a document, after max_new_tokens 32 "
        f"and the {around} tokens of the prompt around it; raise context_tokens or lower max_new_tokens."
    )


@hypothesis.given(st.text(alphabet="ab .!?\n\té汉字😀\u0301", min_size=1, max_size=400))
@hypothesis.settings(
    max_examples=60, deadline=None, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)
def test_every_part_fits_and_nothing_but_white_space_is_lost(
    protocol: SynthesisProtocol, around: int, text: str
) -> None:
    settings = config(around + 20)
    parts = parts_of(text, protocol, settings)
    assert all(len(protocol.prompt((), part)) <= around + 20 for part in parts)
    assert "".join("".join(part.text for part in parts).split()) == "".join(text.split())
