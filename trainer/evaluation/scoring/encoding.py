"""Tokenise rows, and divide them into padded batches.

Shapes: B sequences in a batch, T tokens of a padded sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from plugins.tasks.rows import ChoiceRow, RefusedRow
from plugins.tokenizers import opening_ids, pad_token_id
from schemas.errors import ConfigError

ItemT = TypeVar("ItemT")


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedRow:
    """A row in tokens.

    Attributes:
        index: Index of the row among its rank's rows.
        position: Its place, as file:line.
        sequences: Token ids of prompt and option, one sequence per option.
        starts: Position of each option's first token.
        num_shared: Number of leading tokens that all sequences have in common.
        is_truncated: True if the prompt lost its start.
        is_merged: True if an option shares a token with its prompt.
    """

    index: int
    position: str
    sequences: list[list[int]]
    starts: list[int]
    num_shared: int
    is_truncated: bool
    is_merged: bool = False

    @property
    def body_end(self) -> int:
        """Number of leading tokens that all sequences share and that predict no token of an option."""
        return min(self.num_shared, min(self.starts) - 1)

    @property
    def tree_tokens(self) -> int:
        """Tokens of a pass as a tree: shared tokens once, without the last ones, which predict nothing."""
        return self.num_shared + sum(max(0, len(ids) - 1 - self.num_shared) for ids in self.sequences)

    @property
    def plain_tokens(self) -> int:
        """Tokens of one pass per sequence."""
        return sum(len(ids) - 1 for ids in self.sequences)


def encode_row(
    index: int, row: ChoiceRow, tokenizer: Any, *, add_bos: bool, context_tokens: int
) -> EncodedRow | RefusedRow:
    """Tokenise a row's options behind their inputs, or give the reason why it cannot be scored.

    An option's tokens are those after the first `len(tokens(input))` of the whole string, as in
    microsoft/LMOps. If one token holds both the input's end and text of the option, the option's tokens
    begin with that token.
    """
    strings = [row.separator.join(pair) for pair in zip(row.inputs, row.options, strict=True)]
    prompts = list(dict.fromkeys(row.inputs))
    encoded = tokenizer(
        [*prompts, *strings], add_special_tokens=False, return_offsets_mapping=True, verbose=False
    )
    ids = encoded.input_ids
    bos = opening_ids(tokenizer, add_bos)
    prompt_tokens = {prompt: len(found) for prompt, found in zip(prompts, ids, strict=False)}
    sequences = [bos + sequence for sequence in ids[len(prompts) :]]
    starts = []
    bodies = []
    is_merged = False
    for option, offsets in enumerate(encoded.offset_mapping[len(prompts) :]):
        prompt = row.inputs[option]
        option_at = len(prompt) + len(row.separator)
        first = next((at for at, (_, end) in enumerate(offsets) if end > option_at), len(offsets))
        start = min(first, prompt_tokens[prompt])
        is_merged |= first < prompt_tokens[prompt]
        starts.append(len(bos) + start)
        if starts[option] == 0:
            whole = f"option {option} {row.options[option]!r} is one token with its whole input"
            reason = whole if prompt_tokens[prompt] else "input tokenises to nothing"
            return RefusedRow(position=row.position, reason=f"{reason} and no BOS opens it")
        if start == len(offsets):
            reason = f"option {option} {row.options[option]!r} tokenises to nothing of its own"
            return RefusedRow(position=row.position, reason=reason)
        begin, end = body(offsets[:start], len(prompt), row.frame)
        bodies.append((len(bos) + begin, len(bos) + end))
    cut = max(0, max(map(len, sequences)) - context_tokens)
    if cut:
        if any(end - cut <= begin for begin, end in bodies):
            longest = max(len(sequence) - start for sequence, start in zip(sequences, starts, strict=True))
            tokens = "token" if longest == 1 else "tokens"
            reason = (
                f"an option of {longest} {tokens} leaves no prompt in a context of {context_tokens} tokens"
            )
            if any(row.frame):
                kept = max(start - end + begin for start, (begin, end) in zip(starts, bodies, strict=True))
                reason = f"{tokenizer.frame} takes {kept} tokens: beside it {reason}"
            return RefusedRow(position=row.position, reason=reason)
        sequences = [
            sequence[:begin] + sequence[begin + cut :]
            for sequence, (begin, _) in zip(sequences, bodies, strict=True)
        ]
        starts = [start - cut for start in starts]
    return EncodedRow(
        index=index,
        position=row.position,
        sequences=sequences,
        starts=starts,
        num_shared=common_prefix(sequences),
        is_truncated=cut > 0,
        is_merged=is_merged,
    )


def body(offsets: Sequence[tuple[int, int]], num_characters: int, frame: tuple[int, int]) -> tuple[int, int]:
    """The range of a prompt's tokens outside its frame, which truncation may remove.

    Args:
        offsets: Of the prompt's tokens, in characters.
        num_characters: Of the prompt.
        frame: Number of characters to keep at its start and at its end.
    """
    begin = sum(first < frame[0] for first, _ in offsets)
    end = sum(last <= num_characters - frame[1] for _, last in offsets) if frame[1] else len(offsets)
    return begin, end


def check_ids(position: str, sequences: Iterable[Sequence[int]], num_embeddings: int) -> None:
    """Check that the model has an embedding for all tokens of a row.

    Raises:
        ConfigError: A token has none; on a GPU a pass with it would end the process.
    """
    largest = max(map(max, sequences))
    if largest >= num_embeddings:
        raise ConfigError(
            f"{position}: token id {largest} is outside the model's embedding, which has {num_embeddings} "
            "rows; the tokenizer is another model's, or its added tokens have no weights. Use the model's "
            "own tokenizer, or resize the embedding (model.resize_token_embeddings) and save the model first."
        )


def filler(tokenizer: Any, num_embeddings: int) -> int:
    """The token id for padding: the padding token, or 0 if it has no embedding, since padding is masked."""
    pad = pad_token_id(tokenizer)
    return pad if pad < num_embeddings else 0


def batches(
    items: Sequence[ItemT],
    length: Callable[[ItemT], int],
    batch_tokens: int,
    *,
    longest_padded: int | None = None,
) -> Iterator[list[ItemT]]:
    """Divide items into batches under a budget of padded tokens, longest first.

    Args:
        items: The items.
        length: Tokens of an item.
        batch_tokens: Limit on the longest length times the number of items; a single item may exceed it.
        longest_padded: A longer item shares its batch only with items of its own length; None for no limit.
    """
    batch: list[ItemT] = []
    for item in sorted(items, key=length, reverse=True):
        if batch:
            longest = length(batch[0])
            must_be_equal = longest_padded is not None and longest > longest_padded
            is_too_much = longest * (len(batch) + 1) > batch_tokens
            if is_too_much or (must_be_equal and length(item) != longest):
                yield batch
                batch = []
        batch.append(item)
    if batch:
        yield batch


def right_pad(
    sequences: Sequence[Sequence[int]], pad: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Pad to the longest: token ids and attention mask, both int64 of shape (B, T)."""
    length = max(map(len, sequences))
    tokens_BT = torch.tensor([[*ids, *[pad] * (length - len(ids))] for ids in sequences], device=device)
    mask_BT = torch.tensor([[1] * len(ids) + [0] * (length - len(ids)) for ids in sequences], device=device)
    return tokens_BT, mask_BT


def left_pad(
    sequences: Sequence[Sequence[int]], pad: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Pad like `right_pad`, but in front."""
    tokens_BT, mask_BT = right_pad([ids[::-1] for ids in sequences], pad, device)
    return tokens_BT.flip(1), mask_BT.flip(1)


def common_prefix(sequences: Sequence[list[int]]) -> int:
    """Number of leading tokens that all sequences have in common."""
    low, high = min(sequences), max(sequences)  # all others lie between these two
    return next(
        (at for at, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), min(len(low), len(high))
    )
