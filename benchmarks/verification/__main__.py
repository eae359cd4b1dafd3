"""Precision and recall of verifiers on labelled pairs, by rule and by kind of damage.

python -m benchmarks.verification                               # rules without a model; 20 seconds
python -m benchmarks.verification --judge judge                 # and a rule that asks a model, by its name
python -m benchmarks.verification --errors tuning               # pairs that the rules get wrong
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from omegaconf import OmegaConf

from benchmarks.verification.labelled import HELD_OUT, TUNING, Labelled, few_each, load
from benchmarks.verification.measure import Refusals, judge, marks, pairs_per_second
from plugins.verifiers import VERIFIERS
from schemas.synthesis_config import SynthesisConfig

RULES = ("grounded", "well_formed")
_COSTS = (
    "requests",
    "prompt_tokens",
    "cached_tokens",
    "cache_share",
    "completion_tokens",
    "pairs",
    "seconds",
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Judge all labelled pairs and print the marks."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.verification", description=__doc__)
    parser.add_argument(
        "--rules", nargs="+", default=list(RULES), metavar="NAME", help="verifiers to measure"
    )
    parser.add_argument("--judge", metavar="NAME", help="a rule that asks a model, with options behind it")
    parser.add_argument("options", nargs="*", metavar="key=value", help="options of the judge")
    parser.add_argument("--model", default="models/smollm2-135m", help="the model of the judge")
    parser.add_argument("--url", help="a running SGLang server of the model, instead of one started here")
    parser.add_argument("--python", default=".venv-sglang/bin/python", help="the interpreter of SGLang")
    parser.add_argument("--pairs-each", type=int, default=0, help="pairs of each passage to judge; 0 is all")
    parser.add_argument("--errors", choices=(TUNING, HELD_OUT), help="print the wrong verdicts of a split")
    parser.add_argument("--repeats", type=int, default=5, help="runs for the speed, 0 for none")
    chosen = parser.parse_args(arguments)
    verifiers = [VERIFIERS.load(name)() for name in chosen.rules]
    names = [*chosen.rules, *([chosen.judge] if chosen.judge else [])]
    rows = few_each(load(), chosen.pairs_each)
    judged = judge(rows, verifiers)
    costs = {}
    if chosen.judge:
        by_model, costs = _ask(rows, chosen)
        judged = [
            Refusals(each.row, {**each.reasons, **other.reasons})
            for each, other in zip(judged, by_model, strict=True)
        ]
    for split in (TUNING, HELD_OUT):
        _print_marks(split, [each for each in judged if each.row.split == split], names)
    if chosen.errors:
        _print_errors([each for each in judged if each.row.split == chosen.errors])
    for title, stats in costs.items():
        print(f"\n{title}: " + ", ".join(f"{name} {stats[name]:,}" for name in _COSTS))
    if chosen.repeats:
        print("\npairs a second and core, CPU time")
        for some in (*([each] for each in verifiers), verifiers):
            speed = pairs_per_second(rows, some, repeats=chosen.repeats)
            print(f"  {' + '.join(each.name for each in some):24} {speed:8,.0f}")


def _ask(
    rows: list[Labelled], chosen: argparse.Namespace
) -> tuple[list[Refusals], dict[str, dict[str, Any]]]:
    """What the model refuses, and the costs of judging and of writing pairs about the same passages."""
    from benchmarks.real_server import server
    from benchmarks.verification.judging import ask, write_pairs

    options = OmegaConf.to_container(OmegaConf.from_dotlist(chosen.options))
    assert isinstance(options, dict)
    named = {str(key): value for key, value in options.items()}
    with server(chosen, cache_tokens=16_384) as url:
        config = SynthesisConfig(
            backend="sglang",
            protocol="chat",
            model=chosen.model,
            endpoints=(url,),
            max_in_flight=16,
            max_failure_share=1.0,
        )
        refusals, judging = ask(rows, chosen.judge, named, config)
        writing = write_pairs(rows, config)
    judging = {**judging, "pairs": len(rows)}
    return refusals, {f"{chosen.judge} of {len(rows):,} pairs": judging, "their synthesis": writing}


def _print_marks(split: str, judged: list[Refusals], names: list[str]) -> None:
    num_bad = sum(each.row.is_bad for each in judged)
    print(f"\n{split}: {len(judged) - num_bad} good pairs, {num_bad} bad ones")
    print(f"  {'rule':24} precision  recall  good pairs dropped")
    for some in (*([name] for name in names), names):
        found = marks(judged, some)
        title = some[0] if len(some) == 1 else "together"
        print(f"  {title:24} {found.precision:9.3f} {found.recall:7.3f} {found.dropped:10.3f}")
    for is_bad, title in ((True, "refused, by kind of damage"), (False, "dropped, by kind of good pair")):
        print(f"  {title}")
        for kind in sorted({each.row.kind for each in judged if each.row.is_bad == is_bad}):
            of_kind = [each for each in judged if each.row.kind == kind and each.row.is_bad == is_bad]
            refused = [sum(name in each.reasons for each in of_kind) for name in names]
            either = sum(bool(each.reasons) for each in of_kind)
            by_rule = ", ".join(f"{name} {count}" for name, count in zip(names, refused, strict=True))
            print(f"    {kind:22} {either / len(of_kind):6.2f}   {either} of {len(of_kind)} ({by_rule})")


def _print_errors(judged: list[Refusals]) -> None:
    for each in judged:
        if each.row.is_bad != bool(each.reasons):
            what = "missed" if each.row.is_bad else "dropped"
            pair = each.row.pair
            print(f"{what}: {each.row.passage}, {each.row.kind}: {pair.instruction!r} {pair.response!r}")
            for name, reason in each.reasons.items():
                print(f"    {name}: {reason}")


if __name__ == "__main__":
    main()
