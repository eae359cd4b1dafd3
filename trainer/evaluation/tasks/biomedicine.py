"""Biomedicine: medical questions, abstracts and relations between chemicals and proteins."""

from trainer.evaluation.tasks.hub_rows import HubRows
from trainer.evaluation.tasks.task import Task

_SET = "AdaptLLM/medicine-tasks"
_DOMAIN = "biomedicine"

MQP = Task(
    name="MQP",
    domain=_DOMAIN,
    kind="choice",
    num_options=2,
    metrics=("accuracy",),
    source=HubRows(_SET, "MQP"),
)
"""Medical question pairs: whether two patients ask the same."""

PUBMEDQA = Task(
    name="PubMedQA",
    domain=_DOMAIN,
    kind="choice",
    num_options=3,
    metrics=("accuracy",),
    source=HubRows(_SET, "PubMedQA"),
)
"""Yes, no or maybe, by a research abstract."""

USMLE = Task(
    name="USMLE",
    domain=_DOMAIN,
    kind="choice",
    num_options=4,
    metrics=("accuracy",),
    source=HubRows(_SET, "USMLE"),
)
"""Questions of the United States medical licensing examination."""

RCT = Task(
    name="RCT",
    domain=_DOMAIN,
    kind="choice",
    num_options=5,
    metrics=("micro_f1",),
    source=HubRows(_SET, "RCT"),
)
"""The role of a sentence in the abstract of a randomised controlled trial."""

CHEMPROT = Task(
    name="ChemProt",
    domain=_DOMAIN,
    kind="choice",
    num_options=13,
    metrics=("micro_f1",),
    source=HubRows(_SET, "ChemProt"),
)
"""The relation between a chemical and a protein."""
