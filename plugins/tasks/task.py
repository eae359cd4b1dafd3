"""Declaration of an evaluation task, and the reading of its rows."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from plugins.tasks import METRICS
from plugins.tasks.row_sources import RowSource
from plugins.tasks.rows import SHAPES, ChoiceRow, Kind, RefusedRow, Row, RowParser, parse_row
from schemas.errors import ConfigError, InputError, unknown_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One evaluation task.

    Attributes:
        name: Unique among the tasks of a run.
        domain: Tasks of one domain share an average score.
        kind: Whether the model chooses an option, generates text, or predicts the tokens of held-out texts.
        metrics: Names in `METRICS`; the first is the headline.
        source: Gives the raw rows, the same rows in the same order each time.
        parse: Makes a row of a raw row; None takes AdaptLLM's format for the kind.
        num_options: Options of each row; a row with another number is refused. None takes any.
        context_tokens: Longest prompt and generated answer together; None takes the model's context.
        window_tokens: Of `perplexity`: longest input of one pass; None takes the model's context, up to
            2,048 tokens.
        stride_tokens: Of `perplexity`: tokens between the starts of windows; None takes half a window.
    """

    name: str
    domain: str
    kind: Kind
    metrics: tuple[str, ...]
    source: RowSource
    parse: RowParser | None = None
    num_options: int | None = None
    context_tokens: int | None = None
    window_tokens: int | None = None
    stride_tokens: int | None = None

    def __post_init__(self) -> None:
        known = METRICS.names()
        for metric in self.metrics:
            if metric not in known:
                raise ConfigError(f"task {self.name}: {unknown_name('metric', metric, known)}")
        if not self.metrics:
            raise ConfigError(f"task {self.name} names no metric. Available: {', '.join(known)}.")
        is_text = self.kind == "perplexity"
        if is_text != ("bits_per_byte" in self.metrics) or (is_text and len(self.metrics) > 1):
            raise ConfigError(
                f"task {self.name}: kind {self.kind} has the metrics {', '.join(self.metrics)}; perplexity "
                "has bits_per_byte alone, and no other kind has it."
            )
        others = ("num_options", "context_tokens") if is_text else ("window_tokens", "stride_tokens")
        if given := [name for name in others if getattr(self, name) is not None]:
            raise ConfigError(f"task {self.name}: {given[0]} does not apply to kind {self.kind}; remove it.")

    def row(self, position: str, values: Mapping[str, Any]) -> Row:
        """Make a row of its fields.

        Raises:
            ValueError: Says why the task cannot use the row.
        """
        parse = self.parse or functools.partial(parse_row, kind=self.kind)
        row = parse(position, values)
        expected = self.num_options
        if expected is not None and isinstance(row, ChoiceRow) and len(row.options) != expected:
            raise ValueError(f"has {len(row.options)} options, expected {expected}")
        return row


def read_rows(task: Task) -> tuple[list[Row], list[RefusedRow]]:
    """Read a task's rows: the good ones and the refused ones, in their order.

    Raises:
        InputError: No row is good; names the first bad one.
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
    """The error for a task without a good row."""
    if not refused:
        return InputError(f"evaluation task {name}: has no rows.")
    return InputError(
        f"evaluation task {name}: none of its {len(refused)} rows can be used. The first: {refused[0]}. "
        f"A row has {SHAPES}."
    )
