"""Tuning texts: question-answer sets as the texts that an instruction synthesizer is tuned on.

    documents with pairs ─► MergeContexts ─► … ─► by dataset ─► choose ─► concatenate ─► texts

An example is a context with all its pairs, in the tag format of synthesis prompts and answers. A text
consists of several whole examples of one dataset that together fill a row; each has a BOS and EOS of its own.
So the synthesizer learns from the format of earlier examples, as the rounds of a chain prompt it. Loss is on
the answer: the pairs, the separators between them, and EOS.

The names of the examples decide their order, so that texts do not depend on files and workers. At most
`max_examples` of one dataset are in memory.

Source: Cheng et al. 2024, arXiv 2406.14491, section 2.1.
"""

from __future__ import annotations

import dataclasses
import heapq
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import apache_beam as beam

from pipelines.increments.document_versions import natural
from pipelines.steps.base import StepFn
from pipelines.steps.loss_spans import ends_of_examples, tokenize_examples
from pipelines.steps.pack import best_fit_decreasing
from pipelines.steps.render import names_of, passage_of
from pipelines.store.pair_files import with_pairs
from plugins.protocols.base import question_key
from plugins.protocols.instruction_synthesizer import answer_text, is_writable, prompt_text
from plugins.tokenizers import load_tokenizer
from schemas.content_hash import content_hash, digest
from schemas.corpus_config import TokenizerConfig, TuningConfig
from schemas.records import AugmentedText, Document, InstructionPair, SynthesizedDocument

TEMPLATE = "tuning/instruction_synthesizer"
"""Template of a tuning text."""

_CHUNK = 1024
"""Examples tokenized at a time."""


@beam.ptransform_fn
def MergeContexts(documents: beam.PCollection) -> beam.PCollection:
    """Merge documents with the same context and dataset into one with all their pairs.

    It keeps the name of the first in the order of the file. Sets with a row for each question need it.
    """
    return (
        documents
        | "KeyByContext" >> beam.Map(_context_key)
        | "GroupByContext" >> beam.GroupByKey()
        | "MergePairs" >> beam.MapTuple(_merged)
    )


def _context_key(document: Document) -> tuple[str, Document]:
    return digest(document.dataset, content_hash(document.text)), document


def _merged(_: str, documents: Iterable[Document]) -> Document:
    first, *others = found = sorted(documents, key=lambda document: natural(document.source))
    if not others:
        return first
    merged = first.changed(first.text, tuple(pair for each in found for pair in each.pairs))
    return dataclasses.replace(merged, version=max(each.version for each in found))


def as_answered(document: Document) -> tuple[SynthesizedDocument]:
    """Turn a document's own pairs into the output of a synthesis."""
    return (SynthesizedDocument(document=document, pairs=document.pairs),)


def by_dataset(answered: Sequence[SynthesizedDocument]) -> tuple[str, SynthesizedDocument]:
    """Key an answered document by its question-answer set."""
    (done,) = answered
    return done.document.dataset, done


def example_document(document: Document) -> Document:
    """Make a document whose text is the whole example; a plan counts its tokens."""
    return document.changed(prompt_text(document.text) + answer_text(document.pairs), ())


class _Example(NamedTuple):
    """A candidate example; the best compares as the largest. Names are distinct."""

    num_pairs: int
    order: str
    name: str
    num_tokens: int
    done: SynthesizedDocument


@dataclasses.dataclass(eq=False)
class MakeTuningTexts(StepFn):
    """Choose the examples of a dataset and make texts of them.

    Takes the name of a dataset with its documents; gives AugmentedTexts, and rejects for pairs and examples
    that are not in them.
    """

    step = "tuning"
    tuning: TuningConfig
    tokenizer: TokenizerConfig  # of the synthesizer
    seq_len: int  # tokens of a text, at most
    seed: int  # orders examples with equally many pairs

    def setup(self) -> None:
        super().setup()
        self._tokenizer = load_tokenizer(self.tokenizer.name)
        ends_of_examples(self._tokenizer, self.tokenizer)

    def process(self, group: tuple[str, Iterable[SynthesizedDocument]]) -> Iterator[Any]:
        dataset, documents = group
        chosen: list[_Example] = []
        for found in self._examples(documents):
            if not isinstance(found, _Example):
                yield found
                continue
            if len(chosen) < self.tuning.max_examples:
                heapq.heappush(chosen, found)
                continue
            least = heapq.heappushpop(chosen, found)
            yield self.reject(
                "beyond_max_examples",
                least.done.document,
                f"dataset {dataset!r} has more than {self.tuning.max_examples} examples, of which those with "
                f"most pairs are taken; this one has {least.num_pairs}",
            )
        chosen.sort(key=lambda example: (example.order, example.name))
        for members in best_fit_decreasing([each.num_tokens for each in chosen], self.seq_len):
            yield self._text([chosen[at].done for at in sorted(members)])

    def _examples(self, documents: Iterable[SynthesizedDocument]) -> Iterator[Any]:
        """Yield examples; reject pairs, examples without pairs, and examples longer than a row."""
        remaining = iter(documents)
        while chunk := list(itertools.islice(remaining, _CHUNK)):
            good: list[SynthesizedDocument] = []
            for done in chunk:
                pairs: dict[str, InstructionPair] = {}
                for number, pair in enumerate(done.pairs, start=1):
                    key = question_key(pair)
                    if key in pairs or not is_writable(pair):
                        reason = "repeated_question" if key in pairs else "not_writable"
                        yield self.reject(reason, done.document, f"pair {number}: {pair.instruction!r}")
                    else:
                        pairs[key] = pair
                if pairs:
                    good.append(dataclasses.replace(done, pairs=tuple(pairs.values())))
                else:
                    yield self.reject("no_pairs", done.document, f"none of {len(done.pairs)} can be used")
            encoded = tokenize_examples(self._tokenizer, [_parts(done) for done in good])
            for done, (tokens, _) in zip(good, encoded, strict=True):
                if len(tokens) > self.seq_len:
                    detail = f"{len(tokens)} tokens with {len(done.pairs)} pairs; a row has {self.seq_len}"
                    yield self.reject("longer_than_row", done.document, detail)
                else:
                    name = done.document.document_id
                    order = digest(str(self.seed), name)
                    yield _Example(len(done.pairs), order, name, len(tokens), done)

    def _text(self, examples: Sequence[SynthesizedDocument]) -> AugmentedText:
        self.counters.add("texts")
        self.counters.add("examples", len(examples))
        self.counters.add("pairs", sum(len(done.pairs) for done in examples))
        parts = [_parts(done) for done in examples]
        ends = list(itertools.accumulate(len(prompt) + len(answer) for prompt, answer in parts))
        text = AugmentedText(
            text_id=digest(*(name for done in examples for name in names_of(done.document))),
            text="".join(itertools.chain(*parts)),
            passages=tuple(
                passage_of(done.document, span, num_pairs=len(done.pairs), prompt_length=len(prompt))
                for done, (prompt, _), span in zip(
                    examples, parts, itertools.pairwise([0, *ends]), strict=True
                )
            ),
            num_pairs=sum(len(done.pairs) for done in examples),
            template=TEMPLATE,
            seed=0,
        )
        return with_pairs(text, examples, synthesizer="")


def _parts(done: SynthesizedDocument) -> tuple[str, str]:
    """Return the prompt of an example and its answer."""
    return prompt_text(done.document.text), answer_text(done.pairs)
