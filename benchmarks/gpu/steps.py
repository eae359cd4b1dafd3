"""The steps in their order: what matters most comes first, since the time may not suffice for all."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One measurement.

    Attributes:
        name: Its name in the report.
        function: `module:function`; called with the sizes, the folder, and `arguments`.
        arguments: Further arguments.
        group: Consecutive steps of a group share a process, and so its imports.
        limit_sec: Seconds after which it is stopped.
        in_small: Whether `--small` has it.
    """

    name: str
    function: str
    arguments: dict[str, Any] = field(default_factory=dict)
    group: str
    limit_sec: float
    in_small: bool = True


def _mfu(attention: str, *, packed: bool, compiled: bool, chunked: bool, group: str, in_small: bool) -> Step:
    words = [attention, *["packed"] * packed, *["compiled"] * compiled, *["chunked loss"] * chunked]
    return Step(
        name=f"mfu: {', '.join(words)}",
        function="benchmarks.gpu.model_speed:measure",
        arguments={"attention": attention, "packed": packed, "compiled": compiled, "chunked": chunked},
        group=group,
        limit_sec=100,
        in_small=in_small,
    )


STEPS = (
    Step(name="matrix", function="benchmarks.gpu.matrix_rate:measure", group="matrix", limit_sec=60),
    *(
        _mfu("sdpa", packed=False, compiled=compiled, chunked=chunked, group="sdpa", in_small=True)
        for compiled, chunked in ((False, False), (False, True), (True, False), (True, True))
    ),
    Step(name="training", function="benchmarks.gpu.training_speed:measure", group="training", limit_sec=100),
    Step(name="evaluation", function="benchmarks.gpu.evaluation_speed:measure", group="scores", limit_sec=80),
    Step(name="resumption", function="benchmarks.gpu.resumption:measure", group="resumption", limit_sec=80),
    *(
        _mfu(attention, packed=True, compiled=compiled, chunked=True, group="packed", in_small=False)
        for attention in ("sdpa", "flex_attention", "flash_attention_2")
        for compiled in (False, True)
    ),
)
