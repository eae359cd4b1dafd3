"""Perplexity tasks: bits that the model needs for held-out texts, window by window.

    opening   text of 20 tokens, windows of 12, stride 6
    <s>       t0 … t10                               scores t0 … t10
              t5 … t10   t11 … t16                   scores t11 … t16
                         t11 … t16   t17 t18 t19     scores t17 … t19

Each token of a text is scored once, with all tokens before it that its window holds. In all windows but the
first these are at least `window - stride` tokens. A window of W tokens is a pass of W - 1 tokens, since the
last token predicts nothing. A smaller stride gives more context and costs more: each token passes
W / stride times.

The opening is what the tokenizer puts before a text, as in training. If it puts nothing there, the opening is
EOS, which ends the text before in a packed row, or else BOS. The opening itself and the end of the text are
not scored. Windows after the first have no opening, as the later rows of a text that training cuts.

Windows of all texts are batched by length under a budget of padded tokens. Logits are float32.

Shapes: B windows in a batch, T tokens of a padded window, N scored tokens of a batch, V vocabulary.

Source: rolling log-likelihood of Gao et al., lm-evaluation-harness; bits per byte, arXiv 2101.00027.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch

from plugins.progress import tracked
from plugins.tasks.rows import RefusedRow, TextRow
from plugins.tasks.task import Task
from plugins.tokenizers import opening_ids
from schemas.errors import ConfigError
from trainer.evaluation.scoring.answer import Answer
from trainer.evaluation.scoring.causal_model import CausalModel
from trainer.evaluation.scoring.encoding import batches, check_ids, filler, right_pad
from trainer.evaluation.scoring.logits import logits_at

_DEFAULT_WINDOW_TOKENS = 2048
_MAX_LOGITS = 2**27
"""Logits of a batch, unless one window has more: 0.5 GiB in float32."""


@dataclass(frozen=True, slots=True)
class Windows:
    """Windows over the tokens of a text.

    Attributes:
        window: Tokens of a window.
        stride: Tokens from the start of a window to the start of the next one.
    """

    window: int
    stride: int

    @classmethod
    def of(cls, task: Task, context_tokens: int) -> Windows:
        """The windows of a task for a model that reads `context_tokens`.

        Raises:
            ConfigError: The task's window is longer than the context, or its stride no shorter than a window.
        """
        window = task.window_tokens or min(_DEFAULT_WINDOW_TOKENS, context_tokens)
        if window > context_tokens:
            raise ConfigError(
                f"task {task.name}: window_tokens is {window}, but the model reads {context_tokens} tokens; "
                "lower it for all models that are compared, or leave it out."
            )
        stride = task.stride_tokens or max(1, window // 2)
        if stride >= window:
            raise ConfigError(
                f"task {task.name}: stride_tokens is {stride}, expected less than a window of {window} "
                "tokens, so that each scored token has context."
            )
        return cls(window, stride)

    def over(self, num_tokens: int, first: int) -> Iterator[tuple[int, int, int]]:
        """Yield (start, first scored token, end) of each window that scores tokens from `first` on."""
        start = 0
        while first < num_tokens:
            end = min(start + self.window, num_tokens)
            if first < end:
                yield start, first, end
                first = end
            start += self.stride

    def __str__(self) -> str:
        return f"windows of {self.window} tokens, stride {self.stride}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedWindow:
    """A window of a text: index of its row, its token ids, and the offset of its first scored token."""

    index: int
    ids: list[int]
    start: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedText:
    """A text in windows; `has_unknown` is true if the tokenizer replaced some of it by its unknown token."""

    windows: list[EncodedWindow]
    has_unknown: bool

    def answer(self, row: TextRow, logprobs: Sequence[float]) -> Answer | RefusedRow:
        """The bits of the text by the natural log-probabilities of its windows."""
        bits = -math.fsum(logprobs) / math.log(2)
        if not math.isfinite(bits):
            return RefusedRow(position=row.position, reason="the model gives it a score that is not a number")
        return Answer(value=bits, has_unknown=self.has_unknown)


@dataclass(frozen=True, slots=True, kw_only=True)
class PerplexityPlan:
    """Batches that are ready to run.

    Attributes:
        batches: Windows that pass together.
        rows: The plan's rows.
        encoded: Each row in tokens, or the reason why it cannot be scored.
    """

    batches: list[list[EncodedWindow]]
    rows: Sequence[TextRow]
    encoded: list[EncodedText | RefusedRow]

    @property
    def num_passes(self) -> int:
        """Forward passes of this rank's batches."""
        return len(self.batches)


