"""Choice tasks: the best option is the one with the highest mean log-probability per token.

An option is scored as `input + " " + option`, tokenised as one string. Its tokens are those after the first
`len(tokens(input))`, or from the first token that holds text of the option, if that is earlier. Its score is
their mean log-probability; the best score wins, and the first option wins a tie. A row that is longer than
the model's context loses its start, the same tokens for each option, so that all options are compared behind
one prompt.

The options of a row differ only at their end. If the model allows it (`CausalModel.no_trees` is empty), a row
passes as a tree, its common tokens once (token_tree.py), and rows with a common start pass as one tree
(shared_prefixes.py). Otherwise, or if a row shares few tokens, each option passes whole. Both give equal
scores up to rounding. Logits are computed in float32, and only for the predicted tokens of options
(logits.py).

Shapes: B sequences in a batch, T tokens of a padded sequence, N predicted tokens of a batch, V vocabulary.

Source: Cheng et al. 2024, arXiv 2309.09530; the convention is that of microsoft/LMOps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch

from plugins.progress import tracked
from plugins.tasks.rows import ChoiceRow, RefusedRow
from trainer.evaluation.scoring.answer import Answer
from trainer.evaluation.scoring.causal_model import CausalModel
from trainer.evaluation.scoring.encoding import EncodedRow, batches, check_ids, encode_row, filler, right_pad
from trainer.evaluation.scoring.logits import logits_at
from trainer.evaluation.scoring.shared_prefixes import RowGroup, group_rows
from trainer.evaluation.scoring.token_tree import attention_mask, batch_trees, lay_out

# A tree attends over its whole length and needs a mask, so it must save at least this share of the tokens.
_MIN_SAVED = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoicePlan:
    """Batches that are ready to run.

    Attributes:
        trees: Batches of groups of rows; each group passes as one tree.
        plain: Batches of (row, option) pairs that pass whole.
        outcomes: One per row: refused rows from the start, answers after `run_choices`.
    """

    trees: list[list[RowGroup]]
    plain: list[list[tuple[EncodedRow, int]]]
    outcomes: list[Answer | RefusedRow | None]

    @property
    def num_passes(self) -> int:
        """Forward passes of this rank's batches."""
        return len(self.trees) + len(self.plain)

    @property
    def num_tokens(self) -> int:
        """Tokens that pass through the model, padding not counted."""
        trees = sum(group.tree_tokens for batch in self.trees for group in batch)
        return trees + sum(len(row.sequences[option]) - 1 for batch in self.plain for row, option in batch)


def plan_choices(
    rows: Sequence[ChoiceRow], model: CausalModel, tokenizer: Any, *, add_bos: bool, batch_tokens: int
) -> ChoicePlan:
    """Tokenise rows and divide them into batches of similar length.

    Args:
        rows: This rank's rows.
        model: Knows the longest sequence and whether rows may pass as trees.
        tokenizer: Of transformers; fast.
        add_bos: Whether the tokenizer's `opening_ids` open each string.
        batch_tokens: Padded tokens of a batch. A tree is never divided; a larger one is a batch of its own.

    Raises:
        ConfigError: A token has no embedding.
    """
    outcomes: list[Answer | RefusedRow | None] = [None] * len(rows)
    trees: list[EncodedRow] = []
    plain: list[tuple[EncodedRow, int]] = []
    for index, row in enumerate(rows):
        encoded = encode_row(index, row, tokenizer, add_bos=add_bos, context_tokens=model.context_tokens)
        if isinstance(encoded, RefusedRow):
            outcomes[index] = encoded
            continue
        check_ids(row.position, encoded.sequences, model.num_embeddings)
        if not model.no_trees and encoded.tree_tokens <= (1 - _MIN_SAVED) * encoded.plain_tokens:
            trees.append(encoded)
        else:
            plain += [(encoded, option) for option in range(len(encoded.sequences))]
    groups = group_rows(trees, max_tokens=batch_tokens)
    return ChoicePlan(
        trees=list(batches(groups, lambda group: group.tree_tokens, batch_tokens)),
        plain=list(
            batches(
                plain,
                lambda pair: len(pair[0].sequences[pair[1]]),
                batch_tokens,
                longest_padded=model.right_padding.longest_padded,
            )
        ),
        outcomes=outcomes,
    )


