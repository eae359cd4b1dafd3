"""Effect of padding on a model's answers: found by a probe of a few tokens and by the configuration.

Masked attention does not see padding. But models with a recurrent state may read it (RWKV), positions may
change with the longest row of a batch (LongRoPE), and chunks of attention may be counted from a padded row's
start (Llama 4). Such a model's rows pass only beside rows of the same length. Effects that begin beyond a few
tokens are known from the configuration; the probe finds the others.

Scoring pads on the right, generation on the left; trees have a probe of their own (language_model.py).

Shapes: B rows of T tokens, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from plugins.attention_probe import length_dependent_positions
from trainer.evaluation.ranks import describe
from trainer.evaluation.scoring.encoding import right_pad
from trainer.evaluation.scoring.generation import generate_greedily

if TYPE_CHECKING:
    from trainer.evaluation.scoring.causal_model import CausalModel

_TOLERANCE = 1e-3
_ROW = [5, 3, 8, 2]
_LONGER = [6, 9, 4, 1, 7, 3, 2, 5]
_FILLER = 0
_BEFORE = [_FILLER] * (len(_LONGER) - len(_ROW))


@dataclass(frozen=True, slots=True, kw_only=True)
class Padding:
    """Effect of padding on one side on a model's answers.

    Attributes:
        harm: Why it changes them; empty if it does not.
        harmless_tokens: Padding does no harm in batches whose longest row has at most this many tokens.
    """

    harm: str = ""
    harmless_tokens: int = 0

    @property
    def longest_padded(self) -> int | None:
        """A longer row, in tokens, shares its batch only with rows of its own length; None for no limit."""
        return self.harmless_tokens if self.harm else None

    def note(self, rows: str) -> str:
        """The harm in words."""
        beyond = f" of more than {self.harmless_tokens} tokens" if self.harmless_tokens else ""
        return f"{rows}{beyond} pass only beside {rows} of the same length, since {self.harm}."


HARMLESS = Padding()


def right_padding(model: CausalModel, config: Any) -> Padding:
    """Effect of padding on scores; makes up to three forward passes of a few tokens."""
    if found := _positions(config):
        return found
    return Padding(harm=_harm(model, lambda: _logits(model, [_ROW, _LONGER], len(_ROW) - 1)[None]))


def left_padding(model: CausalModel, config: Any) -> Padding:
    """Effect of padding on generated answers; generates two tokens twice, and makes two forward passes."""
    if found := _positions(config):
        return found
    chunk = getattr(config.get_text_config(), "attention_chunk_size", None)
    if chunk:
        return Padding(harm="its attention is cut into chunks from a row's start", harmless_tokens=chunk)
    return Padding(
        harm=_harm(
            model,
            lambda: _generated_logits(model, [_ROW, _LONGER]),
            lambda: _generated_logits(model, [_ROW]),
        )
    )


def _positions(config: Any) -> Padding | None:
    positions = length_dependent_positions(config)
    # No row is longer than the table of positions, so a limit at its end has no effect.
    if positions is None or positions[1] >= config.get_text_config().max_position_embeddings:
        return None
    kind, limit = positions
    return Padding(harm=f"its {kind} positions change with the longest row of a batch", harmless_tokens=limit)


def _harm(model: CausalModel, padded: Any, alone: Any = None) -> str:
    """Compare a padded row with the row alone.

    The threshold is a quarter of the effect that padding has as visible text in front of the row: rounding is
    far below that in any precision.
    """
    plain_V = _logits(model, [_ROW], -1)
    wrong = float((_logits(model, [_BEFORE + _ROW], -1) - plain_V).abs().max())
    expected_NV = plain_V[None] if alone is None else alone()
    try:
        found_NV = padded()
    except (
        RuntimeError,
        ValueError,
        TypeError,
        IndexError,
    ) as error:  # some models take other masks
        return f"it refuses padding: {describe(error)}"
    num_steps = min(len(found_NV), len(expected_NV))
    deviation = float((found_NV[:num_steps] - expected_NV[:num_steps]).abs().max())
    if deviation > max(_TOLERANCE, wrong / 4):
        return f"padding moves its logits by {deviation:.2g}"
    return ""


def _logits(model: CausalModel, rows: list[list[int]], at: int) -> torch.Tensor:
    """Logits of the first of some right-padded rows at a position, float32 of shape (V,)."""
    tokens_BT, mask_BT = right_pad(rows, _FILLER, model.device)
    output = model.forward(input_ids=tokens_BT, attention_mask=mask_BT, **model.no_cache)
    logits_V: torch.Tensor = output.logits[0, at].float()
    return logits_V


def _generated_logits(model: CausalModel, prompts: list[list[int]]) -> torch.Tensor:
    """Logits of the first row's next two tokens."""
    found = generate_greedily(
        prompts,
        model,
        _FILLER,
        max_new_tokens=2,
        eos_token_id=None,
        return_dict_in_generate=True,
        output_logits=True,
    )
    return torch.stack([step_BV[0].float() for step_BV in found.logits])
