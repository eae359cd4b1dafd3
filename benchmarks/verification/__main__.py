"""Precision and recall of verifiers on labelled pairs, by rule and by kind of damage.

python -m benchmarks.verification                               # rules without a model; 20 seconds
python -m benchmarks.verification --judge judge model=DIR       # and a verifier with a model, by its name
python -m benchmarks.verification --errors tuning               # pairs that the rules get wrong
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from omegaconf import OmegaConf

from benchmarks.verification.labelled import HELD_OUT, TUNING, load
from benchmarks.verification.measure import Refusals, judge, marks, pairs_per_second
from plugins.verifiers import VERIFIERS

RULES = ("grounded", "well_formed")


def main(arguments: Sequence[str] | None = None) -> None:
    """Judge all labelled pairs and print the marks."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.verification", description=__doc__)
    parser.add_argument(
        "--rules", nargs="+", default=list(RULES), metavar="NAME", help="verifiers to measure"
    )
    parser.add_argument("--judge", metavar="NAME", help="one more verifier, with the options behind it")
    parser.add_argument("--errors", choices=(TUNING, HELD_OUT), help="print the wrong verdicts of a split")
    parser.add_argument("--repeats", type=int, default=5, help="runs for the speed, 0 for none")
    parser.add_argument("options", nargs="*", metavar="key=value", help="options of the judge")
    chosen = parser.parse_args(arguments)
    verifiers = [VERIFIERS.load(name)() for name in chosen.rules]
    if chosen.judge:
        options = OmegaConf.to_container(OmegaConf.from_dotlist(chosen.options))
        verifiers.append(VERIFIERS.load(chosen.judge)(options))
    names = [each.name for each in verifiers]
    rows = load()
    judged = judge(rows, verifiers)
    for split in (TUNING, HELD_OUT):
        _print_marks(split, [each for each in judged if each.row.split == split], names)
    if chosen.errors:
        _print_errors([each for each in judged if each.row.split == chosen.errors])
    if chosen.repeats:
        print("\npairs a second and core, CPU time")
        rules = [each for each in verifiers if each.name in RULES]
        for some in (*([each] for each in rules), rules):
            speed = pairs_per_second(rows, some, repeats=chosen.repeats)
            print(f"  {' + '.join(each.name for each in some):24} {speed:8,.0f}")


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
