"""A worker process of the local runner: Beam's own, without the noise of its start.

Started as `python -m pipelines.worker` by `pipelines/runner.py`; Beam tells it what to do through its
environment.
"""

from __future__ import annotations

import contextlib
import os
import sys

from pipelines.quiet import quiet_libraries


def main() -> None:
    """Work for the runner until it hangs up."""
    quiet_libraries()
    from apache_beam.runners.worker import sdk_worker_main

    # The harness prints the traceback of each failure, and sends it to the runner, which raises it.
    with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stderr(nowhere):
        sdk_worker_main.main(sys.argv)


if __name__ == "__main__":
    main()
