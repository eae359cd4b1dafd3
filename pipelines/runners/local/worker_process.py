"""A worker process of the local runner: Beam's own, on one core, with one arena and short queues.

Beam's environment variables name its runner.
"""

from __future__ import annotations

import contextlib
import os
import sys

from pipelines.runners.startup_warnings import quiet_libraries
from schemas.process import allocate_from_one_heap, end_without_collecting
from schemas.replaced_internals import replaced

# The number of workers is the number of cores: libraries in Rust must not start a thread for each core.
_ONE_CORE = {"RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}


def main() -> None:
    """Work for the runner until it closes the connection."""
    for name, value in _ONE_CORE.items():
        os.environ.setdefault(name, value)
    allocate_from_one_heap()
    quiet_libraries()
    end_without_collecting()
    from apache_beam.runners.worker import sdk_worker_main

    from pipelines.runners.local.data_channel import worker_internals

    # The harness prints the traceback of each failure; the runner raises the same failure.
    with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stderr(nowhere):
        with replaced(*worker_internals()):
            sdk_worker_main.main(sys.argv[:1])


if __name__ == "__main__":
    main()