def run_choices(
    plan: ChoicePlan, model: CausalModel, tokenizer: Any, *, num_passes: int
) -> list[Answer | RefusedRow]:
    """Score a plan's rows.

    Args:
        plan: Of `plan_choices`.
        model: In evaluation mode, without gradients.
        tokenizer: Gives the padding token.
        num_passes: Forward passes to make in all; idle passes make up for those of the busiest rank.

    Returns:
        One outcome per row, in the order of the plan's rows.
    """
    pad = filler(tokenizer, model.num_embeddings)
    scores: dict[int, dict[int, float]] = {}
    encoded: dict[int, EncodedRow] = {}

    def keep(pairs: Sequence[tuple[EncodedRow, int]], found: Sequence[float]) -> None:
        for (row, option), score in zip(pairs, found, strict=True):
            encoded[row.index] = row
            scores.setdefault(row.index, {})[option] = score

    for batch in tracked(plan.trees, "evaluation", unit="batches", total=len(plan.trees)):
        rows = [row for group in batch for row in group.rows]
        pairs = [(row, option) for row in rows for option in range(len(row.sequences))]
        keep(pairs, _score_trees(batch, model, pad))
    for pairs in tracked(plan.plain, "evaluation", unit="batches", total=len(plan.plain)):
        keep(pairs, _score_plain(pairs, model, pad))
    model.pass_idly(num_passes - plan.num_passes, pad)
    outcomes = list(plan.outcomes)
    for index, row in encoded.items():
        outcomes[index] = choose(row, [scores[index][option] for option in range(len(row.sequences))])
    assert all(outcome is not None for outcome in outcomes)
    return [outcome for outcome in outcomes if outcome is not None]


def _score_plain(pairs: Sequence[tuple[EncodedRow, int]], model: CausalModel, pad: int) -> list[float]:
    """Mean log-probability of each option, each in a sequence of its own."""
    sequences = [row.sequences[option] for row, option in pairs]
    tokens_BT, mask_BT = right_pad([ids[:-1] for ids in sequences], pad, model.device)
    predicted = [
        [(before, ids[before + 1]) for before in range(row.starts[option] - 1, len(ids) - 1)]
        for ids, (row, option) in zip(sequences, pairs, strict=True)
    ]
    return _mean_logprobs(model, list(enumerate(predicted)), input_ids=tokens_BT, attention_mask=mask_BT)


def _score_trees(groups: Sequence[RowGroup], model: CausalModel, pad: int) -> list[float]:
    """Mean log-probability of each option of each row, each group in one sequence."""
    trees = [lay_out(group.rows, group.head_tokens) for group in groups]
    tokens_BT, positions_BT, sees = batch_trees(trees, pad, model.device)
    length = tokens_BT.shape[1]
    predicted = [
        (at, [(length - len(tree.tokens) + before, token) for before, token in of_option])
        for at, tree in enumerate(trees)
        for of_option in tree.predicted
    ]
    return _mean_logprobs(
        model,
        predicted,
        input_ids=tokens_BT,
        position_ids=positions_BT,
        attention_mask=attention_mask(sees, dtype=model.dtype, as_bool=model.bool_masks),
    )


def _mean_logprobs(
    model: CausalModel, predicted: Sequence[tuple[int, Sequence[tuple[int, int]]]], **inputs: Any
) -> list[float]:
    """Run a batch and return the mean log-probability of each option.

    Args:
        predicted: For each option its row of the batch, and for each of its tokens the position that
            predicts it and its id.
        inputs: Hugging Face's keyword arguments.
    """
    flat = [(row, position, token) for row, of_option in predicted for position, token in of_option]
    rows_N, positions_N, targets_N = torch.tensor(flat, device=model.device).unbind(1)
    logits_NV = logits_at(model.forward, model.head, rows_N, positions_N, inputs | model.no_cache)
    logprobs_N = logits_NV.gather(1, targets_N[:, None])[:, 0] - logits_NV.logsumexp(1)
    logprobs = iter(logprobs_N.tolist())
    return [math.fsum(islice(logprobs, len(of_option))) / len(of_option) for _, of_option in predicted]


def choose(row: EncodedRow, scores: list[float]) -> Answer | RefusedRow:
    """The answer of a row whose options have these scores; a refused row if a score is not a number."""
    if any(map(math.isnan, scores)):
        return RefusedRow(position=row.position, reason="the model gives it a score that is not a number")
    # Options of equal tokens take the first one's score: rounding must not break their tie.
    scored = list(zip(row.sequences, row.starts, strict=True))
    scores = [scores[scored.index(each)] for each in scored]
    return Answer(
        value=scores.index(max(scores)),
        option_scores=tuple(scores),
        is_truncated=row.is_truncated,
        is_merged=row.is_merged,
    )
