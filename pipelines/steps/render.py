"""Training texts of synthesized documents, rendered so that they fit a row, and their token ids.

    chains ─► runs ─► render ─► tokenize ─┬─ fits ──────────────────────────► text
                ▲                         └─ too long for a row: cut the run between documents; of a single
                └──────────────────────────  document leave out its longest pair

So a row that holds a whole text holds each pair with its passage, unless the template family keeps the two
apart. Only texts that do not fit are rendered and tokenized again. Texts keep their text_ids and seeds unless
their run is cut. A pair without room beside its passage becomes a reject, `pairs_beyond_row`; these are few,
since split_documents.py reserves room for pairs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from pipelines.steps.base import StepFn
from pipelines.steps.tokenize import TokenizeTexts
from pipelines.store.pair_files import synthesizer_name, with_pairs
from plugins.templates import TEMPLATES
from schemas.content_hash import digest
from schemas.corpus_config import CorpusConfig
from schemas.page_starts import page_range
from schemas.records import AugmentedText, Document, InstructionPair, Passage, SynthesizedDocument

_SEED_BITS = 63
WORDED = "worded_"
"""Counters of documents with pairs, by the language of the words around them, begin with this."""


def runs(documents: Sequence[SynthesizedDocument]) -> Iterator[tuple[SynthesizedDocument, ...]]:
    """Cut a chain before each document that does not follow the previous one; a run is one training text."""
    run: list[SynthesizedDocument] = []
    for document in documents:
        if run and not document.follows_previous:
            yield tuple(run)
            run = []
        run.append(document)
    if run:
        yield tuple(run)


@dataclasses.dataclass(eq=False)
class RenderTexts(StepFn):
    """Render the training texts of chains with a template family, and tokenize them.

    Takes batches (lists) of chains; gives TokenizedTexts, and rejects of pairs that fit no row.
    """

    step = "render"
    config: CorpusConfig

    def __post_init__(self) -> None:
        self._tokenize = TokenizeTexts(self.config.tokenizer)

    def setup(self) -> None:
        super().setup()
        self._family = TEMPLATES.load(self.config.templates)(self.config.template_files)
        self._tokenize.setup()
        self._synthesizer = synthesizer_name(self.config.synthesis)

    def finish_bundle(self) -> None:
        super().finish_bundle()
        self._tokenize.finish_bundle()

    def process(self, chains: Sequence[Sequence[SynthesizedDocument]]) -> Iterator[Any]:
        yield from self.of_batch(chains, self._rendered)

    def _rendered(self, chains: Sequence[Sequence[SynthesizedDocument]]) -> Iterator[Any]:
        seq_len = self.config.pack.seq_len
        waiting = [run for chain in chains for run in self._runs(chain)]
        while waiting:
            made = [self._render(run) for run in waiting]
            texts = [text for text, _ in made]
            shorter: list[tuple[SynthesizedDocument, ...]] = []
            for run, (text, wordings), parts in zip(waiting, made, self._tokenize.encode(texts), strict=True):
                num_tokens = len(parts[-1])
                if num_tokens > seq_len and len(run) > 1:
                    self.counters.add("cut_runs")
                    shorter += _cut(run, text, num_tokens, seq_len)
                elif num_tokens > seq_len and text.num_pairs:
                    done, pair = _without_longest_pair(run[0])
                    shorter.append((done,))
                    what = "its pairs" if text.is_apart else "passage and pairs"
                    found = f"{what} have {num_tokens} tokens, a row has {seq_len}"
                    yield self.reject(
                        "pairs_beyond_row", done.document, f"pair {pair.instruction!r}: {found}"
                    )
                else:
                    self.counters.add("texts")
                    self.counters.add("augmented_texts", bool(text.num_pairs))
                    for language in wordings:
                        self.counters.add(f"{WORDED}{language}")
                    text = with_pairs(text, run, synthesizer=self._synthesizer)
                    yield from self._tokenize.finish(text, parts)
            waiting = shorter

    def _runs(self, chain: Sequence[SynthesizedDocument]) -> Iterator[tuple[SynthesizedDocument, ...]]:
        return ((done,) for done in chain) if self._family.is_apart else runs(chain)

    def _render(self, run: tuple[SynthesizedDocument, ...]) -> tuple[AugmentedText, tuple[str, ...]]:
        """Render a run; returns also the languages of its wordings."""
        text_id = digest(*(part for done in run for part in names_of(done.document)))
        seed = int(digest(str(self.config.seed), text_id), 16) >> (128 - _SEED_BITS)
        rendered = self._family.render(run, seed=seed)
        text = AugmentedText(
            text_id=text_id,
            text=rendered.text,
            passages=tuple(
                passage_of(
                    done.document,
                    span,
                    num_pairs=len(done.pairs),
                    generation=done.generation,
                    failure=done.failure,
                    **_own_text(done, rendered.text, span),
                )
                for done, span in zip(run, rendered.spans, strict=True)
            ),
            num_pairs=sum(len(done.pairs) for done in run),
            template=rendered.template,
            seed=seed,
            is_apart=self._family.is_apart and any(done.pairs for done in run),
        )
        return text, rendered.wordings


def _without_longest_pair(done: SynthesizedDocument) -> tuple[SynthesizedDocument, InstructionPair]:
    """Remove the longest pair of a document, of equal ones the last; returns both."""

    def num_characters(at: int) -> tuple[int, int]:
        pair = done.pairs[at]
        return sum(map(len, (pair.instruction, *pair.options, pair.rationale, pair.response))), at

    at = max(range(len(done.pairs)), key=num_characters)
    return dataclasses.replace(done, pairs=done.pairs[:at] + done.pairs[at + 1 :]), done.pairs[at]


def _cut(
    run: tuple[SynthesizedDocument, ...], text: AugmentedText, num_tokens: int, seq_len: int
) -> list[tuple[SynthesizedDocument, ...]]:
    """Cut a run whose text is longer than a row between documents, into parts that should fit.

    Assumes that tokens are in proportion to characters.
    """
    parts: list[list[SynthesizedDocument]] = [[]]
    room = float(seq_len)
    for done, passage in zip(run, text.passages, strict=True):
        size = num_tokens * (passage.end - passage.start) / len(text.text)
        if parts[-1] and size > room:
            parts.append([])
            room = seq_len
        parts[-1].append(done)
        room -= size
    if len(parts) == 1:  # by this estimate it fits
        parts.append([parts[0].pop()])
    return [tuple(part) for part in parts]


def _own_text(done: SynthesizedDocument, text: str, span: tuple[int, int]) -> dict[str, Any]:
    """Return the offsets of a document's own text in its passage; none without pairs."""
    start = text.find(done.document.text, *span)
    if not done.pairs or start < 0:  # a template family may change the text
        return {}
    before = text[span[0] : start]
    return {
        "text_start": start,
        "text_end": start + len(done.document.text),
        "asks_first": any(pair.instruction in before for pair in done.pairs),
    }


def raw_text(document: Document) -> AugmentedText:
    """Make a training text of a document without synthesis."""
    return AugmentedText(
        text_id=digest(*names_of(document)),
        text=document.text,
        passages=(passage_of(document, (0, len(document.text))),),
        num_pairs=0,
        template="raw",
        seed=0,
    )


def passage_of(document: Document, span: tuple[int, int], **made: Any) -> Passage:
    """Make the Passage of a document that spans the text from the first offset to the second."""
    start, end = span
    return Passage(
        document_id=document.document_id,
        content_hash=document.whole_hash or document.content_hash,
        source=document.source,
        start=start,
        end=end,
        part=document.part,
        pages=page_range(document.pages),
        **made,
    )


def names_of(document: Document) -> tuple[str, ...]:
    """Return a document's parts of the text_id of a text that holds it."""
    part = (document.part,) if document.part else ()
    return document.document_id, document.content_hash, *part
