"""A worker process of the local runner: Beam's own, without the noise of its start.

Started as `python -m pipelines.worker` by `pipelines/runner.py`; Beam tells it what to do through its
environment.
"""

from __future__ import annotations

import contextlib
import os
import sys

from pipelines.quiet import quiet_libraries

# There are as many workers as the user wants cores: libraries in Rust must not start a thread a core in each.
_ONE_CORE = {"RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}


def main() -> None:
    """Work for the runner until it hangs up."""
    for name, value in _ONE_CORE.items():
        os.environ.setdefault(name, value)
    quiet_libraries()
    from apache_beam.runners.worker import sdk_worker_main

    # The harness prints the traceback of each failure, and sends it to the runner, which raises it.
    with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stderr(nowhere):
        sdk_worker_main.main(sys.argv)


if __name__ == "__main__":
    main()
