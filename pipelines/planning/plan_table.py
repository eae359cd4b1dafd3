"""Table of a plan, and a sample, on the terminal. Estimates say `about` and are rounded to three digits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from pipelines.increments.document_versions import CONFLICT
from pipelines.planning.plan import IncrementPlan, StreamPlan
from plugins.console import Console
from plugins.progress import duration
from schemas.terminal import shown

if TYPE_CHECKING:
    from pipelines.planning.sample import Sample

_WIDE = 1000
_TWO_COLUMNS = 100
"""Width of a terminal from which on documents stand beside their sources."""


def print_plan(plan: IncrementPlan) -> None:
    """Print a plan; outside a terminal without colours and line breaks."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _WIDE
    if plan.total.num_new or plan.total.num_deleted:
        first = f"{plan.corpus}: increment {plan.increment}, of {plan.total.num_new:,} documents."
    else:
        first = f"{plan.corpus}: nothing new; a build would send no requests and publish nothing."
    console.print(Text(first), soft_wrap=True)
    if plan.total.num_files:
        console.print(plan_table(plan))
    for line in plan_lines(plan):
        console.print(Text(line), soft_wrap=True)


def plan_table(plan: IncrementPlan) -> Table:
    """Make the table of a plan: a column for each stream, no rows of zeros."""
    columns = dict(plan.streams)
    if len(columns) > 1:
        columns["all"] = plan.total
    table = Table.grid(padding=(0, 3))
    for heading in ("", *columns):
        table.add_column(justify="right" if heading else "left", no_wrap=True)
    table.add_row("", *columns)
    cells = {name: _plan_cells(stream, plan) for name, stream in columns.items()}
    for row in dict.fromkeys(row for each in cells.values() for row in each):
        values = [each.get(row, "") for each in cells.values()]
        if any(values):
            table.add_row(f"  {row}", *values)
    return table


def plan_lines(plan: IncrementPlan) -> list[str]:
    """Return what is kept out, in conflict and held out, sources of estimates, and hours of synthesis."""
    lines = [f"Made tasks of this corpus are kept out, too: {uri}." for uri in plan.made_tasks]
    if conflicts := plan.total.rejects.get("dedup", {}).get(CONFLICT):
        lines.append(
            f"Conflicts: {conflicts:,} rows have the id of another row and another text, and no version says "
            "which is newer. Set version_field or newest on their source."
        )
    if not plan.total.num_new:
        return lines
    if plan.holdout or plan.total.num_held_out:
        lines.append(
            f"Held out, and no training text: {plan.total.num_held_out:,} of {plan.total.num_new:,} "
            f"documents (holdout {plan.holdout:.2%})."
        )
    if any(stream.pair_tokens is None for stream in plan.streams.values()):
        lines.append("The synthesizer sends no requests. Its pairs are not in the training tokens.")
    if plan.total.num_verify_requests:
        lines.append(
            f"Requests to verify: one for each pair and rule that asks a model, at {plan.pairs_each:.2g} "
            f"pairs a document, {plan.pairs_source}; pairs that other rules refuse count, hours do not."
        )
    if plan.answers is None or not plan.total.num_requests:
        return lines
    lines += [
        f"Requests: {plan.num_samples if plan.num_samples > 1 else 'one'} for each document of a chain, at "
        "most; repairs and answers in the journal are not counted.",
        f"Tokens of an answer: about {plan.answers.mean_completion_tokens:.0f}, {plan.answers.detail}.",
    ]
    if plan.speed is None or plan.synthesis_hours is None:
        lines.append(
            "Hours: unknown. Give --requests-per-sec or --tokens-per-sec, or build a small increment first."
        )
    else:
        took = duration(plan.synthesis_hours * 3600)
        lines.append(f"Synthesis: about {took}, at {plan.speed.detail}.")
    return lines


def _plan_cells(stream: StreamPlan, plan: IncrementPlan) -> dict[str, str]:
    def count(number: int) -> str:
        return f"{number:,}" if number else ""

    def about(number: int) -> str:
        return f"about {round(number, 3 - len(str(number))):,}" if number else ""

    document_tokens = stream.mean_document_tokens
    return {
        "files": count(stream.num_files),
        "documents read": count(stream.num_read),
        "  new": count(stream.num_new),
        "    of them changed": count(stream.num_changed),
        "    of them held out": count(stream.num_held_out),
        "  deleted": count(stream.num_deleted),
        "  unchanged": count(stream.num_unchanged),
        "rejected": count(stream.num_rejected),
        **{
            f"  {stage}: {reason}": count(number)
            for stage, reasons in stream.rejects.items()
            for reason, number in reasons.items()
        },
        "documents cut": count(stream.num_split),
        "  into parts": count(stream.num_parts),
        "chains": count(stream.num_chains),
        "requests": count(stream.num_requests),
        "  tokens of a document": about(round(document_tokens)) if document_tokens else "",
        "prompt tokens": about(stream.prompt_tokens),
        "  an ideal prefix cache has": about(stream.cached_tokens),
        "completion tokens": about(stream.completion_tokens),
        "requests to verify": about(stream.num_verify_requests),
        "  their prompt tokens": about(stream.verify_prompt_tokens),
        "    an ideal prefix cache has": about(stream.verify_cached_tokens),
        "  their completion tokens": about(stream.verify_completion_tokens),
        "training tokens": about(stream.training_tokens),
        "  texts": about(stream.num_texts),
        "    that go on in another row": about(stream.num_cut_texts),
        f"  rows of {plan.seq_len:,}": about(stream.num_rows),
    }


def print_sample(sample: Sample) -> None:
    """Print a sample: plain lines, and on a wide terminal documents beside their sources."""
    console = Console(highlight=False)

    def say(line: str, style: str = "") -> None:
        console.print(Text(shown(line), style=style), soft_wrap=True)

    say(
        f"{sample.corpus}: a sample of {sample.num_records:,} records, from {sample.num_files:,} of "
        f"{sample.num_listed:,} files. Nothing is sent or written."
    )
    for line in sample.left_out:
        say(line)
    for kind, counts in sample.kinds.items():
        say(f"  {kind}: " + ", ".join(f"{name} {count:,}" for name, count in counts.items()))
    for each in sample.shown:
        kept = f"dropped by {each.dropped}" if each.dropped else "kept"
        say(f"\n── {each.name} ({each.kind}), {each.num_characters:,} characters, {kept}", "bold")
        if console.is_terminal and console.width >= _TWO_COLUMNS:
            pair = Table.grid(padding=(0, 2), expand=True)
            pair.add_column(ratio=1, overflow="fold")
            pair.add_column(ratio=1, overflow="fold")
            pair.add_row(Text("source", "dim"), Text("text to train on", "dim"))
            pair.add_row(Text(shown(each.source)), Text(shown(each.text)))
            console.print(pair)
            continue
        for title, text in (("source", each.source), ("text to train on", each.text)):
            say(f"{title}:", "dim")
            say("\n".join(f"  {line}" for line in text.splitlines()))
    kept = f"{sample.num_kept:,} of {sample.num_documents:,} documents"
    say(f"\nCleaning and filters keep {kept}. Later steps may drop more.", "bold")
    for effect in sample.effects:
        does = "drops" if effect.is_drop else "changes or passes over"
        say(f"  {effect.step} {does} {effect.count:,}: {effect.rule}")
        say(f"    for example {effect.name}" + (f": {effect.found}" if effect.found else ""))
        if effect.text:
            say(f"      {' '.join(effect.text.split())}")
    if sample.no_effect:
        say(f"  no effect: {', '.join(sample.no_effect)}")
