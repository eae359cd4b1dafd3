"""Streaming's MDSWriter, without the ready-made datasets that Streaming's package imports beside it.

Those bring torchvision and the model classes of transformers: more than half of the 10 s of a core that
`import streaming` takes, in every worker process, to write files.
"""

from __future__ import annotations

import sys
import types
from typing import Any

_NOT_NEEDED = ("streaming.multimodal", "streaming.text", "streaming.vision")


def mds_writer() -> Any:
    """The class `streaming.MDSWriter`."""
    stand_ins = {}
    if "streaming" not in sys.modules:
        stand_ins = {name: types.ModuleType(name) for name in _NOT_NEEDED}
        sys.modules.update(stand_ins)
    try:
        from streaming import MDSWriter
    finally:
        for name in stand_ins:  # whoever imports one later gets the real one
            del sys.modules[name]
    return MDSWriter
