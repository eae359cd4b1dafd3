"""Reports of the measurements: gpu.json for programs, gpu.md for people.

    {"version": 1, "small": …, "created": …, "python": …, "machine": {…},
     "steps": [{"name", "status", "sec", "found", "error"}, …],
     "targets": [{"what", "wanted", "found", "reached"}, …]}

`mfu` in the figures of a step is its model operations a second as a share of the best matrix rate, and null
if that is unknown. `reached` is null in small, and where the figure is missing.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import platform
from pathlib import Path
from typing import Any

from benchmarks.gpu.steps import Result

LEAST_MFU = 0.5
MOST_ERROR = 0.1
"""Of the estimated memory, as a share of the measured peak."""

_GIB = 1 << 30


class Report:
    """Results so far, written to the output folder after each step."""

    def __init__(self, output: Path, *, small: bool):
        self._output = output
        self._small = small
        self._created = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
        self.results: list[Result] = []

    def add(self, result: Result) -> None:
        """Take in a result, and write both files anew."""
        self.results.append(result)
        texts = {"gpu.json": json.dumps(self.values(), indent=2) + "\n", "gpu.md": self.markdown()}
        for name, text in texts.items():
            temporary = self._output / f".{name}"  # this process may lack what schemas.storage needs
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(self._output / name)

    def values(self) -> dict[str, Any]:
        """Everything, as plain values."""
        return {
            "version": 1,
            "small": self._small,
            "created": self._created,
            "python": platform.python_version(),
            "machine": self._found("matrix").get("machine"),
            "steps": [self._step(result) for result in self.results],
            "targets": self._targets(),
        }

    def _found(self, name: str) -> dict[str, Any]:
        return next((each.found for each in self.results if each.name == name and each.found), {})

    def _step(self, result: Result) -> dict[str, Any]:
        values = dataclasses.asdict(result)
        if result.found and "model_flops_per_sec" in result.found:
            rate = self._found("matrix").get("best_flops_per_sec")
            values["found"]["mfu"] = rate and result.found["model_flops_per_sec"] / rate
        return values

    def _targets(self) -> list[dict[str, Any]]:
        shares = [values["found"].get("mfu") for values in map(self._step, self.results) if values["found"]]
        mfu = max((share for share in shares if share), default=None)
        ratio = self._found("training").get("estimated_over_peak")
        equal = self._found("resumption").get("bit_equal")
        near = f"{1 - MOST_ERROR:g} to {1 + MOST_ERROR:g}"
        targets = [
            ("best MFU", f"at least {LEAST_MFU}", mfu, mfu and mfu >= LEAST_MFU),
            ("estimated over measured memory", near, ratio, ratio and abs(ratio - 1) <= MOST_ERROR),
            ("resumption bit-equal", "true", equal, equal),
        ]
        return [
            {
                "what": what,
                "wanted": wanted,
                "found": found,
                "reached": None if self._small or found is None else bool(reached),
            }
            for what, wanted, found, reached in targets
        ]

    def markdown(self) -> str:
        """The same as tables."""
        values = self.values()
        machine = values["machine"] or {}
        names = ("device", "torch", "transformers", "cuda")
        shown = ", ".join(f"{name} {machine[name]}" for name in names if machine.get(name))
        steps = [
            (each["name"], each["status"], f"{each['sec']:.0f}", each["error"] or _figures(each["found"]))
            for each in values["steps"]
        ]
        lines = [
            f"# Measurements of {values['created']}",
            "",
            shown or "Unknown machine.",
            "",
            *(["**In small, to show that it works: no figure means anything.**", ""] if self._small else []),
            *_table("what | wanted | found | reached", [_target_row(each) for each in values["targets"]]),
            *_table("step | status | s | figures", steps),
            "MFU: 6·N + 12·L·H·Q·T operations a token, as in the dry run, over the best matrix rate; for "
            "packed rows T is the length of a text.",
        ]
        return "\n".join(lines) + "\n"


def _target_row(target: dict[str, Any]) -> tuple[str, ...]:
    found, reached = target["found"], target["reached"]
    shown = f"{found:.3f}" if isinstance(found, float) else "not measured" if found is None else str(found)
    return target["what"], target["wanted"], shown, {None: "–", True: "yes", False: "no"}[reached]


def _figures(found: dict[str, Any]) -> str:
    """The figures of a step in a few words."""
    if "best_flops_per_sec" in found:
        sheet = found["machine"]["data_sheet_flops_per_sec"]
        of_sheet = f", {found['best_flops_per_sec'] / sheet:.0%} of the data sheet's" if sheet else ""
        return f"{found['best_flops_per_sec'] / 1e12:,.3g} TFLOP/s{of_sheet}"
    mfu = f"MFU {found['mfu']:.3f}, " if found.get("mfu") else ""
    if "trainer_over_bare" in found:
        return (
            f"{mfu}{found['trainer_tokens_per_sec']:,.0f} tokens/s, bare loop "
            f"{found['bare_tokens_per_sec']:,.0f}, ratio {found['trainer_over_bare']:.3f}; {found['rows']} "
            f"rows, peak {found['peak_bytes']['device'] / _GIB:.1f} GiB, "
            f"estimated {found['estimated_bytes'] / _GIB:.1f}"
        )
    if "model_flops_per_sec" in found:
        graphs = f", {found['compiled_graphs']} compiled graphs" if "compiled_graphs" in found else ""
        return (
            f"{mfu}{found['tokens_per_sec']:,.0f} tokens/s, {found['rows']} rows, peak "
            f"{found['peak_bytes']['tensors'] / _GIB:.1f} GiB of tensors{graphs}"
        )
    if "times_faster" in found:
        why = f"; no shared passes, since {found['no_shared_passes']}" if found["no_shared_passes"] else ""
        return (
            f"{found['rows_per_sec']:.1f} rows/s, by option {found['rows_per_sec_by_option']:.1f}, "
            f"{found['times_faster']:.1f} times faster; {found['same_predictions']} of {found['rows']} "
            f"predictions equal, scores differ by {found['largest_difference']:.2g} at most{why}"
        )
    if "bit_equal" in found:
        return (
            f"bit-equal: {found['bit_equal']}; two unbroken runs equal: {found['repeats']}; "
            f"largest difference of a weight {found['largest_difference']:.2g}"
        )
    return json.dumps(found)


def _table(heading: str, rows: list[tuple[str, ...]]) -> list[str]:
    columns = heading.count("|") + 1
    cells = (" | ".join(cell.replace("|", "/").replace("\n", " ") for cell in row) for row in rows)
    return [f"| {heading} |", "|" + "---|" * columns, *(f"| {row} |" for row in cells), ""]
