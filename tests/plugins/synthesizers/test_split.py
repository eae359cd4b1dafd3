"""Documents that are too long: where they are cut, that nothing is lost, and what a part carries."""

from __future__ import annotations

from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest

from plugins.protocols.base import SynthesisProtocol
from plugins.protocols.instruction_synthesizer import InstructionSynthesizerProtocol
from plugins.synthesizers.split import split_document
from schemas.corpus_config import SynthesisConfig
from schemas.errors import ConfigError
from schemas.records import Document, content_hash


def config(room: int, **more: Any) -> SynthesisConfig:
    return SynthesisConfig(model="m", context_tokens=room + 32, max_new_tokens=32, **more)


def parts_of(text: str, protocol: SynthesisProtocol, settings: SynthesisConfig) -> list[Document]:
    document = Document.of("paper-1", text, source="file:7", metadata={"title": "T"})
    return split_document(document, protocol=protocol, config=settings)


@pytest.fixture
def protocol(tokenizer: Any) -> SynthesisProtocol:
    return InstructionSynthesizerProtocol(tokenizer, config(1_000))


@pytest.fixture
def around(protocol: SynthesisProtocol) -> int:
    """Tokens of a prompt beside its document."""
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
        # Without paragraphs it is a sentence's end.
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


def test_a_context_without_room_for_any_document_is_refused(protocol: SynthesisProtocol, around: int) -> None:
    with pytest.raises(ConfigError) as caught:
        parts_of("The cell.", protocol, config(around + 15))
    assert str(caught.value) == (
        f"synthesis.context_tokens {around + 47} leaves 15 tokens for a document, after max_new_tokens 32 "
        f"and the {around} tokens of the prompt around it; raise the first or lower the second."
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
