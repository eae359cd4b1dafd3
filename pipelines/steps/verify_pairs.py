"""Verification of pairs against their passages, by the rules of `verify` (plugins/verifiers).

    pairs ─► rules without a model ─► rules with a model ─► kept, with a verdict of each rule
                 └─ first score below min_score: rejected ─┘

Rules without a model come first, so that no request is sent about a pair that they refuse; otherwise the
order is that of the YAML. The requests go out as those of synthesis (`in_flight.py`): the first about a
passage goes alone, so that a server's prefix cache holds the passage for the others.

A failed request, or an answer in which nothing can be read, is a failure: the pair is rejected as
`RULE_failed`, because it was not verified, and counts towards `synthesis.max_failure_share`. A document that
loses all pairs goes on as raw text.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from pipelines.steps.base import NOT_OF_A_RECORD
from pipelines.steps.check_pairs import keep_pairs
from pipelines.steps.in_flight import InFlightFn
from pipelines.steps.worker_loop import WorkerLoop
from plugins.synthesizers.generator import GenerationFailure, GenerationRequest, Generator
from plugins.verifiers.base import ModelVerifier, Rule, Verdict, Verifier
from plugins.verifiers.rules import Rules, make_rules
from schemas.records import UNEXPECTED, Document, InstructionPair, PairVerdict, SynthesizedDocument
from schemas.synthesis_config import SynthesisConfig

_SHOWN_CHARACTERS = 100


class Checked(NamedTuple):
    """A pair after all rules, or up to the rule that refused it."""

    pair: InstructionPair  # with the verdicts
    refused_by: str = ""  # name of a rule
    failure: str = ""  # of that rule, as `reason: detail`


_Chain = Sequence[SynthesizedDocument]
_Answer = list[list[Checked]]


@dataclasses.dataclass(eq=False)
class VerifyPairs(InFlightFn):
    """Drop the pairs of chains that a rule refuses; the others get their verdicts.

    Takes chains of SynthesizedDocuments, and the number of pairs in all of them; gives such chains, and a
    Reject for every dropped pair. Counts `pairs`, `kept`, `marked_RULE`, `failed_pairs`, and
    `documents_without_pairs`, which lost all.
    """

    step = "verify"
    unit = "pairs"
    rules: Rules
    seed: int
    journal: str  # directory of the generations so far

    def setup(self) -> None:
        self._made = make_rules(self.rules, self.config, seed=self.seed)
        super().setup()

    def make_loop(self) -> WorkerLoop:
        return _VerifierLoop(self.config, self._made, self.journal)

    def unanswered(self, value: _Chain, failure: str) -> _Answer:
        return [[Checked(pair, "unexpected", failure) for pair in done.pairs] for done in value]

    def report(self, value: _Chain, answer: _Answer) -> Iterator[Any]:
        kept: list[list[InstructionPair]] = []
        for done, checked in zip(value, answer, strict=True):
            sound = []
            for number, each in enumerate(checked, start=1):
                self.counters.add("pairs")
                if not each.refused_by:
                    sound.append(each.pair)
                    self._count_kept(each.pair)
                else:
                    yield self._refuse(done.document, number, each)
                if each.failure:
                    self.counters.add("failed_pairs")
                    self.failures.add(done.document.source, f"verify.{each.refused_by}: {each.failure}")
                else:
                    self.failures.in_a_row = 0
            self.counters.add("documents_without_pairs", bool(done.pairs) and not sound)
            kept.append(sound)
        yield keep_pairs(value, kept)

    def _count_kept(self, pair: InstructionPair) -> None:
        self.counters.add("kept")
        for verdict in pair.verdicts:
            if verdict.score < self._made[verdict.rule].options.min_score:
                self.counters.add(f"marked_{verdict.rule}")

    def _refuse(self, document: Document, number: int, checked: Checked) -> Any:
        pair = checked.pair
        shown = f"pair {number} {_shortened(pair.instruction)!r}, answer {_shortened(pair.response)!r}"
        if checked.failure:
            reason = f"{checked.refused_by}_failed"
            detail = f"{shown}: dropped unverified: {checked.failure}"
            return self.reject(reason, document, detail, pairs=(pair,))
        verdict = pair.verdicts[-1]
        limit = f"{verdict.score:.4g}, at least {self._made[verdict.rule].options.min_score:g}"
        finding = f": {verdict.reason}" if verdict.reason else ""
        return self.reject(verdict.rule, document, f"{shown}: {limit}{finding}", pairs=(pair,))


class _VerifierLoop(WorkerLoop):
    """Loop that answers chains with their checked pairs."""

    def __init__(self, config: SynthesisConfig, rules: Mapping[str, Rule[Any]], journal: str):
        super().__init__(config, journal)
        self._rules = rules

    def make(self) -> Sequence[Generator]:
        asking = [rule for rule in self._rules.values() if isinstance(rule, ModelVerifier)]
        self._generators_of: dict[str, Generator] = {
            rule.name: self.journaled(rule.asker, rule=rule.name) for rule in asking
        }
        return tuple(self._generators_of.values())

    def open(self) -> None:
        for name, generator in self._generators_of.items():
            self._rules[name].open()  # type: ignore[attr-defined]
            generator.open()

    async def close(self) -> None:
        for generator in self._generators_of.values():
            await generator.close()

    def prepare(self, value: _Chain) -> tuple[_Chain, _Answer]:
        """Apply the rules without a model."""
        rules = [rule for rule in self._rules.values() if isinstance(rule, Verifier)]
        checked = [[Checked(dataclasses.replace(pair, verdicts=())) for pair in done.pairs] for done in value]
        for done, pairs in zip(value, checked, strict=True):
            for at, each in enumerate(pairs):
                for rule in rules:
                    if not each.refused_by:
                        each = _checked(each, rule, done.document.text)
                pairs[at] = each
        return value, checked

    async def run(self, value: tuple[_Chain, _Answer]) -> _Answer:
        chain, checked = value
        documents = [done.document for done in chain]
        for name, generator in self._generators_of.items():
            rule = self._rules[name]
            assert isinstance(rule, ModelVerifier)
            found = await asyncio.gather(
                *(self._ask(rule, generator, *each) for each in zip(documents, checked, strict=True))
            )
            checked = list(found)
        return checked

    async def _ask(
        self, rule: ModelVerifier[Any], generator: Generator, document: Document, checked: list[Checked]
    ) -> list[Checked]:
        async def one(each: Checked) -> Checked:
            request = rule.request(document.text, each.pair, affinity=document.content_hash)
            answer = _too_long(request, self._config) or await generator.generate(request)
            if isinstance(answer, GenerationFailure):
                return Checked(each.pair, rule.name, f"{answer.reason}: {answer.detail}")
            verdict = rule.read(document.text, each.pair, answer)
            if verdict is None:
                said = f"unreadable: the model answers {answer.text[:_SHOWN_CHARACTERS]!r}"
                return Checked(
                    each.pair, rule.name, f"{said}, expected {' or '.join(rule.choices(each.pair))}"
                )
            return _judged(each, rule, verdict)

        waiting = [at for at, each in enumerate(checked) if not each.refused_by]
        for first, last in ((0, 1), (1, len(waiting))):
            places = waiting[first:last]
            for at, each in zip(
                places, await asyncio.gather(*(one(checked[at]) for at in places)), strict=True
            ):
                checked[at] = each
        return checked


def _too_long(request: GenerationRequest, config: SynthesisConfig) -> GenerationFailure | None:
    """Failure of a prompt that does not fit `synthesis.context_tokens`; None if it fits."""
    size, most = len(request.prompt_ids), config.context_tokens - request.max_new_tokens
    if size <= most:
        return None
    return GenerationFailure(reason="too_long", detail=f"the prompt has {size} tokens, at most {most} fit")


def _checked(checked: Checked, rule: Verifier[Any], passage: str) -> Checked:
    """Apply a rule without a model."""
    try:
        return _judged(checked, rule, rule.verdict(passage, checked.pair))
    except NOT_OF_A_RECORD:
        raise
    except Exception as error:
        return Checked(checked.pair, rule.name, f"{UNEXPECTED}: {type(error).__name__}: {error}")


def _judged(checked: Checked, rule: Rule[Any], verdict: Verdict) -> Checked:
    """Add a verdict to a pair, which is refused if the score is too low and the rule drops pairs."""
    stored = PairVerdict(
        rule=rule.name,
        score=round(float(verdict.score), 4),
        reason=verdict.reason,
        span=tuple(verdict.span or ()),
    )
    pair = dataclasses.replace(checked.pair, verdicts=(*checked.pair.verdicts, stored))
    refused = stored.score < rule.options.min_score and rule.options.action == "drop"
    return Checked(pair, rule.name if refused else "")


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
