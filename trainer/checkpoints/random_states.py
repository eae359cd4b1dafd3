"""Random states of a run that resumes within an epoch, so that its dropout equals that of an unbroken run.

Composer restores them while it skips trained batches. Our loader starts after those batches instead
(`dataset_resumption`), and Composer 0.32.1 then restores nothing.
"""

from __future__ import annotations

from typing import Any

from composer.core import Callback, State
from composer.loggers import Logger
from composer.utils import reproducibility


class RandomStates(Callback):  # type: ignore[misc, unused-ignore]
    """Restore the random states of the checkpoint before the first batch, unless Composer has done so.

    Attributes:
        trainer: Composer's; set after it is made.
    """

    trainer: Any = None

    def batch_start(self, state: State, logger: Logger) -> None:
        """Restore them after the loader has started, since that draws a seed."""
        if self.trainer is not None and self.trainer._rng_state is not None:
            reproducibility.load_rng_state(self.trainer._rng_state)
            self.trainer._rng_state = None
