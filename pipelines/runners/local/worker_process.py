"""A worker process of the local runner: Beam's own, without the noise of its start, and with short queues.

Forked by `fork_server.py`, or started by itself; Beam tells it what to do through its environment.
"""

from __future__ import annotations

import collections
import contextlib
import os
import queue
import sys
from typing import Any

from pipelines.runners.startup_warnings import quiet_libraries
from schemas.process import allocate_from_one_heap, end_without_collecting

# There are as many workers as the user wants cores: libraries in Rust must not start a thread a core in each.
_ONE_CORE = {"RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}


# A message may be a whole group of shards, or 10 MiB of results. Beam reads five ahead, and queues results
# without bound.
_READ_AHEAD = 1
_RESULTS_WAITING = 2


def main() -> None:
    """Work for the runner until it hangs up."""
    prepare()
    work()


def prepare() -> None:
    """Set what must be so before anything is imported."""
    _use_one_core()
    allocate_from_one_heap()
    quiet_libraries()
    end_without_collecting()


def import_all() -> None:
    """Import what the steps of a build import when they are first used: three fourths of a worker's start."""
    from apache_beam.runners.worker import sdk_worker_main  # noqa: F401

    import pipelines.increment  # noqa: F401
    from plugins.tokenizers import import_transformers

    import_transformers()


def work() -> None:
    """Do what Beam's environment variables say."""
    from apache_beam.runners.worker import sdk_worker_main

    _use_one_core()  # the environment of a forked worker is another
    _shorten_queues()
    # The harness prints the traceback of each failure, and sends it to the runner, which raises it.
    with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stderr(nowhere):
        sdk_worker_main.main(sys.argv[:1])


def _use_one_core() -> None:
    for name, value in _ONE_CORE.items():
        os.environ.setdefault(name, value)


class _Queue(queue.Queue[Any]):
    def put(  # type: ignore[override]  # from 2.72 on Beam gives a size
        self, item: Any, size: int = 0, **named: Any
    ) -> None:
        super().put(item, **named)


def _shorten_queues() -> None:
    """Hold back the runner when this process is behind, and this process when the runner is."""
    from apache_beam.runners.worker.data_plane import _GrpcDataChannel

    make_channel = _GrpcDataChannel.__init__

    def make_short(self: Any, *arguments: Any, **named: Any) -> None:
        make_channel(self, *arguments, **named)
        self._received = collections.defaultdict(lambda: _Queue(maxsize=_READ_AHEAD))
        self._to_send = _Queue(maxsize=_RESULTS_WAITING)

    _GrpcDataChannel.__init__ = make_short


if __name__ == "__main__":
    main()
