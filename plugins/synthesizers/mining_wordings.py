"""Wordings of mined pairs: the instructions that ask for a rule's finding, from mining_wordings.yaml.

A wording is a text with fields in braces. One pass of `str.format` fills them, so a field's content is not
scanned for braces. A field that may end in a punctuation mark ends its line, so that no second mark follows.
"""

from __future__ import annotations

import dataclasses
import functools
import random
from collections.abc import Mapping
from pathlib import Path

from plugins.synthesizers.mining_words import load_yaml
from schemas.records import InstructionPair

ENTAILMENT, CONTRAST, NEUTRAL = "entailment", "contrast", "neutral"


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """Finding of a rule, without a wording."""

    task: str  # group of wordings that ask for it
    fields: Mapping[str, str]  # quotations for the instruction, by field
    response: str  # the answer, or its name in `Wording.labels`
    sentences: frozenset[int] = frozenset()  # indices of the sentences that it uses
    rationale: str = ""  # reason for the answer, if the text gives one
    options: tuple[str, ...] = ()  # the choices, if the finding itself has them


@dataclasses.dataclass(frozen=True, slots=True)
class Wording:
    """One way to ask for a finding."""

    text: str  # the instruction, with the finding's fields in braces
    # Names of the finding's responses in this wording; they become the options.
    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)


@functools.cache
def wordings() -> Mapping[str, tuple[Wording, ...]]:
    """Wordings by task, for every task of a rule; loaded once."""
    loaded = load_yaml(Path(__file__).with_suffix(".yaml"))
    return {
        task: tuple(Wording(each) if isinstance(each, str) else Wording(**each) for each in listed)
        for task, listed in loaded.items()
    }


def ask_for(finding: Finding, rng: random.Random) -> InstructionPair:
    """Ask for a finding in one of its wordings."""
    wording = rng.choice(wordings()[finding.task])
    return InstructionPair(
        instruction=wording.text.format_map(finding.fields),
        response=wording.labels.get(finding.response, finding.response),
        options=tuple(wording.labels.values()) or finding.options,
        rationale=finding.rationale,
    )
