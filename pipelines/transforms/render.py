"""Synthesized documents to training texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from pipelines.pairs import with_pairs
from pipelines.transforms.base import StepFn
from plugins.templates import TEMPLATES
from schemas.records import AugmentedText, Document, Passage, SynthesizedDocument, digest

_SEED_BITS = 63


def runs(documents: Sequence[SynthesizedDocument]) -> Iterator[tuple[SynthesizedDocument, ...]]:
    """Cut a chain where a document does not follow the one before it; each run is one training text."""
    run: list[SynthesizedDocument] = []
    for document in documents:
        if run and not document.follows_previous:
            yield tuple(run)
            run = []
        run.append(document)
    if run:
        yield tuple(run)


class RenderTexts(StepFn):
    """Render the training texts of each chain with a template family.

    Args:
        templates: Name of the family.
        synthesizer: Who wrote the pairs.
        seed: Source of every random choice.
        progress_dir: See Counters.
    """

    def __init__(self, templates: str, *, synthesizer: str, seed: int, progress_dir: str | None):
        super().__init__("render", progress_dir)
        self.templates = templates
        self.synthesizer = synthesizer
        self.seed = seed

    def setup(self) -> None:
        super().setup()
        self._family = TEMPLATES.load(self.templates)()

    def process(self, documents: Sequence[SynthesizedDocument]) -> Iterator[AugmentedText]:
        for run in runs(documents):
            text_id = digest(*(part for done in run for part in names_of(done.document)))
            seed = int(digest(str(self.seed), text_id), 16) >> (128 - _SEED_BITS)
            rendered = self._family.render(run, seed=seed)
            num_pairs = sum(len(done.pairs) for done in run)
            self.counters.add("texts")
            self.counters.add("augmented_texts", bool(num_pairs))
            passages = tuple(
                passage_of(
                    done.document,
                    span,
                    num_pairs=len(done.pairs),
                    generation=done.generation,
                    failure=done.failure,
                )
                for done, span in zip(run, rendered.spans, strict=True)
            )
            yield with_pairs(
                AugmentedText(
                    text_id=text_id,
                    text=rendered.text,
                    passages=passages,
                    num_pairs=num_pairs,
                    template=rendered.template,
                    seed=seed,
                ),
                run,
                synthesizer=self.synthesizer,
            )


def raw_text(document: Document) -> AugmentedText:
    """A document of a stream without synthesis, as it is."""
    return AugmentedText(
        text_id=digest(*names_of(document)),
        text=document.text,
        passages=(passage_of(document, (0, len(document.text))),),
        num_pairs=0,
        template="raw",
        seed=0,
    )


def passage_of(document: Document, span: tuple[int, int], **made: Any) -> Passage:
    """A document's share of a text, from the first offset of its span to the second."""
    start, end = span
    return Passage(
        document_id=document.document_id,
        content_hash=document.whole_hash or document.content_hash,
        source=document.source,
        start=start,
        end=end,
        part=document.part,
        **made,
    )


def names_of(document: Document) -> tuple[str, ...]:
    """What the name of a text that the document is in is derived from."""
    part = (document.part,) if document.part else ()
    return document.document_id, document.content_hash, *part
