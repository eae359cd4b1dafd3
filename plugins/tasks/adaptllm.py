"""The thirteen tasks of AdaptLLM and Instruction Pre-Training, one declaration each.

Rows come from the Hub sets AdaptLLM/medicine-tasks, finance-tasks and law-tasks, or from a directory in
their place (`--tasks-root`). Kinds, numbers of options and metrics are those of the papers.

Sources: Cheng et al. 2024, arXiv 2309.09530 and arXiv 2406.14491; the sets' own cards.
"""

from collections.abc import Mapping
from typing import Any

from plugins.tasks import DOMAINS
from plugins.tasks.row_sources import HubRows
from plugins.tasks.rows import ChoiceRow, Kind, RowParser, parse_choice, parse_inputs, shown
from plugins.tasks.task import Task

_SETS = {
    "biomedicine": "AdaptLLM/medicine-tasks",
    "finance": "AdaptLLM/finance-tasks",
    "law": "AdaptLLM/law-tasks",
}
_GENERATION_TOKENS = 2048
_NUM_HEADLINE_CLASSES = 9


def _task(
    name: str,
    *metrics: str,
    kind: Kind = "choice",
    num_options: int | None = None,
    parse: RowParser | None = None,
) -> Task:
    domain = next(domain for domain, names in DOMAINS.items() if name in names)
    return Task(
        name=name,
        domain=domain,
        kind=kind,
        metrics=metrics,
        source=HubRows(_SETS[domain], name),
        parse=parse,
        num_options=num_options,
        context_tokens=_GENERATION_TOKENS if kind == "generate" else None,
    )


def parse_headline(position: str, values: Mapping[str, Any]) -> ChoiceRow:
    """Make a choice row that has a `class_id`: the number of the question about the headline.

    Raises:
        ValueError: Says which field is wrong, what it holds and what was expected.
    """
    found = values.get("class_id")
    if isinstance(found, bool) or not isinstance(found, int) or not 0 <= found < _NUM_HEADLINE_CLASSES:
        raise ValueError(f"class_id is {shown(found)}, expected 0 to {_NUM_HEADLINE_CLASSES - 1}")
    return parse_choice(position, values)


MQP = _task("MQP", "accuracy", num_options=2)
"""Medical question pairs: whether two patients ask the same."""

PUBMEDQA = _task("PubMedQA", "accuracy", num_options=3)
"""Yes, no or maybe, by a research abstract."""

USMLE = _task("USMLE", "accuracy", num_options=4)
"""Questions of the United States medical licensing examination."""

RCT = _task("RCT", "micro_f1", num_options=5)
"""The role of a sentence in the abstract of a randomised controlled trial."""

CHEMPROT = _task("ChemProt", "micro_f1", num_options=13)
"""The relation between a chemical and a protein."""

FPB = _task("FPB", "weighted_f1", num_options=3)
"""Sentiment of sentences of financial news (Financial PhraseBank)."""

FIQA_SA = _task("FiQA_SA", "weighted_f1", num_options=3)
"""Sentiment of headlines and posts about companies."""

HEADLINE = _task("Headline", "headline_f1", num_options=2, parse=parse_headline)
"""Nine yes-or-no questions about headlines on the price of gold."""

NER = _task("NER", "entity_f1", kind="generate")
"""Names in credit agreements, and the kind of each."""

CONVFINQA = _task("ConvFinQA", "number_match", kind="generate")
"""Numbers from reports, asked for in conversation."""

SCOTUS = _task("SCOTUS", "micro_f1", "macro_f1", num_options=13)
"""The issue area of opinions of the Supreme Court of the United States."""

CASEHOLD = _task("CaseHOLD", "micro_f1", "macro_f1", parse=parse_inputs)
"""The holding that a citation refers to: one input per option, all with one completion."""

UNFAIR_TOS = _task("UNFAIR_ToS", "accuracy", num_options=9)
"""Kinds of unfair terms in a clause, or none; any of a clause's kinds is right."""
