"""What a task's rows are, and AdaptLLM's format of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from schemas.records import digest

_SHOWN_CHARACTERS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceRow:
    """A question whose options are weighed against each other.

    Attributes:
        row_id: The row's own id, or its position.
        position: Where it stands, as file:line.
        inputs: The prompt before each option; most tasks repeat one prompt.
        options: What may follow the prompt.
        gold: Indices of the right options; most rows have one.
        separator: What stands between prompt and option.
        frame: Characters at the start and at the end of each input that stay when it is cut: a template's.
        fields: The row as it was read, for a metric that looks at more.
    """

    row_id: str
    position: str
    inputs: tuple[str, ...]
    options: tuple[str, ...]
    gold: tuple[int, ...]
    separator: str = " "
    frame: tuple[int, int] = (0, 0)
    fields: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateRow:
    """A prompt that the model continues; `labels` are the accepted answers. Other fields as in ChoiceRow."""

    row_id: str
    position: str
    input: str
    labels: tuple[str, ...]
    frame: tuple[int, int] = (0, 0)
    fields: Mapping[str, Any] = field(default_factory=dict, repr=False)


Row: TypeAlias = "ChoiceRow | GenerateRow"


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedRow:
    """A row that is not scored: where it stands (file:line) and why."""

    position: str
    reason: str

    def __str__(self) -> str:
        return f"{self.position}: {self.reason}"


def rows_digest(rows: Sequence[Row]) -> str:
    """Hash of what rows ask and where they stand, in their order: equal only for the same rows."""
    parts = (
        repr((row.position, row.inputs, row.options, row.gold, row.separator))
        if isinstance(row, ChoiceRow)
        else repr((row.position, row.input, row.labels))
        for row in rows
    )
    return digest(*parts)


def repeats(rows: Sequence[Row]) -> list[str]:
    """Rows that ask what an earlier row asks and want the same answer, as `position repeats position`."""
    first: dict[Any, Row] = {}
    found = []
    for row in rows:
        if isinstance(row, ChoiceRow):
            content: Any = (row.inputs, row.options, row.gold)
        else:
            content = (row.input, row.labels)
        if (earlier := first.setdefault(content, row)) is not row:
            found.append(f"{row.position} repeats {earlier.position}")
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the model answered to one row.

    Attributes:
        value: Index of the option it finds best, or the text it wrote.
        option_scores: Mean log-probability of each option; empty where text was generated.
        is_truncated: Whether the prompt lost its start to fit the context.
        is_merged: Whether an option shares a token with its prompt.
    """

    value: int | str
    option_scores: tuple[float, ...] = ()
    is_truncated: bool = False
    is_merged: bool = False

    @property
    def is_tied(self) -> bool:
        """Whether several options share the best score; the first of them is the answer."""
        return bool(self.option_scores) and self.option_scores.count(max(self.option_scores)) > 1


def parse_choice(position: str, values: Mapping[str, Any]) -> ChoiceRow:
    """Make a row of `input`, `options` and `gold_index` (an index, or a list of them).

    Raises:
        ValueError: Says which field is wrong, what it holds and what was expected.
    """
    _expect_fields(values, ("input", "options", "gold_index"), kind="choice", other_kind="generate")
    prompt = _text("input", values["input"])
    options = _texts("options", values["options"])
    return ChoiceRow(
        row_id=_row_id(values, position),
        position=position,
        inputs=(prompt,) * len(options),
        options=options,
        gold=_gold(values["gold_index"], len(options)),
        fields=values,
    )


def parse_inputs(position: str, values: Mapping[str, Any]) -> ChoiceRow:
    """Make a row of `input_options`, one `output` that follows each of them, and `gold_index`.

    Nothing is put between input and output: they carry their own spaces.

    Raises:
        ValueError: Says which field is wrong, what it holds and what was expected.
    """
    _expect_fields(values, ("input_options", "output", "gold_index"), kind="choice", other_kind="generate")
    inputs = _texts("input_options", values["input_options"])
    return ChoiceRow(
        row_id=_row_id(values, position),
        position=position,
        inputs=inputs,
        options=(_text("output", values["output"]),) * len(inputs),
        gold=_gold(values["gold_index"], len(inputs)),
        separator="",
        fields=values,
    )


def parse_generate(position: str, values: Mapping[str, Any]) -> GenerateRow:
    """Make a row of `input` and `label` (a string, or a list of accepted ones).

    Raises:
        ValueError: Says which field is wrong, what it holds and what was expected.
    """
    _expect_fields(values, ("input", "label"), kind="generate", other_kind="choice")
    found = values["label"]
    labels = found if isinstance(found, list) else [found]
    if not labels:
        raise ValueError("label is [], expected a string or a list of strings")
    return GenerateRow(
        row_id=_row_id(values, position),
        position=position,
        input=_text("input", values["input"]),
        labels=tuple(_text("label", label) for label in labels),
        fields=values,
    )


def _expect_fields(values: Mapping[str, Any], names: Sequence[str], *, kind: str, other_kind: str) -> None:
    missing = [name for name in names if values.get(name) is None]
    if not missing:
        return
    sign = {"choice": "options", "generate": "label"}[other_kind]
    if values.get(sign) is not None:
        raise ValueError(
            f"is a {other_kind} row (it has {sign}) in a {kind} task; put it in a file of its own"
        )
    found = ", ".join(sorted(map(str, values))) or "no fields"
    raise ValueError(f"{' and '.join(missing)} missing; found {found}")


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{name} is {shown(value)}, expected a string")
    if not value.strip():
        raise ValueError(f"{name} is empty")
    return value


def _texts(name: str, found: Any) -> tuple[str, ...]:
    if not isinstance(found, list) or len(found) < 2:
        raise ValueError(f"{name} is {shown(found)}, expected a list of at least 2 strings")
    return tuple(_text(f"{name}[{index}]", text) for index, text in enumerate(found))


def _gold(found: Any, num_options: int) -> tuple[int, ...]:
    gold = found if isinstance(found, list) and found else [found]
    for index in gold:
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < num_options:
            raise ValueError(f"gold_index is {shown(found)}, expected 0 to {num_options - 1}")
    return tuple(gold)


def _row_id(values: Mapping[str, Any], position: str) -> str:
    found = values.get("id")
    return position if found is None else str(found)


def shown(value: Any) -> str:
    """A value as a message shows it, cut where it grows long."""
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
