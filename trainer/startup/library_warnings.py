"""Harmless start-up messages of libraries, silenced, and environment variables of libraries.

Each entry says why its message is harmless; all other messages show. `python_log_level: debug` shows all.
"""

from __future__ import annotations

import logging
import os
import warnings

HARMLESS_WARNINGS = (
    # Composer explains how it rounds a warm-up of 0; a run without warm-up is a choice.
    r"(?s).*The warmup duration is 0.*",
)

QUIET_LOGGERS = (
    # At INFO and below they log each internal step; their warnings still show.
    "composer",
    "streaming",
)


def quiet_libraries(level: str) -> None:
    """Silence the messages above, except at level debug; to be called before the libraries are imported."""
    # The tokenizer's own threads are not safe beside forked reader processes; it warns at every fork.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Composer reads this when it is given `fsdp:`; FSDP1 is broken in several ways, and on CPUs.
    os.environ.setdefault("FSDP_VERSION", "2")
    if level.lower() == "debug":
        logging.basicConfig(level=logging.INFO)
        logging.getLogger("composer").setLevel(logging.DEBUG)
        return
    # Bars of downloads would break our own bar.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    for message in HARMLESS_WARNINGS:
        warnings.filterwarnings("ignore", message=message)
    for name in QUIET_LOGGERS:
        logging.getLogger(name).setLevel(max(logging.WARNING, getattr(logging, level.upper(), 0)))