def text_opening(tokenizer: Any, add_bos: bool | None) -> list[int]:
    """Token ids on which the first token of a text is conditioned: see the module.

    Raises:
        ConfigError: The tokenizer has no such token.
    """
    if opening := opening_ids(tokenizer, add_bos):
        return opening
    for token_id in (tokenizer.eos_token_id, tokenizer.bos_token_id):
        if token_id is not None:
            return [int(token_id)]
    raise ConfigError("the tokenizer has neither BOS nor EOS, so nothing predicts the first token of a text.")


def encode_text(
    index: int, row: TextRow, tokenizer: Any, *, opening: list[int], windows: Windows
) -> EncodedText | RefusedRow:
    """Tokenise a text into windows, or give the reason why it cannot be scored."""
    text_ids = tokenizer(row.text, add_special_tokens=False, verbose=False).input_ids
    if not text_ids:
        return RefusedRow(position=row.position, reason="text tokenises to nothing")
    ids = opening + text_ids
    return EncodedText(
        windows=[
            EncodedWindow(index=index, ids=ids[start:end], start=first - start)
            for start, first, end in windows.over(len(ids), len(opening))
        ],
        has_unknown=tokenizer.unk_token_id in text_ids,
    )


def plan_texts(
    rows: Sequence[TextRow],
    model: CausalModel,
    tokenizer: Any,
    *,
    add_bos: bool | None,
    windows: Windows,
    batch_tokens: int,
) -> PerplexityPlan:
    """Tokenise texts and divide their windows into batches of similar length.

    Args:
        rows: This rank's rows.
        model: Knows its embedding and whether padding changes its scores.
        tokenizer: Of transformers; fast.
        add_bos: Of `text_opening`.
        windows: Not longer than the model's context.
        batch_tokens: Padded tokens of a batch; a vocabulary so large that the batch's logits exceed 0.5 GiB
            lowers it. A longer window is a batch of its own.

    Raises:
        ConfigError: A token has no embedding, or nothing opens a text.
    """
    opening = text_opening(tokenizer, add_bos)
    encoded = [
        encode_text(index, row, tokenizer, opening=opening, windows=windows) for index, row in enumerate(rows)
    ]
    passes = [each for text in encoded if isinstance(text, EncodedText) for each in text.windows]
    for each in passes:
        check_ids(rows[each.index].position, [each.ids], model.num_embeddings)
    longest_padded = model.right_padding.longest_padded
    budget = min(batch_tokens, _MAX_LOGITS // model.num_embeddings)
    return PerplexityPlan(
        batches=list(batches(passes, lambda each: len(each.ids), budget, longest_padded=longest_padded)),
        rows=rows,
        encoded=encoded,
    )


def run_texts(
    plan: PerplexityPlan, model: CausalModel, tokenizer: Any, *, num_passes: int
) -> list[Answer | RefusedRow]:
    """Score a plan's texts; arguments and result as in `run_choices`."""
    pad = filler(tokenizer, model.num_embeddings)
    logprobs: list[list[float]] = [[] for _ in plan.rows]
    for batch in tracked(plan.batches, "evaluation", unit="batches", total=len(plan.batches)):
        tokens_BT, mask_BT = right_pad([each.ids[:-1] for each in batch], pad, model.device)
        flat = [
            (at, before, each.ids[before + 1])
            for at, each in enumerate(batch)
            for before in range(each.start - 1, len(each.ids) - 1)
        ]
        rows_N, positions_N, targets_N = torch.tensor(flat, device=model.device).unbind(1)
        inputs = {"input_ids": tokens_BT, "attention_mask": mask_BT, **model.no_cache}
        logits_NV = logits_at(model.forward, model.head, rows_N, positions_N, inputs)
        logprobs_N = logits_NV.gather(1, targets_N[:, None])[:, 0] - logits_NV.logsumexp(1)
        found = iter(logprobs_N.tolist())
        for each in batch:
            logprobs[each.index] += islice(found, len(each.ids) - each.start)
    model.pass_idly(num_passes - plan.num_passes, pad)
    return [
        text if isinstance(text, RefusedRow) else text.answer(row, of_text)
        for text, row, of_text in zip(plan.encoded, plan.rows, logprobs, strict=True)
    ]
