"""What token ids are held in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Ids: TypeAlias = npt.NDArray[np.int32]
"""int32 of shape (num_tokens,)."""

TokenIds: TypeAlias = Sequence[int] | Ids
"""Those of a prompt. An array is hashed and sent in a fraction of the time of a list."""
