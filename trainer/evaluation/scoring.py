"""Choice tasks: the option that the model finds likeliest, token for token.

An option is scored as `input + " " + option`, tokenised as one string. Its tokens are those after
the first `len(tokens(input))`; its score is their mean log-probability; the best score wins, and
among equals the first. A row that is longer than the model's context loses its start, the same
tokens for each option, so that all options are weighed against one prompt.

The options of a row differ only at their end. Where the model allows it (`CausalModel.shares_prompts`)
the common tokens pass through it once, and each option continues from a copy of their cache: for
n options that is about n times less work, and equal up to rounding. Logits are made only from the first
position that is needed, and log-softmax in fp32 only where an option's token is predicted.

Shapes: B sequences in a batch, T tokens of a padded sequence, N predicted tokens of a batch, V vocabulary.

Source: Cheng et al. 2024, arXiv 2309.09530; the convention is that of microsoft/LMOps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from plugins.tokenizers import pad_token_id
from trainer.evaluation.encoding import EncodedRow, batches, encode_row, right_pad
from trainer.evaluation.model import CausalModel
from trainer.evaluation.rows import Answer, ChoiceRow, RefusedRow

# Fewer common tokens than this are not worth a forward pass of their own.
_MIN_SHARED_TOKENS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoicePlan:
    """Batches that are ready to run; `num_forwards` is what ranks agree on before they start.

    Attributes:
        shared: Rows whose prompt passes once: two forward passes a batch.
        plain: (row, option) pairs that pass whole: one forward pass a batch.
        outcomes: One a row; refusals stand already, the rest is filled by `run_choices`.
    """

    shared: list[list[EncodedRow]]
    plain: list[list[tuple[EncodedRow, int]]]
    outcomes: list[Answer | RefusedRow | None]

    @property
    def num_forwards(self) -> int:
        """Forward passes of this rank's batches."""
        return 2 * len(self.shared) + len(self.plain)


def plan_choices(
    rows: Sequence[ChoiceRow], model: CausalModel, tokenizer: Any, *, add_bos: bool, batch_tokens: int
) -> ChoicePlan:
    """Tokenise rows and divide them into batches of similar length.

    Args:
        rows: This rank's rows.
        model: Says how long a sequence may be and whether prompts are shared.
        tokenizer: Of transformers; fast.
        add_bos: Whether BOS opens each string.
        batch_tokens: Padded tokens of a batch, each option counted whole. A row whose prompt is shared
            is never divided, and one that is larger makes a batch of its own.
    """
    outcomes: list[Answer | RefusedRow | None] = [None] * len(rows)
    shared: list[EncodedRow] = []
    plain: list[tuple[EncodedRow, int]] = []
    for index, row in enumerate(rows):
        encoded = encode_row(index, row, tokenizer, add_bos=add_bos, context_tokens=model.context_tokens)
        if isinstance(encoded, RefusedRow):
            outcomes[index] = encoded
        elif model.shares_prompts and encoded.num_shared >= _MIN_SHARED_TOKENS:
            shared.append(encoded)
        else:
            plain += [(encoded, option) for option in range(len(encoded.sequences))]
    return ChoicePlan(
        shared=list(
            batches(
                shared, lambda row: max(map(len, row.sequences)), lambda row: len(row.sequences), batch_tokens
            )
        ),
        plain=list(
            batches(plain, lambda pair: len(pair[0].sequences[pair[1]]), lambda pair: 1, batch_tokens)
        ),
        outcomes=outcomes,
    )


def run_choices(
    plan: ChoicePlan, rows: Sequence[ChoiceRow], model: CausalModel, tokenizer: Any, *, num_forwards: int
) -> list[Answer | RefusedRow]:
    """Score a plan's rows.

    Args:
        plan: Of `plan_choices` for these rows.
        rows: This rank's rows.
        model: In evaluation mode, without gradients.
        tokenizer: Gives the padding token.
        num_forwards: Forward passes to make in all; idle ones fill up to what the busiest rank needs.

    Returns:
        One outcome a row, in the order of `rows`.
    """
    pad = pad_token_id(tokenizer)
    scores: dict[tuple[int, int], float] = {}
    encoded: dict[int, EncodedRow] = {}
    for batch in plan.shared:
        pairs = [(row, option) for row in batch for option in range(len(row.sequences))]
        scores.update(zip(_keys(pairs), _score_shared(batch, pairs, model, pad), strict=True))
        encoded.update((row.index, row) for row in batch)
    for pairs in plan.plain:
        sequences = [row.sequences[option] for row, option in pairs]
        starts = [row.starts[option] for row, option in pairs]
        scores.update(zip(_keys(pairs), _score(sequences, starts, model, pad), strict=True))
        encoded.update((row.index, row) for row, _ in pairs)
    for _ in range(num_forwards - plan.num_forwards):
        idle_B1 = torch.full((1, 1), pad, device=model.device)
        model.forward(input_ids=idle_B1, attention_mask=torch.ones_like(idle_B1))
    outcomes = list(plan.outcomes)
    for index, row in encoded.items():
        outcomes[index] = _choose(
            row, rows[index], [scores[index, option] for option in range(len(row.sequences))]
        )
    assert all(outcome is not None for outcome in outcomes)
    return [outcome for outcome in outcomes if outcome is not None]


