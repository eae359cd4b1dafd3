"""Number of pairs that are in a row without their whole passage.

Only texts that are cut can hold such pairs: texts longer than a row, texts that `pack.method: concat` cuts,
and texts whose beginning fills a row. To find the tokens of a passage and of its pairs, the step tokenizes
the text up to the start and the end of each. All pairs of a passage count together: they are parted from it
if any row holds tokens of them without the whole passage.

Cost: a text that is cut is tokenized about twice more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipelines.steps.loss_spans import num_common
from pipelines.steps.pack import Piece, Tokens
from plugins.plain_token_ids import Ids
from schemas.records import AugmentedText, Passage


def begins_with_passages(text: AugmentedText) -> bool:
    """True if in a text all pairs follow their passage."""
    return all(not each.num_pairs or (_text_end(each) and not each.asks_first) for each in text.passages)


def num_parted_pairs(
    text: AugmentedText, tokens: Tokens, pieces: Sequence[Piece], encode: Callable[[str], Ids]
) -> int:
    """Count the pairs of a text that are in a row without their whole passage.

    Args:
        text: A text that is cut in some of its rows.
        tokens: Its tokens, int32 of shape (num_tokens,), BOS and EOS included.
        pieces: Its pieces in the rows that do not hold all of it.
        encode: Returns the token ids of a text, with BOS and without EOS.
    """
    cuts = {cut for piece in pieces for cut in (piece.start, piece.start + piece.num_tokens)}
    cuts -= {0, len(tokens)}

    def reach(offset: int) -> tuple[int, int]:
        """Count the tokens that end before an offset of the text, and the tokens that cover all before it."""
        ids = encode(text.text[:offset])
        return num_common(ids, tokens), len(ids)

    count, start = 0, 0
    for passage in text.passages:
        first, (_, end) = start, reach(passage.end)
        start = end
        if not passage.num_pairs or not any(first <= cut <= end for cut in cuts):
            continue
        text_start, text_end = reach(_text_start(passage))[0], reach(_text_end(passage) or passage.end)[1]
        asks_first = passage.asks_first or not _text_end(passage)
        pairs_start = reach(passage.start if asks_first else _text_end(passage))[0]
        count += passage.num_pairs * any(
            max(piece.start, pairs_start) < min(piece.start + piece.num_tokens, end)
            and not piece.start <= text_start <= text_end <= piece.start + piece.num_tokens
            for piece in pieces
        )
    return count


def _text_start(passage: Passage) -> int:
    return passage.text_start if passage.text_end else passage.start


def _text_end(passage: Passage) -> int:
    """Return the offset behind the passage's own text; 0 if unknown."""
    return passage.text_end or (passage.prompt_length and passage.start + passage.prompt_length)
