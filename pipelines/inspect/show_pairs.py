"""`corpus show --pairs`: pairs with their passages, their verdicts, and the supporting text marked."""

from __future__ import annotations

import argparse
import dataclasses
import heapq
import itertools
import json
from collections import Counter
from collections.abc import Iterator, Sequence

from rich.panel import Panel
from rich.text import Text

from pipelines.inspect.export_pairs import current_pairs
from plugins.console import Console
from schemas.errors import ConfigError, unknown_name
from schemas.manifest import Manifest
from schemas.records import PairVerdict, StoredPair

_SHOWN_CHARACTERS = 2000
_Shown = tuple[StoredPair, str]


def show_pairs(arguments: argparse.Namespace, manifest: Manifest, streams: Sequence[str]) -> None:
    """Print up to `--pairs` current pairs: the first ones, or with `--worst` those with the lowest scores.

    Raises:
        ConfigError: No pair has a verdict, or none of the rule that is asked for.
    """
    rules: set[str] = set()
    seen: Counter[str] = Counter()

    def pairs() -> Iterator[_Shown]:
        for name in streams:
            for pair, passage in current_pairs(arguments.uri, manifest, name, Counter(), with_passage=True):
                rules.update(verdict.rule for verdict in pair.verdicts)
                seen.update(pairs=1, verified=bool(pair.verdicts))
                wanted = _of(pair, arguments.rule)
                if wanted or (arguments.rule is None and not arguments.worst):
                    yield dataclasses.replace(pair, verdicts=wanted), passage

    chosen = list(
        heapq.nsmallest(arguments.pairs, pairs(), key=_score)
        if arguments.worst
        else itertools.islice(pairs(), arguments.pairs)
    )
    if not chosen and rules and arguments.rule is not None:
        raise ConfigError(f"--rule: {unknown_name('rule', arguments.rule, sorted(rules))}")
    if not chosen and (arguments.worst or arguments.rule is not None):
        raise ConfigError(f"{arguments.uri}: no pair has a verdict; verify was off in its builds.")
    if arguments.json:
        found = [{**dataclasses.asdict(pair), "passage": passage} for pair, passage in chosen]
        print(json.dumps({"pairs": found}, indent=2, ensure_ascii=False))
        return
    console = Console(highlight=False)
    if not chosen:
        console.print(Text("There are no pairs."))
    if arguments.worst and seen["verified"] < seen["pairs"]:
        console.print(
            Text(f"{seen['verified']:,} of {seen['pairs']:,} pairs were verified; the others have no score.")
        )
    for pair, passage in chosen:
        part = f" part {pair.part}" if pair.part else ""
        console.print(
            Panel(_body(pair, passage, whole=arguments.whole), title=Text(f"{pair.document_id}{part}"))
        )


def _of(pair: StoredPair, rule: str | None) -> tuple[PairVerdict, ...]:
    return tuple(each for each in pair.verdicts if rule in (None, each.rule))


def _score(shown: _Shown) -> tuple[float, float, str, str]:
    """Order of the worst: by the lowest score, then by the mean."""
    scores = [verdict.score for verdict in shown[0].verdicts]
    return min(scores), sum(scores) / len(scores), shown[0].document_id, shown[0].instruction


def _body(pair: StoredPair, passage: str, *, whole: bool) -> Text:
    """Passage with the first supporting span between ▸ and ◂, question, options, answer, verdicts."""
    span = next((each.span for each in pair.verdicts if each.span), ())
    body = Text()
    start, end = span or (0, 0)
    first = 0 if whole or end <= _SHOWN_CHARACTERS else max(0, start - _SHOWN_CHARACTERS // 2)
    last = len(passage) if whole else max(end, first + _SHOWN_CHARACTERS)
    body.append("… " if first else "")
    body.append(passage[first:start] if span else passage[:last])
    if span:
        body.append(f"▸{passage[start:end]}◂", style="bold green")
        body.append(passage[end:last])
    rest = len(passage) - last
    body.append(f" …\n[{rest:,} characters more; --whole shows them]" if rest > 0 else "")
    body.append(f"\n\nQ: {pair.instruction}", style="bold")
    body.append("".join(f"\n   - {option}" for option in pair.options))
    body.append(f"\n   {pair.rationale}" if pair.rationale else "", style="dim")
    body.append(f"\nA: {pair.response}", style="bold")
    for verdict in pair.verdicts:
        body.append(
            f"\n{verdict.rule} {verdict.score:.2f}" + (f": {verdict.reason}" if verdict.reason else "")
        )
    if not pair.verdicts:
        body.append("\nnot verified")
    return body
