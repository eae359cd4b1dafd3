"""What a task's rows are, and AdaptLLM's format of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

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
        fields: The row as it was read, for a metric that looks at more.
    """

    row_id: str
    position: str
    inputs: tuple[str, ...]
    options: tuple[str, ...]
    gold: tuple[int, ...]
    fields: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateRow:
    """A prompt that the model continues; `labels` are the accepted answers. Other fields as in ChoiceRow."""

    row_id: str
    position: str
    input: str
    labels: tuple[str, ...]
    fields: Mapping[str, Any] = field(default_factory=dict, repr=False)


Row: TypeAlias = "ChoiceRow | GenerateRow"


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedRow:
    """A row that is not scored: where it stands (file:line) and why."""

    position: str
    reason: str

    def __str__(self) -> str:
        return f"{self.position}: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the model answered to one row.

    Attributes:
        value: Index of the option it finds best, or the text it wrote.
        option_scores: Mean log-probability of each option; empty where text was generated.
        is_truncated: Whether the prompt lost its start to fit the context.
    """

    value: int | str
    option_scores: tuple[float, ...] = ()
    is_truncated: bool = False


def parse_choice(position: str, values: Mapping[str, Any]) -> ChoiceRow:
    """Make a row of `input`, `options` and `gold_index` (an index, or a list of them).

    Raises:
        ValueError: Says which field is wrong, what it holds and what was expected.
    """
    _expect_fields(values, ("input", "options", "gold_index"), kind="choice", other_kind="generate")
    prompt = _text("input", values["input"])
    options = values["options"]
    if not isinstance(options, list) or len(options) < 2:
        raise ValueError(f"options is {shown(options)}, expected a list of at least 2 strings")
    texts = tuple(_text(f"options[{index}]", option) for index, option in enumerate(options))
    found = values["gold_index"]
    gold = found if isinstance(found, list) and found else [found]
    for index in gold:
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(texts):
            raise ValueError(f"gold_index is {shown(found)}, expected 0 to {len(texts) - 1}")
    return ChoiceRow(
        row_id=_row_id(values, position),
        position=position,
        inputs=(prompt,) * len(texts),
        options=texts,
        gold=tuple(gold),
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


def _row_id(values: Mapping[str, Any], position: str) -> str:
    found = values.get("id")
    return position if found is None else str(found)


def shown(value: Any) -> str:
    """A value as a message shows it, cut where it grows long."""
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
