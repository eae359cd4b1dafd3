"""Token ids of plain text: special-token strings are ordinary text, no token is added, no text is cut.

fastokens encodes in a sixth of the time of `tokenizers`, or less. A few probe texts decide once for each
tokenizer: where fastokens cannot load it or gives other ids, the tokenizer's own backend encodes.
"""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Ids: TypeAlias = npt.NDArray[np.int32]
"""int32 of shape (num_tokens,)."""

TokenIds: TypeAlias = Sequence[int] | Ids
"""Token ids of a prompt. An array is hashed and sent in a fraction of the time of a list."""

_logger = logging.getLogger(__name__)

_Encode = Callable[[Sequence[str]], list[Ids]]
_encoders: weakref.WeakKeyDictionary[Any, _Encode] = weakref.WeakKeyDictionary()

# Tokenizers differ in contractions, digits, blanks, control and combining characters, scripts, emoji.
_PROBES = (
    "The patient's BP wasn't 120/80; they'd measured 1,234.5 mmHg -- IT'S ODD, WE'LL SEE.",
    " leading,  double,   triple blanks \n\n a line\r\n\ttabs\t\tand trailing  \n",
    "\u00a0\u2003\u200b\ufeff\u2028blanks of other kinds\u3000",
    "0 00 000 0000 00000 3.14e-10 ½ ² ٣٤ Ⅷ",
    "caf\u00e9 cafe\u0301 naïve Straße \u1e9e ﬁne İstanbul ǅ",
    "Кровь и гены, αβγ-блокатор, ภาษาไทย, हिन्दी में, 漢字かなカナ, 한국어, مرحبا بالعالم, שלום",
    "👩‍👩‍👧 🇩🇪 👍🏽 \U0010ffff \ufffd \x00\x01\x1b\x7f\x85",
    "x" * 300 + " " * 60 + "=" * 80 + "\n" * 9,
    "def f(x):\n    return {'a': [x**2, None]}  # https://example.org/?q=1&r=%20",
)


def plain_ids(tokenizer: Any, text: str) -> Ids:
    """Encode one text with a tokenizer of `load_tokenizer`."""
    return plain_ids_of(tokenizer, [text])[0]


def plain_ids_of(tokenizer: Any, texts: Sequence[str]) -> list[Ids]:
    """Encode several texts. Thread-safe as long as no thread changes the tokenizer."""
    encode = _encoders.get(tokenizer)
    if encode is None:
        encode = _encoders[tokenizer] = _encoder_of(tokenizer)
    return encode(texts)


def _encoder_of(tokenizer: Any) -> _Encode:
    import fastokens  # here, because the trainer, which imports TokenIds, does not install it

    own = _own_encoder(tokenizer.backend_tokenizer)
    try:
        fast = _fast_encoder(fastokens.Tokenizer.from_json_str(tokenizer.backend_tokenizer.to_str()))
        probes = [*_PROBES, "".join(f"{token} {token}a\n" for token in tokenizer.get_added_vocab())]
        for probe, expected, found in zip(probes, own(probes), fast(probes), strict=True):
            if not np.array_equal(expected, found):
                raise ValueError(f"it gives other ids for {probe[:40]!r}")
    except Exception as error:  # each part of fastokens raises its own
        _logger.info("tokenizer %s: fastokens is not used: %s", tokenizer.name_or_path, error)
        return own
    return fast


def _own_encoder(backend: Any) -> _Encode:
    def encode(texts: Sequence[str]) -> list[Ids]:
        encoded = backend.encode_batch_fast(list(texts), add_special_tokens=False)
        return [np.array(each.ids, dtype=np.int32) for each in encoded]

    return encode


def _fast_encoder(fast: Any) -> _Encode:
    def encode(texts: Sequence[str]) -> list[Ids]:
        flat, offsets = fast.encode_batch_flat(list(texts), split_special_tokens=True)
        ids = np.frombuffer(flat, dtype=np.uint32).astype(np.int32)
        return [ids[start:end] for start, end in pairwise(np.frombuffer(offsets, dtype=np.uint64).tolist())]

    return encode
