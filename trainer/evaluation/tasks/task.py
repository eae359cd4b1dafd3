"""What an evaluation task is: one declaration, and rows that are good or refused with a reason.

Nothing here needs torch; only `read_rows` opens a file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from schemas.errors import ConfigError, InputError, unknown_name
from trainer.evaluation import METRICS
from trainer.evaluation.tasks.row_files import RowSource
from trainer.evaluation.tasks.rows import (
    ChoiceRow,
    RefusedRow,
    Row,
    parse_choice,
    parse_generate,
    parse_inputs,
)

Kind: TypeAlias = Literal["choice", "generate"]

RowParser: TypeAlias = Callable[[str, Mapping[str, Any]], Row]
"""Makes a row of a position and fields; raises ValueError with the reason why it cannot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One evaluation task.

    Attributes:
        name: Unique among the tasks of a run.
        domain: What its headline score is averaged with.
        kind: Whether options are weighed or text is generated.
        metrics: Names in `METRICS`; the first is the headline.
        source: Gives the raw rows, the same ones in the same order each time.
        parse: Makes a row of them; None takes AdaptLLM's format for the kind.
        num_options: Options of each row; a row with another number is refused. None takes any.
        context_tokens: Longest prompt and generated answer together; None takes what the model can.
    """

    name: str
    domain: str
    kind: Kind
    metrics: tuple[str, ...]
    source: RowSource
    parse: RowParser | None = None
    num_options: int | None = None
    context_tokens: int | None = None

    def __post_init__(self) -> None:
        known = METRICS.names()
        for metric in self.metrics:
            if metric not in known:
                raise ConfigError(f"task {self.name}: {unknown_name('metric', metric, known)}")
        if not self.metrics:
            raise ConfigError(f"task {self.name} names no metric. Available: {', '.join(known)}.")

    def row(self, position: str, values: Mapping[str, Any]) -> Row:
        """Make a row of its fields.

        Raises:
            ValueError: Says why it is none of this task's.
        """
        row = (self.parse or parser_of(self.kind, values))(position, values)
        expected = self.num_options
        if expected is not None and isinstance(row, ChoiceRow) and len(row.options) != expected:
            raise ValueError(f"has {len(row.options)} options, expected {expected}")
        return row


def parser_of(kind: Kind, values: Mapping[str, Any]) -> RowParser:
    """The parser of AdaptLLM's format that a row is in."""
    if kind == "generate":
        return parse_generate
    return parse_inputs if "input_options" in values and "options" not in values else parse_choice


def read_rows(task: Task) -> tuple[list[Row], list[RefusedRow]]:
    """Read a task's rows: the good ones and the refused ones, in their order.

    Raises:
        InputError: Not one row is good; names the first bad one.
    """
    good: list[Row] = []
    refused: list[RefusedRow] = []
    for raw in task.source():
        if isinstance(raw, RefusedRow):
            refused.append(raw)
            continue
        position, values = raw
        try:
            good.append(task.row(position, values))
        except ValueError as error:
            refused.append(RefusedRow(position=position, reason=str(error)))
    if not good:
        raise no_good_row(task.name, refused)
    return good, refused


def no_good_row(name: str, refused: Sequence[RefusedRow]) -> InputError:
    """Say that a task cannot be evaluated for want of rows."""
    if not refused:
        return InputError(f"evaluation task {name}: has no rows.")
    return InputError(
        f"evaluation task {name}: none of its {len(refused)} rows can be used. The first: {refused[0]}. "
        "A row is input, options and gold_index, or input and label."
    )
