"""Pairs that stand in a row without their whole passage, counted from what rows are made of.

Only texts that are not whole in each of their rows can hold such pairs: those longer than a row, those that
`pack.method: concat` chops, and those whose beginning fills a row. Of these the tokens before each passage's
own text, its end and the end of its pairs are counted, by tokenizing what stands before. All pairs about a
passage count together: they are parted from it if any row holds tokens of them and not of the whole passage.

Cost: a text that is cut is tokenized about twice more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from pipelines.steps.pack import Piece, Tokens
from plugins.plain_token_ids import Ids
from schemas.records import AugmentedText, Passage


def begins_with_passages(text: AugmentedText) -> bool:
    """Whether in each beginning of a text all pairs stand behind their passage."""
    return all(not each.num_pairs or (_text_end(each) and not each.asks_first) for each in text.passages)


def num_parted_pairs(
    text: AugmentedText, tokens: Tokens, pieces: Sequence[Piece], encode: Callable[[str], Ids]
) -> int:
    """Count the pairs of a text that stand in a row without their whole passage.

    Args:
        text: A text that is not whole in all of its rows.
        tokens: Its tokens, int32 of shape (num_tokens,), BOS and EOS included.
        pieces: What rows hold of it, as far as they do not hold it whole.
        encode: Gives the token ids of a text, with BOS and without EOS.
    """
    cuts = {cut for piece in pieces for cut in (piece.start, piece.start + piece.num_tokens)}
    cuts -= {0, len(tokens)}

    def reach(offset: int) -> tuple[int, int]:
        """Tokens wholly before an offset of the text, and those that all before it stands in."""
        ids = encode(text.text[:offset])
        size = min(len(ids), len(tokens))
        differs = np.flatnonzero(ids[:size] != tokens[:size])
        return int(differs[0]) if len(differs) else size, len(ids)

    count, start = 0, 0
    for passage in text.passages:
        first, (_, end) = start, reach(passage.end)
        start = end
        if not passage.num_pairs or not any(first <= cut <= end for cut in cuts):
            continue
        text_start, text_end = reach(_text_start(passage))[0], reach(_text_end(passage) or passage.end)[1]
        if passage.asks_first or not _text_end(passage):
            pairs_start = reach(passage.start)[0]
        else:
            pairs_start = reach(_text_end(passage))[0]
        count += passage.num_pairs * any(
            max(piece.start, pairs_start) < min(piece.start + piece.num_tokens, end)
            and not piece.start <= text_start <= text_end <= piece.start + piece.num_tokens
            for piece in pieces
        )
    return count


def _text_start(passage: Passage) -> int:
    return passage.text_start if passage.text_end else passage.start


def _text_end(passage: Passage) -> int:
    """Offset behind the passage's own text; 0 where that is not known."""
    return passage.text_end or (passage.prompt_length and passage.start + passage.prompt_length)
