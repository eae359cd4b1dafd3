"""Report of finished units: means, differences from plain text with intervals, and a figure.

Two intervals of 95%, since there are two populations:

- over seeds: a t-interval of the seeds' differences. It holds for another draw of drugs, and it is the one by
  which the primary measure is judged.
- over entries: a bootstrap of drugs within each seed, the same draws for both arms. It holds for other drugs
  of these same seeds and trainings.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

import numpy as np

from benchmarks.instruction.arms import ARMS, BASE
from benchmarks.instruction.measures import MEASURES, PRIMARY

REFERENCE, PRIMARY_ARM = "plain", "instruction-half"
RESAMPLES = 10_000

Results = Mapping[tuple[str, int], Mapping[str, Any]]
"""Results of units by arm and seed."""


def t_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """95% t-interval of the mean of independent values; None for fewer than two."""
    if len(values) < 2:
        return None
    from scipy.stats import t

    half = float(t.ppf(0.975, len(values) - 1)) * stdev(values) / math.sqrt(len(values))
    return fmean(values) - half, fmean(values) + half


def bootstrap_entries(
    differences: Sequence[Sequence[float]], *, seed: int = 17, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """95% percentile interval of the mean over seeds, with entries drawn with replacement within each seed.

    Args:
        differences: For each seed, the difference between two arms of each entry.
        seed: Of the draws.
        resamples: Number of draws.
    """
    generator = np.random.default_rng(seed)
    means = np.zeros(resamples)
    for of_seed in map(np.asarray, differences):
        drawn = generator.integers(len(of_seed), size=(resamples, len(of_seed)))
        means += of_seed[drawn].mean(axis=1) / len(differences)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def compare(results: Results, arm: str, measure: str) -> dict[str, Any] | None:
    """Difference of an arm from plain text at the last point, over their common seeds; None without any."""
    differences: dict[int, list[float]] = {}
    for (name, seed), result in sorted(results.items()):
        if name == arm and (REFERENCE, seed) in results:
            ours, theirs = _last(result, measure), _last(results[REFERENCE, seed], measure)
            differences[seed] = [ours[drug] - theirs[drug] for drug in sorted(ours)]
    if not differences:
        return None
    of_seeds = {seed: fmean(values) for seed, values in differences.items()}
    return {
        "difference": fmean(of_seeds.values()),
        "over_seeds": t_interval(list(of_seeds.values())),
        "over_entries": bootstrap_entries(list(differences.values())),
        "of_seeds": of_seeds,
    }


def summarize(results: Results) -> dict[str, Any]:
    """Summary of all units, as plain values."""
    arms = [arm for arm in ARMS if any(name == arm for name, _ in results)]
    first = {seed: result for (_, seed), result in sorted(results.items(), reverse=True)}
    return {
        "primary": {
            "measure": PRIMARY,
            "arms": [PRIMARY_ARM, REFERENCE],
            "result": compare(results, PRIMARY_ARM, PRIMARY),
        },
        "scores": {
            measure: {
                BASE: {seed: _mean(first[seed]["points"][0], measure) for seed in sorted(first)},
                **{
                    arm: {
                        seed: _mean(result["points"][-1], measure)
                        for (name, seed), result in sorted(results.items())
                        if name == arm
                    }
                    for arm in arms
                },
            }
            for measure in MEASURES
        },
        "differences": {
            measure: {arm: compare(results, arm, measure) for arm in arms if arm != REFERENCE}
            for measure in MEASURES
        },
        "trend": {measure: {arm: _trend(results, arm, measure) for arm in arms} for measure in MEASURES},
        "training": {
            arm: [
                {
                    key: result[key]
                    for key in ("seed", "steps", "times_seen", "loss", "seconds", "build_seconds")
                }
                | {"tokens": result["points"][-1]["tokens"]}
                for (name, _), result in sorted(results.items())
                if name == arm
            ]
            for arm in arms
        },
    }


def _trend(results: Results, arm: str, measure: str) -> list[dict[str, Any]]:
    """Points of an arm, each the mean over its seeds, with the t-interval of the score."""
    of_seeds = [result["points"] for (name, _), result in sorted(results.items()) if name == arm]
    return [
        {
            "share": fmean(point["share"] for point in points),
            "tokens": fmean(point["tokens"] for point in points),
            "score": fmean(_mean(point, measure) for point in points),
            "over_seeds": t_interval([_mean(point, measure) for point in points]),
        }
        for points in zip(*of_seeds, strict=True)
    ]


def as_markdown(report: Mapping[str, Any]) -> str:
    """The report as tables: means over seeds ± standard deviation, differences with both intervals."""
    lines = [f"Primary measure, fixed before the runs: {PRIMARY}, {PRIMARY_ARM} minus {REFERENCE}. "]
    found = report["primary"]["result"]
    lines[0] += "No seed has both arms yet." if found is None else f"{_shown(found)}; {_verdict(found)}"
    arms = list(report["training"])
    lines += ["", f"| at the last point | {' | '.join([BASE, *arms])} |", "|---" * (len(arms) + 2) + "|"]
    for measure, of_arms in report["scores"].items():
        cells = [_mean_and_spread(list(of_arms[arm].values())) for arm in (BASE, *arms)]
        lines.append(f"| {' | '.join([measure, *cells])} |")
    others = [arm for arm in arms if arm != REFERENCE]
    if others:
        lines += ["", f"| minus {REFERENCE} | {' | '.join(others)} |", "|---" * (len(others) + 1) + "|"]
    for measure, of_arms in report["differences"].items() if others else ():
        cells = ["–" if of_arms[arm] is None else _shown(of_arms[arm]) for arm in others]
        lines.append(f"| {' | '.join([measure, *cells])} |")
    if others:
        lines += [
            "",
            "In brackets: 95% over seeds (t), then 95% over entries within these seeds (bootstrap).",
        ]
    lines += ["", f"| {PRIMARY}, after | {' | '.join(arms)} |", "|---" * (len(arms) + 1) + "|"]
    trends = [report["trend"][PRIMARY][arm] for arm in arms]
    for points in zip(*trends, strict=True):
        cells = [f"{point['score']:.2f}" for point in points]
        share = f"{points[0]['share']:.0%}"
        lines.append(f"| {' | '.join([share, *cells])} |")
    lines += [
        "",
        "| arm | seeds | tokens | each row seen | last loss | minutes |",
        "|---|---|---|---|---|---|",
    ]
    for arm, units in report["training"].items():
        seen = ", ".join(
            f"{name} {fmean(unit['times_seen'][name] for unit in units):.1f}"
            for name in units[0]["times_seen"]
        )
        cells = [
            ", ".join(str(unit["seed"]) for unit in units),
            f"{fmean(unit['tokens'] for unit in units):,.0f}",
            seen,
            f"{fmean(unit['loss'] for unit in units):.2f}",
            f"{fmean(unit['seconds'] for unit in units) / 60:.1f}",
        ]
        lines.append(f"| {' | '.join([f'{arm}: {ARMS[arm].title}', *cells])} |")
    return "\n".join(lines)


def _verdict(found: Mapping[str, Any]) -> str:
    if found["over_seeds"] is None:
        return "one seed has no interval over seeds."
    low, high = found["over_seeds"]
    return "the interval over seeds holds 0." if low <= 0 <= high else "the interval over seeds excludes 0."


def draw_curves(report: Mapping[str, Any]) -> bytes:
    """SVG of asked and told facts, 12 options, against tokens: one line an arm, with intervals over seeds."""
    import matplotlib
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 3.6), layout="constrained")
    for panel, measure in zip(figure.subplots(1, 2, sharey=True), (PRIMARY, "told, 12 options"), strict=True):
        for arm, points in report["trend"][measure].items():
            scores = [p["score"] for p in points]
            ends = [p["over_seeds"] or (p["score"], p["score"]) for p in points]
            bars = [
                [score - low for score, (low, _) in zip(scores, ends, strict=True)],
                [high - score for score, (_, high) in zip(scores, ends, strict=True)],
            ]
            panel.errorbar([p["tokens"] for p in points], scores, bars, marker="o", capsize=3, label=arm)
        panel.axhline(1 / 12, color="grey", linestyle=":", label="chance")
        panel.set(title=f"{measure.partition(',')[0]} facts, 12 options", xlabel="tokens", ylim=(0, 1.02))
        panel.locator_params(axis="x", nbins=5)
        panel.xaxis.set_major_formatter("{x:,.0f}")
        panel.grid(alpha=0.3)
    figure.axes[0].set_ylabel("accuracy, mean and 95% over seeds")
    figure.axes[0].legend(fontsize="small")
    image = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "instruction"}):
        figure.savefig(image, format="svg", metadata={"Date": None})
    return image.getvalue()


def _last(result: Mapping[str, Any], measure: str) -> Mapping[str, float]:
    of_drugs: Mapping[str, float] = result["points"][-1]["measures"][measure]
    return of_drugs


def _mean(point: Mapping[str, Any], measure: str) -> float:
    return fmean(point["measures"][measure].values())


def _mean_and_spread(of_seeds: Sequence[float]) -> str:
    spread = f" ± {stdev(of_seeds):.2f}" if len(of_seeds) > 1 else ""
    return f"{fmean(of_seeds):.2f}{spread}"


def _shown(found: Mapping[str, Any]) -> str:
    return f"{found['difference']:+.2f} {_bracket(found['over_seeds'])} {_bracket(found['over_entries'])}"


def _bracket(interval: Sequence[float] | None) -> str:
    return "[–]" if interval is None else f"[{interval[0]:+.2f}, {interval[1]:+.2f}]"
