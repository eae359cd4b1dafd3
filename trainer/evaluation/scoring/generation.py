"""Generation tasks: the model continues the prompt greedily, and its first line is the answer.

Prompts are left-padded, so that all rows of a batch write at the same position; a prompt that leaves no
room for the answer loses its start. A row stops at EOS or at the first token that holds a newline;
the answer is the text before the newline, stripped.

Shapes: B rows in a batch, T tokens of a padded prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from plugins.progress import tracked
from plugins.tasks.rows import GenerateRow, RefusedRow
from plugins.tokenizers import opening_ids
from schemas.errors import ConfigError
from trainer.evaluation.scoring.answer import Answer
from trainer.evaluation.scoring.encoding import batches, body, check_ids, filler, left_pad

if TYPE_CHECKING:
    from trainer.evaluation.scoring.causal_model import CausalModel

# Explicit arguments of `generate`: a model's own generation_config must not replace greedy decoding.
_GREEDY: dict[str, Any] = {
    "do_sample": False,
    "num_beams": 1,
    "repetition_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "temperature": None,
    "top_p": None,
    "top_k": None,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A row in tokens, and whether it lost its start."""

    token_ids: list[int]
    is_truncated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratePlan:
    """Batches that are ready to run.

    Attributes:
        batches: (row, prompt) pairs, longest prompts first.
        outcomes: One per row: refused rows from the start, answers after `run_generations`.
        max_new_tokens: Longest answer, in tokens.
    """

    batches: list[list[tuple[int, Prompt]]]
    outcomes: list[Answer | RefusedRow | None]
    max_new_tokens: int

    @property
    def num_passes(self) -> int:
        """Calls of `generate` for this rank's batches."""
        return len(self.batches)


def plan_generations(
    rows: Sequence[GenerateRow],
    model: CausalModel,
    tokenizer: Any,
    *,
    add_bos: bool,
    batch_tokens: int,
    max_new_tokens: int,
) -> GeneratePlan:
    """Tokenise prompts and divide them into batches of similar length.

    Args:
        rows: This rank's rows.
        model: Knows how long prompt and answer may be together.
        tokenizer: Of transformers; fast.
        add_bos: Whether the tokenizer's `opening_ids` open each prompt.
        batch_tokens: Padded tokens of a batch, answers included.
        max_new_tokens: Longest answer, in tokens.

    Raises:
        ConfigError: The answers alone fill the context, or a token has no embedding.
    """
    outcomes: list[Answer | RefusedRow | None] = [None] * len(rows)
    prompts: list[tuple[int, Prompt]] = []
    encoded = encode_prompts(
        rows,
        tokenizer,
        add_bos=add_bos,
        context_tokens=model.context_tokens,
        max_new_tokens=max_new_tokens,
    )
    for index, prompt in enumerate(encoded):
        if isinstance(prompt, RefusedRow):
            outcomes[index] = prompt
            continue
        check_ids(rows[index].position, [prompt.token_ids], model.num_embeddings)
        prompts.append((index, prompt))
    return GeneratePlan(
        batches=list(
            batches(
                prompts,
                lambda pair: len(pair[1].token_ids) + max_new_tokens,
                batch_tokens,
                longest_padded=model.left_padding.longest_padded,
            )
        ),
        outcomes=outcomes,
        max_new_tokens=max_new_tokens,
    )


