"""Finance: sentiment, headlines, names, and questions on reports."""

from collections.abc import Mapping
from typing import Any

from trainer.evaluation.scoring.metrics import NUM_HEADLINE_CLASSES
from trainer.evaluation.tasks.hub_rows import HubRows
from trainer.evaluation.tasks.rows import ChoiceRow, parse_choice, shown
from trainer.evaluation.tasks.task import Task

_SET = "AdaptLLM/finance-tasks"
_DOMAIN = "finance"
_CONTEXT_TOKENS = 2048

FPB = Task(
    name="FPB",
    domain=_DOMAIN,
    kind="choice",
    num_options=3,
    metrics=("weighted_f1",),
    source=HubRows(_SET, "FPB"),
)
"""Sentiment of sentences of financial news (Financial PhraseBank)."""

FIQA_SA = Task(
    name="FiQA_SA",
    domain=_DOMAIN,
    kind="choice",
    num_options=3,
    metrics=("weighted_f1",),
    source=HubRows(_SET, "FiQA_SA"),
)
"""Sentiment of headlines and posts about companies."""


def parse_headline(position: str, values: Mapping[str, Any]) -> ChoiceRow:
    """Make a choice row that has a `class_id`, the question that is asked of the headline.

    Raises:
        ValueError: Says which field is wrong, what it holds and what was expected.
    """
    found = values.get("class_id")
    if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found < NUM_HEADLINE_CLASSES:
        raise ValueError(f"class_id is {shown(found)}, expected 0 to {NUM_HEADLINE_CLASSES - 1}")
    return parse_choice(position, values)


HEADLINE = Task(
    name="Headline",
    domain=_DOMAIN,
    kind="choice",
    num_options=2,
    metrics=("headline_f1",),
    source=HubRows(_SET, "Headline"),
    parse=parse_headline,
)
"""Nine yes-or-no questions about headlines on the price of gold."""

NER = Task(
    name="NER",
    domain=_DOMAIN,
    kind="generate",
    metrics=("entity_f1",),
    context_tokens=_CONTEXT_TOKENS,
    source=HubRows(_SET, "NER"),
)
"""Names in credit agreements, and what they are."""

CONVFINQA = Task(
    name="ConvFinQA",
    domain=_DOMAIN,
    kind="generate",
    metrics=("number_match",),
    context_tokens=_CONTEXT_TOKENS,
    source=HubRows(_SET, "ConvFinQA"),
)
"""Numbers from reports, asked for in conversation."""
