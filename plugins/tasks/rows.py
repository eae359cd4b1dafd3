"""Rows of evaluation tasks, and the parser of their four shapes (see plugins/tasks/__init__.py)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from schemas.content_hash import digest

_SHOWN_CHARACTERS = 60

Kind: TypeAlias = Literal["choice", "generate", "perplexity"]

SHAPES = "input, options and gold_index; input_options, output and gold_index; input and label; or text"
"""Fields of the four shapes, for messages."""

_SIGNS: dict[Kind, str] = {"choice": "options", "generate": "label", "perplexity": "text"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceRow:
    """A question with options; the best-scored option is the answer.

    Attributes:
        row_id: The row's own id, or its position.
        position: Its place, as file:line.
        inputs: The prompt before each option; most tasks repeat one prompt.
        options: The continuations of the prompts that are compared.
        gold: Indices of the right options; most rows have one.
        separator: Text between prompt and option.
        frame: Characters at the start and at the end of each input that truncation keeps: a template's.
        fields: All fields of the row, for a metric that needs more.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class TextRow:
    """A held-out text, whose tokens the model predicts. Other fields as in ChoiceRow."""

    row_id: str
    position: str
    text: str
    fields: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def num_bytes(self) -> int:
        """Bytes of the text in UTF-8, before any tokenizer normalises it."""
        return len(self.text.encode())


Row: TypeAlias = "ChoiceRow | GenerateRow | TextRow"

RowParser: TypeAlias = Callable[[str, Mapping[str, Any]], Row]
"""Makes a row of its position and fields; raises ValueError with the reason if it cannot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusedRow:
    """A row that cannot be used.

    Attributes:
        position: Its place, as file:line.
        reason: Why it cannot be used.
        ends_file: True if the rest of its file cannot be read either.
    """

    position: str
    reason: str
    ends_file: bool = False

    def __str__(self) -> str:
        return f"{self.position}: {self.reason}"


def row_number(position: str) -> int:
    """Number of a row in its file, from 1, by its position."""
    return int(position.rpartition(":")[2])


def rows_digest(rows: Sequence[Row]) -> str:
    """Hash of the content and the positions of rows, in their order."""
    return digest(*(repr((row.position, *_content(row))) for row in rows))


def repeats(rows: Sequence[Row]) -> list[str]:
    """Rows with the question and the answer of an earlier row, as `position repeats position`."""
    first: dict[Any, Row] = {}
    found = []
    for row in rows:
        if (earlier := first.setdefault(_content(row), row)) is not row:
            found.append(f"{row.position} repeats {earlier.position}")
    return found


def _content(row: Row) -> tuple[Any, ...]:
    if isinstance(row, ChoiceRow):
        return row.inputs, row.options, row.gold, row.separator
    return (row.text,) if isinstance(row, TextRow) else (row.input, row.labels)


def kind_of(values: Mapping[str, Any]) -> Kind:
    """Kind of a row by its fields."""
    given = {name for name, value in values.items() if value is not None}
    if given & {"options", "input_options"}:
        return "choice"
    if "label" in given:
        return "generate"
    return "perplexity" if "text" in given and "input" not in given else "choice"


def parse_row(
    position: str, values: Mapping[str, Any], kind: Kind | None = None, *, needs_gold: bool = True
) -> Row:
    """Make a row of any shape.

    Args:
        position: Place of the row, as file:line.
        values: Its fields.
        kind: Kind of the task's rows; None takes the row's own.
        needs_gold: False accepts `input_options` and `output` without `gold_index`.

    Raises:
        ValueError: Says which field is wrong, what it holds and what was expected.
    """
    given = {name for name, value in values.items() if value is not None}
    if kind is None and not given & {"text", "label", "options", "input_options"}:
        raise ValueError(f"has neither text, label, options nor input_options; found {_names(values)}")
    kind = kind or kind_of(values)
    if kind == "perplexity":
        return parse_text(position, values)
    if kind == "generate":
        return parse_generate(position, values)
    if "input_options" in given and ("output" in given or "options" not in given):
        return parse_inputs(position, values, needs_gold=needs_gold)
    return parse_choice(position, values)


def parse_choice(position: str, values: Mapping[str, Any]) -> ChoiceRow:
    """Make a row of `input`, `options` and `gold_index` (an index, or a list of them).

    Raises:
        ValueError: Says which field is wrong, what it holds and what was expected.
    """
    _expect_fields(values, ("input", "options", "gold_index"), kind="choice")
    prompt = _text("input", values["input"])
    options = _texts("options", values["options"])
    return _choice_row(position, values, (prompt,) * len(options), options)


def parse_inputs(position: str, values: Mapping[str, Any], *, needs_gold: bool = True) -> ChoiceRow:
    """Make a row of `input_options`, one `output` that follows each of them, and `gold_index`.

    Input and output are joined as they are: they carry their own spaces.

    Raises:
        ValueError: Says which field is wrong, what it holds and what was expected.
    """
    expected = ("input_options", "output", "gold_index")
    _expect_fields(values, expected if needs_gold else expected[:2], kind="choice")
    inputs = _texts("input_options", values["input_options"])
    options = (_text("output", values["output"]),) * len(inputs)
    return _choice_row(position, values, inputs, options, separator="")


def parse_generate(position: str, values: Mapping[str, Any]) -> GenerateRow:
    """Make a row of `input` and `label` (a string, or a list of accepted ones).

    Raises:
        ValueError: Says which field is wrong, what it holds and what was expected.
    """
    _expect_fields(values, ("input", "label"), kind="generate")
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


def parse_text(position: str, values: Mapping[str, Any]) -> TextRow:
    """Make a row of `text`.

    Raises:
        ValueError: Says which field is wrong, what it holds and what was expected.
    """
    _expect_fields(values, ("text",), kind="perplexity")
    text = _text("text", values["text"])
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"text has half of a surrogate pair at character {error.start}") from None
    return TextRow(row_id=_row_id(values, position), position=position, text=text, fields=values)


def _choice_row(
    position: str,
    values: Mapping[str, Any],
    inputs: tuple[str, ...],
    options: tuple[str, ...],
    separator: str = " ",
) -> ChoiceRow:
    gold = values.get("gold_index")
    return ChoiceRow(
        row_id=_row_id(values, position),
        position=position,
        inputs=inputs,
        options=options,
        gold=() if gold is None else _gold(gold, len(options)),
        separator=separator,
        fields=values,
    )


def _expect_fields(values: Mapping[str, Any], names: Sequence[str], *, kind: Kind) -> None:
    missing = [name for name in names if values.get(name) is None]
    if not missing:
        return
    other = kind_of(values)
    sign = _SIGNS[other]
    if other != kind and values.get(sign) is not None:
        raise ValueError(f"is a {other} row (it has {sign}) in a {kind} task; put it in a file of its own")
    raise ValueError(f"{' and '.join(missing)} missing; found {_names(values)}")


def _names(values: Mapping[str, Any]) -> str:
    return ", ".join(sorted(map(str, values))) or "no fields"


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
    """A value as messages show it: its repr, cut after 60 characters."""
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