def encode_prompts(
    rows: Sequence[GenerateRow], tokenizer: Any, *, add_bos: bool, context_tokens: int, max_new_tokens: int
) -> list[Prompt | RefusedRow]:
    """Tokenise prompts and cut the start of those that leave no room for the answer.

    Arguments as in `plan_generations`; `context_tokens` is the longest prompt and answer together.

    Raises:
        ConfigError: The answers alone fill the context.
    """
    room = context_tokens - max_new_tokens
    bos = opening_ids(tokenizer, add_bos)
    if room <= len(bos):
        raise ConfigError(
            f"max_new_tokens is {max_new_tokens}, which leaves no prompt in the model's context of "
            f"{context_tokens} tokens; make it smaller."
        )
    encoded: list[Prompt | RefusedRow] = []
    for row in rows:
        tokens = tokenizer(row.input, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        ids = tokens.input_ids
        if not bos and not ids:
            reason = "input tokenises to nothing and no BOS opens it"
            encoded.append(RefusedRow(position=row.position, reason=reason))
            continue
        cut = max(0, len(bos) + len(ids) - room)
        begin, end = body(tokens.offset_mapping, len(row.input), row.frame)
        if cut and end - cut <= begin:
            reason = (
                f"{tokenizer.frame} takes {len(ids) - end + begin} tokens, which leaves no prompt in a "
                f"context of {context_tokens} tokens, {max_new_tokens} of them for the answer"
            )
            encoded.append(RefusedRow(position=row.position, reason=reason))
            continue
        encoded.append(Prompt(token_ids=bos + ids[:begin] + ids[begin + cut :], is_truncated=cut > 0))
    return encoded


def run_generations(
    plan: GeneratePlan, model: CausalModel, tokenizer: Any, *, num_passes: int
) -> list[Answer | RefusedRow]:
    """Generate the answers of a plan's rows.

    Args:
        plan: Of `plan_generations`.
        model: In evaluation mode, without gradients.
        tokenizer: Turns tokens into text.
        num_passes: Calls of `generate` in all; idle calls make up for those of the busiest rank.

    Returns:
        One outcome per row, in the order of the plan's rows.
    """
    outcomes = list(plan.outcomes)
    limit = plan.max_new_tokens
    for batch in tracked(plan.batches, "evaluation", unit="batches", total=len(plan.batches)):
        ids = [prompt.token_ids for _, prompt in batch]
        texts = generate_lines(ids, model, tokenizer, max_new_tokens=limit)
        for (index, prompt), text in zip(batch, texts, strict=True):
            outcomes[index] = Answer(value=text, is_truncated=prompt.is_truncated)
    for _ in range(num_passes - plan.num_passes):
        idle = [[filler(tokenizer, model.num_embeddings)]]
        generate_lines(idle, model, tokenizer, max_new_tokens=limit)
    assert all(outcome is not None for outcome in outcomes)
    return [outcome for outcome in outcomes if outcome is not None]


def generate_lines(
    prompts: Sequence[Sequence[int]], model: CausalModel, tokenizer: Any, *, max_new_tokens: int
) -> list[str]:
    """Continue prompts (token ids) greedily; return the first line of each continuation, stripped."""
    stops = stop_token_ids(tokenizer)
    generated = generate_greedily(
        prompts,
        model,
        filler(tokenizer, model.num_embeddings),
        max_new_tokens=max_new_tokens,
        eos_token_id=sorted(stops) or None,
    )
    length = max(map(len, prompts))
    return [first_line(ids, stops, tokenizer) for ids in generated[:, length:].tolist()]


def generate_greedily(prompts: Sequence[Sequence[int]], model: CausalModel, pad: int, **options: Any) -> Any:
    """Call the model's `generate` with left-padded prompts (token ids) and further options."""
    tokens_BT, mask_BT = left_pad(prompts, pad, model.device)
    return model.generate(
        input_ids=tokens_BT,
        attention_mask=mask_BT,
        pad_token_id=pad,
        # Without a filled cache, as under some sharding, later tokens would be nonsense.
        use_cache=model.keeps_cache or not model.is_sharded,
        synced_gpus=model.is_sharded,
        **_GREEDY,
        **options,
    )


def first_line(ids: Sequence[int], stops: frozenset[int], tokenizer: Any) -> str:
    """The text of generated tokens before their first newline, stripped."""
    end = next((at for at, token_id in enumerate(ids) if token_id in stops), len(ids))
    # The stopping token itself may begin with text: `.\n` is one token in many vocabularies.
    text: str = tokenizer.decode(ids[: end + 1], skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text.split("\n", 1)[0].strip()


def stop_token_ids(tokenizer: Any) -> frozenset[int]:
    """EOS, the end of a chat template's turn, and every token whose text holds a newline."""
    newlines = _newline_token_ids(tokenizer) | getattr(tokenizer, "end_of_turn_ids", frozenset())
    return newlines if tokenizer.eos_token_id is None else newlines | {tokenizer.eos_token_id}


@lru_cache(maxsize=4)
def _newline_token_ids(tokenizer: Any) -> frozenset[int]:
    every_token = [[token_id] for token_id in range(len(tokenizer))]
    texts = tokenizer.backend_tokenizer.decode_batch(every_token, skip_special_tokens=False)
    return frozenset(token_id for token_id, text in enumerate(texts) if "\n" in text)
