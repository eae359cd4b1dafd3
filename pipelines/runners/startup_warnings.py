"""Start-up messages of libraries that a person building a corpus need not read.

Each entry names one harmless message and its reason. All other messages still show.
"""

from __future__ import annotations

import logging
import warnings

_HARMLESS_WARNINGS = (
    # Google's clients announce that they will require a newer grpcio; Beam pins today's.
    r".*grpcio.*Post-Quantum Cryptography.*",
)
# Beam's TFRecord module asks for a checksum package that no step of ours uses.
_HARMLESS_LOG = "crcmod package not found"


def quiet_libraries() -> None:
    """Silence the messages above in this process, and import Beam."""
    for message in _HARMLESS_WARNINGS:
        warnings.filterwarnings("ignore", category=FutureWarning, message=message)
    root = logging.getLogger()
    handlers = list(root.handlers)
    root.addFilter(_is_worth_reading)
    try:
        import apache_beam  # noqa: F401
    finally:
        root.removeFilter(_is_worth_reading)
        root.handlers[:] = handlers  # logging added one for the message that the filter dropped


def _is_worth_reading(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith(_HARMLESS_LOG)
