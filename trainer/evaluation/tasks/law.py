"""Law: opinions, holdings and terms of service."""

from trainer.evaluation.tasks.hub_rows import HubRows
from trainer.evaluation.tasks.rows import parse_inputs
from trainer.evaluation.tasks.task import Task

_SET = "AdaptLLM/law-tasks"
_DOMAIN = "law"

SCOTUS = Task(
    name="SCOTUS",
    domain=_DOMAIN,
    kind="choice",
    num_options=13,
    metrics=("micro_f1", "macro_f1"),
    source=HubRows(_SET, "SCOTUS"),
)
"""The issue area of opinions of the Supreme Court of the United States."""

CASEHOLD = Task(
    name="CaseHOLD",
    domain=_DOMAIN,
    kind="choice",
    metrics=("micro_f1", "macro_f1"),
    source=HubRows(_SET, "CaseHOLD"),
    parse=parse_inputs,
)
"""The holding that a citation refers to: one input an option, all with one completion."""

UNFAIR_TOS = Task(
    name="UNFAIR_ToS",
    domain=_DOMAIN,
    kind="choice",
    num_options=9,
    metrics=("accuracy",),
    source=HubRows(_SET, "UNFAIR_ToS"),
)
"""Kinds of unfair terms in a clause, or none; any of a clause's kinds is right."""
