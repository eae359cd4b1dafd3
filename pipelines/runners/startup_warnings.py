"""What libraries say at start-up that a person building a corpus need not read.

Each entry names one harmless message and says why it is harmless; everything else still shows.
"""

from __future__ import annotations

import logging
import warnings

_HARMLESS_WARNINGS = (
    # Google's clients announce that a grpcio of next year will be required; Beam pins today's.
    r".*grpcio.*Post-Quantum Cryptography.*",
)
# Beam's TFRecord module wants a checksum package, which nothing here uses.
_HARMLESS_LOG = "crcmod package not found"


def quiet_libraries() -> None:
    """Silence the messages above, and import Beam while it can say them to nobody."""
    for message in _HARMLESS_WARNINGS:
        warnings.filterwarnings("ignore", category=FutureWarning, message=message)
    root = logging.getLogger()
    handlers = list(root.handlers)
    root.addFilter(_is_worth_reading)
    try:
        import apache_beam  # noqa: F401
    finally:
        root.removeFilter(_is_worth_reading)
        root.handlers[:] = handlers  # logging made one of its own for the message that was dropped


def _is_worth_reading(record: logging.LogRecord) -> bool:
    return not str(record.msg).startswith(_HARMLESS_LOG)
