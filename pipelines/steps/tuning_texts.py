"""Question-answer sets to the texts that an instruction synthesizer is tuned on.

    documents with pairs ─► MergeContexts ─► … ─► by dataset ─► choose ─► concatenate ─► texts

An example is a context with all pairs about it, in the tag format in which synthesis asks and is answered.
A text is several examples of one dataset, chosen so that it fills a row as well as whole examples can; each
stands between BOS and EOS of its own. So the synthesizer learns from the format of earlier examples, as the
rounds of a chain prompt it. Loss is on what it has to answer: the pairs, what stands between them, and EOS.

The examples of a dataset are taken in an order given by their names, so that texts do not depend on files and
workers. At most `max_examples` of one dataset are in memory.

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
from pipelines.steps.pack import best_fit_decreasing
from pipelines.steps.render import names_of, passage_of
from pipelines.steps.tuning_tokens import ends_of_examples, tokenize_examples
from pipelines.store.pair_files import with_pairs
from plugins.protocols.base import question_key
from plugins.protocols.instruction_synthesizer import answer_text, is_writable, prompt_text
from plugins.tokenizers import load_tokenizer
from schemas.corpus_config import TokenizerConfig, TuningConfig
from schemas.records import (
    AugmentedText,
    Document,
    InstructionPair,
    SynthesizedDocument,
    content_hash,
    digest,
)

TEMPLATE = "tuning/instruction_synthesizer"
"""The template of such a text."""

_CHUNK = 1024
"""Examples tokenized at a time."""


class MergeContexts(beam.PTransform):
    """Make one document of all that have the same context in the same dataset, with the pairs of all.

    It takes the name of the first, in the order of the file; sets with a row for each question need it.
    """

    def expand(self, documents: beam.PCollection) -> beam.PCollection:
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
    """A document as synthesis would give it, had it written the document's own pairs."""
    return (SynthesizedDocument(document=document, pairs=document.pairs),)


def by_dataset(answered: Sequence[SynthesizedDocument]) -> tuple[str, SynthesizedDocument]:
    """Key an answered document by the question-answer set it is of."""
    (done,) = answered
    return done.document.dataset, done


def example_document(document: Document) -> Document:
    """A document whose text is the whole example; what a plan counts the tokens of."""
    return document.changed(prompt_text(document.text) + answer_text(document.pairs), ())


class _Example(NamedTuple):
    """An example that may be chosen; the best compare as the largest. Names are distinct."""

    num_pairs: int
    order: str
    name: str
    num_tokens: int
    done: SynthesizedDocument


class MakeTuningTexts(StepFn):
    """Choose the examples of a dataset and make texts of them.

    Takes the name of a dataset with its documents; gives AugmentedTexts, and rejects for pairs and examples
    that are not in them.

    Args:
        tuning: How many.
        tokenizer: What the synthesizer reads and writes with.
        seq_len: Most tokens of a text.
        seed: Orders examples that have equally many pairs.
        progress_dir: See Counters.
    """

    def __init__(
        self,
        tuning: TuningConfig,
        tokenizer: TokenizerConfig,
        *,
        seq_len: int,
        seed: int,
        progress_dir: str | None,
    ):
        super().__init__("tuning", progress_dir)
        self.tuning = tuning
        self.tokenizer = tokenizer
        self.seq_len = seq_len
        self.seed = seed

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
            yield self._reject(
                least.done.document,
                "beyond_max_examples",
                f"dataset {dataset!r} has more than {self.tuning.max_examples} examples, of which those with "
                f"most pairs are taken; this one has {least.num_pairs}",
            )
        chosen.sort(key=lambda example: (example.order, example.name))
        for members in best_fit_decreasing([each.num_tokens for each in chosen], self.seq_len):
            yield self._text([chosen[at].done for at in sorted(members)])

    def _examples(self, documents: Iterable[SynthesizedDocument]) -> Iterator[Any]:
        """Examples with their sizes, and rejects of pairs and of examples without any or that fit no row."""
        remaining = iter(documents)
        while chunk := list(itertools.islice(remaining, _CHUNK)):
            good: list[SynthesizedDocument] = []
            for done in chunk:
                pairs: dict[str, InstructionPair] = {}
                for number, pair in enumerate(done.pairs, start=1):
                    key = question_key(pair)
                    if key in pairs or not is_writable(pair):
                        reason = "repeated_question" if key in pairs else "not_writable"
                        yield self._reject(done.document, reason, f"pair {number}: {pair.instruction!r}")
                    else:
                        pairs[key] = pair
                if pairs:
                    good.append(dataclasses.replace(done, pairs=tuple(pairs.values())))
                else:
                    yield self._reject(done.document, "no_pairs", f"none of {len(done.pairs)} can be used")
            encoded = tokenize_examples(self._tokenizer, [_parts(done) for done in good])
            for done, (tokens, _) in zip(good, encoded, strict=True):
                if len(tokens) > self.seq_len:
                    detail = f"{len(tokens)} tokens with {len(done.pairs)} pairs; a row has {self.seq_len}"
                    yield self._reject(done.document, "longer_than_row", detail)
                else:
                    name = done.document.document_id
                    order = digest(str(self.seed), name)
                    yield _Example(len(done.pairs), order, name, len(tokens), done)

    def _reject(self, document: Document, reason: str, detail: str) -> beam.pvalue.TaggedOutput:
        return self.reject(reason, document_id=document.document_id, source=document.source, detail=detail)

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
    """What the synthesizer is asked with, and what it has to answer."""
    return prompt_text(done.document.text), answer_text(done.pairs)
