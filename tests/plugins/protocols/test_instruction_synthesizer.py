"""The tag format, token by token, and the parsing rules of METHOD section 2."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from plugins.protocols.base import Example
from plugins.protocols.instruction_synthesizer import (
    InstructionSynthesizerProtocol,
    answer_text,
    is_writable,
)
from plugins.tokenizers import load_tokenizer
from schemas.errors import ConfigError
from schemas.records import Document, InstructionPair
from schemas.synthesis_config import SynthesisConfig

BOS, EOS = 0, 1
MakeDocument = Callable[[str], Document]


def pair(instruction: str, response: str, **more: Any) -> InstructionPair:
    return InstructionPair(instruction=instruction, response=response, **more)


@pytest.fixture
def protocol(tokenizer: Any) -> InstructionSynthesizerProtocol:
    return InstructionSynthesizerProtocol(tokenizer, SynthesisConfig(protocol="instruction_synthesizer"))


class TestPrompt:
    def test_a_document_alone(
        self, protocol: InstructionSynthesizerProtocol, tokenizer: Any, document: MakeDocument
    ) -> None:
        ids = protocol.prompt([], document("The cell."))
        assert ids[0] == BOS and BOS not in ids[1:] and EOS not in ids
        assert tokenizer.decode(ids) == "<s> <CON> The cell. </CON>\n\n"

    def test_earlier_documents_come_first_each_between_bos_and_eos(
        self, protocol: InstructionSynthesizerProtocol, tokenizer: Any, document: MakeDocument
    ) -> None:
        examples = [
            Example(document=document("One."), pairs=(pair("q1", "a1"), pair("q2", "a2"))),
            Example(document=document("Two."), pairs=(pair("q3", "a3"),)),
        ]
        ids = protocol.prompt(examples, document("Three.")).tolist()
        assert tokenizer.decode(ids) == (
            "<s> <CON> One. </CON>\n\n<QUE> q1 <ANS> a1 </END>\n\n<QUE> q2 <ANS> a2 </END></s>"
            "<s> <CON> Two. </CON>\n\n<QUE> q3 <ANS> a3 </END></s>"
            "<s> <CON> Three. </CON>\n\n"
        )
        assert (ids.count(BOS), ids.count(EOS)) == (3, 2)

    def test_options_and_reasoning_are_written_as_they_are_read(
        self, protocol: InstructionSynthesizerProtocol, tokenizer: Any, document: MakeDocument
    ) -> None:
        asked = pair("Which?", "heart", options=("lung", "heart"), rationale="It pumps.")
        ids = protocol.prompt([Example(document=document("One."), pairs=(asked,))], document("Two."))
        written = (
            "<QUE> Which?\nOptions:\n- lung\n- heart\nLet's think step by step. "
            "<ANS> It pumps.\nTherefore, the answer is heart </END>"
        )
        assert tokenizer.decode(ids).split("\n\n")[1] == f"{written}</s><s> <CON> Two. </CON>"
        assert protocol.parse(written).pairs == (asked,)

    def test_special_token_strings_in_documents_and_pairs_stay_plain_text(
        self,
        protocol: InstructionSynthesizerProtocol,
        tokenizer: Any,
        special_tokens: tuple[str, ...],
        document: MakeDocument,
    ) -> None:
        text = "a </s><s> b <|endoftext|> <|im_start|>"
        example = Example(document=document(text), pairs=(pair("what is </s>?", "<s>"),))
        ids = protocol.prompt([example], document(text)).tolist()
        assert [token for token in ids if token < len(special_tokens)] == [BOS, EOS, BOS]
        plain = tokenizer(f" <CON> {text} </CON>\n\n", add_special_tokens=False).input_ids
        assert ids[-len(plain) - 1 :] == [BOS, *plain]

    def test_bos_is_not_doubled_by_a_tokenizer_that_adds_its_own(
        self, make_tokenizer: Callable[..., str], document: MakeDocument
    ) -> None:
        tokenizer = load_tokenizer(make_tokenizer(adds_bos=True))
        protocol = InstructionSynthesizerProtocol(tokenizer, SynthesisConfig())
        ids = protocol.prompt([], document("A cell.")).tolist()
        assert ids.count(BOS) == 1 and ids[0] == BOS

    @pytest.mark.parametrize("missing", ["bos_token", "eos_token"])
    def test_a_tokenizer_without_bos_or_eos_is_refused(
        self, make_tokenizer: Callable[..., str], missing: str
    ) -> None:
        tokenizer = load_tokenizer(make_tokenizer(**{missing: None}))
        with pytest.raises(ConfigError) as caught:
            InstructionSynthesizerProtocol(tokenizer, SynthesisConfig(model="some/model"))
        assert str(caught.value) == (
            "synthesis.model 'some/model' lacks a BOS or EOS token, which protocol "
            "'instruction_synthesizer' needs around each document. Set synthesis.protocol: chat instead."
        )


A = pair("q1", "a1")
B = pair("q2", "a2")


class TestParse:
    @pytest.mark.parametrize(
        ("text", "expected", "num_bad"),
        [
            ("", (), 0),
            ("  \n", (), 0),
            ("<QUE> q1 <ANS> a1 </END>", (A,), 0),
            ("<QUE> q1 <ANS> a1 </END>\n\n<QUE> q2 <ANS> a2 </END>\n", (A, B), 0),
            ("<QUE>q1<ANS>a1</END><QUE>q2<ANS>a2</END>", (A, B), 0),
            # The last piece is dropped unless the output ends in </END>.
            ("<QUE> q1 <ANS> a1 </END>\n\n<QUE> q2 <ANS> a2", (A,), 1),
            ("<QUE> q1 <ANS> a1", (), 1),
            ("no tags at all", (), 1),
            # A piece holds exactly one <ANS>.
            ("<QUE> q1 </END> <QUE> q2 <ANS> a2 </END>", (B,), 1),
            ("<QUE> q1 <ANS> x <ANS> y </END> <QUE> q2 <ANS> a2 </END>", (B,), 1),
            # Its question starts with <QUE>.
            ("q1 <ANS> a1 </END> <QUE> q2 <ANS> a2 </END>", (B,), 1),
            ("so: <QUE> q1 <ANS> a1 </END> <QUE> q2 <ANS> a2 </END>", (B,), 1),
            # Neither is empty.
            ("<QUE> q1 <ANS>  </END> <QUE> q2 <ANS> a2 </END>", (B,), 1),
            ("<QUE> <ANS> a1 </END> <QUE> q2 <ANS> a2 </END>", (B,), 1),
            ("</END></END>", (), 2),
            # No tag is left in an instruction or a response.
            ("<QUE> a <QUE> b <ANS> c </END> <QUE> q2 <ANS> a2 </END>", (B,), 1),
            ("<QUE> q1 <ANS> x <QUE> y </END> <QUE> q2 <ANS> a2 </END>", (B,), 1),
            ("<QUE> q1 </CON> <ANS> a1 </END> <QUE> q2 <ANS> a2 </END>", (B,), 1),
            ("<QUE> q1 <ANS> a1 </s> </END> <QUE> q2 <ANS> a2 </END>", (B,), 1),
            ("<s> <QUE> q1 <ANS> a1 </END> <QUE> q2 <ANS> a2 </END>", (B,), 1),
            ("<QUE> q1 <ANS> a1 </END></s>", (A,), 0),
            # Text after the next <CON> is about another document.
            (
                "<QUE> q1 <ANS> a1 </END></s><s> <CON> x </CON><QUE> q <ANS> a </END> <QUE> r <ANS> b </END>",
                (A,),
                2,
            ),
            ("<CON> x </CON> <QUE> q <ANS> a </END> <QUE> q2 <ANS> a2 </END> <QUE> q", (), 3),
            # The first of several equal questions is kept; case does not matter.
            ("<QUE> q1 <ANS> a1 </END> <QUE> Q1 <ANS> other </END> <QUE> q2 <ANS> a2 </END>", (A, B), 0),
        ],
    )
    def test_the_rules(
        self,
        protocol: InstructionSynthesizerProtocol,
        text: str,
        expected: tuple[InstructionPair, ...],
        num_bad: int,
    ) -> None:
        parsed = protocol.parse(text)
        assert (parsed.pairs, parsed.num_bad_pieces) == (expected, num_bad)

    @pytest.mark.parametrize(
        ("question", "answer", "expected"),
        [
            (
                "Which?\nOptions:\n- lung\n- heart",
                "heart",
                pair("Which?", "heart", options=("lung", "heart")),
            ),
            (
                "Which?\nOptions:\n- lung\n- heart",
                "heart.",
                pair("Which?", "heart", options=("lung", "heart")),
            ),
            ("Which?\nOptions:\n- A.\n- B.", "A.", pair("Which?", "A.", options=("A.", "B."))),
            (
                "Which?\nOptions:\n- Lung\n- heart",
                '"lung".',
                pair("Which?", "Lung", options=("Lung", "heart")),
            ),
            (
                "Which?\n Options: \n  - lung\u2028left\x0cor\x85right\n  - the heart,\n    which beats\n"
                "      - well",
                "lung\u2028left\x0cor\x85right",
                pair(
                    "Which?",
                    "lung\u2028left\x0cor\x85right",
                    options=("lung\u2028left\x0cor\x85right", "the heart,\nwhich beats\n- well"),
                ),
            ),
            (
                "One of\nOptions:\n- x\nthese?\nOptions:\n- a\n\n- b",
                "a",
                pair("One of\nOptions:\n- x\nthese?", "a", options=("a", "b")),
            ),
            ("Name Options:\n- free text", "x", pair("Name Options:\n- free text", "x")),
            ("Which?\nOptions:\nlung or heart", "lung", pair("Which?\nOptions:\nlung or heart", "lung")),
            (
                "Why?\nLet's think step by step.",
                "First this.\nThen that.\nTherefore, the answer is 3 p.m.",
                pair("Why?", "3 p.m.", rationale="First this.\nThen that."),
            ),
            ("Why?\nLet's think step by step.", "Because.", pair("Why?", "Because.")),
            (
                "Why?\nLet's think step by step.",
                "It is so.\nTherefore, the answer is: a",
                pair("Why?", "a", rationale="It is so."),
            ),
            (
                "Why?\nLet's think step by step.",
                'It is so.\nTherefore the answer is "a b".',
                pair("Why?", "a b", rationale="It is so."),
            ),
            (
                "Why?\nLet's think step by step.",
                'Therefore, the answer is "a" or "b".',
                pair("Why?", '"a" or "b".'),
            ),
            *(
                ("Why?\nLet's think step by step.", answer, pair("Why?", answer))
                for answer in (
                    "Therefore, the answer isn't clear.",
                    "Therefore, the answer isn’t clear.",
                    "Therefore, the answer is-it-so.",
                    "Therefore, the answer issued is 5.",
                    "Nontherefore, the answer is 5.",
                )
            ),
            ("Why?", "Therefore, the answer is no.", pair("Why?", "Therefore, the answer is no.")),
            (
                "Which?\nOptions:\n- yes\n- no\nLet's think step by step.",
                "It is so.\nTherefore, the answer is yes.",
                pair("Which?", "yes", options=("yes", "no"), rationale="It is so."),
            ),
        ],
    )
    def test_options_and_reasoning(
        self,
        protocol: InstructionSynthesizerProtocol,
        question: str,
        answer: str,
        expected: InstructionPair,
    ) -> None:
        assert protocol.parse(f"<QUE> {question} <ANS> {answer} </END>").pairs == (expected,)

    @pytest.mark.parametrize(
        "piece",
        [
            "<QUE> Let's think step by step. <ANS> a </END>",
            "<QUE> Why?\nLet's think step by step. <ANS> So.\nTherefore, the answer is </END>",
        ],
    )
    def test_a_piece_that_is_only_its_frame_is_bad(
        self, protocol: InstructionSynthesizerProtocol, piece: str
    ) -> None:
        parsed = protocol.parse(piece)
        assert (parsed.pairs, parsed.num_bad_pieces) == ((), 1)

    @pytest.mark.parametrize(
        ("question", "answer"),
        [
            ("Which?\nOptions:\n- lung\n- heart", "(B)"),
            ("Which?\nOptions:\n- lung\n- heart", "the lung and the heart"),
            ("Which?\nOptions:\n- Lung\n- lung", "LUNG"),  # either
            (
                "Which?\nOptions:\n- lung\n- heart\nLet's think step by step.",
                "So.\nTherefore, the answer is liver.",
            ),
            ("Which?\nOptions:\n- lung\n- heart\nLet's think step by step.", "It pumps."),
        ],
    )
    def test_an_answer_that_is_none_of_its_options_drops_its_pair(
        self, protocol: InstructionSynthesizerProtocol, question: str, answer: str
    ) -> None:
        parsed = protocol.parse(f"<QUE> {question} <ANS> {answer} </END> <QUE> q1 <ANS> a1 </END>")
        assert (parsed.pairs, parsed.num_bad_pieces) == ((A,), 1)

    def test_a_question_with_and_without_reasoning_are_two(
        self, protocol: InstructionSynthesizerProtocol
    ) -> None:
        parsed = protocol.parse(
            "<QUE> Why? <ANS> Because. </END> <QUE> WHY? <ANS> Again. </END>"
            "<QUE> Why?\nLet's think step by step. <ANS> It is so.\nTherefore, the answer is a </END>"
        )
        assert parsed.pairs == (pair("Why?", "Because."), pair("Why?", "a", rationale="It is so."))

    @pytest.mark.parametrize(
        ("text", "unreadable"),
        [("", False), ("</s>", False), ("no tags", True), ("<QUE> q1 <ANS> a1 </END> <QUE> q", False)],
    )
    def test_an_answer_of_which_nothing_can_be_read_says_so(
        self, protocol: InstructionSynthesizerProtocol, text: str, unreadable: bool
    ) -> None:
        assert protocol.read(text).unreadable is unreadable

    def test_options_of_several_lines_are_read_back(self, protocol: InstructionSynthesizerProtocol) -> None:
        asked = pair("Which?", "a\nb", options=("a\nb", "c\u2028d"))
        assert protocol.parse(answer_text([asked])).pairs == (asked,)

    def test_the_same_words_with_other_options_are_another_question(
        self, protocol: InstructionSynthesizerProtocol
    ) -> None:
        pieces = "".join(
            f"<QUE> Which is true?\nOptions:\n- {one}\n- no <ANS> {one} </END>" for one in ("a", "b", "A")
        )
        assert [each.response for each in protocol.parse(pieces).pairs] == ["a", "b"]


@pytest.mark.parametrize(
    ("asked", "writable"),
    [
        (A, True),
        (pair("Which?\nOptions:\n- lung\n- heart", "heart"), True),
        (pair("", "a1"), False),
        (pair("q1", " "), False),
        (pair("what is <ANS>?", "a tag"), False),
        (pair("q1", "a </END> b"), False),
        (pair("q1 <QUE> q2", "a1"), False),
        (pair("what is <s>?", "struck out"), False),
        (pair("Which?\nOptions:\n- lung\n- heart", "(B)"), False),
    ],
)
def test_a_pair_that_could_not_be_read_back_is_known(asked: InstructionPair, writable: bool) -> None:
    assert is_writable(asked) is writable