def _score(
    sequences: Sequence[Sequence[int]], starts: Sequence[int], model: CausalModel, pad: int, **cached: Any
) -> list[float]:
    """Mean log-probability of the tokens from `starts` on; `cached` goes to the model as it is."""
    # A sequence's last token predicts nothing that is asked for, so it stays outside.
    tokens_BT, mask_BT = right_pad([ids[:-1] for ids in sequences], pad, model.device)
    first = min(starts) - 1  # the earliest position that predicts an option's token
    num_kept = tokens_BT.shape[1] - first
    arguments: dict[str, Any] = {"input_ids": tokens_BT, "attention_mask": mask_BT, **cached}
    if not cached and model.keeps_cache:
        arguments["use_cache"] = False
    if model.trims_logits:
        arguments["logits_to_keep"] = num_kept
    logits_BTV = model.forward(**arguments).logits[:, -num_kept:]
    predicted = [
        (row, position - 1 - first, ids[position])
        for row, (ids, start) in enumerate(zip(sequences, starts, strict=True))
        for position in range(start, len(ids))
    ]
    rows_N, positions_N, targets_N = torch.tensor(predicted, device=model.device).unbind(1)
    logits_NV = logits_BTV[rows_N, positions_N].float()
    logprobs_N = logits_NV.gather(1, targets_N[:, None])[:, 0] - logits_NV.logsumexp(1)
    logprobs = iter(logprobs_N.tolist())
    return [
        math.fsum(next(logprobs) for _ in ids[start:]) / (len(ids) - start)
        for ids, start in zip(sequences, starts, strict=True)
    ]


def _score_shared(
    batch: Sequence[EncodedRow], pairs: Sequence[tuple[EncodedRow, int]], model: CausalModel, pad: int
) -> list[float]:
    """Pass the rows' shared tokens once, then all their options from copies of the cache."""
    prompt_BT, prompt_mask_BT = right_pad(
        [row.sequences[0][: row.num_shared] for row in batch], pad, model.device
    )
    arguments: dict[str, Any] = {"logits_to_keep": 1} if model.trims_logits else {}
    cache = model.forward(
        input_ids=prompt_BT, attention_mask=prompt_mask_BT, use_cache=True, **arguments
    ).past_key_values
    rows_B = torch.tensor(
        [row for row, encoded in enumerate(batch) for _ in encoded.sequences], device=model.device
    )
    cache.batch_select_indices(rows_B)
    sequences = [row.sequences[option][row.num_shared :] for row, option in pairs]
    starts = [row.starts[option] - row.num_shared for row, option in pairs]
    _, mask_BT = right_pad([ids[:-1] for ids in sequences], pad, model.device)
    lengths_B1 = torch.tensor([[row.num_shared] for row, _ in pairs], device=model.device)
    return _score(
        sequences,
        starts,
        model,
        pad,
        attention_mask=torch.cat([prompt_mask_BT[rows_B], mask_BT], dim=1),
        position_ids=lengths_B1 + torch.arange(mask_BT.shape[1], device=model.device),
        past_key_values=cache,
        use_cache=True,
    )


def _choose(encoded: EncodedRow, row: ChoiceRow, scores: list[float]) -> Answer | RefusedRow:
    if any(map(math.isnan, scores)):
        return RefusedRow(position=row.position, reason="the model gives it a score that is not a number")
    # Options of equal tokens take the first one's score: rounding must not break their tie.
    scores = [scores[encoded.sequences.index(sequence)] for sequence in encoded.sequences]
    return Answer(
        value=scores.index(max(scores)), option_scores=tuple(scores), is_truncated=encoded.is_truncated
    )


def _keys(pairs: Sequence[tuple[EncodedRow, int]]) -> list[tuple[int, int]]:
    return [(row.index, option) for row, option in pairs]
