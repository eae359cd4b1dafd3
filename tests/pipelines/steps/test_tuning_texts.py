"""Tuning texts: tokens and loss of examples, selection of examples, and texts made of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from pipelines.steps.base import REJECTS
from pipelines.steps.loss_spans import join_examples, spans_within, tokenize_examples
from pipelines.steps.tuning_texts import MakeTuningTexts, _merged, as_answered, by_dataset
from plugins.protocols.base import Example
from plugins.protocols.instruction_synthesizer import (
    InstructionSynthesizerProtocol,
    answer_text,
    prompt_text,
)
from plugins.tokenizers import load_tokenizer
from schemas.corpus_config import TokenizerConfig, TuningConfig
from schemas.records import AugmentedText, Document, InstructionPair, Reject
from schemas.synthesis_config import SynthesisConfig


def context(name: str, *pairs: tuple[str, str], text: str = "") -> Document:
    """A context of the dataset `squad` with its pairs."""
    return Document.of(
        name,
        text or f"The cell {name} binds a protein.",
        source=f"train.json:{name}",
        pairs=tuple(InstructionPair(instruction=question, response=answer) for question, answer in pairs),
        dataset="squad",
    )


def test_a_context_of_several_rows_has_the_first_name_and_the_newest_version() -> None:
    rows = [
        dataclasses.replace(context(name, (f"q{name}", "a")), text="One context.", version=version)
        for name, version in (("10", 7), ("9", 3), ("2", 5))
    ]
    merged = _merged("key", rows)
    assert (merged.document_id, merged.source, merged.version) == ("2", "train.json:2", 7)
    assert [pair.instruction for pair in merged.pairs] == ["q2", "q9", "q10"]


def asked(count: int) -> list[tuple[str, str]]:
    return [(f"q{number}", f"a{number}") for number in range(count)]


def make(
    tokenizer_dir: str, documents: Sequence[Document], *, max_examples: int = 100, seq_len: int = 4096
) -> tuple[list[AugmentedText], list[Reject]]:
    step = MakeTuningTexts(
        TuningConfig(max_examples=max_examples),
        TokenizerConfig(name=tokenizer_dir),
        seq_len=seq_len,
        seed=17,
    )
    step.setup()
    keyed = [by_dataset(as_answered(document)) for document in documents]
    assert {name for name, _ in keyed} == {"squad"}
    texts, rejects = [], []
    for each in step.process(("squad", [done for _, done in keyed])):
        if isinstance(each, AugmentedText):
            texts.append(each)
        else:
            assert each.tag == REJECTS
            rejects.append(each.value)
    return texts, rejects


class TestTokens:
    def test_loss_begins_with_the_first_pair_and_ends_with_eos(self, tokenizer_dir: str) -> None:
        tokenizer = load_tokenizer(tokenizer_dir)
        pairs = context("a", ("Why?", "So."), ("How?", "Well.")).pairs
        ((tokens, without),) = tokenize_examples(tokenizer, [(prompt_text("A cell."), answer_text(pairs))])
        assert tokenizer.decode(tokens[:without]) == "<s> <CON> A cell. </CON>\n\n"
        assert tokenizer.decode(tokens[without:]) == (
            "<QUE> Why? <ANS> So. </END>\n\n<QUE> How? <ANS> Well. </END><|endoftext|>"
        )

    def test_examples_are_the_tokens_that_synthesis_prompts_with(self, tokenizer_dir: str) -> None:
        tokenizer = load_tokenizer(tokenizer_dir)
        protocol = InstructionSynthesizerProtocol(tokenizer, SynthesisConfig())
        documents = [context("a", ("Why?", "So.")), context("b", ("How?", "Well."), ("Who?", "They."))]
        tokens, spans = join_examples(
            tokenize_examples(tokenizer, [(prompt_text(d.text), answer_text(d.pairs)) for d in documents])
        )
        earlier = Example(document=documents[0], pairs=documents[0].pairs)
        prompt = protocol.prompt([earlier], documents[1])
        assert tokens[: spans[2]].tolist() == prompt.tolist()
        answered = [Example(document=each, pairs=each.pairs) for each in documents]
        assert tokens.tolist() == protocol.prompt(answered, documents[0])[: len(tokens)].tolist()
        assert protocol.parse(tokenizer.decode(tokens[spans[2] : spans[3] - 1])).pairs == documents[1].pairs

    def test_a_token_that_reaches_from_prompt_into_answer_carries_loss(self) -> None:
        from tokenizers import Tokenizer, models, pre_tokenizers
        from transformers import PreTrainedTokenizerFast

        vocabulary = {"<s>": 0, "</s>": 1, "a": 2, "\n": 3, "<": 4, "b": 5, "\n<": 6}
        backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[("\n", "<")]))
        backend.pre_tokenizer = pre_tokenizers.Split("a", "isolated")
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")
        ((tokens, without),) = tokenize_examples(tokenizer, [("a\n", "<b")])
        assert (tokens.tolist(), without) == ([0, 2, 6, 5, 1], 2)

    @pytest.mark.parametrize(
        ("start", "end", "expected"),
        [
            (0, 20, [3, 6, 10, 14]),
            (4, 20, [0, 2, 6, 10]),
            (0, 11, [3, 6, 10, 11]),
            (5, 12, [0, 1, 5, 7]),
            (6, 10, []),
            (14, 20, []),
        ],
    )
    def test_a_piece_of_a_text_keeps_its_share_of_the_spans(
        self, start: int, end: int, expected: list[int]
    ) -> None:
        assert spans_within(np.array([3, 6, 10, 14], np.int32), start, end).tolist() == expected


class TestChoice:
    def test_examples_with_most_pairs_are_taken_and_the_others_named(self, tokenizer_dir: str) -> None:
        documents = [context(f"c{number}", *asked(number)) for number in (2, 5, 1, 4, 3)]
        texts, rejects = make(tokenizer_dir, documents, max_examples=3)
        assert sorted(name for text in texts for name in text.document_ids) == ["c3", "c4", "c5"]
        assert {(each.document_id, each.reason) for each in rejects} == {
            ("c1", "beyond_max_examples"),
            ("c2", "beyond_max_examples"),
        }
        assert next(each.detail for each in rejects if each.document_id == "c1") == (
            "dataset 'squad' has more than 3 examples, of which those with most pairs are taken; "
            "this one has 1"
        )

    def test_which_of_equals_are_taken_does_not_depend_on_their_order(self, tokenizer_dir: str) -> None:
        documents = [context(f"c{number}", *asked(2)) for number in range(9)]
        forth = make(tokenizer_dir, documents, max_examples=4)
        back = make(tokenizer_dir, documents[::-1], max_examples=4)
        assert forth[0] == back[0]
        assert {each.document_id for each in forth[1]} == {each.document_id for each in back[1]}

    def test_what_cannot_be_used_is_refused_with_its_reason(self, tokenizer_dir: str) -> None:
        documents = [
            context("good", ("Why?", "So."), ("why? ", "Another."), ("What is <ANS>?", "A tag.")),
            context("none", ("What is <ANS>?", "A tag.")),
            context("long", *asked(1), text="The cell binds. " * 300),
        ]
        texts, rejects = make(tokenizer_dir, documents, seq_len=256)
        (text,) = texts
        assert text.text == (" <CON> The cell good binds a protein. </CON>\n\n<QUE> Why? <ANS> So. </END>")
        assert [(each.stage, each.document_id, each.source, each.reason) for each in rejects] == [
            ("tuning", "good", "train.json:good", "repeated_question"),
            ("tuning", "good", "train.json:good", "not_writable"),
            ("tuning", "none", "train.json:none", "not_writable"),
            ("tuning", "none", "train.json:none", "no_pairs"),
            ("tuning", "long", "train.json:long", "longer_than_row"),
        ]
        assert rejects[-1].detail.endswith(" tokens with 1 pairs; a row has 256")


def test_texts_are_whole_examples_that_fill_a_row_as_well_as_they_can(tokenizer_dir: str) -> None:
    documents = [context(f"c{number}", *asked(1 + number % 3)) for number in range(40)]
    texts, rejects = make(tokenizer_dir, documents, seq_len=256)
    assert rejects == []
    tokenizer = load_tokenizer(tokenizer_dir)

    def num_tokens(text: AugmentedText) -> int:
        whole = [text.text[each.start : each.end] for each in text.passages]
        return sum(len(tokens) for tokens, _ in tokenize_examples(tokenizer, [(each, "") for each in whole]))

    sizes = sorted(map(num_tokens, texts))
    assert max(sizes) <= 256 and sizes[1] > 200  # one text has the rest
    assert sorted(name for text in texts for name in text.document_ids) == sorted(
        document.document_id for document in documents
    )
    by_name = {document.document_id: document for document in documents}
    for text in texts:
        assert (text.template, text.num_pairs) == (
            "tuning/instruction_synthesizer",
            sum(passage.num_pairs for passage in text.passages),
        )
        for passage in text.passages:
            document = by_name[passage.document_id]
            middle = passage.start + passage.prompt_length
            assert text.text[passage.start : middle] == prompt_text(document.text)
            assert text.text[middle : passage.end] == answer_text(document.pairs)
            assert (passage.content_hash, passage.num_pairs) == (document.content_hash, len(document.pairs))


def test_only_these_texts_say_what_carries_no_loss() -> None:
    from schemas.records import Passage, from_json, to_json

    plain: dict[str, Any] = {"document_id": "a", "content_hash": "b", "source": "c", "start": 0, "end": 9}
    assert "prompt_length" not in to_json(Passage(**plain))
    line = to_json(Passage(**plain, prompt_length=4))
    assert from_json(Passage, line).prompt_length == 4
